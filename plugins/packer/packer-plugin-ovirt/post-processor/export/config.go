//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Ova,ExportDomain
//go:generate go tool packer-sdc struct-markdown

package export

import (
	sdkcommon "github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// Ova is an OVA file in a folder of a host.
type Ova struct {
	// Name of the host, which must be up and in the data center of the template.
	Host string `mapstructure:"host" required:"true"`
	// Absolute path of a folder of that host.
	Directory string `mapstructure:"directory" required:"true"`
	// Name of the file, which ends in `.ova`. Defaults to the name of the template
	// with `.ova`.
	FileName string `mapstructure:"file_name" required:"false"`
}

// ExportDomain is a storage domain of the type export.
type ExportDomain struct {
	// Name of the storage domain, which must be active in the data center of the
	// template.
	StorageDomain string `mapstructure:"storage_domain" required:"true"`
	// Replace the copy of the template that is there. Defaults to `false`: then it
	// is an error.
	Replace bool `mapstructure:"replace" required:"false"`
}

// Config is the configuration of the post-processor, as the user writes it.
type Config struct {
	sdkcommon.PackerConfig `mapstructure:",squash"`
	common.EngineConfig    `mapstructure:",squash"`

	// Path of a file on this host to write a disk to. One that exists is replaced
	// with `packer build -force` alone.
	Output string `mapstructure:"output" required:"false"`
	// Format of that file: `qcow2`, the default, or `raw`.
	Format string `mapstructure:"format" required:"false"`
	// Name of the disk of the template to write. By default the one that it boots
	// from.
	DiskName string `mapstructure:"disk_name" required:"false"`
	// Have a host write the template to an OVA file of its own, as a block.
	Ova Ova `mapstructure:"ova" required:"false"`
	// Have the engine copy the template to an export domain, as a block.
	ExportDomain ExportDomain `mapstructure:"export_domain" required:"false"`

	ctx interpolate.Context
}
