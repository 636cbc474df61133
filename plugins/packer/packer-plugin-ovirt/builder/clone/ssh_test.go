package clone

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// guest is an SSH server on a loopback address that lets in whom its first boot authorized, and runs nothing.
type guest struct {
	host     string
	port     int
	daemon   *fakedaemon.Daemon
	mu       sync.Mutex
	commands []string
}

func startGuest(t *testing.T, daemon *fakedaemon.Daemon) *guest {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	g := &guest{host: address.IP.String(), port: address.Port, daemon: daemon}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(connection ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !slices.Contains(g.authorized(connection.User()), string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(key)))) {
				return nil, errors.New("not authorized")
			}
			return nil, nil
		},
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != "s3cr3t" {
				return nil, errors.New("wrong password")
			}
			return nil, nil
		},
	}
	config.AddHostKey(hostKey)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go g.serve(connection, config)
		}
	}()
	return g
}

// authorized are the keys, without comments, that the Machine's first boot authorized for a user.
func (g *guest) authorized(user string) []string {
	var keys []string
	for _, call := range g.daemon.Calls() {
		request, isCreate := strings.CutPrefix(call, "CreateMachine ")
		if !isCreate {
			continue
		}
		var made struct {
			StartWith struct {
				UserName          string
				AuthorizedSshKeys []string
			}
		}
		if json.Unmarshal([]byte(request), &made) != nil || made.StartWith.UserName != user {
			continue
		}
		for _, line := range made.StartWith.AuthorizedSshKeys {
			fields := strings.Fields(line)
			keys = append(keys, strings.Join(fields[:2], " "))
		}
	}
	return keys
}

func (g *guest) serve(connection net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(connection, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "sessions alone")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go g.session(channel, requests)
	}
}

func (g *guest) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(false, nil)
			continue
		}
		var command struct{ Line string }
		_ = ssh.Unmarshal(request.Payload, &command)
		g.mu.Lock()
		g.commands = append(g.commands, command.Line)
		g.mu.Unlock()
		_ = request.Reply(true, nil)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		return
	}
}

func (g *guest) ran() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.commands)
}

// provisioner is a hook that runs a command in the guest, and keeps what builders tell provisioners.
type provisioner struct {
	command string
	data    map[string]any
}

func (p *provisioner) Run(
	ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, data any,
) error {
	if name != packersdk.HookProvision {
		return nil
	}
	p.data, _ = data.(map[string]any)
	return (&packersdk.RemoteCmd{Command: p.command}).RunWithUi(ctx, comm, ui)
}

func sshOptions() map[string]any {
	return buildtest.With(minimal(), map[string]any{"communicator": "ssh", "ssh_username": "packer"})
}

