package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const networkForm = "PROFILE[:ADDRESS/PREFIX[:GATEWAY]], such as ovirtmgmt, ovirtmgmt:10.11.0.5/24:10.11.0.1 or " +
	"ovirtmgmt:[2001:db8::5/64]:[2001:db8::1]"

// network is a network of the user: what --ovirt-network says.
type network struct {
	profile string
	// address is with its prefix length, or a range of IPv4 addresses with it; empty for DHCP.
	address string
	gateway string
}

// parseNetwork takes a network apart. The error says what is wrong with it and how it is written.
func parseNetwork(text string) (network, error) {
	profile, rest, more := strings.Cut(text, ":")
	parsed := network{profile: profile}
	if !more {
		return parsed, nil
	}
	address, rest, err := cutAddress(rest)
	if err != nil {
		return parsed, err
	}
	parsed.address = address
	ipv4, err := checkAddress(address)
	if err != nil {
		return parsed, err
	}
	if rest == "" {
		return parsed, nil
	}
	parsed.gateway, rest, err = cutAddress(rest[1:])
	if err != nil {
		return parsed, err
	}
	gateway, err := netip.ParseAddr(parsed.gateway)
	switch {
	case err != nil || rest != "":
		return parsed, fmt.Errorf("'%s' is no gateway's address", parsed.gateway+rest)
	case gateway.Is4() != ipv4:
		return parsed, fmt.Errorf("the gateway %s and the address %s are not both IPv4 or IPv6", gateway, address)
	}
	return parsed, nil
}

// cutAddress takes what stands before the next colon, or between brackets; rest begins with the colon.
func cutAddress(text string) (address, rest string, err error) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		address, rest, ok = strings.Cut(inner, "]")
		if !ok || (rest != "" && rest[0] != ':') {
			return "", "", fmt.Errorf("'%s' has no closing bracket before the end or a colon", text)
		}
		return address, rest, nil
	}
	end := strings.IndexByte(text, ':')
	if end < 0 {
		return text, "", nil
	}
	if strings.Count(text, ":") > 1 && text[end+1] != '[' {
		return "", "", fmt.Errorf("'%s' has too many colons; an IPv6 address stands in brackets", text)
	}
	return text[:end], text[end:], nil
}

// checkAddress says whether an address with prefix length, or a range, is of IPv4.
func checkAddress(address string) (ipv4 bool, err error) {
	if first, last, isRange := strings.Cut(address, "-"); isRange {
		from, errFrom := netip.ParseAddr(first)
		to, errTo := netip.ParsePrefix(last)
		if errFrom != nil || errTo != nil || !from.Is4() || !to.Addr().Is4() {
			return false, fmt.Errorf("'%s' is no range of IPv4 addresses, such as 10.11.0.50-10.11.0.99/24", address)
		}
		return true, nil
	}
	prefix, err := netip.ParsePrefix(address)
	if err == nil {
		return prefix.Addr().Is4(), nil
	}
	if bare, isBare := netip.ParseAddr(address); isBare == nil {
		return false, fmt.Errorf("the address %s lacks its prefix length, such as %s/24", bare, bare)
	}
	return false, fmt.Errorf("'%s' is no address with prefix length", address)
}

// networks are the NICs of the VM, none for those of the template, and how the guest configures its interfaces.
func (d *Driver) networks() ([]*pb.Nic, []*pb.NicConfiguration, []error) {
	chosen := &d.Options
	given := chosen.Networks
	if len(given) == 0 {
		given = []string{""}
	}
	var nics []*pb.Nic
	var configurations []*pb.NicConfiguration
	var problems []error
	profiles := false
	// How it is written is told once, however many are wrong.
	form := "; it is written " + networkForm
	for i, text := range given {
		parsed, err := parseNetwork(text)
		if err != nil {
			problems = append(problems, problem(flagNetwork, "'%s': %s%s", text, err, form))
			form = ""
			continue
		}
		if text == "" && len(chosen.Networks) > 0 {
			problems = append(problems, problem(flagNetwork, "is empty%s", form))
			form = ""
			continue
		}
		if parsed.address != "" && chosen.NetworkDataFile != "" {
			problems = append(problems, problem(flagNetwork, "'%s' has an address, which --%s says as well; give one of them", text, flagNetworkData))
		}
		profiles = profiles || parsed.profile != ""
		nics = append(nics, &pb.Nic{Name: fmt.Sprintf("nic%d", i+1), VnicProfile: parsed.profile})
		configurations = append(configurations, parsed.configuration(d.interfaceName(i)))
	}
	if !profiles && len(given) == 1 {
		nics = nil
	}
	if len(chosen.Interfaces) > len(given) {
		problems = append(problems, problem(flagInterface, "'%s' has no --%s of its own: there are %d, one for each interface in their order",
			chosen.Interfaces[len(given)], flagNetwork, len(given)))
	}
	return nics, configurations, problems
}

