package driver

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

func TestState(t *testing.T) {
	h := created(t)
	h.out.Reset()
	for number := range pb.Machine_Status_name {
		machine := &pb.Machine{Status: pb.Machine_Status(number)}
		if _, known := states[machine.GetStatus()]; !known && number != 0 {
			t.Errorf("%s has no state", machine.GetStatus())
		}
	}
	look := func(want wire.State) *testHost {
		t.Helper()
		h = h.again(t)
		if state, err := h.GetState(); state != want || err != nil {
			t.Errorf("state %d, %v; want %d", state, err, want)
		}
		return h
	}
	look(wire.Running)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	look(wire.Stopped)
	for _, ask := range []func() (string, error){h.GetIP, h.GetURL, h.GetSSHHostname} {
		if _, err := ask(); err == nil || err.Error() != "Host is not running" {
			t.Errorf("of a stopped host: %v", err)
		}
	}
	if h.out.Len() > 0 {
		t.Errorf("a look tells the user: %s", h.out.String())
	}
}

func TestAddress(t *testing.T) {
	h := created(t)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	// A new lease of DHCP.
	h.daemon.Addresses = []*pb.Address{{Ip: "fd00::9"}, {Ip: "127.0.0.2"}}
	h = h.again(t)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if ip, err := h.GetIP(); ip != "127.0.0.2" || err != nil {
		t.Errorf("after the start: %s, %v", ip, err)
	}
	h = h.again(t)
	before := len(h.daemon.Calls())
	for _, ask := range []func() (string, error){h.GetIP, h.GetURL, h.GetSSHHostname} {
		if address, err := ask(); !strings.Contains(address, "127.0.0.2") || err != nil {
			t.Errorf("%s, %v", address, err)
		}
	}
	if calls := h.daemon.Methods()[before:]; !slices.Equal(calls, []string{"ListEngines", "GetMachine"}) {
		t.Errorf("the daemon is asked %v", calls)
	}
	if _, err := h.GetIPv6(); err == nil {
		t.Error("an IPv4 address is told as IPv6")
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	h.daemon.Addresses = []*pb.Address{{Ip: "fd00::9"}}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if ip, err := h.GetIPv6(); ip != "fd00::9" || err != nil {
		t.Errorf("IPv6: %s, %v", ip, err)
	}
	if url, err := h.GetURL(); url != "tcp://[fd00::9]:2376" || err != nil {
		t.Errorf("URL: %s, %v", url, err)
	}
}

// With the last address a host can be logged in to, also to see what became of the daemon.
func TestAddressWhileNobodyCanBeAsked(t *testing.T) {
	h := created(t)
	h.daemon.Stop()
	t.Run("the daemon is the user's", func(t *testing.T) {
		if ip, err := h.again(t).GetIP(); ip != "127.0.0.1" || err != nil {
			t.Errorf("%s, %v", ip, err)
		}
	})
	t.Run("none can be started", func(t *testing.T) {
		t.Setenv(client.AddressVariable, "")
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		t.Setenv("PATH", "/nowhere")
		if ip, err := h.again(t).GetIP(); ip != "127.0.0.1" || err != nil {
			t.Errorf("%s, %v", ip, err)
		}
	})
}

// What the hosts show for each status, and that they tell an absent VM from an engine that cannot be asked.
func TestEveryState(t *testing.T) {
	h := created(t)
	for number, want := range map[pb.Machine_Status]wire.State{
		pb.Machine_STATUS_UP: wire.Running, pb.Machine_STATUS_DOWN: wire.Stopped, pb.Machine_STATUS_PAUSED: wire.Paused,
		pb.Machine_STATUS_SUSPENDED: wire.Saved, pb.Machine_STATUS_STARTING: wire.Starting, pb.Machine_STATUS_STOPPING: wire.Stopping,
		pb.Machine_STATUS_CREATING: wire.Starting, pb.Machine_STATUS_DESTROYING: wire.Stopping, pb.Machine_STATUS_UNKNOWN: wire.Error,
	} {
		h.daemon.SetStatus(key, number)
		if state, err := h.again(t).GetState(); state != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", number, state, err, want)
		}
	}
	h.daemon.SetStatus(key, pb.Machine_STATUS_ABSENT)
	state, err := h.again(t).GetState()
	mustSay(t, err, "not found in the engine", "`rm`")
	if state != wire.Error {
		t.Errorf("an absent VM is %d", state)
	}
	unreachable, err := status.New(codes.Unavailable, "x").WithDetails(&pb.Error{
		Code: 14, Reason: "ENGINE_UNREACHABLE", Message: "the engine cannot be reached: host not found",
	})
	if err != nil {
		t.Fatal(err)
	}
	h.daemon.On("GetMachine", fakedaemon.Behaviour{Refuse: unreachable.Err()})
	state, err = h.again(t).GetState()
	mustSay(t, err, "the engine cannot be reached")
	if state != wire.Error || err.Error() != "the engine cannot be reached: host missing" {
		t.Errorf("an engine that cannot be reached is %d, %v", state, err)
	}
	// Where nothing listens, and nothing is there to be started.
	t.Setenv(client.AddressVariable, "")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("PATH", "/nowhere")
	if state, err := h.again(t).GetState(); state != wire.Error || err == nil || notFound.MatchString(err.Error()) {
		t.Errorf("without a daemon the VM is %d, %v", state, err)
	}
}

func TestTheVMIsGone(t *testing.T) {
	h := created(t)
	if err := h.again(t).Remove(); err != nil {
		t.Fatal(err)
	}
	state, err := h.GetState()
	mustSay(t, err, "the VM of host web is gone", "`rm`")
	if state != wire.Error {
		t.Errorf("state %d", state)
	}
	if err := h.Start(); status.Code(err) != codes.NotFound {
		t.Errorf("start: %v", err)
	}
	if err := h.Remove(); err != nil {
		t.Errorf("rm: %v", err)
	}
}