func TestBuildOverSSH(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "id_ed25519")
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	temporary := regexp.MustCompile(`^ssh-ed25519 [A-Za-z0-9+/]+ packer_[0-9a-f-]{36}$`)
	for _, test := range []struct {
		name      string
		options   map[string]any
		user      string
		key       *regexp.Regexp
		commands  []string
		forgotten bool
	}{
		{
			"with a temporary key", nil, "packer", temporary,
			[]string{"touch /etc/built", "sudo poweroff"}, false,
		},
		{
			"with a temporary key that no seal removes", map[string]any{"template_seal": false}, "packer", temporary,
			[]string{"touch /etc/built", "sed", "sudo sed", "sudo poweroff"}, true,
		},
		{
			"with a key of the user's", map[string]any{"ssh_private_key_file": keyFile}, "packer",
			regexp.MustCompile(`^ssh-ed25519 [A-Za-z0-9+/]+$`), []string{"touch /etc/built", "sudo poweroff"}, false,
		},
		{
			"with a password of the image's", map[string]any{"ssh_password": "s3cr3t"}, "", nil,
			[]string{"touch /etc/built", "sudo poweroff"}, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(buildtest.With(sshOptions(), map[string]any{"shutdown_command": "sudo poweroff"}), test.options))
			guest := startGuest(t, build.Daemon)
			build.builder.Source.Shared().Comm.SSHPort = guest.port
			// IPv6 comes first, as some guests report it, but IPv4 is what is used.
			build.Daemon.Addresses = []*pb.Address{{Ip: "fd00::1"}, {Ip: guest.host}}
			hook := &provisioner{command: "touch /etc/built"}
			build.Hook = hook
			artifact, err := build.Run()
			if err != nil {
				t.Fatalf("%v\n%s", err, build.UI.Text())
			}
			var made struct {
				StartWith struct {
					UserName          string
					AuthorizedSshKeys []string
				}
			}
			for _, call := range build.Daemon.Calls() {
				if request, isCreate := strings.CutPrefix(call, "CreateMachine "); isCreate {
					if err := json.Unmarshal([]byte(request), &made); err != nil {
						t.Fatal(err)
					}
				}
			}
			keys := made.StartWith.AuthorizedSshKeys
			if made.StartWith.UserName != test.user || (test.key == nil) != (len(keys) == 0) {
				t.Errorf("first boot: %+v", made.StartWith)
			}
			if test.key != nil && !test.key.MatchString(keys[0]) {
				t.Errorf("the key is %q", keys[0])
			}
			ran := guest.ran()
			if len(ran) != len(test.commands) {
				t.Fatalf("the guest ran %q", ran)
			}
			for i, command := range test.commands {
				if !strings.HasPrefix(ran[i], command) {
					t.Errorf("command %d is %q, want %q", i, ran[i], command)
				}
			}
			if test.forgotten && !strings.Contains(ran[1], build.builder.Source.Shared().Comm.SSHTemporaryKeyPairName) {
				t.Errorf("the temporary key is not removed: %q", ran[1])
			}
			for name, want := range map[string]any{
				"VMID": fakedaemon.MachineID, "VMName": "packer-debian-" + buildtest.ID(1), "VMAddress": guest.host,
				"SourceTemplateID": fakedaemon.SourceID, "ID": fakedaemon.MachineID,
			} {
				if hook.data[name] != want {
					t.Errorf("provisioners read %s as %v, want %v", name, hook.data[name], want)
				}
			}
			if data := artifact.State("generated_data").(map[string]any); data["TemplateID"] != fakedaemon.TemplateID || data["TemplateName"] != "golden" {
				t.Errorf("post-processors read %v", data)
			}
		})
	}
}

func TestAddressOfTheGuest(t *testing.T) {
	t.Run("no address ends the build", func(t *testing.T) {
		build := newTestBuild(t, sshOptions())
		build.Daemon.Addresses = nil
		if err := build.MustFail(t); !strings.Contains(err.Error(), "reports no address; set ssh_host") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("ssh_host is used in its place", func(t *testing.T) {
		build := newTestBuild(t, sshOptions())
		guest := startGuest(t, build.Daemon)
		build.Daemon.Addresses = nil
		build.builder.Source.Shared().Comm.SSHHost, build.builder.Source.Shared().Comm.SSHPort = guest.host, guest.port
		if _, err := build.Run(); err != nil {
			t.Error(err)
		}
	})
}

func TestAGuestThatDoesNotShutDown(t *testing.T) {
	build := newTestBuild(t, buildtest.With(started(), map[string]any{"shutdown_timeout": "100ms"}))
	build.Daemon.On("StopMachine", fakedaemon.Behaviour{Hang: true})
	if err := build.MustFail(t); !strings.Contains(err.Error(), "not down after 100ms (shutdown_timeout)") {
		t.Errorf("error: %v", err)
	}
}

// With shutdown_command the guest is left to itself: a shutdown of the engine's would interrupt what it still does.
func TestShutdownCommandIsLeftToItself(t *testing.T) {
	build := newTestBuild(t, buildtest.With(sshOptions(), map[string]any{"shutdown_command": "sudo poweroff"}))
	guest := startGuest(t, build.Daemon)
	build.builder.Source.Shared().Comm.SSHPort = guest.port
	build.Daemon.Addresses = []*pb.Address{{Ip: guest.host}}
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(build.Daemon.Calls(), func(call string) bool {
		return strings.HasPrefix(call, "StopMachine ") && strings.HasSuffix(call, `"waitOnly":true}`)
	}) {
		t.Errorf("calls: %q", build.Daemon.Calls())
	}
}

func TestAGuestThatCannotBeLoggedInTo(t *testing.T) {
	build := newTestBuild(t, buildtest.With(sshOptions(), map[string]any{"ssh_password": "wrong", "ssh_timeout": "1s", "ssh_handshake_attempts": 1}))
	guest := startGuest(t, build.Daemon)
	build.builder.Source.Shared().Comm.SSHPort = guest.port
	build.Daemon.Addresses = []*pb.Address{{Ip: guest.host}}
	before := time.Now()
	if err := build.MustFail(t); !strings.Contains(strings.ToLower(err.Error()), "ssh") {
		t.Errorf("error: %v after %s at port %s", err, time.Since(before), strconv.Itoa(guest.port))
	}
}
