package driver

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const networkDataFile = `network:
  version: 2
  ethernets:
    ens4:
      dhcp4: true
      dhcp6: true
    ens3:
      addresses: [10.11.0.5/24, "2001:db8::5/64"]
      gateway4: 10.11.0.1
      routes: [{to: default, via: "2001:db8::1"}]
      nameservers: {addresses: [10.11.0.2], search: [example.com]}
`

func TestNetworkData(t *testing.T) {
	told := &pb.Initialization{}
	if err := readNetworkData(write(t, "network", networkDataFile), told); err != nil {
		t.Fatal(err)
	}
	want := &pb.Initialization{}
	if err := prototext.Unmarshal([]byte(`
		nic_configurations { name: "ens4" boot_protocol: BOOT_PROTOCOL_DHCP ipv6_boot_protocol: BOOT_PROTOCOL_DHCP }
		nic_configurations {
			name: "ens3" boot_protocol: BOOT_PROTOCOL_STATIC static_address: "10.11.0.5/24" gateway: "10.11.0.1"
			ipv6_boot_protocol: BOOT_PROTOCOL_STATIC ipv6_static_address: "2001:db8::5/64" ipv6_gateway: "2001:db8::1"
		}
		dns_servers: "10.11.0.2" dns_search_domains: "example.com"`), want); err != nil {
		t.Fatal(err)
	}
	if got := prototext.Format(told); got != prototext.Format(want) {
		t.Errorf("told:\n%s\nwant:\n%s", got, prototext.Format(want))
	}
}

func TestNetworkDataThatTheEngineCannotCarry(t *testing.T) {
	for content, want := range map[string]string{
		"version: 1\nconfig: []\n":                                                      "config not found",
		"version: 2\nethernets: {}\n":                                                   "there are no ethernets",
		"version: 3\nethernets: {eth0: {dhcp4: true}}\n":                                "version 3 is not taken, only 2",
		"version: 2\nbonds: {bond0: {}}\n":                                              "bonds not found",
		"version: 2\nethernets: {eth0: {mtu: 9000}}\n":                                  "mtu not found",
		"version: 2\nethernets: {eth0: {addresses: [10.11.0.5]}}\n":                     "'10.11.0.5' is no address with prefix length",
		"version: 2\nethernets: {eth0: {dhcp4: true, addresses: [10.11.0.5/24]}}\n":     "one address of a family, or DHCP",
		"version: 2\nethernets: {eth0: {routes: [{to: 10.0.0.0/8, via: 10.11.0.1}]}}\n": "the route to '10.0.0.0/8' via '10.11.0.1' is none",
		"version: 2\nethernets: {eth0: }\n":                                             "eth0 says nothing",
		"[":                                                                             "did not find expected",
	} {
		err := readNetworkData(write(t, "network", content), &pb.Initialization{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "--ovirt-network-data: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
}

func TestAddressRange(t *testing.T) {
	parsed, err := parseNetwork("lan:10.11.0.50-10.11.0.99/24:10.11.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if made := parsed.configuration("eth0"); made.GetStaticRange() != "10.11.0.50-10.11.0.99/24" || made.GetGateway() != "10.11.0.1" || made.GetStaticAddress() != "" {
		t.Errorf("configured: %v", made)
	}
}
