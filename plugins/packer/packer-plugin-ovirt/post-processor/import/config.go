//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Disk
//go:generate go tool packer-sdc struct-markdown

package importer

import (
	sdkcommon "github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// Disk is a disk as what the image becomes, in place of a template.
type Disk struct {
	// Name of the disk in the engine, where it need not be unique.
	Name string `mapstructure:"name" required:"true"`
	// Description of the disk.
	Description string `mapstructure:"description" required:"false"`
	// Name of the storage domain. By default the only one that takes disks.
	StorageDomain string `mapstructure:"storage_domain" required:"false"`
	// `cow` or `raw`. By default as the image is.
	Format string `mapstructure:"format" required:"false"`
	// Roles that users and groups get on the disk, as blocks that may be
	// repeated.
	Permissions []common.Permission `mapstructure:"permission" required:"false"`
}

// Config is the configuration of the post-processor, as the user writes it.
type Config struct {
	sdkcommon.PackerConfig `mapstructure:",squash"`
	common.EngineConfig    `mapstructure:",squash"`
	common.HardwareConfig  `mapstructure:",squash"`
	common.TemplateConfig  `mapstructure:",squash"`

	// Which of the artifact's files is the image: a pattern such as
	// `output/*.img`. By default its only file that ends in `.qcow2`, `.raw` or
	// `.img`, or else its only file.
	File string `mapstructure:"file" required:"false"`
	// `virtio_scsi`, `virtio`, `sata` or `ide` for the disk of the template.
	// Defaults to `virtio_scsi`.
	DiskInterface string `mapstructure:"disk_interface" required:"false"`
	// Make a disk, which no virtual machine has, instead of a template, as a
	// block.
	Disk Disk `mapstructure:"disk" required:"false"`

	ctx interpolate.Context
}
