//go:generate go tool packer-sdc struct-markdown

package common

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// NicConfiguration is how the guest configures one of its interfaces.
type NicConfiguration struct {
	// Name of the interface in the guest, such as `eth0`.
	Name string `mapstructure:"name" required:"true"`
	// IPv4: `dhcp`, `static` or `none`. Defaults to `static` where
	// `static_address` is given, else to `dhcp`.
	BootProtocol string `mapstructure:"boot_protocol" required:"false"`
	// IPv4 address with its prefix length, such as `10.11.0.5/24`.
	StaticAddress string `mapstructure:"static_address" required:"false"`
	// IPv4 address of the default gateway. Only with `static_address`.
	Gateway string `mapstructure:"gateway" required:"false"`
	// IPv6: `dhcp`, `static` or `none`. Defaults to `static` where
	// `ipv6_static_address` is given, else the guest is told nothing.
	IPv6BootProtocol string `mapstructure:"ipv6_boot_protocol" required:"false"`
	// IPv6 address with its prefix length, such as `2001:db8::5/64`.
	IPv6StaticAddress string `mapstructure:"ipv6_static_address" required:"false"`
	// IPv6 address of the default gateway. Only with `ipv6_static_address`.
	IPv6Gateway string `mapstructure:"ipv6_gateway" required:"false"`
}

// Sysprep is the first boot of Windows.
type Sysprep struct {
	// An answer file (unattend.xml) of your own. The engine fills in
	// `$ComputerName$`, `$TimeZone$`, `$OrgName$`, `$AdminPassword$`,
	// `$JoinDomain$`, `$InputLocale$`, `$UILanguage$`, `$SystemLocale$` and
	// `$UserLocale$`, and the daemon `$ProductKey$`. By default the engine's
	// own for the operating system of the source template.
	UnattendXML string `mapstructure:"unattend_xml" required:"false"`
	// Password of the administrator.
	AdminPassword string `mapstructure:"admin_password" required:"false"`
	// Name of the organization.
	Organization string `mapstructure:"organization" required:"false"`
	// Domain to join.
	Domain string `mapstructure:"domain" required:"false"`
	// Such as `de-DE`.
	InputLocale string `mapstructure:"input_locale" required:"false"`
	// Such as `de-DE`.
	UILanguage string `mapstructure:"ui_language" required:"false"`
	// Such as `de-DE`.
	SystemLocale string `mapstructure:"system_locale" required:"false"`
	// Such as `de-DE`.
	UserLocale string `mapstructure:"user_locale" required:"false"`
	// Product key. Takes `unattend_xml` with `$ProductKey$` in it.
	ProductKey string `mapstructure:"product_key" required:"false"`
}

var (
	bootProtocols = WordsOf[pb.NicConfiguration_BootProtocol]("BOOT_PROTOCOL_", pb.NicConfiguration_BootProtocol_value)
	families      = WordsOf[pb.AddressSelection_Family]("FAMILY_", pb.AddressSelection_Family_value)
)

// starts says whether the machine is started at all: to be reached, or because its first boot has something to do.
func (c *Config) starts() bool {
	return c.Comm.Type != "none" || c.tellsGuest() || len(c.BootCommand) > 0 || c.source.Installs()
}

// tellsGuest says whether there is something for the first boot to do besides letting Packer in.
func (c *Config) tellsGuest() bool {
	return c.UserData != "" || c.HostName != "" || c.TimeZone != "" || c.Ignition != "" || c.Sysprep != (Sysprep{}) || c.hasCD()
}

// isLeftAlone says whether an installation goes on by itself until it shuts the machine down.
func (c *Config) isLeftAlone() bool {
	return c.source.Installs() && c.Comm.Type == "none"
}

// usesCloudInit says whether the first boot is cloud-init's.
func (c *Config) usesCloudInit() bool {
	isExpected := c.Comm.Type != "winrm" && !c.source.Installs()
	return c.Ignition == "" && c.Sysprep == (Sysprep{}) && (isExpected || c.UserData != "")
}

// usesKey says whether Packer logs in with a key.
func (c *Config) usesKey() bool {
	return c.Comm.Type == "ssh" && !c.Comm.SSHAgentAuth && (c.Comm.SSHPrivateKeyFile != "" || c.Comm.SSHPassword == "")
}

// authorizesKey says whether the first boot has to authorize that key.
func (c *Config) authorizesKey() bool {
	return c.usesKey() && c.Sysprep == (Sysprep{}) && !c.source.Installs()
}

func (c *Config) initialization(known firstBoot) *pb.Initialization {
	initialization := &pb.Initialization{
		HostName:                  c.HostName,
		TimeZone:                  c.TimeZone,
		UserData:                  known.userData,
		Ignition:                  c.Ignition,
		SshPasswordAuthentication: c.SSHPasswordAuthentication.ToBoolPointer(),
		DnsServers:                c.DNSServers,
		DnsSearchDomains:          c.DNSSearchDomains,
		NicConfigurations:         c.nicConfigurations(),
		Files:                     known.files,
	}
	if c.authorizesKey() {
		initialization.UserName = c.Comm.SSHUsername
	}
	if known.publicKey != "" {
		initialization.AuthorizedSshKeys = []string{known.publicKey}
	}
	if c.Sysprep != (Sysprep{}) {
		initialization.Sysprep = c.Sysprep.message()
	}
	return initialization
}

// testInitialization is the first boot of the clone that tests the template: its network, and nothing of the build.
func (c *Config) testInitialization() *pb.Initialization {
	switch {
	case c.Sysprep != (Sysprep{}):
		return &pb.Initialization{Sysprep: c.Sysprep.message()}
	case c.Ignition != "":
		return &pb.Initialization{Ignition: c.Ignition}
	case c.usesCloudInit():
		return &pb.Initialization{
			NicConfigurations: c.nicConfigurations(), DnsServers: c.DNSServers, DnsSearchDomains: c.DNSSearchDomains,
		}
	default:
		return nil
	}
}

