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
	BiosTypes     = WordsOf[pb.BiosType]("BIOS_TYPE_", pb.BiosType_value)
	nicInterfaces = WordsOf[pb.NicInterface]("NIC_INTERFACE_", pb.NicInterface_value)
	affinities    = WordsOf[pb.Placement_Affinity]("AFFINITY_", pb.Placement_Affinity_value)
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
		spec.AttachedDisks = append(spec.AttachedDisks, disk.spec())
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
	c.diskProblems(report)
}

// bytesOf converts from a larger unit; what is negative is reported elsewhere.
func bytesOf(value int, unit int64) int64 {
	return max(0, int64(value)) * unit
}

// Blank names the template of the engine that has nothing.
func Blank() *pb.TemplateRef {
	return &pb.TemplateRef{By: &pb.TemplateRef_Name{Name: "Blank"}}
}
