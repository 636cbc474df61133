//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Disk,AttachedDisk,NetworkInterface,NicConfiguration,Sysprep,Permission,DetachedDisk
//go:generate go tool packer-sdc struct-markdown

package common

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/shutdowncommand"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

// EngineConfig is which engine is meant, and how long clearing up may take.
type EngineConfig struct {
	// Name of an engine profile in the daemon's configuration. By default the
	// daemon's default profile, which is the engine of your `OVIRT_URL`,
	// `OVIRT_USERNAME`, `OVIRT_PASSWORD` and `OVIRT_CAFILE` when Packer starts
	// the daemon.
	Engine string `mapstructure:"engine" required:"false"`
	// How long removing what a failed or cancelled build has made may take,
	// such as `10m`, the default.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`
}

func (c *EngineConfig) clientOptions(say func(string)) client.Options {
	return client.Options{
		Profile:   c.Engine,
		UserAgent: "packer-plugin-ovirt/" + version.PluginVersion.String(),
		Say:       say,
	}
}

// Prepare fills in defaults and reports what is wrong.
func (c *EngineConfig) Prepare(report Reporter) {
	if c.CleanupTimeout == 0 {
		c.CleanupTimeout = 10 * time.Minute
	}
	if c.CleanupTimeout < 0 {
		report("cleanup_timeout", "%s is negative", c.CleanupTimeout)
	}
}

