package driver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const key = "docker-machine-web-id-1"

// id is the n-th id of a test.
func id(n int) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
}

// testHost is a host of docker-machine with a fake daemon.
type testHost struct {
	*Driver
	daemon *fakedaemon.Daemon
	out    bytes.Buffer
}

// newTestHost makes a host whose guest can be logged in to.
func newTestHost(t *testing.T) *testHost {
	t.Helper()
	h := &testHost{daemon: fakedaemon.Start(t)}
	t.Setenv(client.AddressVariable, h.daemon.Address)
	t.Setenv(TombstonesVariable, filepath.Join(t.TempDir(), "tombstones"))
	h.daemon.AddTemplate(fakedaemon.SourceID, "debian-12-docker")
	h.daemon.Addresses = []*pb.Address{{Ip: "127.0.0.1"}}
	h.Driver = New(&h.out)
	next := 0
	h.newID = func() string {
		next++
		return id(next)
	}
	state, err := json.Marshal(map[string]string{"MachineName": "web", "StorePath": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetConfigRaw(state); err != nil {
		t.Fatal(err)
	}
	h.choose(t, map[string]any{})
	return h
}

// choose sets flags as the host does: with the defaults of those that are not given.
func (h *testHost) choose(t *testing.T, given map[string]any) {
	t.Helper()
	values := map[string]any{}
	for _, flag := range h.GetCreateFlags() {
		switch flag := flag.(type) {
		case *wire.StringFlag:
			values[flag.Name] = flag.Value
		case *wire.IntFlag:
			values[flag.Name] = flag.Value
		}
	}
	values[flagTemplate], values[flagSSHPort] = "debian-12-docker", serveSSH(t)
	for name, value := range given {
		values[name] = value
	}
	h.Key = key
	if err := h.SetConfigFromFlags(&wire.Values{Values: values}); err != nil {
		t.Fatal(err)
	}
}

// created is a host after its create.
func created(t *testing.T) *testHost {
	t.Helper()
	h := newTestHost(t)
	if err := h.PreCreateCheck(); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// again is the same host in the next run of docker-machine, whose config.json holds what this one has told last.
func (h *testHost) again(t *testing.T) *testHost {
	t.Helper()
	state, err := h.GetConfigRaw()
	if err != nil {
		t.Fatal(err)
	}
	next := &testHost{daemon: h.daemon}
	next.Driver = New(&next.out)
	next.newID = h.newID
	if err := next.SetConfigRaw(state); err != nil {
		t.Fatal(err)
	}
	return next
}

// serveSSH serves logins with any key on a loopback port; each command succeeds.
func serveSSH(t *testing.T) int {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return nil, nil
	}}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serveLogin(connection, config)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func serveLogin(connection net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(connection, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, commands, err := offered.Accept()
		if err != nil {
			return
		}
		for command := range commands {
			_ = command.Reply(true, nil)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
			_ = channel.Close()
		}
	}
}

// wrongReferences is how the daemon refuses names that it cannot find.
func wrongReferences(t *testing.T) error {
	t.Helper()
	state, err := status.New(codes.FailedPrecondition, "x").WithDetails(&pb.Error{Code: 9, Violations: []*pb.FieldViolation{
		{Field: "spec.cluster", Description: "no cluster 'Defualt'"}, {Field: "spec.nics[1].vnic_profile", Description: "no vNIC profile 'b'"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return state.Err()
}

func mustSay(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func mustCall(t *testing.T, h *testHost, want ...string) {
	t.Helper()
	if got := h.daemon.Methods(); !slices.Equal(got, want) {
		t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// mustLeave checks what stands in the engine beside the template.
func mustLeave(t *testing.T, h *testHost, want ...string) {
	t.Helper()
	left := slices.DeleteFunc(h.daemon.Left(), func(thing string) bool { return thing == "template debian-12-docker" })
	if !slices.Equal(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
}

// What each command asks of the daemon, exactly: this is also its cost.
func TestCalls(t *testing.T) {
	h := created(t)
	publicKey, err := os.ReadFile(h.SSHKeyPath + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	quoted, _ := json.Marshal(strings.TrimSpace(string(publicKey)))
	want := []string{
		`GetEngine {"engine":{}}`,
		`ListEngines {}`,
		`CreateMachine {"engine":{},"requestId":"` + id(1) + `","key":"` + key + `","spec":{"template":{"name":"debian-12-docker"},` +
			`"name":"web"},"startWith":{"userName":"machine","hostName":"web",` +
			`"nicConfigurations":[{"name":"eth0","bootProtocol":"BOOT_PROTOCOL_DHCP"}]},"validateOnly":true}`,
		`ListEngines {}`,
		`CreateMachine {"engine":{},"requestId":"` + id(2) + `","key":"` + key + `","spec":{"template":{"name":"debian-12-docker"},` +
			`"name":"web"},"startWith":{"userName":"machine","authorizedSshKeys":[` + string(quoted) + `],"hostName":"web",` +
			`"nicConfigurations":[{"name":"eth0","bootProtocol":"BOOT_PROTOCOL_DHCP"}]}}`,
		`WatchOperation {"id":"44444444-4444-4444-8444-000000000001"}`,
		`ConfirmMachine {"engine":{},"key":"` + key + `"}`,
	}
	if got := h.daemon.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	for _, test := range []struct {
		name    string
		command func(*testHost) error
		calls   []string
	}{
		{"stop", func(h *testHost) error { return h.Stop() }, []string{`StopMachine {"engine":{},"requestId":"` + id(3) + `","key":"` + key + `"}`}},
		{"start", func(h *testHost) error { return h.Start() }, []string{`StartMachine {"engine":{},"requestId":"` + id(4) + `","key":"` + key + `"}`}},
		{"restart", func(h *testHost) error { return h.Restart() }, []string{`RestartMachine {"engine":{},"requestId":"` + id(5) + `","key":"` + key + `"}`}},
		{"kill", func(h *testHost) error { return h.Kill() }, []string{`StopMachine {"engine":{},"requestId":"` + id(6) + `","key":"` + key + `","force":true}`}},
		{"status", func(h *testHost) error { _, err := h.GetState(); return err }, []string{`GetMachine {"engine":{},"key":"` + key + `"}`}},
		{"rm", func(h *testHost) error { return h.Remove() }, []string{`DestroyMachine {"engine":{},"requestId":"` + id(7) + `","key":"` + key + `"}`}},
	} {
		before := len(h.daemon.Calls())
		h = h.again(t)
		if err := test.command(h); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		got := slices.DeleteFunc(h.daemon.Calls()[before:], func(call string) bool { return strings.HasPrefix(call, "WatchOperation ") })
		if want := append([]string{`ListEngines {}`}, test.calls...); !slices.Equal(got, want) {
			t.Errorf("%s calls %q, want %q", test.name, got, want)
		}
	}
	mustLeave(t, h)
}

func TestEveryFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, []byte("#cloud-config\nruncmd: [[true]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newTestHost(t)
	h.choose(t, map[string]any{
		flagEngine: "production", flagTemplateVersion: 3, flagFullClone: true, flagCluster: "Second",
		flagVMName: "docker-1", flagDescription: "a host", flagCPUSockets: 1, flagCPUCores: 2, flagCPUThreads: 1, flagMemory: 512,
		flagDiskSize: 20, flagVnicProfile: []string{"ovirtmgmt", "storage/profile"}, flagHostname: "inside", flagUserData: file,
		flagInterface: "ens3", flagStaticAddress: "10.11.0.5/24", flagGateway: "10.11.0.1", flagDNSServer: []string{"10.11.0.2"},
		flagDNSSearchDomain: []string{"example.com"}, flagSSHUser: "admin", flagDockerPort: 4243, flagSSHTimeout: 0, flagSSHPort: 2222,
	})
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	publicKey, _ := os.ReadFile(h.SSHKeyPath + ".pub")
	want := `CreateMachine {"engine":{"profile":"production"},"requestId":"` + id(1) + `","key":"` + key + `","spec":{` +
		`"template":{"name":"debian-12-docker","version":3},"name":"docker-1","cluster":"Second","clone":true,` +
		`"cpu":{"sockets":1,"cores":2,"threads":1},"memoryBytes":"536870912","nics":[{"name":"nic1","vnicProfile":"ovirtmgmt"},` +
		`{"name":"nic2","vnicProfile":"storage/profile"}],"description":"a host","bootDisk":{"sizeBytes":"21474836480"}},` +
		`"startWith":{"userName":"admin","authorizedSshKeys":["` + strings.TrimSpace(string(publicKey)) + `"],"hostName":"inside",` +
		`"nicConfigurations":[{"name":"ens3","bootProtocol":"BOOT_PROTOCOL_STATIC","staticAddress":"10.11.0.5/24","gateway":"10.11.0.1"}],` +
		`"userData":"runcmd: [[true]]\n","dnsServers":["10.11.0.2"],"dnsSearchDomains":["example.com"]}}`
	if got := h.daemon.Calls()[0]; got != want {
		t.Errorf("called\n%s\nwant\n%s", got, want)
	}
	if url, err := h.GetURL(); url != "tcp://127.0.0.1:4243" || err != nil {
		t.Errorf("URL %s, %v", url, err)
	}
	if port, _ := h.GetSSHPort(); port != 2222 || h.GetSSHUsername() != "admin" {
		t.Errorf("SSH as %s at port %d", h.GetSSHUsername(), port)
	}
}

func TestEachFlagIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/docker-machine.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, flag := range New(nil).GetCreateFlags() {
		var told struct {
			Name, EnvVar, Usage string
			Value               any
		}
		encoded, _ := json.Marshal(flag)
		_ = json.Unmarshal(encoded, &told)
		row := "| `--" + told.Name + "` | "
		if told.Value != nil && told.Value != "" && told.Value != 0.0 {
			row += fmt.Sprintf("`%v` | ", told.Value)
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("the page has no row that begins with %s", row)
		}
		if want := strings.ToUpper(strings.ReplaceAll(told.Name, "-", "_")); told.EnvVar != want || told.Usage == "" || seen[told.Name] {
			t.Errorf("%s: variable %s, usage '%s'", told.Name, told.EnvVar, told.Usage)
		}
		seen[told.Name] = true
	}
}

// All that is wrong is told at once, by the flags, in one line, and before the host is kept.
func TestPreCreateCheck(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		given map[string]any
		want  []string
	}{
		{"nothing", map[string]any{}, nil},
		{"template by id", map[string]any{flagTemplate: "", flagTemplateID: fakedaemon.SourceID}, nil},
		{"no template", map[string]any{flagTemplate: ""}, []string{"--ovirt-template: either it or --ovirt-template-id is required"}},
		{"what the daemon cannot find", map[string]any{flagCluster: "Defualt"}, []string{
			"the request was refused; --ovirt-cluster: no cluster 'Defualt'; --ovirt-vnic-profile: no vNIC profile 'b'",
		}},
		{"all at once", map[string]any{
			flagTemplate: "debain-12-docker", flagMemory: -1, flagDiskSize: -1, flagSSHPort: 0, flagDockerPort: 70000, flagSSHTimeout: -1,
			flagSSHUser: "Root", flagGateway: "10.11.0.1", flagHostname: "a.b", flagUserData: script, flagInterface: "",
			flagDNSServer: []string{"ns"}, flagVMName: "a b", flagCPUCores: 1000, flagVnicProfile: []string{""},
		}, []string{
			"--ovirt-memory: -1 is negative; give MiB, or leave it out for the memory of the template",
			"--ovirt-disk-size: -1 is negative; give GiB, or leave it out for the size of the template",
			"--ovirt-ssh-port: 0 is no port; ports are 1 to 65535", "--ovirt-docker-port: 70000 is no port; ports are 1 to 65535",
			"--ovirt-ssh-timeout: -1 is negative; give seconds, or 0 not to wait",
			"--ovirt-gateway: '10.11.0.1' goes with --ovirt-static-address, which is not given",
			"--ovirt-user-data: " + script + " begins with '#!/bin/sh', but must be cloud-config, whose first line is '#cloud-config'",
			"--ovirt-ssh-user: 'Root': ", "--ovirt-hostname: 'a.b': ", "--ovirt-interface: is required", "--ovirt-dns-server[0]: 'ns': ",
			"--ovirt-vm-name: 'a b': ", "--ovirt-cpu-cores: 1000: ", "--ovirt-vnic-profile: is required",
		}},
		{"flags, and what the daemon cannot find", map[string]any{flagCluster: "Defualt", flagMemory: -1}, []string{
			"--ovirt-memory: -1", "--ovirt-cluster: no cluster 'Defualt'",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHost(t)
			h.choose(t, test.given)
			if h.Options.Cluster != "" {
				h.daemon.On("ValidateCreateMachine", fakedaemon.Behaviour{Refuse: wrongReferences(t)})
			}
			err := h.PreCreateCheck()
			if test.want == nil {
				if err != nil || h.EngineURL != h.daemon.EngineURL {
					t.Errorf("error %v; the engine %q is noted", err, h.EngineURL)
				}
				return
			}
			mustSay(t, err, test.want...)
			if strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "--ovirt-memory:") > 1 {
				t.Errorf("error: %v", err)
			}
			mustLeave(t, h)
		})
	}
}

func TestPreCreateCheckTellsWhatTheDaemonSays(t *testing.T) {
	h := newTestHost(t)
	state, err := status.New(codes.Unauthenticated, "x").WithDetails(&pb.Error{
		Code: int32(codes.Unauthenticated), Message: "the engine refused the login", Advice: "Check the password.",
	})
	if err != nil {
		t.Fatal(err)
	}
	h.daemon.On("GetEngine", fakedaemon.Behaviour{Refuse: state.Err()})
	mustSay(t, h.PreCreateCheck(), "the engine refused the login; what to do: Check the password.")
}

func TestCreate(t *testing.T) {
	h := newTestHost(t)
	h.daemon.On("CreateMachine", fakedaemon.Behaviour{Steps: []*pb.Operation{
		{Phase: "cloning", Percent: 10, Progress: "disk is locked"}, {Phase: "cloning", Percent: 12}, {Phase: "booting", Percent: 60},
	}})
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLeave(t, h, "machine "+key)
	for _, want := range []string{"CreateMachine  10 % cloning: disk is locked (0s)", " 60 % booting (0s)", " 100 % done", "Waiting for SSH at 127.0.0.1:"} {
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
		}, nil, "--ovirt-cluster: no cluster 'Defualt'\n  * --ovirt-vnic-profile: no vNIC profile 'b'", []string{"CreateMachine"}},
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

func TestEachHostHasAKeyOfItsOwn(t *testing.T) {
	keys := map[string]bool{}
	for range 2 {
		d := New(nil)
		d.MachineName = "web"
		if err := d.SetConfigFromFlags(&wire.Values{}); err != nil {
			t.Fatal(err)
		}
		keys[d.Key] = true
		first := d.Key
		if err := d.SetConfigFromFlags(&wire.Values{}); err != nil || d.Key != first {
			t.Errorf("the key changes from %s to %s, %v", first, d.Key, err)
		}
	}
	if len(keys) != 2 {
		t.Errorf("keys: %v", keys)
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

// To another engine the VM would seem to be gone.
func TestAnotherEngineIsRefused(t *testing.T) {
	h := created(t)
	h.daemon.EngineURL = "https://other.example.com/ovirt-engine/api"
	for name, command := range map[string]func(*testHost) error{
		"rm":     func(h *testHost) error { return h.Remove() },
		"stop":   func(h *testHost) error { return h.Stop() },
		"status": func(h *testHost) error { _, err := h.GetState(); return err },
	} {
		t.Run(name, func(t *testing.T) {
			mustSay(t, command(h.again(t)), "https://engine.example.com/ovirt-engine/api", "https://other.example.com/ovirt-engine/api", "OVIRT_URL")
		})
	}
	mustLeave(t, h, "machine "+key)
}

// To the daemon of another state folder, too.
func TestAnotherDaemonIsRefused(t *testing.T) {
	h := created(t)
	h.daemon.Installation = "66666666-6666-4666-8666-666666666666"
	for name, command := range map[string]func(*testHost) error{
		"rm":     func(h *testHost) error { return h.Remove() },
		"stop":   func(h *testHost) error { return h.Stop() },
		"status": func(h *testHost) error { _, err := h.GetState(); return err },
	} {
		t.Run(name, func(t *testing.T) {
			mustSay(t, command(h.again(t)), fakedaemon.Installation, h.daemon.Installation, "/state", "XDG_STATE_HOME")
		})
	}
	mustLeave(t, h, "machine "+key)
}

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

func TestAHostThatWasNeverCreated(t *testing.T) {
	d := New(nil)
	if err := d.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := d.GetState(); !errors.Is(err, errNothingMade) {
		t.Error(err)
	}
	if err := d.Stop(); !errors.Is(err, errNothingMade) {
		t.Error(err)
	}
}

// What the user knows of the engine, and of the guest's secrets, stays out of config.json.
func TestNoSecretIsSaved(t *testing.T) {
	const canary = "canary-4711"
	t.Setenv("OVIRT_URL", "https://engine.example.com/ovirt-engine/api")
	t.Setenv("OVIRT_USERNAME", "admin@internal")
	t.Setenv("OVIRT_PASSWORD", canary)
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, []byte("#cloud-config\npassword: "+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newTestHost(t)
	h.choose(t, map[string]any{flagUserData: file})
	if err := errors.Join(h.PreCreateCheck(), h.Create(t.Context())); err != nil {
		t.Fatal(err)
	}
	state, err := h.GetConfigRaw()
	private, _ := os.ReadFile(h.GetSSHKeyPath())
	for _, secret := range []string{canary, strings.Split(string(private), "\n")[1]} {
		if err != nil || strings.Contains(string(state), secret) || strings.Contains(h.out.String(), secret) {
			t.Errorf("%s, %v", state, err)
		}
	}
	if !strings.Contains(strings.Join(h.daemon.Calls(), "\n"), canary) {
		t.Error("the guest's secret went nowhere")
	}
}
