package driver

import (
	"bytes"
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
		{"stop", func(h *testHost) error { return h.Stop() }, []string{`StopMachine {"engine":{},"requestId":"` + id(3) + `","key":"` + key + `","keepRunning":true}`}},
		{"start", func(h *testHost) error { return h.Start() }, []string{`StartMachine {"engine":{},"requestId":"` + id(4) + `","key":"` + key + `"}`}},
		{"restart", func(h *testHost) error { return h.Restart() }, []string{`RestartMachine {"engine":{},"requestId":"` + id(5) + `","key":"` + key + `"}`}},
		{"kill", func(h *testHost) error { return h.Kill() }, []string{`StopMachine {"engine":{},"requestId":"` + id(6) + `","key":"` + key + `","force":true}`}},
		{"status", func(h *testHost) error { _, err := h.GetState(); return err }, []string{`GetMachine {"engine":{},"key":"` + key + `","maxAge":"15s"}`}},
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

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
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

// To another engine the VM would seem to be gone.
func TestAnotherEngineIsRefused(t *testing.T) {
	h := created(t)
	h.daemon.EngineURL = "https://other.example.com/ovirt-engine/api"
	mustRefuse(t, h, "https://engine.example.com/ovirt-engine/api", "https://other.example.com/ovirt-engine/api", "OVIRT_URL")
}

// To the daemon of another state folder, too.
func TestAnotherDaemonIsRefused(t *testing.T) {
	h := created(t)
	h.daemon.Installation = "66666666-6666-4666-8666-666666666666"
	mustRefuse(t, h, fakedaemon.Installation, h.daemon.Installation, "/state", "XDG_STATE_HOME")
}

// mustRefuse checks that no command is carried out, and what each says.
func mustRefuse(t *testing.T, h *testHost, parts ...string) {
	t.Helper()
	for name, command := range map[string]func(*testHost) error{
		"rm":     func(h *testHost) error { return h.Remove() },
		"stop":   func(h *testHost) error { return h.Stop() },
		"status": func(h *testHost) error { _, err := h.GetState(); return err },
	} {
		t.Run(name, func(t *testing.T) { mustSay(t, command(h.again(t)), parts...) })
	}
	mustLeave(t, h, "machine "+key)
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
