package lookup_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/disk"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/network"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/template"
)

func TestWhatIsAskedAndWhatIsGiven(t *testing.T) {
	for _, test := range []struct {
		name   string
		source packersdk.Datasource
		config map[string]any
		call   string
		output string
	}{
		{
			"a template by name", new(template.Datasource), map[string]any{"name": "debian-12", "version": 3},
			`FindTemplate {"engine":{},"name":"debian-12","version":3}`,
			`{"cluster":"Default","create_time":"2026-01-01T00:00:00Z","description":"Debian 12",` +
				`"disk_ids":["` + fakedaemon.DiskID + `"],"id":"` + fakedaemon.SourceID + `","name":"debian-12","os":"debian_12x64",` +
				`"ours":false,"tags":["approved"],"version":3,"version_name":"monthly"}`,
		},
		{
			"a template by everything", new(template.Datasource),
			map[string]any{"engine": "lab", "name_regex": "^deb", "tags": []string{"approved", "2026"}, "latest": true, "ours": true},
			`FindTemplate {"engine":{"profile":"lab"},"nameRegex":"^deb","tags":["approved","2026"],"latest":true,"ours":true}`, "",
		},
		{
			"a disk by name", new(disk.Datasource), map[string]any{"name": "virtio-win.iso", "content_type": "iso"},
			`FindDisk {"engine":{},"name":"virtio-win.iso","contentType":"iso"}`,
			`{"content_type":"iso","description":"Drivers","format":"raw","id":"` + fakedaemon.DiskID + `","name":"virtio-win.iso",` +
				`"ours":false,"size_bytes":5368709120,"storage_domains":["data"]}`,
		},
		{
			"the newest disk of a build", new(disk.Datasource),
			map[string]any{"name_regex": "^golden", "ours": true, "latest": true},
			`FindDisk {"engine":{},"nameRegex":"^golden","ours":true,"latest":true}`, "",
		},
		{
			"a network by name", new(network.Datasource), map[string]any{"name": "ovirtmgmt", "data_center": "Default"},
			`FindNetwork {"engine":{},"name":"ovirtmgmt","dataCenter":"Default"}`,
			`{"data_center":"Default","description":"Management","id":"` + fakedaemon.NetworkID + `","mtu":9000,"name":"ovirtmgmt",` +
				`"vlan_id":12,"vnic_profiles":["ovirtmgmt","limited"]}`,
		},
		{
			"a network by a regular expression", new(network.Datasource), map[string]any{"name_regex": "mgmt$"},
			`FindNetwork {"engine":{},"nameRegex":"mgmt$"}`, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			daemon := fakedaemon.Start(t)
			t.Setenv(client.AddressVariable, daemon.Address)
			t.Setenv("OVIRT_URL", "")
			if err := test.source.Configure(test.config); err != nil {
				t.Fatal(err)
			}
			value, err := test.source.Execute()
			if err != nil {
				t.Fatal(err)
			}
			if calls := daemon.Calls(); !slices.Equal(calls, []string{test.call}) {
				t.Errorf("the daemon was asked\n%s\nnot\n%s", strings.Join(calls, "\n"), test.call)
			}
			// Packer reads the output by this shape.
			if shape := hcldec.ImpliedType(test.source.OutputSpec()); !value.Type().Equals(shape) {
				t.Errorf("the output is %#v, its shape %#v", value.Type(), shape)
			}
			encoded, err := json.Marshal(ctyjson.SimpleJSONValue{Value: value})
			if err != nil {
				t.Fatal(err)
			}
			if test.output != "" && string(encoded) != test.output {
				t.Errorf("the output is\n%s\nnot\n%s", encoded, test.output)
			}
		})
	}
}

// A list that is empty can be used in an expression; one that is null cannot.
func TestNoListIsNull(t *testing.T) {
	daemon := fakedaemon.Start(t)
	t.Setenv(client.AddressVariable, daemon.Address)
	daemon.AddTemplate(fakedaemon.TemplateID, "plain")
	source := new(template.Datasource)
	if err := source.Configure(map[string]any{"name": "plain"}); err != nil {
		t.Fatal(err)
	}
	value, err := source.Execute()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"tags", "disk_ids"} {
		if got := value.GetAttr(list); got.IsNull() || got.LengthInt() != 0 {
			t.Errorf("%s is %#v", list, got)
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, test := range []struct {
		name   string
		source packersdk.Datasource
		config map[string]any
		says   []string
	}{
		{"no regular expression", new(template.Datasource), map[string]any{"name_regex": "a("}, []string{"name_regex: 'a(' is no regular expression"}},
		{"two names", new(network.Datasource), map[string]any{"name": "a", "name_regex": "b"}, []string{"name_regex"}},
		{"the newest of disks that nobody dated", new(disk.Datasource), map[string]any{"name": "a", "latest": true}, []string{"latest", "ours"}},
		{"an engine with a blank", new(disk.Datasource), map[string]any{"name": "a", "engine": "a b"}, []string{"engine: 'a b': "}},
		{"an unknown option", new(network.Datasource), map[string]any{"nam": "a"}, []string{"nam"}},
		{
			"several things at once", new(template.Datasource), map[string]any{"engine": "a b", "name_regex": "[", "version": -1},
			[]string{"engine: 'a b'", "name_regex: '['", "version: -1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			buildtest.MustRefuse(t, test.source.Configure(test.config), test.says...)
		})
	}
}

func TestTheDaemonsErrorIsTold(t *testing.T) {
	daemon := fakedaemon.Start(t)
	t.Setenv(client.AddressVariable, daemon.Address)
	refused, err := status.New(codes.NotFound, "").WithDetails(&pb.Error{
		Code: int32(codes.NotFound), Reason: "NOT_FOUND",
		Violations: []*pb.FieldViolation{{Field: "name", Description: "no template 'debain'; did you mean 'debian-12'?"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	daemon.On("FindTemplate", fakedaemon.Behaviour{Refuse: refused.Err()})
	source := new(template.Datasource)
	if err := source.Configure(map[string]any{"name": "debain"}); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Execute(); err == nil || !strings.Contains(err.Error(), "name: no template 'debain'; did you mean 'debian-12'?") {
		t.Errorf("got %v", err)
	}
}

// What comes from another data source is not known while Packer validates.
func TestWhatIsNotKnownYetIsAccepted(t *testing.T) {
	for _, source := range []packersdk.Datasource{new(template.Datasource), new(disk.Datasource), new(network.Datasource)} {
		if err := source.Configure(map[string]any{"name": "<unknown>", "engine": "<unknown>"}); err != nil {
			t.Errorf("%T: %v", source, err)
		}
	}
}