// interfaceName is the guest's name of the interface of a network, counted from 0.
func (d *Driver) interfaceName(number int) string {
	if number < len(d.Options.Interfaces) {
		return d.Options.Interfaces[number]
	}
	return fmt.Sprintf("eth%d", number)
}

func (n network) configuration(name string) *pb.NicConfiguration {
	made := &pb.NicConfiguration{Name: name, BootProtocol: pb.NicConfiguration_BOOT_PROTOCOL_DHCP}
	switch {
	case n.address == "":
	case strings.Contains(n.address, "-"):
		made.BootProtocol, made.StaticRange, made.Gateway = pb.NicConfiguration_BOOT_PROTOCOL_STATIC, n.address, n.gateway
	case strings.Contains(n.address, ":"):
		made.BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_NONE
		made.Ipv6BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_STATIC
		made.Ipv6StaticAddress, made.Ipv6Gateway = n.address, n.gateway
	default:
		made.BootProtocol, made.StaticAddress, made.Gateway = pb.NicConfiguration_BOOT_PROTOCOL_STATIC, n.address, n.gateway
	}
	return made
}

// networkData is what the daemon can have the engine tell a guest of cloud-init's network configuration, version 2.
type networkData struct {
	Version   int                      `yaml:"version"`
	Renderer  string                   `yaml:"renderer"`
	Ethernets map[string]*ethernetData `yaml:"ethernets"`
}

type ethernetData struct {
	DHCP4       bool         `yaml:"dhcp4"`
	DHCP6       bool         `yaml:"dhcp6"`
	Addresses   []string     `yaml:"addresses"`
	Gateway4    string       `yaml:"gateway4"`
	Gateway6    string       `yaml:"gateway6"`
	Routes      []*routeData `yaml:"routes"`
	Nameservers struct {
		Addresses []string `yaml:"addresses"`
		Search    []string `yaml:"search"`
	} `yaml:"nameservers"`
	order int
}

type routeData struct {
	To  string `yaml:"to"`
	Via string `yaml:"via"`
}

// defaultRoutes are how a default route is written.
var defaultRoutes = map[string]bool{"default": true, "0.0.0.0/0": true, "::/0": true}

// readNetworkData puts a network configuration of cloud-init into what the guest is told. What the engine cannot carry
// is refused by its name.
func readNetworkData(file string, told *pb.Initialization) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return problem(flagNetworkData, "the file cannot be read: %s", err)
	}
	parsed, err := parseNetworkData(content)
	if err != nil {
		return problem(flagNetworkData, "%s: %s", file, err)
	}
	told.NicConfigurations, told.DnsServers, told.DnsSearchDomains = nil, nil, nil
	names := make([]string, len(parsed.Ethernets))
	for name, one := range parsed.Ethernets {
		names[one.order] = name
	}
	for _, name := range names {
		one := parsed.Ethernets[name]
		configuration, err := one.configuration(name)
		if err != nil {
			return problem(flagNetworkData, "%s: %s: %s", file, name, err)
		}
		told.NicConfigurations = append(told.NicConfigurations, configuration)
		told.DnsServers = append(told.DnsServers, one.Nameservers.Addresses...)
		told.DnsSearchDomains = append(told.DnsSearchDomains, one.Nameservers.Search...)
	}
	return nil
}

