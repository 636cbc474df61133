//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config
//go:generate go tool packer-sdc struct-markdown

package iso

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// Config is the configuration of the builder, as the user writes it.
type Config struct {
	common.Config            `mapstructure:",squash"`
	commonsteps.FloppyConfig `mapstructure:",squash"`

	// Name of an ISO image that the engine has: that of a disk in a data domain,
	// or of a file in an ISO domain. One of this, `iso_disk_id`, `iso_url` and
	// `iso_urls` is required.
	ISOName string `mapstructure:"iso_name" required:"false"`
	// ID of the disk of an ISO image that the engine has.
	ISODiskID string `mapstructure:"iso_disk_id" required:"false"`
	// Path of an ISO image on this host, or its URL. The daemon fetches what is at
	// an `https://` URL; anything else Packer downloads to its cache on this host
	// and uploads.
	ISOURL string `mapstructure:"iso_url" required:"false"`
	// URLs of one and the same ISO image, of which Packer downloads the first that
	// answers, in place of `iso_url`.
	ISOURLs []string `mapstructure:"iso_urls" required:"false"`
	// Checksum of the ISO image: `sha256:…`, `sha512:…`, the digits alone, or
	// `file:` with the path or URL of a file of checksums. Required with URLs,
	// where it may not be `none`. For a file of this host it may be `md5:…` and
	// `sha1:…`, too, and is left out at will.
	ISOChecksum string `mapstructure:"iso_checksum" required:"false"`
	// Name of the storage domain for the disk that the ISO image becomes in the
	// engine. By default `storage_domain`.
	ISOStorageDomain string `mapstructure:"iso_storage_domain" required:"false"`
	// Keep that disk in the engine, so that the next build with the same ISO image
	// uploads and imports nothing. A build that fails or is cancelled keeps none
	// that it made. Defaults to `true`.
	KeepISODisk config.Trilean `mapstructure:"keep_iso_disk" required:"false"`
	// From what the virtual machine boots, in order: `hd`, `cdrom` and
	// `network`. Defaults to `["hd", "cdrom"]`: a blank disk leaves it to the ISO
	// image, and what was installed on it boots later.
	BootOrder []string `mapstructure:"boot_order" required:"false"`

	// imported is nil where the engine has the ISO image.
	imported *common.Import
}

var (
	_ common.Source  = (*Config)(nil)
	_ common.Checker = (*Config)(nil)
)

var bootDevices = common.WordsOf[pb.BootDevice]("BOOT_DEVICE_", pb.BootDevice_value)

// Clone says that the machine is made of no template.
func (c *Config) Clone() *common.CloneConfig { return nil }

// Installs says that the first start installs the operating system.
func (c *Config) Installs() bool { return true }

// Prepare implements common.Source.
func (c *Config) Prepare(report common.Reporter) {
	for _, problem := range c.FloppyConfig.Prepare(nil) {
		report("floppy_files", "%s", problem)
	}
	c.prepareISO(report)
	if c.Cluster == "" {
		report("cluster", "is required: an ISO image is of none")
	}
	if len(c.Disks) == 0 {
		report("disk", "at least one block is required, for what is installed")
	}
	if len(c.FloppyDirectories) > 0 {
		report("floppy_dirs", "cannot be: the engine makes floppies without folders; floppy_files puts the files of a folder side by side")
	}
	if c.hasFloppy() && c.hasCD() {
		report("floppy_files", "does not go with cd_files and cd_content: the engine makes one volume of files")
	}
	for _, device := range c.BootOrder {
		bootDevices.Check(report, "boot_order", device)
	}
}

func (c *Config) prepareISO(report common.Reporter) {
	sources := c.ISOURLs
	if c.ISOURL != "" {
		sources = append([]string{c.ISOURL}, sources...)
	}
	var given []string
	for _, one := range []struct {
		option  string
		isGiven bool
	}{
		{"iso_name", c.ISOName != ""},
		{"iso_disk_id", c.ISODiskID != ""},
		{"iso_url", c.ISOURL != ""},
		{"iso_urls", len(c.ISOURLs) > 0},
	} {
		if one.isGiven {
			given = append(given, one.option)
		}
	}
	switch {
	case len(given) == 0:
		report("iso_url", "one of it, iso_urls, iso_name and iso_disk_id is required")
		return
	case len(given) > 1:
		report(given[1], "is given next to %s; give one of them", given[0])
		return
	case len(sources) == 0:
		return
	}
	if c.ISOStorageDomain == "" {
		c.ISOStorageDomain = c.StorageDomain
	}
	c.imported = &common.Import{
		File:   common.NewImageFile(report, given[0], sources, "iso_checksum", c.ISOChecksum),
		Target: c.target, Origins: importOptions, Reuse: true, Keep: !c.KeepISODisk.False(), CleanupTimeout: c.CleanupTimeout,
	}
	c.imported.Problems(report)
}

