package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

func TestCreate(t *testing.T) {
	h := newTestHost(t)
	h.daemon.On("CreateMachine", fakedaemon.Behaviour{Steps: []*pb.Operation{
		{Phase: "cloning", Percent: 10, Progress: "disk is locked"}, {Phase: "cloning", Percent: 12}, {Phase: "booting", Percent: 60},
	}})
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h, "machine "+key)
	for _, want := range []string{"CreateMachine  10 % cloning: disk is locked (0s)", " 60 % booting (0s)", " 100 % done", "Waiting for SSH at 127.0.0.1:", "SSH answers and the first boot has ended ("} {
		if !strings.Contains(h.out.String(), want) {
			t.Errorf("the user is not told %q:\n%s", want, h.out.String())
		}
	}
	if strings.Contains(h.out.String(), "12 %") {
		t.Errorf("too much is told:\n%s", h.out.String())
	}
	next := h.again(t)
	if next.MachineID != fakedaemon.MachineID || next.IPAddress != "127.0.0.1" {
		t.Errorf("saved: id %q, address %q", next.MachineID, next.IPAddress)
	}
	private, err := os.ReadFile(h.GetSSHKeyPath())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil || !strings.Contains(h.daemon.Calls()[0], strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))) {
		t.Errorf("the key is not the one of the guest: %v", err)
	}
	if info, err := os.Stat(h.GetSSHKeyPath()); err != nil || info.Mode() != 0o600 || filepath.Dir(h.GetSSHKeyPath()) != filepath.Join(h.StorePath, "machines", "web") {
		t.Errorf("key file %s: %v, %v", h.GetSSHKeyPath(), info, err)
	}
}

// Whatever goes wrong before the Machine is confirmed leaves nothing behind.
func TestCreateIsUndone(t *testing.T) {
	errGone := errors.New("docker-machine is gone")
	begun := []string{"CreateMachine", "WatchOperation"}
	destroyed := []string{"DestroyMachine", "WatchOperation"}
	for _, test := range []struct {
		name  string
		set   func(h *testHost, gone func())
		given map[string]any
		want  string
		calls []string
	}{
		{"the host goes during the call", func(h *testHost, gone func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Hang: true, OnCall: gone})
		}, nil, errGone.Error(), []string{"CreateMachine", "CancelOperation", "WatchOperation"}},
		{"the host goes too late for a cancel", func(h *testHost, gone func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Hang: true, DeafToCancel: true, OnCall: gone})
		}, nil, errGone.Error(), slices.Concat([]string{"CreateMachine", "CancelOperation", "WatchOperation"}, destroyed)},
		{"the host goes during the confirm", func(h *testHost, gone func()) {
			h.daemon.On("ConfirmMachine", fakedaemon.Behaviour{OnCall: gone})
		}, nil, errGone.Error(), slices.Concat(begun, []string{"ConfirmMachine"}, destroyed)},
		{"the operation fails", func(h *testHost, _ func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 9, Message: "no room", EngineText: "low space"}})
		}, nil, "no room\n  the engine says: low space", begun},
		{"the call is refused", func(h *testHost, _ func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Refuse: wrongReferences(t)})
		}, nil, "--ovirt-cluster: no cluster 'Defualt'\n  * --ovirt-network: no vNIC profile 'b'", []string{"CreateMachine"}},
		{"nobody knows whether the call was accepted", func(h *testHost, _ func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Internal, "reset")})
		}, nil, "reset", slices.Concat([]string{"CreateMachine"}, destroyed)},
		{"no address", func(h *testHost, _ func()) { h.daemon.Addresses = nil }, nil, "VM web reports no address", slices.Concat(begun, destroyed)},
		{"no SSH", nil, map[string]any{flagSSHTimeout: 1, flagSSHPort: 1}, "did not answer within 1s (--ovirt-ssh-timeout)", slices.Concat(begun, destroyed)},
		{"the lease is lost", func(h *testHost, _ func()) {
			h.daemon.SetLease(time.Hour, status.Error(codes.Aborted, "lease expired"))
		}, map[string]any{flagSSHPort: 1}, "lease expired", slices.Concat(begun, destroyed)},
		{"the confirm is refused", func(h *testHost, _ func()) {
			h.daemon.On("ConfirmMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Aborted, "lease expired")})
		}, nil, "lease expired", slices.Concat(begun, []string{"ConfirmMachine"}, destroyed)},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHost(t)
			h.choose(t, test.given)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.set != nil {
				test.set(h, func() { cancel(errGone) })
			}
			mustSay(t, h.Create(ctx), test.want)
			mustLeave(t, h)
			mustCall(t, h, test.calls...)
			if h.daemon.Running() != 0 {
				t.Error("an operation still runs")
			}
		})
	}
}

