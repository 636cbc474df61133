//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,NetworkInterface,NicConfiguration
//go:generate go tool packer-sdc struct-markdown

package clone

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/shutdowncommand"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const mebibyte = 1 << 20

// Config is the configuration of the builder, as the user writes it.
type Config struct {
	common.PackerConfig            `mapstructure:",squash"`
	Comm                           communicator.Config `mapstructure:",squash"`
	shutdowncommand.ShutdownConfig `mapstructure:",squash"`

	// Name of an engine profile in the daemon's configuration. By default the
	// daemon's default profile, which is the engine of your `OVIRT_URL`,
	// `OVIRT_USERNAME`, `OVIRT_PASSWORD` and `OVIRT_CAFILE` when Packer starts
	// the daemon.
	Engine string `mapstructure:"engine" required:"false"`

	// Name of the template to start from. Either this or `source_template_id`
	// is required.
	SourceTemplateName string `mapstructure:"source_template_name" required:"false"`
	// Number of the version of `source_template_name`. By default the newest.
	SourceTemplateVersion int `mapstructure:"source_template_version" required:"false"`
	// ID of the template version to start from, in place of
	// `source_template_name`.
	SourceTemplateID string `mapstructure:"source_template_id" required:"false"`

	// Name of the virtual machine while it is built. By default
	// `packer-<build name>-<UUID>`.
	VMName string `mapstructure:"vm_name" required:"false"`
	// Description of the virtual machine while it is built.
	VMDescription string `mapstructure:"vm_description" required:"false"`
	// Name of the cluster to build in. By default the cluster of the source
	// template.
	Cluster string `mapstructure:"cluster" required:"false"`
	// Copy the disks of the source template in full instead of layering thin
	// disks on them. Slower, but disks that do not depend on the source template
	// while the build runs. Defaults to `false`.
	FullClone bool `mapstructure:"full_clone" required:"false"`

	// Number of CPU sockets. By default as the source template.
	CPUSockets int `mapstructure:"cpu_sockets" required:"false"`
	// Number of cores per CPU socket. By default as the source template.
	CPUCores int `mapstructure:"cpu_cores" required:"false"`
	// Number of threads per CPU core. By default as the source template.
	CPUThreads int `mapstructure:"cpu_threads" required:"false"`
	// Memory in MiB. By default as the source template.
	Memory int `mapstructure:"memory" required:"false"`

	// Network interfaces of the virtual machine, as blocks that may be
	// repeated. By default those of the source template. See
	// [Network interfaces](#network-interfaces).
	NetworkInterfaces []NetworkInterface `mapstructure:"network_interface" required:"false"`

	// Host name of the guest while it is built, without domain. By default
	// that of the image.
	HostName string `mapstructure:"host_name" required:"false"`
	// How the guest configures its interfaces at first boot, as blocks that may
	// be repeated. By default `eth0` by DHCP. See
	// [First boot](#first-boot).
	NicConfigurations []NicConfiguration `mapstructure:"nic_configuration" required:"false"`
	// More cloud-config for the first boot, as YAML: `write_files`, `runcmd`
	// and the rest. It is kept out of logs, and never stored in the virtual
	// machine or the template.
	CustomScript string `mapstructure:"custom_script" required:"false"`

	// Name of the template to make. It must not exist yet; `{{timestamp}}`
	// and Packer's other functions can make it unique.
	TemplateName string `mapstructure:"template_name" required:"true"`
	// Description of the template to make.
	TemplateDescription string `mapstructure:"template_description" required:"false"`
	// Remove from the template what its clones must not share: SSH host keys,
	// machine ID, host name, logs and authorized keys. Linux guests only.
	// Defaults to `true`.
	TemplateSeal config.Trilean `mapstructure:"template_seal" required:"false"`

	// How long removing what a failed or cancelled build has made may take,
	// such as `10m`, the default.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`

	ctx interpolate.Context
}

// NetworkInterface is a virtual network interface card.
type NetworkInterface struct {
	// Name of the interface in the engine, such as `nic1`.
	Name string `mapstructure:"name" required:"true"`
	// Name of the vNIC profile in the data center of the cluster: `profile`, or
	// `network/profile` where several networks have a profile of that name.
	VnicProfile string `mapstructure:"vnic_profile" required:"true"`
}

// NicConfiguration is how the guest configures one of its interfaces.
type NicConfiguration struct {
	// Name of the interface in the guest, such as `eth0`.
	Name string `mapstructure:"name" required:"true"`
	// `dhcp`, the default, or `none`.
	BootProtocol string `mapstructure:"boot_protocol" required:"false"`
}

