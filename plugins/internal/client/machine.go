package client

import (
	"errors"
	"net/netip"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// MayHaveEffect says whether something of a create that failed may be left. A create is all or nothing, so nothing is
// left where the daemon said how it ended, or refused it.
func MayHaveEffect(operation *pb.Operation, err error) bool {
	switch operation.GetState() {
	case pb.Operation_STATE_FAILED, pb.Operation_STATE_CANCELLED:
		return false
	}
	var refused *Error
	return operation != nil || !errors.As(err, &refused) || !refused.Typed
}

// HostAddress is the first IPv4 address that the guest reports, else the first address; empty where there is none.
func HostAddress(machine *pb.Machine) string {
	first := ""
	for _, address := range machine.GetAddresses() {
		ip, err := netip.ParseAddr(address.GetIp())
		if err == nil && ip.Is4() {
			return address.GetIp()
		}
		if first == "" {
			first = address.GetIp()
		}
	}
	return first
}
