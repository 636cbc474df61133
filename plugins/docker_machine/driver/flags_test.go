package driver

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

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