// bootProtocols are the values of NicConfiguration.BootProtocol.
var bootProtocols = map[string]pb.NicConfiguration_BootProtocol{
	"dhcp": pb.NicConfiguration_BOOT_PROTOCOL_DHCP,
	"none": pb.NicConfiguration_BOOT_PROTOCOL_NONE,
}

// Prepare decodes the configuration, fills in defaults and returns everything that is wrong with it at once. It looks
// nothing up: `packer validate` needs no daemon.
func (c *Config) Prepare(raws ...any) (warnings []string, err error) {
	err = config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...)
	if err != nil {
		return nil, err
	}
	packersdk.LogSecretFilter.Set(c.CustomScript, c.Comm.SSHPassword, c.Comm.SSHBastionPassword, c.Comm.SSHProxyPassword)

	c.setDefaults()
	var problems *packersdk.MultiError
	problems = packersdk.MultiErrorAppend(problems, c.Comm.Prepare(&c.ctx)...)
	problems = packersdk.MultiErrorAppend(problems, c.ShutdownConfig.Prepare(&c.ctx)...)
	problems = packersdk.MultiErrorAppend(problems, c.problems()...)
	if len(problems.Errors) > 0 {
		return nil, problems
	}
	if c.PackerForce {
		warnings = append(warnings, "-force has no effect: a template that exists is never replaced; choose another template_name")
	}
	return warnings, nil
}

func (c *Config) setDefaults() {
	if c.Comm.SSHTemporaryKeyPairType == "" {
		c.Comm.SSHTemporaryKeyPairType = "ed25519"
	}
	if c.Comm.SSHTemporaryKeyPairName == "" {
		c.Comm.SSHTemporaryKeyPairName = "packer_" + uuid.NewString()
	}
	if c.TemplateSeal == config.TriUnset {
		c.TemplateSeal = config.TriTrue
	}
	if !c.TemplateSeal.True() && c.Comm.SSHPrivateKeyFile == "" {
		// Sealing removes authorized keys; without it the temporary one would stay in the template.
		c.Comm.SSHClearAuthorizedKeys = true
	}
	if len(c.NicConfigurations) == 0 {
		c.NicConfigurations = []NicConfiguration{{Name: "eth0"}}
	}
	for i := range c.NicConfigurations {
		if c.NicConfigurations[i].BootProtocol == "" {
			c.NicConfigurations[i].BootProtocol = "dhcp"
		}
	}
	if c.CleanupTimeout == 0 {
		c.CleanupTimeout = 10 * time.Minute
	}
}

// problems is what is wrong with the options of this builder: the little that the requests cannot express, and then
// what the schema says about the requests that these options make.
func (c *Config) problems() []error {
	var problems []error
	report := func(option, format string, values ...any) {
		problems = append(problems, &options.Problem{Option: option, Text: fmt.Sprintf(format, values...)})
	}
	switch {
	case c.SourceTemplateName == "" && c.SourceTemplateID == "":
		report("source_template_name", "either it or source_template_id is required")
	case c.SourceTemplateName != "" && c.SourceTemplateID != "":
		report("source_template_id", "'%s' is given next to source_template_name '%s'; give one of them",
			c.SourceTemplateID, c.SourceTemplateName)
	}
	if c.Comm.Type == "winrm" {
		report("communicator", "'winrm' is not supported; use 'ssh' or 'none'")
	}
	if c.Memory < 0 {
		report("memory", "%d is negative; give MiB, or leave it out for the memory of the source template", c.Memory)
	}
	if c.ShutdownTimeout < 0 {
		report("shutdown_timeout", "%s is negative", c.ShutdownTimeout)
	}
	if c.CleanupTimeout < 0 {
		report("cleanup_timeout", "%s is negative", c.CleanupTimeout)
	}
	for i, nic := range c.NicConfigurations {
		if _, known := bootProtocols[nic.BootProtocol]; !known {
			report(fmt.Sprintf("nic_configuration[%d].boot_protocol", i), "'%s' is neither 'dhcp' nor 'none'", nic.BootProtocol)
		}
	}
	return append(problems, schemaProblems(c, problems)...)
}

// starts says whether the machine is started at all: to be reached, or because its first boot has something to do.
func (c *Config) starts() bool {
	return c.Comm.Type != "none" || c.CustomScript != "" || c.HostName != ""
}

// usesKey says whether Packer logs in with a key that the first boot has to authorize.
func (c *Config) usesKey() bool {
	return c.Comm.Type == "ssh" && !c.Comm.SSHAgentAuth && (c.Comm.SSHPrivateKeyFile != "" || c.Comm.SSHPassword == "")
}
