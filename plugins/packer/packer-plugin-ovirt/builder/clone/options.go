package clone

import (
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// machineOptions and templateOptions say where the fields of the two requests come from.
var machineOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "spec.template.id", Option: "source_template_id"},
	{Field: "spec.template.version", Option: "source_template_version"},
	{Field: "spec.template", Option: "source_template_name"},
	{Field: "spec.name", Option: "vm_name"},
	{Field: "spec.description", Option: "vm_description"},
	{Field: "spec.cluster", Option: "cluster"},
	{Field: "spec.cpu.sockets", Option: "cpu_sockets"},
	{Field: "spec.cpu.cores", Option: "cpu_cores"},
	{Field: "spec.cpu.threads", Option: "cpu_threads"},
	{Field: "spec.memory_bytes", Option: "memory"},
	{Field: "spec.nics", Option: "network_interface"},
	{Field: "start_with.user_name", Option: "ssh_username"},
	{Field: "start_with.host_name", Option: "host_name"},
	{Field: "start_with.nic_configurations", Option: "nic_configuration"},
	{Field: "start_with.user_data", Option: "custom_script"},
}

var templateOptions = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "name", Option: "template_name"},
	{Field: "description", Option: "template_description"},
	{Field: "seal", Option: "template_seal"},
}

// schemaProblems holds the requests that the configuration makes against the rules of the schema. Options that have a
// problem already are left out.
func schemaProblems(c *Config, known []error) []error {
	const anyUUID, anyKey = "00000000-0000-4000-8000-000000000000", "packer"
	engine := &pb.EngineRef{Profile: c.Engine}
	return append(
		machineOptions.Check(c.createMachine(engine, anyUUID, anyKey, ""), known),
		templateOptions.Check(c.createTemplate(nil, anyUUID, anyKey), known)...,
	)
}
