package common

import (
	"slices"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// commonOptions, templateOptions and diskOptions say where the fields of the requests come from.
var commonOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "spec.name", Option: "vm_name"},
	{Field: "spec.description", Option: "vm_description"},
	{Field: "spec.tags", Option: "vm_tags"},
	{Field: "spec.cluster", Option: "cluster"},
	{Field: "spec.clone", Option: "full_clone"},
	{Field: "spec.cpu.sockets", Option: "cpu_sockets"},
	{Field: "spec.cpu.cores", Option: "cpu_cores"},
	{Field: "spec.cpu.threads", Option: "cpu_threads"},
	{Field: "spec.memory_bytes", Option: "memory"},
	{Field: "spec.guaranteed_memory_bytes", Option: "guaranteed_memory"},
	{Field: "spec.instance_type", Option: "instance_type"},
	{Field: "spec.bios_type", Option: "bios_type"},
	{Field: "spec.tpm", Option: "tpm"},
	{Field: "spec.virtio_scsi_multi_queues", Option: "virtio_scsi_multi_queues"},
	{Field: "spec.virtio_scsi", Option: "virtio_scsi"},
	{Field: "spec.nic_multi_queues", Option: "nic_multi_queues"},
	{Field: "spec.storage_domain", Option: "storage_domain"},
	{Field: "spec.boot_disk.size_bytes", Option: "boot_disk.size"},
	{Field: "spec.boot_disk.", Option: "boot_disk."},
	{Field: "spec.boot_disk", Option: "boot_disk"},
	{Field: "spec.template_disks[].size_bytes", Option: "template_disk[].size"},
	{Field: "spec.template_disks", Option: "template_disk"},
	{Field: "spec.new_disks[].size_bytes", Option: "disk[].size"},
	{Field: "spec.new_disks", Option: "disk"},
	{Field: "spec.attached_disks", Option: "attached_disk"},
	{Field: "spec.nics[].mac", Option: "network_interface[].mac_address"},
	{Field: "spec.nics", Option: "network_interface"},
	{Field: "spec.placement.hosts", Option: "placement_hosts"},
	{Field: "spec.placement.affinity", Option: "placement_affinity"},
	{Field: "spec.affinity_groups", Option: "affinity_groups"},
	{Field: "spec.affinity_labels", Option: "affinity_labels"},
	{Field: "spec.quota", Option: "quota"},
	{Field: "spec.custom_properties", Option: "custom_properties"},
	{Field: "start_with.user_name", Option: "ssh_username"},
	{Field: "start_with.host_name", Option: "host_name"},
	{Field: "start_with.time_zone", Option: "time_zone"},
	{Field: "start_with.nic_configurations", Option: "nic_configuration"},
	{Field: "start_with.dns_servers", Option: "dns_servers"},
	{Field: "start_with.dns_search_domains", Option: "dns_search_domains"},
	{Field: "start_with.ssh_password_authentication", Option: "ssh_password_authentication"},
	{Field: "start_with.user_data", Option: "user_data"},
	{Field: "start_with.ignition", Option: "ignition"},
	{Field: "start_with.sysprep.", Option: "sysprep."},
	{Field: "start_with.sysprep", Option: "sysprep"},
	{Field: "start_with.files", Option: "cd_files"},
	{Field: `timeouts["address"]`, Option: "ip_wait_timeout"},
	{Field: "address_selection.settle_time", Option: "ip_settle_timeout"},
	{Field: "address_selection.cidrs[]", Option: "ip_wait_address"},
	{Field: "address_selection.ignored_cidrs", Option: "ip_ignored_addresses"},
	{Field: "address_selection.family", Option: "ip_wait_family"},
	{Field: "address_selection.nics", Option: "ip_wait_interfaces"},
}

var templateOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "name", Option: "template_name"},
	{Field: "description", Option: "template_description"},
	{Field: "tags", Option: "template_tags"},
	{Field: "permissions", Option: "template_permission"},
	{Field: "clone_permissions", Option: "template_clone_permissions"},
	{Field: "storage_domain", Option: "template_storage_domain"},
	{Field: "disk_format", Option: "template_disk_format"},
	{Field: "seal", Option: "template_seal"},
	{Field: "new_version", Option: "new_version"},
	{Field: "version_name", Option: "version_name"},
	{Field: "keep_versions", Option: "keep_versions"},
	{Field: "boot_test.ssh_port", Option: "boot_test_ssh_port"},
	{Field: "boot_test.address_only", Option: "boot_test_address_only"},
	{Field: "boot_test.initialization.nic_configurations", Option: "nic_configuration"},
	{Field: "boot_test.initialization.dns_servers", Option: "dns_servers"},
	{Field: "boot_test.initialization.dns_search_domains", Option: "dns_search_domains"},
	{Field: "boot_test.initialization.ignition", Option: "ignition"},
	{Field: "boot_test.initialization.sysprep.", Option: "sysprep."},
	{Field: "boot_test.address_selection.settle_time", Option: "ip_settle_timeout"},
	{Field: "boot_test.address_selection.cidrs[]", Option: "ip_wait_address"},
	{Field: "boot_test.address_selection.ignored_cidrs", Option: "ip_ignored_addresses"},
	{Field: "boot_test.address_selection.family", Option: "ip_wait_family"},
	{Field: "boot_test.address_selection.nics", Option: "ip_wait_interfaces"},
	{Field: "boot_test", Option: "boot_test"},
}

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

// schemaProblems holds the requests that the configuration makes against the rules of the schema. Options that have a
// problem already are left out.
func (c *Config) schemaProblems(known []error) []error {
	const anyUUID, anyKey = "00000000-0000-4000-8000-000000000000", "packer"
	engine := &pb.EngineRef{Profile: c.Engine}
	first := firstBoot{}
	userData, err := c.renderUserData(firstBootVariables{HTTPIP: "192.0.2.1", HTTPPort: c.HTTPPortMin, Name: anyKey})
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
