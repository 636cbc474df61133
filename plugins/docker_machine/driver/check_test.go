package driver

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

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
