package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

const content = "the bytes of a disk\n"

var checksum = func() string {
	digest := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(digest[:])
}()

// built is the artifact of the qemu builder, in a folder of its own.
func built(t *testing.T, names ...string) *packersdk.MockArtifact {
	t.Helper()
	folder := t.TempDir()
	artifact := &packersdk.MockArtifact{BuilderIdValue: "transcend.qemu"}
	for _, name := range names {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		artifact.FilesValue = append(artifact.FilesValue, path)
	}
	return artifact
}

func newPostProcessor(t *testing.T, options map[string]any) *PostProcessor {
	t.Helper()
	p := New()
	p.newID = buildtest.CountingIDs()
	if err := p.Configure(options); err != nil {
		t.Fatal(err)
	}
	return p
}

func minimal() map[string]any {
	return map[string]any{"template_name": "golden", "cluster": "Default"}
}

func TestRequests(t *testing.T) {
	for name, test := range map[string]struct {
		options map[string]any
		target  string
		left    string
	}{
		"a template": {minimal(), `"template":{"machine":{"template":{"name":"Blank"},"cluster":"Default"},"name":"golden"}`, "template golden"},
		"every option of a template": {
			buildtest.With(minimal(), map[string]any{
				"operating_system": "debian_12x64", "memory": 2048, "cpu_cores": 2, "bios_type": "q35_ovmf", "disk_interface": "virtio",
				"network_interface": []map[string]any{{"name": "nic1", "vnic_profile": "ovirtmgmt"}}, "template_description": "d",
				"template_tags": []string{"gold"}, "template_permission": []map[string]any{{"role": "UserRole", "group": "Everyone"}},
				"template_storage_domain": "data", "template_disk_format": "raw", "new_version": true, "version_name": "spring", "keep_versions": 2,
				"packer_force": true,
			}),
			`"template":{"machine":{"template":{"name":"Blank"},"cluster":"Default","cpu":{"cores":2},"memoryBytes":"2147483648",` +
				`"nics":[{"name":"nic1","vnicProfile":"ovirtmgmt"}],"biosType":"BIOS_TYPE_Q35_OVMF","operatingSystem":"debian_12x64"},` +
				`"name":"golden","description":"d","newVersion":true,"versionName":"spring","tags":["gold"],` +
				`"permissions":[{"role":"UserRole","group":"Everyone"}],"keepVersions":2,"storageDomain":"data",` +
				`"diskFormat":"DISK_FORMAT_RAW","diskInterface":"DISK_INTERFACE_VIRTIO"}`,
			"template golden",
		},
		"a template by force": {
			buildtest.With(minimal(), map[string]any{"packer_force": true}),
			`"template":{"machine":{"template":{"name":"Blank"},"cluster":"Default"},"name":"golden","replace":true}`, "template golden",
		},
		"a disk": {
			map[string]any{"disk": map[string]any{"name": "data", "description": "d", "storage_domain": "slow", "format": "cow"}},
			`"disk":{"name":"data","description":"d","storageDomain":"slow","format":"DISK_FORMAT_COW"}`, "disk data",
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := buildtest.Daemon(t)
			artifact, keep, forced, err := newPostProcessor(t, test.options).PostProcess(t.Context(), &buildtest.UI{}, built(t, "disk.qcow2"))
			if err != nil || keep || forced {
				t.Fatalf("keep %v, forced %v, error: %v", keep, forced, err)
			}
			request := func(n, end string) string {
				return `ImportImage {"engine":{},"requestId":"` + buildtest.ID(len(n)) + `","checksum":"` + checksum + `",` + test.target + end + `}`
			}
			want := []string{
				`GetEngine {"engine":{}}`, request("1", `,"validateOnly":true`), `GetImage {"checksum":"` + checksum + `"}`,
				`UploadImage {"checksum":"` + checksum + `","sizeBytes":"20"}`, request("12", ""),
				`WatchOperation {"id":"44444444-4444-4444-8444-000000000001"}`,
			}
			if calls := daemon.Calls(); !slices.Equal(calls, want) {
				t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
			}
			if left := daemon.Left(); !slices.Equal(left, []string{test.left}) || artifact.Id() != fakedaemon.ImportedID {
				t.Errorf("left: %v; artifact: %v", left, artifact)
			}
			if kind := artifact.State(common.StateKind); !strings.HasPrefix(test.left, kind.(string)) || artifact.BuilderId() != BuilderID {
				t.Errorf("post-processors read a %v of %s", kind, artifact.BuilderId())
			}
			if err := artifact.Destroy(); err != nil || len(daemon.Left()) != 0 {
				t.Errorf("left: %v, error: %v", daemon.Left(), err)
			}
		})
	}
}

