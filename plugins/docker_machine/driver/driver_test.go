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

func TestEveryFlag(t *testing.T) {
	another := publicKeyLine(t)
	h := newTestHost(t)
	h.choose(t, map[string]any{
		flagEngine: "production", flagTemplateVersion: "3", flagFullClone: true, flagCluster: "Second", flagStorageDomain: "fast",
		flagHost: []string{"host1"}, flagAffinityGroup: []string{"apart"}, flagTag: []string{"ci"}, flagInstanceType: "Large",
		flagVMName: "docker-1", flagDescription: "a host", flagCPUSockets: 1, flagCPUCores: 2, flagCPUThreads: 1, flagMemory: 512,
		flagMemoryGuaranteed: 256, flagDiskSize: 20, flagExtraDisk: []string{"100:slow", "1"},
		flagNetwork: []string{"ovirtmgmt:10.11.0.5/24:10.11.0.1", "storage/profile", ":[2001:db8::5/64]"}, flagInterface: []string{"ens3"},
		flagHostname: "inside", flagUserData: write(t, "user-data", "#cloud-config\nruncmd: [[true]]\n"),
		flagDNSServer: []string{"10.11.0.2"}, flagDNSSearchDomain: []string{"example.com"}, flagSSHUser: "admin", flagSSHKeyType: "ecdsa",
		flagAuthorizedKey: []string{another}, flagAddressFamily: "IPv4", flagAddressCIDR: []string{"127.0.0.0/8"},
		flagDockerPort: 4243, flagSSHTimeout: 0, flagSSHPort: 2222, flagTimeout: []string{"address=15m"}, flagLeaseTTL: "7d",
		flagKeepOnFailure: true, flagStopTimeout: 30, flagStopPowerOff: true,
	})
	if err := errors.Join(h.Create(t.Context()), h.Stop()); err != nil {
		t.Fatal(err)
	}
	publicKey, _ := os.ReadFile(h.SSHKeyPath + ".pub")
	if !strings.HasPrefix(string(publicKey), "ecdsa-sha2-nistp256 ") {
		t.Errorf("the key is %s", publicKey)
	}
	want := []string{
		`CreateMachine {"engine":{"profile":"production"},"requestId":"` + id(1) + `","key":"` + key + `","spec":{` +
			`"template":{"name":"debian-12-docker","version":3},"name":"docker-1","cluster":"Second","clone":true,` +
			`"cpu":{"sockets":1,"cores":2,"threads":1},"memoryBytes":"536870912","nics":[{"name":"nic1","vnicProfile":"ovirtmgmt"},` +
			`{"name":"nic2","vnicProfile":"storage/profile"},{"name":"nic3"}],"description":"a host","bootDisk":{"sizeBytes":"21474836480"},` +
			`"newDisks":[{"sizeBytes":"107374182400","storageDomain":"slow"},{"sizeBytes":"1073741824"}],"storageDomain":"fast",` +
			`"guaranteedMemoryBytes":"268435456","instanceType":"Large","placement":{"hosts":["host1"]},"affinityGroups":["apart"],"tags":["ci"]},` +
			`"startWith":{"userName":"admin","authorizedSshKeys":["` + strings.TrimSpace(string(publicKey)) + `","` + another + `"],"hostName":"inside",` +
			`"nicConfigurations":[{"name":"ens3","bootProtocol":"BOOT_PROTOCOL_STATIC","staticAddress":"10.11.0.5/24","gateway":"10.11.0.1"},` +
			`{"name":"eth1","bootProtocol":"BOOT_PROTOCOL_DHCP"},` +
			`{"name":"eth2","bootProtocol":"BOOT_PROTOCOL_NONE","ipv6BootProtocol":"BOOT_PROTOCOL_STATIC","ipv6StaticAddress":"2001:db8::5/64"}],` +
			`"userData":"#cloud-config\nruncmd: [[true]]\n","dnsServers":["10.11.0.2"],"dnsSearchDomains":["example.com"]},` +
			`"onFailure":"ON_FAILURE_KEEP","addressSelection":{"family":"FAMILY_IPV4","cidrs":["127.0.0.0/8"]},"timeouts":{"address":"900s"}}`,
		`WatchOperation {"id":"44444444-4444-4444-8444-000000000001"}`,
		`ConfirmMachine {"engine":{"profile":"production"},"key":"` + key + `","ttl":"604800s"}`,
		`StopMachine {"engine":{"profile":"production"},"requestId":"` + id(2) + `","key":"` + key + `",` +
			`"timeouts":{"address":"900s","destroy":"630s","shutdown":"30s"}}`,
		`WatchOperation {"id":"44444444-4444-4444-8444-000000000002"}`,
	}
	if got := h.daemon.Calls(); !slices.Equal(got, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if url, err := h.GetURL(); url != "tcp://127.0.0.1:4243" || err != nil {
		t.Errorf("URL %s, %v", url, err)
	}
	if port, _ := h.GetSSHPort(); port != 2222 || h.GetSSHUsername() != "admin" {
		t.Errorf("SSH as %s at port %d", h.GetSSHUsername(), port)
	}
}

// Hosts, and Rancher, derive things from the names of flags.
func TestNamesOfFlags(t *testing.T) {
	page, err := os.ReadFile("../../../docs/docker-machine.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), FlagTables()) {
		t.Error("the flags in docs/docker-machine.md are stale: run `make generate`")
	}
	seen, firstPath := map[string]bool{}, ""
	for _, flag := range New(nil).GetCreateFlags() {
		var told struct{ Name, EnvVar, Usage string }
		encoded, _ := json.Marshal(flag)
		_ = json.Unmarshal(encoded, &told)
		if want := strings.ToUpper(strings.ReplaceAll(told.Name, "-", "_")); told.EnvVar != want || told.Usage == "" || seen[told.Name] {
			t.Errorf("%s: variable %s, usage '%s'", told.Name, told.EnvVar, told.Usage)
		}
		seen[told.Name] = true
		if strings.HasSuffix(told.Name, "-os") {
			t.Errorf("%s is taken for an operating system", told.Name)
		}
		for _, part := range []string{"user-data", "userdata", "custom-data", "cloud-config"} {
			if strings.Contains(told.Name, part) && firstPath == "" {
				firstPath = told.Name
			}
		}
	}
	if firstPath != flagUserData {
		t.Errorf("hosts take %s for the path of a file", firstPath)
	}
}

// All that is wrong is told at once, by the flags, in one line, and before the host is kept.
func TestPreCreateCheck(t *testing.T) {
	script := write(t, "script", "echo hello\n")
	locked := write(t, "locked", lockedKey)
	for _, test := range []struct {
		name  string
		given map[string]any
		want  []string
	}{
		{"nothing", map[string]any{}, nil},
		{"template by id", map[string]any{flagTemplate: "", flagTemplateID: fakedaemon.SourceID}, nil},
		{"no template", map[string]any{flagTemplate: ""}, []string{"--ovirt-template: either it or --ovirt-template-id is required, or --ovirt-adopt"}},
		{"what the daemon cannot find", map[string]any{flagCluster: "Defualt"}, []string{
			"the request was refused; --ovirt-cluster: no cluster 'Defualt'; --ovirt-network: no vNIC profile 'b'",
		}},
		{"all at once", map[string]any{
			flagTemplate: "debain-12-docker", flagMemory: -1, flagDiskSize: -1, flagSSHPort: 0, flagDockerPort: 70000, flagSSHTimeout: -1,
			flagSSHUser: "Root", flagHostname: "a.b", flagUserData: script, flagInterface: []string{"eth0", "eth1"}, flagTemplateVersion: "newest",
			flagDNSServer: []string{"ns"}, flagVMName: "a b", flagCPUCores: 1000, flagExtraDisk: []string{"fast:100"}, flagStopTimeout: -1,
			flagTimeout: []string{"address"}, flagLeaseTTL: "soon", flagAddressFamily: "ipv5", flagAddressCIDR: []string{"10.11.0.5"},
			flagAuthorizedKey: []string{"ssh-rsa"},
		}, []string{
			"--ovirt-memory: -1 is negative; give MiB, or leave it out for the memory of the template",
			"--ovirt-disk-size: -1 is negative; give GiB, or leave it out for the size of the template",
			"--ovirt-ssh-port: 0 is no port; ports are 1 to 65535", "--ovirt-docker-port: 70000 is no port; ports are 1 to 65535",
			"--ovirt-ssh-timeout: -1 is negative; give seconds, or 0 not to wait", "--ovirt-stop-timeout: -1 is negative",
			"--ovirt-user-data: " + script + " begins with 'echo hello', but must be cloud-config, whose first line is '#cloud-config', or a script",
			"--ovirt-ssh-user: 'Root': ", "--ovirt-hostname: 'a.b': ", "--ovirt-interface: 'eth1' has no --ovirt-network of its own",
			"--ovirt-dns-server[0]: 'ns': ", "--ovirt-vm-name: 'a b': ", "--ovirt-cpu-cores: 1000: ",
			"--ovirt-template-version: 'newest' is neither a number nor `latest`",
			"--ovirt-extra-disk: 'fast:100' does not begin with a size in GiB; it is written SIZE[:STORAGE-DOMAIN]",
			"--ovirt-timeout: 'address' is not written NAME=TIME, such as address=15m", "--ovirt-lease-ttl: 'soon' is no time, such as 90m, 12h or 7d",
			"--ovirt-address-family: 'ipv5' is neither ipv4 nor ipv6", "--ovirt-ssh-authorized-key: 'ssh-rsa' is no public key in OpenSSH format",
		}},
		{"an address that is no network", map[string]any{flagAddressCIDR: []string{"10.11.0.5"}}, []string{"--ovirt-address-cidr[0]: '10.11.0.5': must be a network"}},
		{"a life of no time", map[string]any{flagLeaseTTL: "0s"}, []string{"--ovirt-lease-ttl: "}},
		{"malformed networks", map[string]any{flagNetwork: []string{
			"lan:10.11.0.5", "lan:10.11.0.5/33", "lan:2001:db8::5/64", "lan:10.11.0.5/24:2001", "lan:10.11.0.5/24:[2001:db8::1]", "lan:[10.11.0.5/24", "",
			"lan:10.11.0.9-nowhere/24",
		}}, []string{
			"--ovirt-network: 'lan:10.11.0.5': the address 10.11.0.5 lacks its prefix length, such as 10.11.0.5/24; it is written PROFILE[:ADDRESS/PREFIX[:GATEWAY]]",
			"'10.11.0.5/33' is no address with prefix length", "has too many colons; an IPv6 address stands in brackets",
			"'2001' is no gateway's address", "the gateway 2001:db8::1 and the address 10.11.0.5/24 are not both IPv4 or IPv6",
			"'[10.11.0.5/24' has no closing bracket", "--ovirt-network: is empty", "'10.11.0.9-nowhere/24' is no range of IPv4 addresses",
		}},
		{"both kinds of key", map[string]any{flagSSHKey: privateKeyFile(t), flagSSHKeyType: "ed25519"}, []string{
			"--ovirt-ssh-key-type: 'ed25519' is the type of a key to be generated, and --ovirt-ssh-key names one that exists",
		}},
		{"a type of key that is not generated", map[string]any{flagSSHKeyType: "../rsa"}, []string{
			"--ovirt-ssh-key-type: '../rsa' is no type of key that is generated; there are ed25519 and ecdsa",
		}},
		{"a key with a passphrase", map[string]any{flagSSHKey: locked}, []string{"--ovirt-ssh-key: " + locked + " has a passphrase, which docker-machine cannot give"}},
		{"no key", map[string]any{flagSSHKey: script}, []string{"--ovirt-ssh-key: " + script + " is no private key"}},
		{"a private key as a public one", map[string]any{flagAuthorizedKey: []string{lockedKey}}, []string{"--ovirt-ssh-authorized-key: number 1 is a private key"}},
		{"files that cannot be read", map[string]any{flagUserData: "/nowhere/a", flagNetworkData: "/nowhere/b", flagSSHKey: "/nowhere/c"}, []string{
			"--ovirt-user-data: the file cannot be read: open /nowhere/a", "--ovirt-network-data: the file cannot be read: open /nowhere/b",
			"--ovirt-ssh-key: the file cannot be read: open /nowhere/c",
		}},
		{"two ways to say the network", map[string]any{
			flagNetwork: []string{"lan:10.11.0.5/24"}, flagDNSServer: []string{"10.11.0.2"}, flagNetworkData: write(t, "network", networkDataFile),
		}, []string{
			"--ovirt-network: 'lan:10.11.0.5/24' has an address, which --ovirt-network-data says as well", "--ovirt-dns-server: '10.11.0.2' is for --ovirt-network-data to say",
		}},
		{"what would change a VM that is adopted", map[string]any{
			flagAdopt: fakedaemon.MachineID, flagMemory: 512, flagNetwork: []string{"lan"}, flagUserData: script,
		}, []string{
			"--ovirt-template: does not go with --ovirt-adopt: a VM that is adopted is never changed", "--ovirt-memory: does not go with",
			"--ovirt-network: does not go with", "--ovirt-user-data: does not go with", "--ovirt-ssh-key: is required with --ovirt-adopt",
		}},
		{"an id that is none", map[string]any{flagTemplate: "", flagAdopt: "web", flagSSHKey: privateKeyFile(t)}, []string{"--ovirt-adopt: 'web': "}},
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

func TestStopOfAGuestThatDoesNotObey(t *testing.T) {
	h := created(t)
	late := fakedaemon.Behaviour{Fail: &pb.Error{Code: int32(codes.DeadlineExceeded), Message: "shutting-down did not end within 30 s"}}
	h.daemon.On("StopMachine", late)
	mustSay(t, h.Stop(), "did not end within 30 s", "`kill` powers the VM off", "--ovirt-stop-power-off")
	if err := h.Kill(); err == nil || strings.Contains(err.Error(), "`kill`") {
		t.Errorf("kill: %v", err)
	}
	// It is no guest that did not answer here.
	h.daemon.On("StopMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.DeadlineExceeded, "late")})
	if err := h.Stop(); err == nil || strings.Contains(err.Error(), "`kill`") {
		t.Errorf("stop: %v", err)
	}
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

// The user learns before the create, from the engine or the template's name, and from the guest, that the host will give up.
func TestWarningsOfWhatNoHostProvisions(t *testing.T) {
	h := newTestHost(t)
	h.daemon.AddTemplate(fakedaemon.TemplateID, "AlmaLinux-9")
	h.choose(t, map[string]any{flagTemplate: "AlmaLinux-9"})
	if err := h.PreCreateCheck(); err != nil {
		t.Fatal(err)
	}
	if want := "Warning: template AlmaLinux-9 seems to be of almalinux: no docker-machine knows it; with rancher-machine, --custom-install-script"; !strings.Contains(h.out.String(), want) {
		t.Errorf("the user is told:\n%s", h.out.String())
	}
	for os, want := range map[string]string{
		"windows_2022": "no docker-machine provisions Windows", "rhcos_x64": "Red Hat CoreOS", "rhel_9x64": "", "debian_12x64": "", "other_linux": "",
	} {
		if got := doubt(&pb.Template{Name: "t", Os: os}); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %s", os, got)
		}
	}
	for release, want := range map[string]string{
		"NAME=Rocky\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n": "the guest calls itself rocky: rancher-machine alone knows it",
		"ID=debian\n":                          "",
		"VERSION_ID=\"9\"\nID=\"almalinux\"\n": "almalinux: no docker-machine knows it",
		"":                                     "",
	} {
		if got := doubtOfGuest(release); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: %s", release, got)
		}
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
