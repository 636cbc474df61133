package driver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
)

// removedWithoutDaemon is a host whose `rm` failed because the daemon was down, with its config.json as before.
func removedWithoutDaemon(t *testing.T) *testHost {
	t.Helper()
	h := created(t)
	state, err := h.GetConfigRaw()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.inStore("config.json"), state, 0o600); err != nil {
		t.Fatal(err)
	}
	h = h.again(t)
	h.daemon.Stop()
	mustSay(t, h.Remove(), "no daemon listens at", "The host is kept", tombstones(t)[0])
	if err := h.daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	return h
}

// forget does what `rm -f` does once Remove has failed.
func (h *testHost) forget(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(h.inStore("")); err != nil {
		t.Fatal(err)
	}
}

func tombstones(t *testing.T) []string {
	t.Helper()
	folder, err := tombstoneFolder()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mustHaveTombstones(t *testing.T, want int) {
	t.Helper()
	if got := tombstones(t); len(got) != want {
		t.Errorf("tombstones: %v, want %d", got, want)
	}
}

func TestATombstoneIsSentOnceTheHostIsForgotten(t *testing.T) {
	h := removedWithoutDaemon(t)
	h.forget(t)
	SendTombstones(t.Context())
	mustHaveTombstones(t, 0)
	mustLeave(t, h)
}

// The defence switched off: without the tombstone nobody comes.
func TestWithoutATombstoneTheVMLeaks(t *testing.T) {
	h := removedWithoutDaemon(t)
	h.forget(t)
	if err := os.Remove(tombstones(t)[0]); err != nil {
		t.Fatal(err)
	}
	SendTombstones(t.Context())
	mustLeave(t, h, "machine "+key)
}

// `rm` without -f has failed, and its user may go on with the host.
func TestAHostThatIsKeptIsNotRemovedBehindItsBack(t *testing.T) {
	h := removedWithoutDaemon(t)
	SendTombstones(t.Context())
	mustLeave(t, h, "machine "+key)
	mustHaveTombstones(t, 1)
	t.Run("until another host has its name", func(t *testing.T) {
		if err := os.WriteFile(h.inStore("config.json"), []byte(`{"Driver":{"Key":"docker-machine-web-id-2"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		SendTombstones(t.Context())
		mustLeave(t, h)
		mustHaveTombstones(t, 0)
	})
}

func TestALaterRmClearsTheTombstone(t *testing.T) {
	h := removedWithoutDaemon(t)
	if err := h.again(t).Remove(); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h)
	mustHaveTombstones(t, 0)
}

// Killed after the daemon has accepted the destroy and before it was noted, a plugin asks again for the same destroy.
func TestATombstoneSentTwiceIsOneDestroy(t *testing.T) {
	h := removedWithoutDaemon(t)
	h.forget(t)
	file := tombstones(t)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := len(h.daemon.Calls())
	SendTombstones(t.Context())
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	SendTombstones(t.Context())
	destroys := map[string]int{}
	for _, call := range h.daemon.Calls()[before:] {
		if strings.HasPrefix(call, "DestroyMachine ") {
			destroys[call]++
		}
	}
	if len(destroys) != 1 {
		t.Errorf("destroys: %v", destroys)
	}
	mustHaveTombstones(t, 0)
}

// The tombstone is there before the daemon is asked, so that a plugin that is killed while it waits leaves it.
func TestTheTombstoneIsSetBeforeTheDaemonIsAsked(t *testing.T) {
	h := created(t).again(t)
	stood := 0
	h.daemon.On("DestroyMachine", fakedaemon.Behaviour{OnCall: func() { stood = len(tombstones(t)) }})
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	if stood != 1 {
		t.Errorf("%d tombstones stood when the daemon was asked", stood)
	}
	mustHaveTombstones(t, 0)
}

func TestATombstoneWaits(t *testing.T) {
	for name, trouble := range map[string]func(*testing.T, *testHost){
		"for the daemon": func(_ *testing.T, h *testHost) { h.daemon.Stop() },
		"for a daemon that can": func(_ *testing.T, h *testHost) {
			h.daemon.On("DestroyMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.ResourceExhausted, "disk full")})
		},
		"for its own installation": func(_ *testing.T, h *testHost) { h.daemon.Installation = "66666666-5555-4555-8555-555555555555" },
		"for its own engine":       func(_ *testing.T, h *testHost) { h.daemon.EngineURL = "https://other.example.com/ovirt-engine/api" },
		"for private permissions":  func(t *testing.T, _ *testHost) { _ = os.Chmod(tombstones(t)[0], 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			h := removedWithoutDaemon(t)
			h.forget(t)
			trouble(t, h)
			SendTombstones(t.Context())
			mustHaveTombstones(t, 1)
			mustLeave(t, h, "machine "+key)
		})
	}
}

func TestATombstoneHoldsNoSecretAndIsItsOwnersAlone(t *testing.T) {
	t.Setenv("OVIRT_PASSWORD", "canary")
	removedWithoutDaemon(t)
	file := tombstones(t)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "canary") {
		t.Errorf("the password is in %s", content)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	folder, err := os.Stat(filepath.Dir(file))
	if err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder %v, %v", folder.Mode(), err)
	}
}

// In a container without HOME there is nowhere to write, which keeps no host from being removed.
func TestNowhereToSetATombstone(t *testing.T) {
	h := created(t)
	for _, name := range []string{TombstonesVariable, "HOME", "XDG_STATE_HOME"} {
		t.Setenv(name, "")
	}
	h.daemon.Stop()
	mustSay(t, h.again(t).Remove(), "no daemon listens at", "No tombstone could be set", TombstonesVariable, "machine destroy "+key)
	if err := h.daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := h.again(t).Remove(); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h)
}

// config.json has lost the key.
func TestRemoveByID(t *testing.T) {
	h := created(t)
	h.daemon.AddMachine("another", "99999999-1111-4111-8111-111111111111")
	next := h.again(t)
	next.Key = ""
	if err := next.Remove(); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h, "machine another")
	again := h.again(t)
	again.Key = ""
	if err := again.Remove(); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	mustLeave(t, h, "machine another")
}