func parseNetworkData(content []byte) (*networkData, error) {
	var document struct {
		Network     *networkData `yaml:"network"`
		networkData `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s; what the engine can carry is version 2 with ethernets, each with dhcp4, dhcp6, addresses, gateway4, "+
			"gateway6, default routes and nameservers", strings.ReplaceAll(err.Error(), "\n", ";"))
	}
	parsed := document.Network
	if parsed == nil {
		parsed = &document.networkData
	}
	if parsed.Version != 2 {
		return nil, fmt.Errorf("version %d is not taken, only 2", parsed.Version)
	}
	if len(parsed.Ethernets) == 0 {
		return nil, errors.New("there are no ethernets in it")
	}
	return parsed, number(content, parsed.Ethernets)
}

// number gives the interfaces the order in which the file has them, which a map forgets.
func number(content []byte, ethernets map[string]*ethernetData) error {
	var ordered yaml.Node
	if err := yaml.Unmarshal(content, &ordered); err != nil {
		return err
	}
	next := 0
	var walk func(node *yaml.Node)
	walk = func(node *yaml.Node) {
		for i, inner := range node.Content {
			if node.Kind == yaml.MappingNode && i%2 == 0 {
				if known := ethernets[inner.Value]; known != nil && known.order < 0 {
					known.order = next
					next++
				}
			}
			walk(inner)
		}
	}
	for name, one := range ethernets {
		if one == nil {
			return fmt.Errorf("%s says nothing", name)
		}
		one.order = -1
	}
	walk(&ordered)
	return nil
}

func (e *ethernetData) configuration(name string) (*pb.NicConfiguration, error) {
	made := &pb.NicConfiguration{Name: name, BootProtocol: pb.NicConfiguration_BOOT_PROTOCOL_NONE}
	gateways := map[bool]string{true: e.Gateway4, false: e.Gateway6}
	for _, route := range e.Routes {
		via, err := netip.ParseAddr(route.Via)
		if err != nil || !defaultRoutes[route.To] {
			return nil, fmt.Errorf("the route to '%s' via '%s' is none that the engine can carry: only default routes are", route.To, route.Via)
		}
		gateways[via.Is4()] = route.Via
	}
	if e.DHCP4 {
		made.BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_DHCP
	}
	if e.DHCP6 {
		made.Ipv6BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_DHCP
	}
	for _, address := range e.Addresses {
		prefix, err := netip.ParsePrefix(address)
		switch {
		case err != nil:
			return nil, fmt.Errorf("'%s' is no address with prefix length", address)
		case prefix.Addr().Is4() && made.BootProtocol == pb.NicConfiguration_BOOT_PROTOCOL_NONE:
			made.BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_STATIC
			made.StaticAddress, made.Gateway = address, gateways[true]
		case prefix.Addr().Is6() && made.Ipv6BootProtocol == pb.NicConfiguration_BOOT_PROTOCOL_UNSPECIFIED:
			made.Ipv6BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_STATIC
			made.Ipv6StaticAddress, made.Ipv6Gateway = address, gateways[false]
		default:
			return nil, fmt.Errorf("the engine can carry one address of a family, or DHCP, and %s comes besides", address)
		}
	}
	return made, nil
}

// addressSelection is which addresses of the guest count; nil for those that count by default.
func (d *Driver) addressSelection() (*pb.AddressSelection, []error) {
	chosen := &d.Options
	families := map[string]pb.AddressSelection_Family{
		"":     pb.AddressSelection_FAMILY_UNSPECIFIED,
		"ipv4": pb.AddressSelection_FAMILY_IPV4,
		"ipv6": pb.AddressSelection_FAMILY_IPV6,
	}
	family, known := families[strings.ToLower(chosen.AddressFamily)]
	if !known {
		return nil, []error{problem(flagAddressFamily, "'%s' is neither ipv4 nor ipv6", chosen.AddressFamily)}
	}
	if family == pb.AddressSelection_FAMILY_UNSPECIFIED && len(chosen.AddressCIDRs) == 0 {
		return nil, nil
	}
	return &pb.AddressSelection{Family: family, Cidrs: chosen.AddressCIDRs}, nil
}

// problem is something wrong with a flag.
func problem(flag, format string, values ...any) error {
	return &options.Problem{Option: "--" + flag, Text: fmt.Sprintf(format, values...)}
}
