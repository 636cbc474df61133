package driver

import (
	"strings"
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// The key is on disk before anything is made, and is all that Remove needs.
func TestRemoveByKey(t *testing.T) {
	h := newTestHost(t)
	if err := h.PreCreateCheck(); err != nil {
		t.Fatal(err)
	}
	saved := h.again(t)
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if saved.MachineID != "" || saved.Key != key {
		t.Fatalf("saved before the create: id %q, key %q", saved.MachineID, saved.Key)
	}
	for range 2 {
		if err := saved.Remove(); err != nil {
			t.Error(err)
		}
		mustLeave(t, h)
	}
}

// rancher-machine forgets the host when the error says "not found".
func TestRemoveNeverSaysNotFound(t *testing.T) {
	h := created(t)
	h.daemon.On("DestroyMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 9, Message: "cannot remove: Storage Domain not found"}})
	err := h.Remove()
	mustSay(t, err, "cannot remove: Storage Domain missing")
	if strings.Contains(strings.ToLower(err.Error()), "not found") {
		t.Errorf("error: %v", err)
	}
	mustLeave(t, h, "machine "+key)
}

func TestRemoveWithoutADaemon(t *testing.T) {
	h := created(t).again(t)
	h.daemon.Stop()
	mustSay(t, h.Remove(), "no daemon listens at "+h.daemon.Address)
}