func TestCreateTellsWhatIsLeft(t *testing.T) {
	h := newTestHost(t)
	h.daemon.On("ConfirmMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Internal, "broken")})
	h.daemon.On("DestroyMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 14, Message: "the engine cannot be reached"}})
	mustSay(t, h.Create(t.Context()), "broken", "The VM could not be removed yet: the engine cannot be reached", "grace of its lease")
}

const theirs = "99999999-9999-4999-8999-999999999999"

// A VM that is there already is started, and never made, changed or destroyed: DestroyMachine forgets it.
func TestAdopt(t *testing.T) {
	h := newTestHost(t)
	h.choose(t, map[string]any{flagTemplate: "", flagAdopt: theirs, flagSSHKey: privateKeyFile(t), flagAddressFamily: "ipv4", flagLeaseTTL: "12h"})
	if err := errors.Join(h.PreCreateCheck(), h.Create(t.Context())); err != nil {
		t.Fatal(err)
	}
	adopt := `AdoptMachine {"engine":{},"key":"` + key + `","vmId":"` + theirs + `","addressSelection":{"family":"FAMILY_IPV4"}`
	want := []string{
		`GetEngine {"engine":{}}`, `ListEngines {}`, adopt + `,"validateOnly":true}`, `ListEngines {}`, adopt + `}`,
		`StartMachine {"engine":{},"requestId":"` + id(1) + `","key":"` + key + `"}`,
		`WatchOperation {"id":"44444444-4444-4444-8444-000000000001"}`,
		`ConfirmMachine {"engine":{},"key":"` + key + `","ttl":"43200s"}`,
	}
	if got := h.daemon.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if next := h.again(t); next.MachineID != theirs || next.IPAddress != "127.0.0.1" {
		t.Errorf("saved: id %q, address %q", next.MachineID, next.IPAddress)
	}
	if err := h.again(t).Remove(); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h)
}

func TestAdoptThatFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		set   func(h *testHost)
		want  string
		calls []string
	}{
		{"it is refused", func(h *testHost) {
			refused, _ := status.New(codes.FailedPrecondition, "x").WithDetails(&pb.Error{Code: 9, Message: "it is a Machine already"})
			h.daemon.On("AdoptMachine", fakedaemon.Behaviour{Refuse: refused.Err()})
		}, "it is a Machine already", []string{"AdoptMachine"}},
		{"it does not start", func(h *testHost) {
			h.daemon.On("StartMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 9, Message: "no host has room"}})
		}, "no host has room", []string{"AdoptMachine", "StartMachine", "WatchOperation", "DestroyMachine", "WatchOperation"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHost(t)
			h.choose(t, map[string]any{flagTemplate: "", flagAdopt: theirs, flagSSHKey: privateKeyFile(t)})
			test.set(h)
			mustSay(t, h.Create(t.Context()), test.want)
			mustLeave(t, h)
			mustCall(t, h, test.calls...)
		})
	}
}

// What failed by itself is kept where the user wants to look at it; what was interrupted never is.
func TestKeepOnFailure(t *testing.T) {
	errGone := errors.New("docker-machine is gone")
	for _, test := range []struct {
		name string
		set  func(h *testHost, gone func())
		want string
		left []string
	}{
		{"no SSH", nil, "The VM is kept (--ovirt-keep-on-failure); remove it by `rm`. To log in: ssh -i ", []string{"machine " + key}},
		{"the operation fails", func(h *testHost, _ func()) {
			h.daemon.On("CreateMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 9, Message: "no address", Advice: "The Machine was kept"}})
		}, "The Machine was kept", []string{"machine " + key}},
		{"the host goes", func(h *testHost, gone func()) {
			h.daemon.On("ConfirmMachine", fakedaemon.Behaviour{OnCall: gone})
		}, errGone.Error(), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHost(t)
			given := map[string]any{flagKeepOnFailure: true}
			if test.set == nil {
				given[flagSSHTimeout], given[flagSSHPort] = 1, 1
			}
			h.choose(t, given)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.set != nil {
				test.set(h, func() { cancel(errGone) })
			}
			mustSay(t, h.Create(ctx), test.want)
			mustLeave(t, h, test.left...)
			if err := h.again(t).Remove(); err != nil {
				t.Fatal(err)
			}
			mustLeave(t, h)
		})
	}
}
