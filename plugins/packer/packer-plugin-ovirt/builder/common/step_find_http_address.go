package common

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepFindHTTPAddress finds out at which address of this host the guest reaches Packer's HTTP server.
type stepFindHTTPAddress struct {
	config *Config
}

func (s *stepFindHTTPAddress) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if !s.config.servesHTTP() {
		return multistep.ActionContinue
	}
	address, err := s.config.httpAddress(ctx, engineOf(state).GetUrl())
	if err != nil {
		return Halt(ctx, state, "looking for the address of the HTTP server; set http_ip", err)
	}
	uiOf(state).Sayf("Guests find the HTTP server at %s", address)
	state.Put(stateHTTPAddress, address)
	return multistep.ActionContinue
}

func (s *stepFindHTTPAddress) Cleanup(multistep.StateBag) {}

// httpAddress is what the user said, else the address from which this host reaches the engine: guests are most often on
// the same side of the world as it.
func (c *Config) httpAddress(ctx context.Context, engineURL string) (string, error) {
	if c.HTTPIP != "" {
		return c.HTTPIP, nil
	}
	if c.HTTPInterface != "" {
		return interfaceAddress(c.HTTPInterface)
	}
	if bound, err := netip.ParseAddr(c.HTTPAddress); err == nil && !bound.IsUnspecified() {
		return c.HTTPAddress, nil
	}
	return routedAddress(ctx, engineURL)
}

// interfaceAddress is the first IPv4 address of an interface of this host, else its first address.
func interfaceAddress(name string) (string, error) {
	found, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("http_interface '%s': %w", name, err)
	}
	addresses, err := found.Addrs()
	if err != nil {
		return "", fmt.Errorf("http_interface '%s': %w", name, err)
	}
	first := ""
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil || prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return prefix.Addr().String(), nil
		}
		if first == "" {
			first = prefix.Addr().String()
		}
	}
	if first == "" {
		return "", fmt.Errorf("http_interface '%s' has no address", name)
	}
	return first, nil
}

// routedAddress is the address of this host from which it reaches the engine. Nothing is sent.
func routedAddress(ctx context.Context, engineURL string) (string, error) {
	engine, err := url.Parse(engineURL)
	if err != nil || engine.Hostname() == "" {
		return "", errors.New("the daemon names no URL of the engine")
	}
	connection, err := new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(engine.Hostname(), "443"))
	if err != nil {
		return "", fmt.Errorf("no route to the engine: %w", err)
	}
	defer connection.Close()
	local := connection.LocalAddr().(*net.UDPAddr).IP
	if local.IsLoopback() {
		return "", fmt.Errorf("the engine is on this host, at %s, where no guest reaches anything", local)
	}
	return local.String(), nil
}