// Config is the part of a builder's configuration that all builders have, as the user writes it.
type Config struct {
	common.PackerConfig            `mapstructure:",squash"`
	Comm                           communicator.Config `mapstructure:",squash"`
	shutdowncommand.ShutdownConfig `mapstructure:",squash"`
	commonsteps.HTTPConfig         `mapstructure:",squash"`
	commonsteps.CDConfig           `mapstructure:",squash"`
	EngineConfig                   `mapstructure:",squash"`
	HardwareConfig                 `mapstructure:",squash"`
	BootConfig                     `mapstructure:",squash"`
	TemplateConfig                 `mapstructure:",squash"`

	// Name of the virtual machine while it is built. By default
	// `packer-<build name>-<UUID>`, and `packer-<8 digits>` where
	// `operating_system` is a Windows, which takes at most 15 characters.
	VMName string `mapstructure:"vm_name" required:"false"`
	// Description of the virtual machine while it is built.
	VMDescription string `mapstructure:"vm_description" required:"false"`
	// Names of tags, which the engine must have, that the virtual machine gets
	// while it is built.
	VMTags []string `mapstructure:"vm_tags" required:"false"`
	// Name of the storage domain for every disk that does not name one. Without
	// `full_clone` the disks of the source template can only be where it has
	// them. By default where the source template has its disks.
	StorageDomain string `mapstructure:"storage_domain" required:"false"`
	// Blank disks to make, as blocks that may be repeated. See
	// [Disks](#disks).
	Disks []Disk `mapstructure:"disk" required:"false"`
	// Disks that exist and stay, as blocks that may be repeated. See
	// [Disks](#disks).
	AttachedDisks []AttachedDisk `mapstructure:"attached_disk" required:"false"`
	// Host name of the guest while it is built, without domain. By default
	// that of the image.
	HostName string `mapstructure:"host_name" required:"false"`
	// Time zone of the guest: an IANA name such as `Europe/Berlin`, with
	// `sysprep` the name that Windows has for it. By default that of the image.
	TimeZone string `mapstructure:"time_zone" required:"false"`
	// How the guest configures its interfaces at first boot, as blocks that may
	// be repeated. By default `eth0` by DHCP, and nothing with `ignition`,
	// `sysprep` or WinRM. See [First boot](#first-boot).
	NicConfigurations []NicConfiguration `mapstructure:"nic_configuration" required:"false"`
	// Addresses of the DNS servers of the guest.
	DNSServers []string `mapstructure:"dns_servers" required:"false"`
	// Domains in which the guest searches names.
	DNSSearchDomains []string `mapstructure:"dns_search_domains" required:"false"`
	// Whether the guest's SSH server takes passwords. By default what
	// `user_data` says, else `false` unless `ssh_password` is given.
	SSHPasswordAuthentication config.Trilean `mapstructure:"ssh_password_authentication" required:"false"`
	// What a cloud would call user data: `#cloud-config` (YAML), which is
	// merged with what the other options say, or a script that begins with `#!`
	// and runs once at the end of the first boot. `{{ .HTTPIP }}`,
	// `{{ .HTTPPort }}` and `{{ .Name }}` stand for where Packer's HTTP server
	// is and the name of the virtual machine. It is kept out of logs, and never
	// stored in the virtual machine or the template.
	UserData string `mapstructure:"user_data" required:"false"`
	// Path of a file with the user data, in place of `user_data`.
	UserDataFile string `mapstructure:"user_data_file" required:"false"`
	// Ignition configuration (JSON), in place of `user_data`. The account of
	// `ssh_username`, its key and `host_name` are put into it.
	Ignition string `mapstructure:"ignition" required:"false"`
	// First boot of Windows, as a block in place of `user_data`. See
	// [Windows](#windows).
	Sysprep Sysprep `mapstructure:"sysprep" required:"false"`

	// Address at which the guest reaches Packer's HTTP server: `{{ .HTTPIP }}`.
	// By default `http_bind_address` if given, else the address of this host
	// from which it reaches the engine.
	HTTPIP string `mapstructure:"http_ip" required:"false"`

	// How long to wait until the guest reports an address that counts, such as
	// `30m`. By default as the daemon is configured, 10 minutes.
	IPWaitTimeout time.Duration `mapstructure:"ip_wait_timeout" required:"false"`
	// How long the addresses must stay the same before they count, such as
	// `30s`. By default as the daemon is configured.
	IPSettleTimeout time.Duration `mapstructure:"ip_settle_timeout" required:"false"`
	// Network, such as `10.11.0.0/16`, in which an address must be to count.
	IPWaitAddress string `mapstructure:"ip_wait_address" required:"false"`
	// Networks, such as `172.17.0.0/16`, in which no address counts.
	IPIgnoredAddresses []string `mapstructure:"ip_ignored_addresses" required:"false"`
	// `ipv4` or `ipv6`. By default both, IPv4 first.
	IPWaitFamily string `mapstructure:"ip_wait_family" required:"false"`
	// Names of the network interface cards, such as `nic1`, whose addresses
	// count. By default all.
	IPWaitInterfaces []string `mapstructure:"ip_wait_interfaces" required:"false"`

	// Copy the virtual machine's own permissions to the template, too. Defaults
	// to `false`.
	TemplateClonePermissions bool `mapstructure:"template_clone_permissions" required:"false"`
	// Remove from the template what its clones must not share: SSH host keys,
	// machine ID, host name, logs and authorized keys. Linux guests only.
	// Defaults to `true`, with `sysprep` or WinRM to `false`.
	TemplateSeal config.Trilean `mapstructure:"template_seal" required:"false"`
	// Before the template counts, a throw-away clone of it has to boot, report
	// an address and answer as an SSH server, which the daemon tries. Defaults to
	// `false`.
	BootTest bool `mapstructure:"boot_test" required:"false"`
	// Port of that SSH server. By default `ssh_port`.
	BootTestSSHPort int `mapstructure:"boot_test_ssh_port" required:"false"`
	// Be content with an address, for where the daemon does not reach the
	// guests. Defaults to `false`.
	BootTestAddressOnly bool `mapstructure:"boot_test_address_only" required:"false"`
	// Make a disk, detached from any virtual machine, instead of a template, as
	// a block: the boot disk. Takes `full_clone`. See [Output](#output).
	DetachedDisk DetachedDisk `mapstructure:"detached_disk" required:"false"`
	// Make nothing: the virtual machine is provisioned, shut down and destroyed.
	// Defaults to `false`.
	SkipCreateArtifact bool `mapstructure:"skip_create_artifact" required:"false"`

	// Give back to the storage what the disks take but do not use, before the
	// template or the `detached_disk` counts. The engine can do it with sparse
	// `raw` disks alone, which takes `template_disk_format = "raw"` where the
	// disks are `cow`. Defaults to `false`.
	Sparsify bool `mapstructure:"sparsify" required:"false"`

	source Source
	ctx    interpolate.Context
}

// Source is where the machine of a build comes from: the part of a builder's configuration that sets it apart from the others.
type Source interface {
	// Shared is the part that all builders have.
	Shared() *Config
	// Clone is how the machine is made of its template; nil where it is made of none.
	Clone() *CloneConfig
	// Installs says whether the machine's first start installs its operating system.
	Installs() bool
	// Prepare fills in defaults and reports what is wrong that requests cannot express.
	Prepare(report Reporter)
	// Put puts it into a request. The state is nil while the configuration is checked.
	Put(request *pb.CreateMachineRequest, state multistep.StateBag)
	// Origins say which options the fields come from that Put sets.
	Origins() options.Origins
	// Steps are what has to be done before the machine is made.
	Steps(newID func() string) []multistep.Step
	// String names it to the user.
	String() string
}

// Checker is a Source that has the engine look something up before anything is made.
type Checker interface {
	// Check says what is wrong, in the words of the user.
	Check(ctx context.Context, state multistep.StateBag, newID func() string) error
}

// Shared lets what embeds it be a Source.
func (c *Config) Shared() *Config { return c }