func TestNothingIsLeft(t *testing.T) {
	for _, method := range []string{"GetEngine", "ValidateImportImage", "UploadImage", "ImportImage"} {
		t.Run(method, func(t *testing.T) {
			daemon := buildtest.Daemon(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			daemon.On(method, fakedaemon.Behaviour{OnCall: cancel, Hang: method == "ImportImage"})
			artifact, keep, _, err := newPostProcessor(t, minimal()).PostProcess(ctx, &buildtest.UI{}, built(t, "disk.qcow2"))
			if err == nil || artifact != nil || !keep || len(daemon.Left()) != 0 || daemon.Running() != 0 {
				t.Errorf("PostProcess gave (%v, %v, %v); left: %v", artifact, keep, err, daemon.Left())
			}
		})
	}
}

// Once older templates may be gone, the new one stands, whenever the user presses Ctrl-C.
func TestNoWayBackFromAReplacement(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"with -force":        {"packer_force": true},
		"with keep_versions": {"new_version": true, "keep_versions": 1},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := buildtest.Daemon(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			daemon.On("ImportImage", fakedaemon.Behaviour{Hang: true, DeafToCancel: true, OnCall: cancel})
			ui := &buildtest.UI{}
			p := newPostProcessor(t, buildtest.With(minimal(), options))
			artifact, _, _, err := p.PostProcess(ctx, ui, built(t, "disk.qcow2"))
			if err != nil || artifact.Id() != fakedaemon.ImportedID || !strings.Contains(ui.Text(), "too late to cancel") {
				t.Errorf("PostProcess gave (%v, %v)\n%s", artifact, err, ui.Text())
			}
			if left := daemon.Left(); !slices.Equal(left, []string{"template golden"}) {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// A daemon that goes away in the middle of an upload comes back, and is sent what it lacks.
func TestAnUploadThatBreaksOff(t *testing.T) {
	daemon := buildtest.Daemon(t)
	daemon.On("UploadImage", fakedaemon.Behaviour{Refuse: status.Error(codes.Unavailable, "gone"), RefuseTimes: 1})
	large := strings.Repeat("0123456789abcdef", 100_000)
	input := built(t, "disk.qcow2")
	if err := os.WriteFile(input.FilesValue[0], []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := newPostProcessor(t, minimal()).PostProcess(t.Context(), &buildtest.UI{}, input); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(large))
	sum := "sha256:" + hex.EncodeToString(digest[:])
	if string(daemon.Image(sum)) != large {
		t.Error("the daemon has another file")
	}
	resumed := `UploadImage {"checksum":"` + sum + `","sizeBytes":"1600000","offset":"1048576"}`
	if !slices.Contains(daemon.Calls(), resumed) {
		t.Errorf("calls: %q", daemon.Calls())
	}
}

func TestTheImageAmongTheFiles(t *testing.T) {
	for name, test := range map[string]struct {
		file  string
		files []string
		found string
		says  string
	}{
		"by its extension":      {"", []string{"disk.qcow2", "efivars.fd"}, "disk.qcow2", ""},
		"alone":                 {"", []string{"packer-debian"}, "packer-debian", ""},
		"by a pattern":          {"*/b.img", []string{"a.img", "b.img"}, "b.img", ""},
		"not at all":            {"", nil, "", "has no files"},
		"none of them":          {"", []string{"a.txt", "b.txt"}, "", "none of the artifact's files is the image"},
		"several":               {"", []string{"a.img", "b.img"}, "", "several of the artifact's files"},
		"none with the pattern": {"*.vmdk", []string{"a.img"}, "", "none of the artifact's files is the image"},
	} {
		t.Run(name, func(t *testing.T) {
			artifact := &packersdk.MockArtifact{}
			for _, file := range test.files {
				artifact.FilesValue = append(artifact.FilesValue, "output/"+file)
			}
			if artifact.FilesValue == nil {
				artifact.FilesValue = []string{}
			}
			found, err := (&Config{File: test.file}).find(artifact)
			if strings.TrimPrefix(found, "output/") != test.found || (err == nil) != (test.says == "") || (err != nil && !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got (%q, %v)", found, err)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		options map[string]any
		says    []string
	}{
		"nothing":          {map[string]any{}, []string{"template_name: is required", "cluster: is required"}},
		"two results":      {buildtest.With(minimal(), map[string]any{"disk": map[string]any{"name": "a"}}), []string{"disk: is given next to template_name 'golden'"}},
		"no name of disk":  {map[string]any{"disk": map[string]any{"format": "qcow2"}}, []string{"disk.name: is required", "disk.format: 'qcow2' is none of"}},
		"bad hardware":     {buildtest.With(minimal(), map[string]any{"memory": -1, "bios_type": "uefi", "cpu_cores": 1000}), []string{"memory: -1 is negative", "bios_type: 'uefi'", "cpu_cores: 1000"}},
		"a bad pattern":    {buildtest.With(minimal(), map[string]any{"file": "[", "disk_interface": "scsi"}), []string{"file: '['", "disk_interface: 'scsi' is none of"}},
		"a bad permission": {buildtest.With(minimal(), map[string]any{"template_permission": []map[string]any{{"role": "a", "user": "b@c", "group": "d"}}}), []string{"template_permission[0].group"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := New().Configure(test.options)
			buildtest.MustRefuse(t, err, test.says...)
			if strings.Contains(err.Error(), "machine.") {
				t.Errorf("the error speaks of the schema's fields:\n%v", err)
			}
		})
	}
}
