package client

import (
	"testing"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

func TestHostAddress(t *testing.T) {
	for _, test := range []struct {
		name      string
		addresses []*pb.Address
		want      string
	}{
		{"none", nil, ""},
		{"IPv4 before IPv6", []*pb.Address{{Ip: "fd00::1"}, {Ip: "192.0.2.1"}, {Ip: "192.0.2.2"}}, "192.0.2.1"},
		{"IPv6 alone", []*pb.Address{{Ip: "fd00::1"}, {Ip: "fd00::2"}}, "fd00::1"},
	} {
		if got := HostAddress(&pb.Machine{Addresses: test.addresses}); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