func (c *Config) nicConfigurations() []*pb.NicConfiguration {
	var made []*pb.NicConfiguration
	for _, nic := range c.NicConfigurations {
		made = append(made, &pb.NicConfiguration{
			Name:              nic.Name,
			BootProtocol:      bootProtocols[nic.BootProtocol],
			StaticAddress:     nic.StaticAddress,
			Gateway:           nic.Gateway,
			Ipv6BootProtocol:  bootProtocols[nic.IPv6BootProtocol],
			Ipv6StaticAddress: nic.IPv6StaticAddress,
			Ipv6Gateway:       nic.IPv6Gateway,
		})
	}
	return made
}

func (s *Sysprep) message() *pb.Sysprep {
	return &pb.Sysprep{
		UnattendXml:   s.UnattendXML,
		AdminPassword: s.AdminPassword,
		Organization:  s.Organization,
		Domain:        s.Domain,
		InputLocale:   s.InputLocale,
		UiLanguage:    s.UILanguage,
		SystemLocale:  s.SystemLocale,
		UserLocale:    s.UserLocale,
		ProductKey:    s.ProductKey,
	}
}

// addressSelection says which of the addresses that the guest reports counts; nil where the configuration says nothing. One
// that the user names need not be waited for.
func (c *Config) addressSelection() *pb.AddressSelection {
	if c.Comm.Host() == "" && !c.isLeftAlone() {
		return c.selectedAddresses()
	}
	return &pb.AddressSelection{DoNotWait: true}
}

// selectedAddresses says which addresses count where they are waited for.
func (c *Config) selectedAddresses() *pb.AddressSelection {
	selection := &pb.AddressSelection{
		Nics:         c.IPWaitInterfaces,
		Family:       families[c.IPWaitFamily],
		IgnoredCidrs: c.IPIgnoredAddresses,
	}
	if c.IPWaitAddress != "" {
		selection.Cidrs = []string{c.IPWaitAddress}
	}
	if c.IPSettleTimeout != 0 {
		selection.SettleTime = durationpb.New(c.IPSettleTimeout)
	}
	if proto.Size(selection) == 0 {
		return nil
	}
	return selection
}

// renderUserData fills in what is known only now.
func (c *Config) renderUserData(variables guestVariables) (string, error) {
	rendering := c.ctx
	rendering.Data = &variables
	rendered, err := interpolate.Render(c.UserData, &rendering)
	if err != nil {
		return "", err
	}
	packersdk.LogSecretFilter.Set(rendered)
	return rendered, nil
}

// httpVariables are where the guest finds the HTTP server, as the steps before have found out.
func httpVariables(state multistep.StateBag, name string) guestVariables {
	return guestVariables{HTTPIP: soFar[string](state, stateHTTPAddress), HTTPPort: soFar[int](state, stateHTTPPort), Name: name}
}

func (c *Config) hasCD() bool {
	return len(c.CDFiles) > 0 || len(c.CDContent) > 0
}

// cdFolder is where the guest finds cd_files and cd_content: in memory, so that no template inherits them.
func (c *Config) cdFolder() string {
	return path.Join("/run/media", c.CDLabel)
}

// readCD reads cd_files and cd_content, laid out as on the CD that other builders attach.
func (c *Config) readCD() ([]*pb.File, error) {
	if c.source.Installs() {
		return nil, nil
	}
	found, err := ReadFiles(c.CDFiles, c.CDContent)
	if err != nil {
		return nil, err
	}
	var files []*pb.File
	for _, name := range slices.Sorted(maps.Keys(found)) {
		files = append(files, &pb.File{Path: c.cdFolder() + name, Content: found[name]})
	}
	return files, nil
}

// ReadFiles reads files, and folders with all that is in them, by their paths from the root of a volume, such as `/a`; contents come
// besides, and before files of the same path.
func ReadFiles(given []string, contents map[string]string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, name := range given {
		if err := readTree(name, found); err != nil {
			return nil, err
		}
	}
	for name, content := range contents {
		found[path.Clean("/"+filepath.ToSlash(name))] = []byte(content)
	}
	return found, nil
}

// readTree reads a file, or a folder with all that is in it, under its own name.
func readTree(root string, found map[string][]byte) error {
	above := filepath.Dir(filepath.Clean(root))
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil || info.IsDir() {
			if err == nil && !entry.IsDir() {
				err = fmt.Errorf("%s is a link to a folder", name)
			}
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(above, name)
		found["/"+filepath.ToSlash(relative)] = content
		return err
	})
}

// firstBootProblems are those that the request cannot express.
func (c *Config) firstBootProblems(report Reporter) {
	for i, nic := range c.NicConfigurations {
		option := indexed("nic_configuration", i)
		bootProtocols.Check(report, option+".boot_protocol", nic.BootProtocol)
		bootProtocols.Check(report, option+".ipv6_boot_protocol", nic.IPv6BootProtocol)
	}
	families.Check(report, "ip_wait_family", c.IPWaitFamily)
	if c.hasCD() && !c.usesCloudInit() && !c.source.Installs() {
		report("cd_files", "takes cloud-init, which neither ignition nor sysprep is: the engine's first-boot drive is the only "+
			"one that it makes at a start, and takes no other files there; use a file provisioner")
	}
	if c.usesKey() && !c.authorizesKey() && c.Comm.SSHPrivateKeyFile == "" {
		by := "sysprep"
		if c.source.Installs() {
			by = "an installation"
		}
		report("ssh_password", "or ssh_private_key_file is required with %s, which can authorize no temporary key", by)
	}
}
