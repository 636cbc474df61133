package common

import (
	"slices"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// commonOptions, templateOptions and diskOptions say where the fields of the requests come from.
var commonOptions = slices.Concat(HardwareOrigins("spec."), options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "spec.name", Option: "vm_name"},
	{Field: "spec.description", Option: "vm_description"},
	{Field: "spec.tags", Option: "vm_tags"},
	{Field: "spec.vnc_console", Option: "boot_command"},
	{Field: "spec.clone", Option: "full_clone"},
	{Field: "spec.storage_domain", Option: "storage_domain"},
	{Field: "spec.boot_disk.size_bytes", Option: "boot_disk.size"},
	{Field: "spec.boot_disk.", Option: "boot_disk."},
	{Field: "spec.boot_disk", Option: "boot_disk"},
	{Field: "spec.template_disks[].size_bytes", Option: "template_disk[].size"},
	{Field: "spec.template_disks", Option: "template_disk"},
	{Field: "spec.new_disks[].size_bytes", Option: "disk[].size"},
	{Field: "spec.new_disks", Option: "disk"},
	{Field: "spec.attached_disks", Option: "attached_disk"},
	{Field: "start_with.user_name", Option: "ssh_username"},
	{Field: "start_with.host_name", Option: "host_name"},
	{Field: "start_with.time_zone", Option: "time_zone"},
	{Field: "start_with.ssh_password_authentication", Option: "ssh_password_authentication"},
	{Field: "start_with.user_data", Option: "user_data"},
	{Field: "start_with.files", Option: "cd_files"},
	{Field: `timeouts["address"]`, Option: "ip_wait_timeout"},
}, guestOrigins("start_with."), addressOrigins("address_selection."))

var templateOptions = slices.Concat(TemplateOrigins(""), options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "clone_permissions", Option: "template_clone_permissions"},
	{Field: "seal", Option: "template_seal"},
	{Field: "sparsify", Option: "sparsify"},
	{Field: "boot_test.ssh_port", Option: "boot_test_ssh_port"},
	{Field: "boot_test.address_only", Option: "boot_test_address_only"},
}, guestOrigins("boot_test.initialization."), addressOrigins("boot_test.address_selection."), options.Origins{
	{Field: "boot_test", Option: "boot_test"},
})

var diskOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "name", Option: "detached_disk.name"},
	{Field: "description", Option: "detached_disk.description"},
	{Field: "permissions", Option: "detached_disk.permission"},
}

// machineOptions say where the fields of the request for a machine come from.
func (c *Config) machineOptions() options.Origins {
	return slices.Concat(c.source.Origins(), commonOptions)
}

// HardwareOrigins say where the fields of a MachineSpec come from that HardwareConfig sets.
func HardwareOrigins(prefix string) options.Origins {
	return options.Origins{
		{Field: prefix + "cluster", Option: "cluster"},
		{Field: prefix + "operating_system", Option: "operating_system"},
		{Field: prefix + "cpu.sockets", Option: "cpu_sockets"},
		{Field: prefix + "cpu.cores", Option: "cpu_cores"},
		{Field: prefix + "cpu.threads", Option: "cpu_threads"},
		{Field: prefix + "memory_bytes", Option: "memory"},
		{Field: prefix + "guaranteed_memory_bytes", Option: "guaranteed_memory"},
		{Field: prefix + "instance_type", Option: "instance_type"},
		{Field: prefix + "bios_type", Option: "bios_type"},
		{Field: prefix + "tpm", Option: "tpm"},
		{Field: prefix + "virtio_scsi_multi_queues", Option: "virtio_scsi_multi_queues"},
		{Field: prefix + "virtio_scsi", Option: "virtio_scsi"},
		{Field: prefix + "nic_multi_queues", Option: "nic_multi_queues"},
		{Field: prefix + "nics[].mac", Option: "network_interface[].mac_address"},
		{Field: prefix + "nics", Option: "network_interface"},
		{Field: prefix + "placement.hosts", Option: "placement_hosts"},
		{Field: prefix + "placement.affinity", Option: "placement_affinity"},
		{Field: prefix + "affinity_groups", Option: "affinity_groups"},
		{Field: prefix + "affinity_labels", Option: "affinity_labels"},
		{Field: prefix + "quota", Option: "quota"},
		{Field: prefix + "custom_properties", Option: "custom_properties"},
	}
}

// guestOrigins say where the fields of an Initialization come from that the guests of the build and of its boot test are both told.
func guestOrigins(prefix string) options.Origins {
	return options.Origins{
		{Field: prefix + "nic_configurations", Option: "nic_configuration"},
		{Field: prefix + "dns_servers", Option: "dns_servers"},
		{Field: prefix + "dns_search_domains", Option: "dns_search_domains"},
		{Field: prefix + "ignition", Option: "ignition"},
		{Field: prefix + "sysprep.", Option: "sysprep."},
		{Field: prefix + "sysprep", Option: "sysprep"},
	}
}

// addressOrigins say where the fields of an AddressSelection come from.
func addressOrigins(prefix string) options.Origins {
	return options.Origins{
		{Field: prefix + "settle_time", Option: "ip_settle_timeout"},
		{Field: prefix + "cidrs[]", Option: "ip_wait_address"},
		{Field: prefix + "ignored_cidrs", Option: "ip_ignored_addresses"},
		{Field: prefix + "family", Option: "ip_wait_family"},
		{Field: prefix + "nics", Option: "ip_wait_interfaces"},
	}
}

// TemplateOrigins say where the fields come from that TemplateConfig sets.
func TemplateOrigins(prefix string) options.Origins {
	return options.Origins{
		{Field: prefix + "name", Option: "template_name"},
		{Field: prefix + "description", Option: "template_description"},
		{Field: prefix + "tags", Option: "template_tags"},
		{Field: prefix + "permissions", Option: "template_permission"},
		{Field: prefix + "storage_domain", Option: "template_storage_domain"},
		{Field: prefix + "disk_format", Option: "template_disk_format"},
		{Field: prefix + "new_version", Option: "new_version"},
		{Field: prefix + "version_name", Option: "version_name"},
		{Field: prefix + "keep_versions", Option: "keep_versions"},
	}
}

// schemaProblems holds the requests that the configuration makes against the rules of the schema. Options that have a
// problem already are left out.
func (c *Config) schemaProblems(known []error) []error {
	const anyUUID, anyKey = "00000000-0000-4000-8000-000000000000", "packer"
	engine := &pb.EngineRef{Profile: c.Engine}
	first := firstBoot{}
	userData, err := c.renderUserData(guestVariables{HTTPIP: "192.0.2.1", HTTPPort: c.HTTPPortMin, Name: anyKey})
	if err != nil {
		known = append(known, &options.Problem{Option: "user_data", Text: err.Error()})
	}
	first.userData = userData
	problems := c.machineOptions().Check(c.createMachine(engine, anyUUID, anyKey, first, nil), known)
	switch c.output() {
	case outputTemplate:
		problems = append(problems, templateOptions.Check(c.createTemplate(nil, anyUUID, anyKey), append(known, problems...))...)
	case outputDisk:
		problems = append(problems, diskOptions.Check(c.detachDisk(nil, anyUUID, anyKey), append(known, problems...))...)
	case outputNothing:
	}
	if err != nil {
		problems = append(problems, known[len(known)-1])
	}
	return problems
}