// target is the disk that the ISO image becomes.
func (c *Config) target(request *pb.ImportImageRequest) {
	request.Target = &pb.ImportImageRequest_Disk{Disk: &pb.ImportedDisk{
		Name: c.imported.File.Name(), StorageDomain: c.ISOStorageDomain,
	}}
}

var importOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "url", Option: "iso_url"},
	{Field: "checksum", Option: "iso_checksum"},
	{Field: "disk.name", Option: "iso_url"},
	{Field: "disk.storage_domain", Option: "iso_storage_domain"},
}

// Check implements common.Checker.
func (c *Config) Check(ctx context.Context, state multistep.StateBag, newID func() string) error {
	if c.imported == nil {
		return nil
	}
	return c.imported.Check(ctx, state, newID)
}

// Steps implements common.Source.
func (c *Config) Steps(newID func() string) []multistep.Step {
	steps := []multistep.Step{&stepReadPayload{config: c}}
	if c.imported != nil {
		steps = append(steps, c.imported.Steps(newID)...)
	}
	return steps
}

// Put implements common.Source.
func (c *Config) Put(request *pb.CreateMachineRequest, state multistep.StateBag) {
	request.Spec.Template = common.Blank()
	request.StartMedia = &pb.Media{CdRom: c.cdRom(state), Payload: c.payload(state)}
	for _, device := range c.BootOrder {
		request.StartMedia.BootOrder = append(request.StartMedia.BootOrder, bootDevices[device])
	}
}

// cdRom is the disc in the drive; nil while the engine does not have it yet.
func (c *Config) cdRom(state multistep.StateBag) *pb.CdRom {
	switch id := common.Imported(state); {
	case id != "":
		return &pb.CdRom{By: &pb.CdRom_DiskId{DiskId: id}}
	case c.ISODiskID != "":
		return &pb.CdRom{By: &pb.CdRom_DiskId{DiskId: c.ISODiskID}}
	case c.ISOName != "":
		return &pb.CdRom{By: &pb.CdRom_Name{Name: c.ISOName}}
	default:
		return nil
	}
}

// payload is the volume of small files that the machine gets besides; nil where there is none. Before the build runs, it is what needs
// no reading.
func (c *Config) payload(state multistep.StateBag) *pb.Payload {
	files := map[string][]byte{}
	for name, content := range c.contents() {
		files["/"+strings.TrimPrefix(name, "/")] = []byte(content)
	}
	if state != nil {
		if read, isRead := state.Get(statePayload).(map[string][]byte); isRead {
			files = read
		}
	}
	if len(files) == 0 {
		return nil
	}
	payload := &pb.Payload{Type: pb.Payload_TYPE_FLOPPY, VolumeId: c.FloppyLabel}
	if c.hasCD() {
		payload.Type, payload.VolumeId = pb.Payload_TYPE_CDROM, c.CDLabel
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		payload.Files = append(payload.Files, &pb.PayloadFile{Name: strings.TrimPrefix(name, "/"), Content: string(files[name])})
	}
	return payload
}

func (c *Config) hasFloppy() bool {
	return len(c.FloppyFiles) > 0 || len(c.FloppyContent) > 0
}

func (c *Config) hasCD() bool {
	return len(c.CDFiles) > 0 || len(c.CDContent) > 0
}

// contents are the files of the volume whose contents the configuration has.
func (c *Config) contents() map[string]string {
	if c.hasCD() {
		return c.CDContent
	}
	return c.FloppyContent
}

// Origins implements common.Source.
func (c *Config) Origins() options.Origins {
	files := "floppy_content"
	if c.hasCD() {
		files = "cd_content"
	}
	return options.Origins{
		{Field: "spec.template", Option: "cluster"},
		{Field: "start_media.cd_rom.disk_id", Option: "iso_disk_id"},
		{Field: "start_media.cd_rom", Option: "iso_name"},
		{Field: "start_media.boot_order", Option: "boot_order"},
		{Field: "start_media.payload.volume_id", Option: strings.TrimSuffix(files, "content") + "label"},
		{Field: "start_media.payload.files", Option: files},
		{Field: "start_media.payload", Option: files},
	}
}

// String is the ISO image, as the user named it.
func (c *Config) String() string {
	switch {
	case c.imported != nil:
		return "ISO image " + c.imported.File.String()
	case c.ISODiskID != "":
		return "ISO image " + c.ISODiskID
	default:
		return "ISO image " + c.ISOName
	}
}
