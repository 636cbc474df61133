package client

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
)

func TestKeepLeaseRenewsAsOftenAsTheDaemonAsks(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.SetLease(time.Millisecond, nil)
	c := connect(t, daemon, Timeouts{})
	stop := c.KeepLease(t.Context(), "k", func(err error) { t.Errorf("lost: %v", err) })
	for range 5 {
		if err := daemon.WaitCall(t.Context(), "RenewLease"); err != nil {
			t.Fatal(err)
		}
	}
	stop()
}

func TestKeepLeaseSaysWhenTheLeaseIsLost(t *testing.T) {
	for _, code := range []codes.Code{codes.Aborted, codes.NotFound} {
		t.Run(code.String(), func(t *testing.T) {
			daemon := fakedaemon.Start(t)
			daemon.SetLease(time.Millisecond, nil)
			c := connect(t, daemon, Timeouts{})
			lost := make(chan error, 2)
			stop := c.KeepLease(t.Context(), "k", func(err error) { lost <- err })
			defer stop()
			if err := daemon.WaitCall(t.Context(), "RenewLease"); err != nil {
				t.Fatal(err)
			}
			daemon.SetLease(0, status.Error(code, "lease expired at 12:00"))
			select {
			case err := <-lost:
				mustSay(t, err, "lease expired at 12:00")
			case <-t.Context().Done():
				t.Fatal("it was not said")
			}
		})
	}
}

func TestKeepLeaseOutlivesOtherFailures(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.SetLease(4*time.Millisecond, nil)
	c := connect(t, daemon, Timeouts{})
	stop := c.KeepLease(t.Context(), "k", func(err error) { t.Errorf("lost: %v", err) })
	defer stop()
	for _, err := range []error{nil, status.Error(codes.Internal, "a defect"), nil} {
		daemon.SetLease(4*time.Millisecond, err)
		// The call under way may have had the answer before; the one after has this one.
		for range 2 {
			if err := daemon.WaitCall(t.Context(), "RenewLease"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
