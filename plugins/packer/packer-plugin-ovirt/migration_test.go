package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The options of the other plugins, from their generated config specs: oVirt/packer-plugin-ovirt 1.0.0 and
// mikelaws/packer-plugin-olvm 1.0.4. Those of Packer's communicators are the same everywhere.
var otherOptions = map[string]string{
	"From `ovirt-ovirt`": `ovirt_url insecure_skip_tls_verify username password cluster source_type source_template_name
		source_template_version source_template_id source_iso cd_name cd_files cd_content boot_keygroup_interval boot_wait
		boot_command disable_vnc boot_key_interval vnc_password vnc_ip vnc_port vm_name address netmask gateway nic_name
		disk_name disk_description disk_size cpu_cores cpu_sockets memory operating_system tpm template_name
		template_description network vnic_profile storage_domain bios_type cloud_init sysprep shutdown_command remove_cdrom`,
	"From `olvm`": `olvm_url tls_insecure username password cluster source_template_name source_template_version
		source_template_id source_disk_name source_disk_id vm_name vm_vcpu_count vm_memory_mb vm_storage_driver address
		netmask gateway network_name vnic_profile dns_servers os_interface_name destination_template_name
		destination_template_description cleanup_interfaces cleanup_vm export_host export_directory export_file_name
		max_retries retry_interval_sec template_seal`,
}

// section is the part of a page below a heading.
func section(page, heading string) string {
	_, below, _ := strings.Cut(page, "\n## "+heading+"\n")
	part, _, _ := strings.Cut(below, "\n## ")
	return part
}

func TestMigrationMapsEachOption(t *testing.T) {
	content, err := os.ReadFile("../../../docs/migrate-packer.md")
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.Concat(slices.Concat(blocksOf(components(t)["builder/clone"]), blocksOf(components(t)["builder/iso"]))...)
	for heading, others := range otherOptions {
		rows := section(string(content), heading)
		for _, option := range strings.Fields(others) {
			if !strings.Contains(rows, "\n| `"+option+"`") {
				t.Errorf("%s: %s is not mapped", heading, option)
			}
		}
		for _, row := range strings.Split(rows, "\n") {
			// The second column holds our options, and nothing else in code style.
			columns := strings.Split(row, "|")
			if len(columns) < 4 {
				continue
			}
			for _, name := range regexp.MustCompile("`([a-z_0-9]+)`").FindAllStringSubmatch(columns[2], -1) {
				if !slices.Contains(ours, name[1]) {
					t.Errorf("%s: the builder has no option %s", heading, name[1])
				}
			}
		}
	}
	// What is the same everywhere, is.
	for _, option := range strings.Fields("communicator ssh_username ssh_timeout winrm_username pause_before_connecting") {
		if !slices.Contains(ours, option) {
			t.Errorf("the builder has no option %s", option)
		}
	}
}
