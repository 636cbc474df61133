//go:generate go tool packer-sdc struct-markdown

package common

import (
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
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

// HardwareConfig is what a virtual machine is besides its disks.
type HardwareConfig struct {
	// Name of the cluster. By default the cluster of the source template.
	Cluster string `mapstructure:"cluster" required:"false"`
	// Operating system as the engine calls it, such as `debian_9` or
	// `windows_2022`. By default as the source template.
	OperatingSystem string `mapstructure:"operating_system" required:"false"`

	// Number of CPU sockets. By default as the source template.
	CPUSockets int `mapstructure:"cpu_sockets" required:"false"`
	// Number of cores per CPU socket. By default as the source template.
	CPUCores int `mapstructure:"cpu_cores" required:"false"`
	// Number of threads per CPU core. By default as the source template.
	CPUThreads int `mapstructure:"cpu_threads" required:"false"`
	// Memory in MiB. By default as the source template.
	Memory int `mapstructure:"memory" required:"false"`
	// Memory in MiB that the host keeps for the virtual machine; at most
	// `memory`. By default as the source template.
	GuaranteedMemory int `mapstructure:"guaranteed_memory" required:"false"`
	// Name of an instance type, which stands in for the source template in what
	// it defines, such as CPUs and memory.
	InstanceType string `mapstructure:"instance_type" required:"false"`
	// Firmware and chipset: `cluster_default`, `i440fx_sea_bios`,
	// `q35_sea_bios`, `q35_ovmf` (UEFI) or `q35_secure_boot` (UEFI with Secure
	// Boot). By default as the source template.
	BiosType string `mapstructure:"bios_type" required:"false"`
	// Give the virtual machine a TPM, which takes UEFI. By default as the source
	// template.
	TPM config.Trilean `mapstructure:"tpm" required:"false"`
	// Give the virtual machine a VirtIO-SCSI controller. By default as the
	// source template.
	VirtioSCSI config.Trilean `mapstructure:"virtio_scsi" required:"false"`
	// Several queues for that controller, as many as suit the CPUs. By default
	// as the source template.
	VirtioSCSIMultiQueues config.Trilean `mapstructure:"virtio_scsi_multi_queues" required:"false"`
	// Several queues for each network interface. By default as the source
	// template.
	NicMultiQueues config.Trilean `mapstructure:"nic_multi_queues" required:"false"`

	// Network interfaces of the virtual machine, as blocks that may be
	// repeated. By default those of the source template. See
	// [Network interfaces](#network-interfaces).
	NetworkInterfaces []NetworkInterface `mapstructure:"network_interface" required:"false"`

	// Names of the hosts that the virtual machine may run on. By default as the
	// source template.
	PlacementHosts []string `mapstructure:"placement_hosts" required:"false"`
	// Whether it may migrate: `migratable`, `user_migratable` or `pinned`. By
	// default as the source template.
	PlacementAffinity string `mapstructure:"placement_affinity" required:"false"`
	// Names of affinity groups of the cluster that the virtual machine joins.
	AffinityGroups []string `mapstructure:"affinity_groups" required:"false"`
	// Names of affinity labels that the virtual machine gets.
	AffinityLabels []string `mapstructure:"affinity_labels" required:"false"`
	// Name of the quota for the virtual machine and its disks.
	Quota string `mapstructure:"quota" required:"false"`
	// Custom properties by name, besides those of the source template. An empty
	// value takes away one of the source template's.
	CustomProperties map[string]string `mapstructure:"custom_properties" required:"false"`
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

// NetworkInterface is a virtual network interface card.
type NetworkInterface struct {
	// Name of the card in the engine, such as `nic1`.
	Name string `mapstructure:"name" required:"true"`
	// Name of the vNIC profile in the data center of the cluster: `profile`, or
	// `network/profile` where several networks have a profile of that name.
	// It or `network` is required for a card that the source template does not
	// have.
	VnicProfile string `mapstructure:"vnic_profile" required:"false"`
	// Name of the network, in place of `vnic_profile`: its only vNIC profile,
	// or the one of the network's own name.
	Network string `mapstructure:"network" required:"false"`
	// `virtio`, `e1000`, `e1000e`, `rtl8139` or `pci_passthrough`. By default as
	// in the source template, and `virtio` for a new card.
	Interface string `mapstructure:"interface" required:"false"`
	// MAC address, such as `56:6f:ab:cd:00:05`. By default the next of the
	// cluster's MAC pool.
	MACAddress string `mapstructure:"mac_address" required:"false"`
	// Whether the cable is plugged in. Defaults to `true`.
	Linked config.Trilean `mapstructure:"linked" required:"false"`
}

var (
	BiosTypes      = WordsOf[pb.BiosType]("BIOS_TYPE_", pb.BiosType_value)
	DiskInterfaces = WordsOf[pb.DiskInterface]("DISK_INTERFACE_", pb.DiskInterface_value)
	DiskFormats    = WordsOf[pb.DiskFormat]("DISK_FORMAT_", pb.DiskFormat_value)
	nicInterfaces  = WordsOf[pb.NicInterface]("NIC_INTERFACE_", pb.NicInterface_value)
	affinities     = WordsOf[pb.Placement_Affinity]("AFFINITY_", pb.Placement_Affinity_value)
)

// machineSpec is the virtual machine that the configuration describes, but for where it comes from.
func (c *Config) machineSpec(key string) *pb.MachineSpec {
	spec := &pb.MachineSpec{
		Name:          c.vmName(key),
		Description:   c.VMDescription,
		Tags:          c.VMTags,
		StorageDomain: c.StorageDomain,
		VncConsole:    len(c.BootCommand) > 0,
	}
	c.HardwareConfig.Put(spec)
	if clone := c.source.Clone(); clone != nil {
		clone.put(spec)
	}
	for _, disk := range c.Disks {
		spec.NewDisks = append(spec.NewDisks, disk.spec())
	}
	for _, disk := range c.AttachedDisks {
		spec.AttachedDisks = append(spec.AttachedDisks, &pb.AttachedDisk{
			Id:          disk.ID,
			Interface:   DiskInterfaces[disk.Interface],
			Bootable:    disk.Bootable,
			ReadOnly:    disk.ReadOnly,
			PassDiscard: disk.PassDiscard,
		})
	}
	return spec
}

// longestWindowsName is how many characters Windows takes as the name of a computer.
const longestWindowsName = 15

// isWindows says whether the virtual machine is told to be a Windows; a template may make it one all the same.
func (c *Config) isWindows() bool {
	return strings.HasPrefix(c.OperatingSystem, "windows")
}

// vmName is the name of the virtual machine; empty where the daemon derives it from the key.
func (c *Config) vmName(key string) string {
	if c.VMName == "" && c.isWindows() {
		return "packer-" + key[max(0, len(key)-8):]
	}
	return c.VMName
}

// Put puts the hardware into a request.
func (c *HardwareConfig) Put(spec *pb.MachineSpec) {
	spec.Cluster = c.Cluster
	spec.OperatingSystem = c.OperatingSystem
	spec.InstanceType = c.InstanceType
	spec.MemoryBytes = bytesOf(c.Memory, mebibyte)
	spec.GuaranteedMemoryBytes = bytesOf(c.GuaranteedMemory, mebibyte)
	spec.BiosType = BiosTypes[c.BiosType]
	spec.Tpm = c.TPM.ToBoolPointer()
	spec.VirtioScsi = c.VirtioSCSI.ToBoolPointer()
	spec.VirtioScsiMultiQueues = c.VirtioSCSIMultiQueues.ToBoolPointer()
	spec.NicMultiQueues = c.NicMultiQueues.ToBoolPointer()
	spec.AffinityGroups = c.AffinityGroups
	spec.AffinityLabels = c.AffinityLabels
	spec.Quota = c.Quota
	spec.CustomProperties = c.CustomProperties
	if c.CPUSockets != 0 || c.CPUCores != 0 || c.CPUThreads != 0 {
		spec.Cpu = &pb.Cpu{Sockets: options.ToInt32(c.CPUSockets), Cores: options.ToInt32(c.CPUCores), Threads: options.ToInt32(c.CPUThreads)}
	}
	if len(c.PlacementHosts) > 0 || c.PlacementAffinity != "" {
		spec.Placement = &pb.Placement{Hosts: c.PlacementHosts, Affinity: affinities[c.PlacementAffinity]}
	}
	for _, nic := range c.NetworkInterfaces {
		spec.Nics = append(spec.Nics, &pb.Nic{
			Name:        nic.Name,
			VnicProfile: nic.VnicProfile,
			Network:     nic.Network,
			Interface:   nicInterfaces[nic.Interface],
			Mac:         nic.MACAddress,
			Linked:      nic.Linked.ToBoolPointer(),
		})
	}
}

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

// Problems reports what the request cannot express.
func (c *HardwareConfig) Problems(report Reporter) {
	for _, memory := range []struct {
		option string
		value  int
	}{{"memory", c.Memory}, {"guaranteed_memory", c.GuaranteedMemory}} {
		if memory.value < 0 {
			report(memory.option, "%d is negative; give MiB, or leave it out to inherit it from the source template", memory.value)
		}
	}
	BiosTypes.Check(report, "bios_type", c.BiosType)
	affinities.Check(report, "placement_affinity", c.PlacementAffinity)
	for i, nic := range c.NetworkInterfaces {
		nicInterfaces.Check(report, indexed("network_interface", i)+".interface", nic.Interface)
	}
}

// machineProblems are those that the request cannot express.
func (c *Config) machineProblems(report Reporter) {
	if c.isWindows() && len(c.VMName) > longestWindowsName {
		report("vm_name", "'%s' has %d characters; a Windows takes at most %d", c.VMName, len(c.VMName), longestWindowsName)
	}
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

// bytesOf converts from a larger unit; what is negative is reported elsewhere.
func bytesOf(value int, unit int64) int64 {
	return max(0, int64(value)) * unit
}

// Blank names the template of the engine that has nothing.
func Blank() *pb.TemplateRef {
	return &pb.TemplateRef{By: &pb.TemplateRef_Name{Name: "Blank"}}
}
