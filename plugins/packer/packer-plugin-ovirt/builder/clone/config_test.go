package clone

import (
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

func TestBadInput(t *testing.T) {
	for _, test := range []struct {
		name    string
		changes map[string]any
		says    []string
	}{
		{"no source", map[string]any{"source_template_name": nil}, []string{"source_template_name: either it or source_template_id is required"}},
		{
			"two sources", map[string]any{"source_template_id": "33333333-3333-4333-8333-333333333333"},
			[]string{"source_template_id: '33333333-3333-4333-8333-333333333333' is given next to source_template_name 'debian-12'"},
		},
		{
			"an id that is none", map[string]any{"source_template_name": nil, "source_template_id": "debian"},
			[]string{"source_template_id: 'debian': ", "UUID"},
		},
		{
			"a version of an id",
			map[string]any{
				"source_template_name": nil, "source_template_id": "33333333-3333-4333-8333-333333333333",
				"source_template_version": 2,
			},
			[]string{"source_template_name: version goes with name, not with id"},
		},
		{"a negative version", map[string]any{"source_template_version": -1}, []string{"source_template_version: '-1' is neither 'latest' nor"}},
		{"a version that is none", map[string]any{"source_template_version": "newest"}, []string{"source_template_version: 'newest' is neither"}},
		{"a firmware that is none", map[string]any{"bios_type": "q35_ovfm"}, []string{"bios_type: 'q35_ovfm' is none of ", "did you mean 'q35_ovmf'?"}},
		{
			"disks that cannot be", map[string]any{
				"boot_disk": map[string]any{"size": -1, "format": "qcow"},
				"disk":      []map[string]any{{"size": 1}, {"size": 1, "interface": "scsi"}},
			},
			[]string{"boot_disk.size: -1 is negative", "boot_disk.format: 'qcow' is none of 'cow', 'raw'", "disk[1].interface: 'scsi' is none of"},
		},
		{
			"two disks to boot from", map[string]any{"disk": []map[string]any{{"size": 1, "bootable": true}}},
			[]string{"disk[0].bootable: the source template boots from its own disk; set bootable = false in boot_disk"},
		},
		{
			"three disks to boot from", map[string]any{"disk": []map[string]any{{"size": 1, "bootable": true}, {"size": 1, "bootable": true}}},
			[]string{"disk[1].bootable: a machine boots from one disk, but boot_disk, disk[0], disk[1] are bootable"},
		},
		{
			"a disk and a template", map[string]any{"detached_disk": map[string]any{"name": "data"}},
			[]string{"detached_disk: is given next to template_name 'golden'", "full_clone: is required with detached_disk"},
		},
		{"no name of the disk", map[string]any{"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"description": "a"}}, []string{"detached_disk.name: is required"}},
		{"versions to keep of no version", map[string]any{"keep_versions": 2}, []string{"keep_versions goes with new_version only"}},
		{"a name of no version", map[string]any{"version_name": "spring"}, []string{"version_name goes with new_version only"}},
		{
			"a permission for two", map[string]any{"template_permission": []map[string]any{{"role": "UserRole", "user": "a@b", "group": "c"}}},
			[]string{"template_permission[0].group: 'c' is given next to user 'a@b'"},
		},
		{
			"a boot test by SSH of Windows", map[string]any{"communicator": "winrm", "winrm_username": "a", "boot_test": true},
			[]string{"boot_test_address_only: is required with communicator 'winrm'"},
		},
		{
			"a port of no test", map[string]any{"boot_test": true, "boot_test_ssh_port": 22, "boot_test_address_only": true},
			[]string{"boot_test_ssh_port: does not go with boot_test_address_only"},
		},
		{
			"a disk of others in a template", map[string]any{"attached_disk": []map[string]any{{"id": "33333333-3333-4333-8333-333333333333"}}},
			[]string{"attached_disk: does not go with a template"},
		},
		{"options of no boot test", map[string]any{"boot_test_ssh_port": 22}, []string{"boot_test: must be true"}},
		{
			"a key that sysprep cannot authorize", map[string]any{"communicator": nil, "ssh_username": "Administrator", "sysprep": map[string]any{"admin_password": "x"}},
			[]string{"ssh_password: or ssh_private_key_file is required with sysprep"},
		},
		{
			"a CD for ignition", map[string]any{"ignition": "{}", "cd_content": map[string]string{"a": "b"}},
			[]string{"cd_files: takes cloud-init"},
		},
		{
			"user data twice", map[string]any{"user_data": "runcmd: []", "user_data_file": "file.yaml"},
			[]string{"user_data_file: 'file.yaml' is given next to user_data"},
		},
		{"user data that is not there", map[string]any{"user_data_file": "/nonexistent"}, []string{"user_data_file: open /nonexistent"}},
		{"user data that cannot be rendered", map[string]any{"user_data": "{{ .HTTPPIP }}"}, []string{"user_data: ", "HTTPPIP"}},
		{"a static address without prefix", map[string]any{
			"host_name": "a", "nic_configuration": []map[string]any{{"name": "eth0", "static_address": "10.11.0.5"}},
		}, []string{"nic_configuration[0].static_address: '10.11.0.5': must be an IPv4 address with its prefix length"}},
		{"a negative ip_wait_timeout", map[string]any{"ip_wait_timeout": "-1s"}, []string{"ip_wait_timeout: -1s is negative"}},
		{"both kinds of HTTP content", map[string]any{"http_directory": ".", "http_content": map[string]string{"/a": "b"}}, []string{"http_content cannot be used"}},
		{"no new name", map[string]any{"template_name": nil}, []string{"template_name: is required"}},
		{"a new name with a blank", map[string]any{"template_name": "my template"}, []string{"template_name: 'my template': "}},
		{"a VM name with a slash", map[string]any{"vm_name": "a/b"}, []string{"vm_name: 'a/b': "}},
		{"an engine with a blank", map[string]any{"engine": "a b"}, []string{"engine: 'a b': "}},
		{"negative memory", map[string]any{"memory": -512}, []string{"memory: -512 is negative"}},
		{"negative sockets", map[string]any{"cpu_sockets": -1}, []string{"cpu_sockets: -1: "}},
		{"too many sockets", map[string]any{"cpu_sockets": 17}, []string{"cpu_sockets: 17: ", "16"}},
		{"sockets beyond 32 bits", map[string]any{"cpu_sockets": 1<<32 + 1}, []string{"cpu_sockets: "}},
		{"too many cores", map[string]any{"cpu_cores": 255}, []string{"cpu_cores: 255: "}},
		{"too many threads", map[string]any{"cpu_threads": 9}, []string{"cpu_threads: 9: "}},
		{
			"a network interface without name",
			map[string]any{"network_interface": []map[string]any{{"vnic_profile": "ovirtmgmt"}}},
			[]string{"network_interface[0].name: is required"},
		},
		{
			"two network interfaces of one name",
			map[string]any{"network_interface": []map[string]any{
				{"name": "nic1", "vnic_profile": "a"}, {"name": "nic1", "vnic_profile": "b"},
			}},
			[]string{"each NIC needs a name of its own"},
		},
		{"a host name with a dot", map[string]any{"host_name": "a.example.com"}, []string{"host_name: 'a.example.com': "}},
		{
			"an unknown boot protocol",
			map[string]any{"host_name": "a", "nic_configuration": []map[string]any{{"name": "eth0", "boot_protocol": "bootp"}}},
			[]string{"nic_configuration[0].boot_protocol: 'bootp' is none of 'dhcp', 'none', 'static'"},
		},
		{
			"a guest's interface with a long name",
			map[string]any{"host_name": "a", "nic_configuration": []map[string]any{{"name": "abcdefghijklmnop"}}},
			[]string{"nic_configuration[0].name: 'abcdefghijklmnop': "},
		},
		{"WinRM without a user", map[string]any{"communicator": "winrm"}, []string{"winrm_username must be specified"}},
		{"no user", map[string]any{"communicator": nil}, []string{"ssh_username"}},
		{
			"a user that cannot be made", map[string]any{"communicator": nil, "ssh_username": "Administrator"},
			[]string{"ssh_username: 'Administrator': "},
		},
		{"a negative shutdown_timeout", map[string]any{"shutdown_timeout": "-1s"}, []string{"shutdown_timeout: -1s is negative"}},
		{"a negative cleanup_timeout", map[string]any{"cleanup_timeout": "-1s"}, []string{"cleanup_timeout: -1s is negative"}},
		{"a duration that is none", map[string]any{"cleanup_timeout": "soon"}, []string{"soon"}},
		{"an unknown option", map[string]any{"template_nam": "x"}, []string{"template_nam"}},
		{
			"several things at once", map[string]any{"template_name": "a b", "cpu_cores": -1, "source_template_name": nil, "memory": -1},
			[]string{"template_name: 'a b'", "cpu_cores: -1", "source_template_name: either it", "memory: -1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := NewBuilder().Prepare(buildtest.With(minimal(), test.changes))
			buildtest.MustRefuse(t, err, test.says...)
			if strings.Contains(err.Error(), "spec.") || strings.Contains(err.Error(), "start_with") {
				t.Errorf("the error speaks of the schema's fields:\n%v", err)
			}
		})
	}
}

func TestEachProblemIsSaidOnce(t *testing.T) {
	_, _, err := NewBuilder().Prepare(buildtest.With(minimal(), map[string]any{"source_template_name": nil}))
	if problems, ok := err.(*packersdk.MultiError); !ok || len(problems.Errors) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestDefaults(t *testing.T) {
	builder := NewBuilder()
	variables, warnings, err := builder.Prepare(buildtest.With(minimal(), map[string]any{
		"communicator": nil, "ssh_username": "packer", "template_name": "golden-{{build_name}}", "packer_force": true,
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := builder.Source.Shared()
	if c.TemplateSeal != config.TriTrue || c.CleanupTimeout != 10*time.Minute || c.ShutdownTimeout != 5*time.Minute ||
		c.Comm.SSHTemporaryKeyPairType != "ed25519" || c.Comm.SSHClearAuthorizedKeys ||
		len(c.NicConfigurations) != 1 || c.NicConfigurations[0] != (common.NicConfiguration{Name: "eth0", BootProtocol: "dhcp"}) {
		t.Errorf("defaults: %+v", c)
	}
	if c.TemplateName != "golden-debian" {
		t.Errorf("template_name is %q", c.TemplateName)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %q", warnings)
	}
	if strings.Join(variables, " ") != "VMID VMName VMAddress SourceTemplateID TemplateID TemplateName TemplateVersion DiskID DiskName" {
		t.Errorf("variables: %q", variables)
	}
}

func TestSecretsAreFiltered(t *testing.T) {
	const secret = "runcmd: [echo t0psecret]"
	if _, _, err := NewBuilder().Prepare(buildtest.With(minimal(), map[string]any{"user_data": secret, "ssh_password": "passw0rd"})); err != nil {
		t.Fatal(err)
	}
	if got := packersdk.LogSecretFilter.FilterString("a " + secret + " passw0rd"); got != "a <sensitive> <sensitive>" {
		t.Errorf("got %q", got)
	}
}
