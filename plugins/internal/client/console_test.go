package client

import (
	"context"
	"errors"
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
)

// Who has had enough hears their own reason, and not that of the transport.
func TestAConsoleThatNobodyWantsAnyMore(t *testing.T) {
	errInterrupted := errors.New("interrupted")
	c := connect(t, fakedaemon.Start(t), Timeouts{})
	ctx, cancel := context.WithCancelCause(t.Context())
	console, err := c.OpenConsole(ctx, "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel(errInterrupted)
	for name, err := range map[string]error{"Press": console.Press(nil), "Close": console.Close()} {
		if !errors.Is(err, errInterrupted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.OpenConsole(ctx, "k", 0); !errors.Is(err, errInterrupted) {
		t.Errorf("OpenConsole: %v", err)
	}
}
