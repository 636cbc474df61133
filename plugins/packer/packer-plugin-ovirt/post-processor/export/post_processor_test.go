package export

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// built is the artifact of a build.
func built(kind string) *packersdk.MockArtifact {
	return &packersdk.MockArtifact{IdValue: fakedaemon.TemplateID, StateValues: map[string]any{common.StateKind: kind, common.StateEngine: "production"}}
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

func TestRequests(t *testing.T) {
	exportImage := func(source string) string {
		return `ExportImage {"engine":{"profile":"production"},"requestId":"` + buildtest.ID(1) + `",` + source + `}`
	}
	const watch = `WatchOperation {"id":"44444444-4444-4444-8444-000000000001"}`
	const template = `"template":{"id":"` + fakedaemon.TemplateID + `"}`
	exportTemplate := func(target string) string {
		return `ExportTemplate {"engine":{"profile":"production"},"requestId":"` + buildtest.ID(1) + `",` + template + `,` + target + `}`
	}
	for name, test := range map[string]struct {
		kind    string
		options map[string]any
		call    string
	}{
		"a template": {common.KindTemplate, nil, exportImage(template)},
		"one disk":   {common.KindTemplate, map[string]any{"disk_name": "data", "format": "raw"}, exportImage(template + `,"diskName":"data","format":"FORMAT_RAW"`)},
		"a disk":     {common.KindDisk, nil, exportImage(`"diskId":"` + fakedaemon.TemplateID + `"`)},
		"an OVA": {
			common.KindTemplate,
			map[string]any{"output": nil, "ova": map[string]any{"host": "host1", "directory": "/var/tmp"}},
			exportTemplate(`"ova":{"host":"host1","directory":"/var/tmp"}`),
		},
		"an export domain": {
			common.KindTemplate,
			map[string]any{"output": nil, "export_domain": map[string]any{"storage_domain": "shelf", "replace": true}},
			exportTemplate(`"exportDomain":{"storageDomain":"shelf","replace":true}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := buildtest.Daemon(t)
			output := filepath.Join(t.TempDir(), "out", "disk.qcow2")
			p := newPostProcessor(t, buildtest.With(map[string]any{"output": output}, test.options))
			ui := &buildtest.UI{}
			artifact, keep, forced, err := p.PostProcess(t.Context(), ui, built(test.kind))
			if err != nil || !keep || forced {
				t.Fatalf("keep %v, forced %v, error: %v", keep, forced, err)
			}
			calls := daemon.Calls()
			if want := []string{`GetEngine {"engine":{"profile":"production"}}`, test.call, watch}; !slices.Equal(calls[:3], want) {
				t.Errorf("calls: %q, want %q", calls, want)
			}
			if strings.HasPrefix(test.call, "ExportTemplate") {
				if err := artifact.Destroy(); err == nil || !strings.Contains(err.Error(), "by hand") || len(artifact.Files()) != 0 {
					t.Errorf("%v says %v", artifact, err)
				}
				return
			}
			content, err := os.ReadFile(output)
			if err != nil || !strings.HasPrefix(string(content), "disk of "+fakedaemon.TemplateID) || !slices.Equal(artifact.Files(), []string{output}) {
				t.Errorf("the file holds %.60q: %v; artifact: %v", content, err, artifact)
			}
			if last := calls[len(calls)-1]; !strings.HasPrefix(last, "RemoveImage ") {
				t.Errorf("the daemon keeps the image: %q", calls)
			}
			if err := artifact.Destroy(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(filepath.Dir(output)); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// A disk may hold secrets: nobody can read it whom the user's umask keeps from the user's files.
func TestWhoMayReadTheFile(t *testing.T) {
	for _, mask := range []int{0o022, 0o077} {
		buildtest.Daemon(t)
		output := filepath.Join(t.TempDir(), "disk.qcow2")
		before := syscall.Umask(mask)
		_, _, _, err := newPostProcessor(t, map[string]any{"output": output}).PostProcess(t.Context(), &buildtest.UI{}, built(common.KindTemplate))
		syscall.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(output); err != nil || int(info.Mode().Perm()) != 0o666&^mask {
			t.Errorf("with umask %03o: %v, %v", mask, info, err)
		}
	}
}

// A daemon that goes away in the middle of a download comes back, and the file is whole.
func TestADownloadThatBreaksOff(t *testing.T) {
	daemon := buildtest.Daemon(t)
	daemon.On("DownloadImage", fakedaemon.Behaviour{Refuse: status.Error(codes.Unavailable, "gone"), RefuseTimes: 2})
	output := filepath.Join(t.TempDir(), "disk.qcow2")
	p := newPostProcessor(t, map[string]any{"output": output})
	if _, _, _, err := p.PostProcess(t.Context(), &buildtest.UI{}, built(common.KindTemplate)); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(output); err != nil || len(content) != 100*len("disk of \n"+fakedaemon.TemplateID) {
		t.Errorf("the file has %d bytes: %v", len(content), err)
	}
	var offsets []string
	for _, call := range daemon.Calls() {
		if _, offset, isDownload := strings.Cut(call, `"offset":`); isDownload {
			offsets = append(offsets, strings.TrimSuffix(offset, "}"))
		}
	}
	if want := []string{`"1024"`, `"2048"`}; !slices.Equal(offsets, want) {
		t.Errorf("offsets: %q, want %q", offsets, want)
	}
}

func TestADownloadOfOtherBytes(t *testing.T) {
	daemon := buildtest.Daemon(t)
	daemon.On("DownloadImage", fakedaemon.Behaviour{OnCall: daemon.SpoilImages})
	folder := t.TempDir()
	p := newPostProcessor(t, map[string]any{"output": filepath.Join(folder, "disk.qcow2")})
	_, _, _, err := p.PostProcess(t.Context(), &buildtest.UI{}, built(common.KindTemplate))
	if err == nil || !strings.Contains(err.Error(), "the image came with the sha256 checksum") {
		t.Errorf("error: %v", err)
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Whatever fails, no file is left, and the daemon keeps no image.
func TestNothingIsLeft(t *testing.T) {
	for _, method := range []string{"ExportImage", "DownloadImage"} {
		for _, isCancelled := range []bool{false, true} {
			t.Run(method, func(t *testing.T) {
				daemon := buildtest.Daemon(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				behaviour := fakedaemon.Behaviour{Refuse: status.Error(codes.FailedPrecondition, "no room")}
				if isCancelled {
					behaviour = fakedaemon.Behaviour{OnCall: cancel, Hang: true, Refuse: status.Error(codes.Unavailable, "gone")}
					if method == "ExportImage" {
						behaviour.Refuse = nil
					}
				}
				daemon.On(method, behaviour)
				folder := t.TempDir()
				p := newPostProcessor(t, map[string]any{"output": filepath.Join(folder, "disk.qcow2")})
				artifact, keep, _, err := p.PostProcess(ctx, &buildtest.UI{}, built(common.KindTemplate))
				if err == nil || artifact != nil || !keep {
					t.Errorf("PostProcess gave (%v, %v, %v)", artifact, keep, err)
				}
				if left, _ := os.ReadDir(folder); len(left) != 0 {
					t.Errorf("left: %v", left)
				}
				if methods := daemon.Methods(); (method == "DownloadImage") != slices.Contains(methods, "RemoveImage") {
					t.Errorf("methods: %v", methods)
				}
			})
		}
	}
}

func TestRefusals(t *testing.T) {
	buildtest.Daemon(t)
	output := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(output, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options map[string]any
		input   packersdk.Artifact
		says    string
	}{
		"a file that is there":  {map[string]any{"output": output}, built(common.KindTemplate), "exists; use packer build -force"},
		"an artifact of others": {map[string]any{"output": output}, &packersdk.MockArtifact{BuilderIdValue: "transcend.qemu"}, "not the artifact of transcend.qemu"},
		"a disk as an OVA": {
			map[string]any{"ova": map[string]any{"host": "host1", "directory": "/var/tmp"}}, built(common.KindDisk), "a disk takes output",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := newPostProcessor(t, test.options).PostProcess(t.Context(), &buildtest.UI{}, test.input)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error: %v", err)
			}
		})
	}
	if content, err := os.ReadFile(output); err != nil || string(content) != "mine" {
		t.Errorf("the file holds %q: %v", content, err)
	}
	p := newPostProcessor(t, map[string]any{"output": output, "packer_force": true})
	if _, _, _, err := p.PostProcess(t.Context(), &buildtest.UI{}, built(common.KindTemplate)); err != nil {
		t.Error(err)
	}
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		options map[string]any
		says    []string
	}{
		"nowhere": {map[string]any{}, []string{"output: one of it, ova and export_domain is required"}},
		"two places": {
			map[string]any{"output": "a", "ova": map[string]any{"host": "b"}},
			[]string{"ova: is given next to output", "ova.directory: is required"},
		},
		"a bad file": {
			map[string]any{"ova": map[string]any{"host": "b", "directory": "tmp", "file_name": "passwd"}},
			[]string{"ova.directory: ", "ova.file_name: "},
		},
		"no disk's": {
			map[string]any{"format": "raw", "export_domain": map[string]any{"replace": true}},
			[]string{"output: is required for format", "export_domain.storage_domain: is required"},
		},
		"a bad format": {map[string]any{"output": "a", "format": "vmdk", "cleanup_timeout": "-1s", "engine": "a b"}, []string{"format: 'vmdk' is none of 'qcow2', 'raw'", "cleanup_timeout: -1s is negative", "engine: 'a b': "}},
	} {
		t.Run(name, func(t *testing.T) {
			buildtest.MustRefuse(t, New().Configure(test.options), test.says...)
		})
	}
}
