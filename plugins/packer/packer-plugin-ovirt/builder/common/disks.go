//go:generate go tool packer-sdc struct-markdown

package common

import (
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Disk is a disk of the virtual machine: one of the source template's, changed, or a new one. In the template that is
// made, all of them are.
type Disk struct {
	// Name of the disk. In a `template_disk` block that of the disk in the
	// source template, and required. In a `disk` block the name in the engine,
	// by default `<name of the virtual machine>_Disk<number>`. Not in the
	// `boot_disk` block.
	Name string `mapstructure:"name" required:"false"`
	// Size in GiB. Required in a `disk` block. A disk of the source template is
	// grown to it before the first start, and never shrinks.
	Size int `mapstructure:"size" required:"false"`
	// Name of the storage domain. By default `storage_domain` of the builder,
	// else where the source template has the disk; for a new disk, where the
	// boot disk is.
	StorageDomain string `mapstructure:"storage_domain" required:"false"`
	// `cow` (QCOW2) or `raw`. By default as in the source template, and `cow`
	// for a new disk. A disk of the source template can be changed with
	// `full_clone` only.
	Format string `mapstructure:"format" required:"false"`
	// Allocate the disk as it fills. By default as in the source template, and
	// what the format needs for a new disk. A disk of the source template can
	// be changed with `full_clone` only.
	Sparse config.Trilean `mapstructure:"sparse" required:"false"`
	// `virtio_scsi`, `virtio`, `sata` or `ide`. By default as in the source
	// template, and as the boot disk for a new disk.
	Interface string `mapstructure:"interface" required:"false"`
	// Boot from this disk. At most one disk is bootable: to boot from another
	// than the source template does, set `bootable = false` in `boot_disk`.
	Bootable config.Trilean `mapstructure:"bootable" required:"false"`
	// The guest may not write to the disk.
	ReadOnly config.Trilean `mapstructure:"read_only" required:"false"`
	// Pass the guest's TRIM on to the storage.
	PassDiscard config.Trilean `mapstructure:"pass_discard" required:"false"`
	// Overwrite the disk's blocks when it is removed.
	WipeAfterDelete config.Trilean `mapstructure:"wipe_after_delete" required:"false"`
	// Tell the guest of I/O errors instead of pausing the virtual machine.
	PropagateErrors config.Trilean `mapstructure:"propagate_errors" required:"false"`
	// Allow incremental backup. `cow` disks only.
	IncrementalBackup config.Trilean `mapstructure:"incremental_backup" required:"false"`
	// Name of the quota. By default `quota` of the builder.
	Quota string `mapstructure:"quota" required:"false"`
}

// CloneConfig is how a virtual machine is made of a template.
type CloneConfig struct {
	// Copy the disks of the source template in full instead of layering thin
	// disks on them. Slower, but disks that do not depend on the source template
	// while the build runs. Defaults to `false`.
	FullClone bool `mapstructure:"full_clone" required:"false"`
	// Changes to the disk that the source template boots from, as a block. See
	// [Disks](#disks).
	BootDisk Disk `mapstructure:"boot_disk" required:"false"`
	// Changes to other disks of the source template, as blocks that may be
	// repeated. See [Disks](#disks).
	TemplateDisks []Disk `mapstructure:"template_disk" required:"false"`
}

// Clone lets what embeds it be a Source.
func (c *CloneConfig) Clone() *CloneConfig { return c }

// Installs says no: the template has an operating system.
func (c *CloneConfig) Installs() bool { return false }

// AttachedDisk is a disk that exists in the engine and is not the build's: it is attached while the build runs, never
// changed by it otherwise, and detached in every outcome.
type AttachedDisk struct {
	// ID of the disk in the engine.
	ID string `mapstructure:"id" required:"true"`
	// `virtio_scsi`, `virtio`, `sata` or `ide`. By default as the boot disk.
	Interface string `mapstructure:"interface" required:"false"`
	// Boot from this disk; set `bootable = false` in `boot_disk` then.
	Bootable bool `mapstructure:"bootable" required:"false"`
	// The guest may not write to the disk.
	ReadOnly bool `mapstructure:"read_only" required:"false"`
	// Pass the guest's TRIM on to the storage.
	PassDiscard bool `mapstructure:"pass_discard" required:"false"`
}

// The words for what a disk is.
var (
	DiskInterfaces = WordsOf[pb.DiskInterface]("DISK_INTERFACE_", pb.DiskInterface_value)
	DiskFormats    = WordsOf[pb.DiskFormat]("DISK_FORMAT_", pb.DiskFormat_value)
)

func (c *CloneConfig) put(spec *pb.MachineSpec) {
	spec.Clone = c.FullClone
	if c.BootDisk != (Disk{}) {
		spec.BootDisk = c.BootDisk.spec()
	}
	for _, disk := range c.TemplateDisks {
		spec.TemplateDisks = append(spec.TemplateDisks, disk.spec())
	}
}

func (d *Disk) spec() *pb.DiskSpec {
	return &pb.DiskSpec{
		Name:              d.Name,
		SizeBytes:         bytesOf(d.Size, gibibyte),
		StorageDomain:     d.StorageDomain,
		Format:            DiskFormats[d.Format],
		Sparse:            d.Sparse.ToBoolPointer(),
		Interface:         DiskInterfaces[d.Interface],
		Bootable:          d.Bootable.ToBoolPointer(),
		ReadOnly:          d.ReadOnly.ToBoolPointer(),
		PassDiscard:       d.PassDiscard.ToBoolPointer(),
		WipeAfterDelete:   d.WipeAfterDelete.ToBoolPointer(),
		PropagateErrors:   d.PropagateErrors.ToBoolPointer(),
		IncrementalBackup: d.IncrementalBackup.ToBoolPointer(),
		Quota:             d.Quota,
	}
}

func (d *AttachedDisk) spec() *pb.AttachedDisk {
	return &pb.AttachedDisk{
		Id:          d.ID,
		Interface:   DiskInterfaces[d.Interface],
		Bootable:    d.Bootable,
		ReadOnly:    d.ReadOnly,
		PassDiscard: d.PassDiscard,
	}
}

// diskProblems are those that the request cannot express.
func (c *Config) diskProblems(report Reporter) {
	c.reportBootable(report)
	c.eachDisk(func(option string, disk *Disk) {
		DiskFormats.Check(report, option+".format", disk.Format)
		DiskInterfaces.Check(report, option+".interface", disk.Interface)
		if disk.Size < 0 {
			report(option+".size", "%d is negative; give GiB", disk.Size)
		}
	})
	for i, disk := range c.AttachedDisks {
		DiskInterfaces.Check(report, indexed("attached_disk", i)+".interface", disk.Interface)
	}
}

// eachDisk visits the disks that the virtual machine will own, each with the block that names it to the user.
func (c *Config) eachDisk(visit func(option string, disk *Disk)) {
	if clone := c.source.Clone(); clone != nil {
		visit("boot_disk", &clone.BootDisk)
		for i := range clone.TemplateDisks {
			visit(indexed("template_disk", i), &clone.TemplateDisks[i])
		}
	}
	for i := range c.Disks {
		visit(indexed("disk", i), &c.Disks[i])
	}
}

// reportBootable reports when more than one disk is to be booted from; the source template's is one of them unless the
// configuration says otherwise.
func (c *Config) reportBootable(report Reporter) {
	var bootable []string
	c.eachDisk(func(option string, disk *Disk) {
		isDefault := option == "boot_disk" && !disk.Bootable.False()
		if isDefault || disk.Bootable.True() {
			bootable = append(bootable, option)
		}
	})
	for i, disk := range c.AttachedDisks {
		if disk.Bootable {
			bootable = append(bootable, indexed("attached_disk", i))
		}
	}
	switch {
	case len(bootable) < 2:
	case len(bootable) == 2 && bootable[0] == "boot_disk":
		report(bootable[1]+".bootable", "the source template boots from its own disk; set bootable = false in boot_disk, too")
	default:
		report(bootable[len(bootable)-1]+".bootable", "a machine boots from one disk, but %s are bootable", strings.Join(bootable, ", "))
	}
}
