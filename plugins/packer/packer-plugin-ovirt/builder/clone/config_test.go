package clone

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
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
		{"a negative version", map[string]any{"source_template_version": -1}, []string{"source_template_version: -1: "}},
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
			"a network interface without profile",
			map[string]any{"network_interface": []map[string]any{{"name": "nic1"}}},
			[]string{"network_interface[0].vnic_profile: is required"},
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
			[]string{"nic_configuration[0].boot_protocol: 'bootp' is neither 'dhcp' nor 'none'"},
		},
		{
			"a guest's interface with a long name",
			map[string]any{"host_name": "a", "nic_configuration": []map[string]any{{"name": "abcdefghijklmnop"}}},
			[]string{"nic_configuration[0].name: 'abcdefghijklmnop': "},
		},
		{"WinRM", map[string]any{"communicator": "winrm", "winrm_username": "a"}, []string{"communicator: 'winrm' is not supported"}},
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
			_, _, err := NewBuilder().Prepare(with(minimal(), test.changes))
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error does not say %q:\n%v", text, err)
				}
			}
			if strings.Contains(err.Error(), "spec.") || strings.Contains(err.Error(), "start_with") {
				t.Errorf("the error speaks of the schema's fields:\n%v", err)
			}
		})
	}
}

func TestEachProblemIsSaidOnce(t *testing.T) {
	_, _, err := NewBuilder().Prepare(with(minimal(), map[string]any{"source_template_name": nil}))
	if problems, ok := err.(*packersdk.MultiError); !ok || len(problems.Errors) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestDefaults(t *testing.T) {
	builder := NewBuilder()
	variables, warnings, err := builder.Prepare(with(minimal(), map[string]any{
		"communicator": nil, "ssh_username": "packer", "template_name": "golden-{{build_name}}", "packer_force": true,
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := builder.config
	if c.TemplateSeal != config.TriTrue || c.CleanupTimeout != 10*time.Minute || c.ShutdownTimeout != 5*time.Minute ||
		c.Comm.SSHTemporaryKeyPairType != "ed25519" || c.Comm.SSHClearAuthorizedKeys ||
		len(c.NicConfigurations) != 1 || c.NicConfigurations[0] != (NicConfiguration{"eth0", "dhcp"}) {
		t.Errorf("defaults: %+v", c)
	}
	if c.TemplateName != "golden-debian" {
		t.Errorf("template_name is %q", c.TemplateName)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "-force") {
		t.Errorf("warnings: %q", warnings)
	}
	if strings.Join(variables, " ") != "VMID VMName VMAddress SourceTemplateID TemplateID TemplateName" {
		t.Errorf("variables: %q", variables)
	}
}

func TestSecretsAreFiltered(t *testing.T) {
	const secret = "runcmd: [echo t0psecret]"
	if _, _, err := NewBuilder().Prepare(with(minimal(), map[string]any{"custom_script": secret, "ssh_password": "passw0rd"})); err != nil {
		t.Fatal(err)
	}
	if got := packersdk.LogSecretFilter.FilterString("a " + secret + " passw0rd"); got != "a <sensitive> <sensitive>" {
		t.Errorf("got %q", got)
	}
}

// What is documented is what there is: the generated option tables are up to date with the configuration.
func TestDocumentationNamesEachOption(t *testing.T) {
	var documented strings.Builder
	partials, err := filepath.Glob("../../docs-partials/builder/clone/*required.mdx")
	if err != nil || len(partials) == 0 {
		t.Fatalf("partials: %v, %v", partials, err)
	}
	for _, partial := range partials {
		content, err := os.ReadFile(partial)
		if err != nil {
			t.Fatal(err)
		}
		documented.Write(content)
	}
	page, err := os.ReadFile("../../docs/builders/clone.mdx")
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range append(machineOptions, templateOptions...) {
		if option.Option != "ssh_username" && !strings.Contains(documented.String(), "- `"+option.Option+"`") {
			t.Errorf("%s is not documented", option.Option)
		}
	}
	for _, partial := range partials {
		if name := "builder/clone/" + filepath.Base(partial); !strings.Contains(string(page), name) {
			t.Errorf("the page does not include %s", name)
		}
	}
}