// prepare decodes the configuration, fills in defaults and returns everything that is wrong with it at once. It looks
// nothing up: `packer validate` needs no daemon.
func (c *Config) prepare(builderID string, source Source, raws ...any) (warnings []string, err error) {
	err = config.Decode(source, &config.DecodeOpts{
		PluginType:         builderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		// It may ask for what is known only when the build runs.
		InterpolateFilter: &interpolate.RenderFilter{Exclude: []string{"user_data", "boot_command"}},
	}, raws...)
	if err != nil {
		return nil, err
	}
	// The decoding of HCL begins with an empty configuration.
	c.source = source
	var problems Problems
	report := problems.Report
	c.readUserData(report)
	packersdk.LogSecretFilter.Set(
		c.UserData, c.Ignition, c.Sysprep.UnattendXML, c.Sysprep.AdminPassword, c.Sysprep.ProductKey,
		c.Comm.SSHPassword, c.Comm.SSHBastionPassword, c.Comm.SSHProxyPassword, c.Comm.WinRMPassword,
	)
	c.setDefaults()
	c.EngineConfig.Prepare(report)
	problems.Add(c.Comm.Prepare(&c.ctx)...)
	problems.Add(c.ShutdownConfig.Prepare(&c.ctx)...)
	problems.Add(c.HTTPConfig.Prepare(&c.ctx)...)
	problems.Add(c.CDConfig.Prepare(&c.ctx)...)
	source.Prepare(report)
	c.reportNegativeTimes(report)
	c.HardwareConfig.Problems(report)
	c.TemplateConfig.Problems(report)
	c.machineProblems(report)
	c.bootCommandProblems(report)
	c.firstBootProblems(report)
	c.outputProblems(report)
	problems.Add(c.schemaProblems(problems.Errors())...)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return c.warnings(), nil
}

func (c *Config) warnings() []string {
	if !c.PackerForce {
		return nil
	}
	switch {
	case c.output() != outputTemplate:
		return []string{"-force has no effect: nothing that exists can be in the way"}
	case c.NewVersion:
		return []string{"-force has no effect with new_version: the other versions stay as they are"}
	default:
		return nil
	}
}

func (c *Config) readUserData(report Reporter) {
	if c.UserDataFile == "" || c.UserDataFile == options.NotKnownYet {
		return
	}
	if c.UserData != "" {
		report("user_data_file", "'%s' is given next to user_data; give one of them", c.UserDataFile)
		return
	}
	content, err := os.ReadFile(c.UserDataFile)
	if err != nil {
		report("user_data_file", "%s", err)
		return
	}
	c.UserData = string(content)
}

func (c *Config) setDefaults() {
	if c.Comm.SSHTemporaryKeyPairType == "" {
		c.Comm.SSHTemporaryKeyPairType = "ed25519"
	}
	if c.Comm.SSHTemporaryKeyPairName == "" {
		c.Comm.SSHTemporaryKeyPairName = "packer_" + uuid.NewString()
	}
	isWindows := c.Comm.Type == "winrm" || c.Sysprep != (Sysprep{}) || c.isWindows()
	if c.TemplateSeal == config.TriUnset {
		c.TemplateSeal = config.TrileanFromBool(!isWindows)
	}
	if !c.TemplateSeal.True() && c.Comm.SSHPrivateKeyFile == "" && !isWindows {
		// Sealing removes authorized keys; without it the temporary one would stay in the template.
		c.Comm.SSHClearAuthorizedKeys = true
	}
	if c.SSHPasswordAuthentication == config.TriUnset && c.Comm.Type != "winrm" && c.Comm.SSHPassword != "" && c.usesCloudInit() {
		c.SSHPasswordAuthentication = config.TriTrue
	}
	if len(c.NicConfigurations) == 0 && c.usesCloudInit() {
		c.NicConfigurations = []NicConfiguration{{Name: "eth0"}}
	}
	for i := range c.NicConfigurations {
		c.NicConfigurations[i].setDefaults()
	}
	if c.CDLabel == "" {
		c.CDLabel = "packer"
	}
}

func (n *NicConfiguration) setDefaults() {
	switch {
	case n.BootProtocol != "":
	case n.StaticAddress != "":
		n.BootProtocol = "static"
	default:
		n.BootProtocol = "dhcp"
	}
	if n.IPv6BootProtocol == "" && n.IPv6StaticAddress != "" {
		n.IPv6BootProtocol = "static"
	}
}

func (c *Config) reportNegativeTimes(report Reporter) {
	for _, timeout := range []struct {
		option string
		value  time.Duration
	}{
		{"shutdown_timeout", c.ShutdownTimeout},
		{"ip_wait_timeout", c.IPWaitTimeout},
		{"ip_settle_timeout", c.IPSettleTimeout},
	} {
		if timeout.value < 0 {
			report(timeout.option, "%s is negative", timeout.value)
		}
	}
}

func indexed(option string, index int) string {
	return fmt.Sprintf("%s[%d]", option, index)
}
