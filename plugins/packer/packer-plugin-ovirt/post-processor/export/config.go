//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config
//go:generate go tool packer-sdc struct-markdown

package export

import (
	sdkcommon "github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// Config is the configuration of the post-processor, as the user writes it.
type Config struct {
	sdkcommon.PackerConfig `mapstructure:",squash"`
	common.EngineConfig    `mapstructure:",squash"`

	// Path of the file on this host to write. One that exists is replaced with
	// `packer build -force` alone.
	Output string `mapstructure:"output" required:"true"`
	// Format of that file: `qcow2`, the default, or `raw`.
	Format string `mapstructure:"format" required:"false"`
	// Name of the disk of the template to write. By default the one that it boots
	// from.
	DiskName string `mapstructure:"disk_name" required:"false"`

	ctx interpolate.Context
}
