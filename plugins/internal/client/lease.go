package client

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// defaultRenewInterval is used until the daemon has said how often to renew.
const defaultRenewInterval = 30 * time.Second

// KeepLease renews the session lease of a Machine at once and then as often as the daemon asks, until stop is called or
// ctx ends. lost is called, at most once and from another goroutine, when the lease cannot be kept any more: it has
// expired, or the Machine is gone. Other failures are tried again: the daemon grants a grace.
func (c *Client) KeepLease(ctx context.Context, key string, lost func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.keepLease(ctx, key, lost)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (c *Client) keepLease(ctx context.Context, key string, lost func(error)) {
	interval := defaultRenewInterval
	for {
		pause := interval
		reply, err := c.Machines.RenewLease(ctx, &pb.RenewLeaseRequest{Engine: c.Engine, Key: key})
		switch {
		case ctx.Err() != nil:
			return
		case status.Code(err) == codes.Aborted || status.Code(err) == codes.NotFound:
			lost(err)
			return
		case err != nil:
			pause = interval / 4
		case reply.GetRenewInterval().AsDuration() > 0:
			interval = reply.GetRenewInterval().AsDuration()
			pause = interval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
