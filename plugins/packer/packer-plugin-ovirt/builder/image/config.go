//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config
//go:generate go tool packer-sdc struct-markdown

package image

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// Config is the configuration of the builder, as the user writes it.
type Config struct {
	common.Config      `mapstructure:",squash"`
	common.CloneConfig `mapstructure:",squash"`

	// Path of a disk image on this host, QCOW2 or raw. Either this or
	// `image_url` is required.
	ImagePath string `mapstructure:"image_path" required:"false"`
	// URL of a disk image, QCOW2 or raw. The daemon fetches what is at an
	// `https://` URL; anything else Packer downloads to its cache on this host and
	// uploads.
	ImageURL string `mapstructure:"image_url" required:"false"`
	// Checksum of the image, as `iso_checksum` of other builders: `sha256:…`,
	// `sha512:…`, the digits alone, or `file:` with the path or URL of a file of
	// checksums. Required with `image_url`, where it may not be `none`. With
	// `image_path` it may be `md5:…` and `sha1:…`, too, and is left out at will.
	ImageChecksum string `mapstructure:"image_checksum" required:"false"`
	// Name of the template that the image becomes in the engine, and from which
	// the virtual machine is made. By default the name of the file.
	ImageTemplateName string `mapstructure:"image_template_name" required:"false"`
	// Name of the storage domain for the disk of that template. By default
	// `storage_domain`.
	ImageStorageDomain string `mapstructure:"image_storage_domain" required:"false"`
	// `virtio_scsi`, `virtio`, `sata` or `ide` for the disk of that template.
	// Defaults to `virtio_scsi`.
	ImageDiskInterface string `mapstructure:"image_disk_interface" required:"false"`
	// Keep that template in the engine, so that the next build of the same image
	// uploads and imports nothing. A build that fails or is cancelled keeps none
	// that it made. Defaults to `true`.
	KeepImageTemplate config.Trilean `mapstructure:"keep_image_template" required:"false"`

	imported *common.Import
}

var (
	_ common.Source  = (*Config)(nil)
	_ common.Checker = (*Config)(nil)
)

// Prepare implements common.Source.
func (c *Config) Prepare(report common.Reporter) {
	source, option := c.ImagePath, "image_path"
	switch {
	case c.ImagePath == "" && c.ImageURL == "":
		report("image_path", "either it or image_url is required")
		return
	case c.ImagePath != "" && c.ImageURL != "":
		report("image_url", "'%s' is given next to image_path '%s'; give one of them", c.ImageURL, c.ImagePath)
		return
	case c.ImageURL != "":
		source, option = c.ImageURL, "image_url"
	}
	if c.Cluster == "" {
		report("cluster", "is required: an image is of none")
	}
	file := common.NewImageFile(report, option, []string{source}, "image_checksum", c.ImageChecksum)
	if c.ImageTemplateName == "" {
		c.ImageTemplateName = file.Name()
	}
	if c.ImageStorageDomain == "" {
		c.ImageStorageDomain = c.StorageDomain
	}
	c.imported = &common.Import{
		File: file, Target: c.target, Origins: importOptions, Reuse: true, Keep: !c.KeepImageTemplate.False(),
		CleanupTimeout: c.CleanupTimeout,
	}
	common.DiskInterfaces.Check(report, "image_disk_interface", c.ImageDiskInterface)
	c.imported.Problems(report)
}

// target is the template that the image becomes: no more of a machine than what the engine makes of its own accord.
func (c *Config) target(request *pb.ImportImageRequest) {
	request.Target = &pb.ImportImageRequest_Template{Template: &pb.ImportedTemplate{
		Machine: &pb.MachineSpec{
			Template: common.Blank(), Cluster: c.Cluster, OperatingSystem: c.OperatingSystem, BiosType: common.BiosTypes[c.BiosType],
		},
		Name:          c.ImageTemplateName,
		StorageDomain: c.ImageStorageDomain,
		DiskInterface: common.DiskInterfaces[c.ImageDiskInterface],
	}}
}

var importOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "url", Option: "image_url"},
	{Field: "checksum", Option: "image_checksum"},
	{Field: "template.machine.cluster", Option: "cluster"},
	{Field: "template.machine.operating_system", Option: "operating_system"},
	{Field: "template.machine.bios_type", Option: "bios_type"},
	{Field: "template.name", Option: "image_template_name"},
	{Field: "template.storage_domain", Option: "image_storage_domain"},
	{Field: "template.disk_interface", Option: "image_disk_interface"},
}

// Check implements common.Checker.
func (c *Config) Check(ctx context.Context, state multistep.StateBag, newID func() string) error {
	return c.imported.Check(ctx, state, newID)
}

// Steps implements common.Source.
func (c *Config) Steps(newID func() string) []multistep.Step {
	return c.imported.Steps(newID)
}

// Put implements common.Source. Until the template of the image is there, what a machine is besides it can be checked all the same.
func (c *Config) Put(request *pb.CreateMachineRequest, state multistep.StateBag) {
	if id := common.Imported(state); id != "" {
		request.Spec.Template = &pb.TemplateRef{By: &pb.TemplateRef_Id{Id: id}}
		return
	}
	request.Spec.Template = common.Blank()
	if state != nil {
		request.Spec.BootDisk, request.Spec.TemplateDisks = nil, nil
	}
}

// Origins implements common.Source.
func (c *Config) Origins() options.Origins {
	return options.Origins{{Field: "spec.template", Option: "image_template_name"}}
}

// String is the template of the image.
func (c *Config) String() string {
	return "template " + c.ImageTemplateName
}
