package image

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

const content = "the bytes of a disk\n"

var checksum = func() string {
	digest := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(digest[:])
}()

// minimal is the smallest configuration of a build that nobody logs in to, from an image file of this host.
func minimal(t *testing.T) map[string]any {
	t.Helper()
	path := filepath.Join(t.TempDir(), "debian 12.qcow2")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"packer_build_name": "debian", "image_path": path, "cluster": "Default", "template_name": "golden", "communicator": "none",
	}
}

func newTestBuild(t *testing.T, options map[string]any) *buildtest.Build {
	t.Helper()
	builder := NewBuilder()
	builder.NewID = buildtest.CountingIDs()
	return buildtest.New(t, builder, options)
}

const (
	key    = `"packer-debian-00000000-0000-4000-8000-000000000001"`
	target = `"template":{"machine":{"template":{"name":"Blank"},"cluster":"Default"},"name":"debian-12.qcow2"},"reuse":true`
)

// What each build asks of the daemon, exactly: this is also its cost.
func TestRequestsOfABuild(t *testing.T) {
	call := func(method string, n int, rest string) string {
		return method + ` {"engine":{},"requestId":"` + buildtest.ID(n) + `",` + rest + `}`
	}
	watch := func(n string) string { return `WatchOperation {"id":"44444444-4444-4444-8444-00000000000` + n + `"}` }
	image := `"checksum":"` + checksum + `",`
	checks := func(url string) []string {
		return []string{
			`GetEngine {"engine":{}}`,
			call("CreateTemplate", 2, `"machineKey":`+key+`,"name":"golden","seal":true,"validateOnly":true`),
			call("ImportImage", 3, image+url+target+`,"validateOnly":true`),
			call("CreateMachine", 4, `"key":`+key+`,"spec":{"template":{"name":"Blank"},"cluster":"Default"},"validateOnly":true`),
		}
	}
	rest := []string{
		watch("1"),
		call("CreateMachine", 6, `"key":`+key+`,"spec":{"template":{"id":"`+fakedaemon.ImportedID+`"},"cluster":"Default"}`),
		watch("2"),
		call("CreateTemplate", 7, `"machineKey":`+key+`,"name":"golden","seal":true`),
		watch("3"),
		call("DestroyMachine", 8, `"key":`+key),
		watch("4"),
		`GetTemplate {"engine":{},"id":"` + fakedaemon.TemplateID + `"}`,
	}
	upload := []string{
		`GetImage {"checksum":"` + checksum + `"}`,
		`UploadImage {"checksum":"` + checksum + `","sizeBytes":"20"}`,
	}
	imports := func(url string) []string { return []string{call("ImportImage", 5, image+url+target)} }
	const url = `"url":"https://images.example.com/debian%2012.qcow2?token=s3cr3t",`
	fetched := map[string]any{
		"image_path": nil, "image_url": "https://images.example.com/debian%2012.qcow2?token=s3cr3t", "image_checksum": checksum,
	}
	for _, test := range []struct {
		name    string
		changes map[string]any
		calls   []string
		left    []string
	}{
		{
			"a file of this host", nil, slices.Concat(checks(""), upload, imports(""), rest),
			[]string{"template debian-12.qcow2", "template golden"},
		},
		{
			"what the daemon fetches", fetched, slices.Concat(checks(url), imports(url), rest),
			[]string{"template debian-12.qcow2", "template golden"},
		},
		{
			"an import that is not kept", map[string]any{"keep_image_template": false},
			slices.Concat(checks(""), upload, imports(""), rest, []string{
				call("DestroyTemplate", 9, `"id":"`+fakedaemon.ImportedID+`"`), watch("5"),
			}),
			[]string{"template golden"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(minimal(t), test.changes))
			if _, err := build.Run(); err != nil {
				t.Fatal(err)
			}
			if calls := build.Daemon.Calls(); !slices.Equal(calls, test.calls) {
				t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(test.calls, "\n"))
			}
			if strings.Contains(build.UI.Text(), "s3cr3t") {
				t.Errorf("the user reads:\n%s", build.UI.Text())
			}
			if left := build.Daemon.Left(); !slices.Equal(left, test.left) {
				t.Errorf("left: %v, want %v", left, test.left)
			}
		})
	}
}

// The second build of the same image uploads nothing, and what the first has imported stays when it fails.
func TestASecondBuildUploadsNothing(t *testing.T) {
	options := minimal(t)
	first := newTestBuild(t, options)
	if _, err := first.Run(); err != nil {
		t.Fatal(err)
	}
	before := len(first.Daemon.Calls())
	builder := NewBuilder()
	if _, _, err := builder.Prepare(buildtest.With(options, map[string]any{"template_name": "silver"})); err != nil {
		t.Fatal(err)
	}
	first.Daemon.On("CreateMachine", fakedaemon.Behaviour{Refuse: os.ErrPermission})
	if _, err := builder.Run(t.Context(), first.UI, nil); err == nil {
		t.Error("the build succeeds")
	}
	methods := first.Daemon.Methods()[before:]
	if slices.Contains(methods, "UploadImage") || slices.Contains(methods, "DestroyTemplate") {
		t.Errorf("methods: %v", methods)
	}
	if !strings.Contains(first.UI.Text(), "has been imported before: it is template debian-12.qcow2") {
		t.Errorf("the user reads:\n%s", first.UI.Text())
	}
}

// Whenever a user presses Ctrl-C, the build fails and nothing is left, the template of the image included.
func TestCancel(t *testing.T) {
	for _, method := range []string{
		"ValidateImportImage", "ValidateCreateMachine", "GetImage", "UploadImage", "ImportImage", "CreateMachine", "CreateTemplate",
		"DestroyMachine", "GetTemplate",
	} {
		t.Run(method, func(t *testing.T) {
			build := newTestBuild(t, minimal(t))
			hangs := method == "ImportImage" || method == "CreateMachine" || method == "CreateTemplate"
			build.Daemon.On(method, fakedaemon.Behaviour{Hang: hangs, OnCall: build.Cancel})
			if err := build.MustFail(t); err.Error() != "the build was cancelled" {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// With -on-error=abort what the image became stands, too, and the user is told of it, unless it was there before.
func TestOnErrorAbort(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(t), map[string]any{"packer_on_error": "abort"}))
	build.Daemon.On("CreateMachine", fakedaemon.Behaviour{Fail: &pb.Error{Message: "no room"}})
	const stands = "stands, as -on-error asks: template debian-12.qcow2 (id " + fakedaemon.ImportedID + ")"
	for _, isFirst := range []bool{true, false} {
		build.UI = &buildtest.UI{}
		if _, err := build.Run(); err == nil {
			t.Fatal("it is built")
		}
		if left := build.Daemon.Left(); !slices.Contains(left, "template debian-12.qcow2") {
			t.Errorf("left: %v", left)
		}
		if text := build.UI.Text(); strings.Contains(text, stands) != isFirst {
			t.Errorf("the user reads:\n%s", text)
		}
	}
}

// A build that waits for the import of another one is cancelled alone.
func TestTheImportOfAnotherBuildIsNotCancelled(t *testing.T) {
	options := minimal(t)
	first := newTestBuild(t, options)
	first.Daemon.On("ImportImage", fakedaemon.Behaviour{Hang: true})
	done := make(chan error, 1)
	go func() {
		_, err := first.Run()
		done <- err
	}()
	if err := first.Daemon.WaitCall(t.Context(), "WatchOperation"); err != nil {
		t.Fatal(err)
	}
	second := NewBuilder()
	if _, _, err := second.Prepare(buildtest.With(options, map[string]any{"template_name": "silver"})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	first.Daemon.On("WatchOperation", fakedaemon.Behaviour{OnCall: cancel})
	ui := &buildtest.UI{}
	if _, err := second.Run(ctx, ui, nil); err == nil || !strings.Contains(ui.Text(), "Another build imports it already") {
		t.Errorf("error: %v; the user reads:\n%s", err, ui.Text())
	}
	first.Daemon.On("WatchOperation", fakedaemon.Behaviour{})
	first.Daemon.Release()
	if err := <-done; err != nil {
		t.Errorf("the first build: %v", err)
	}
}

func TestNothingIsMovedWhereSomethingIsMissing(t *testing.T) {
	build := newTestBuild(t, minimal(t))
	build.Daemon.On("ValidateCreateMachine", fakedaemon.Behaviour{Refuse: os.ErrPermission})
	build.MustFail(t)
	if methods := build.Daemon.Methods(); slices.Contains(methods, "UploadImage") {
		t.Errorf("methods: %v", methods)
	}
}

func TestChecksumsOfAFileOfThisHost(t *testing.T) {
	digest := md5.Sum([]byte(content))
	for given, fails := range map[string]string{
		"md5:" + hex.EncodeToString(digest[:]): "", strings.TrimPrefix(checksum, "sha256:"): "", checksum: "", "none": "",
		"md5:" + strings.Repeat("0", 32): "the md5 checksum of", "sha256:" + strings.Repeat("0", 64): "the sha256 checksum of",
	} {
		t.Run(given, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(minimal(t), map[string]any{"image_checksum": given}))
			if fails == "" {
				if _, err := build.Run(); err != nil || string(build.Daemon.Image(checksum)) != content {
					t.Errorf("error: %v; the daemon has %q", err, build.Daemon.Image(checksum))
				}
			} else if err := build.MustFail(t); !strings.Contains(err.Error(), fails) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		changes map[string]any
		says    []string
	}{
		"no image":          {map[string]any{"image_path": nil}, []string{"image_path: either it or image_url is required"}},
		"two images":        {map[string]any{"image_url": "https://a/b"}, []string{"image_url: 'https://a/b' is given next to image_path"}},
		"a file not there":  {map[string]any{"image_path": "/nonexistent"}, []string{"image_path: stat /nonexistent"}},
		"no checksum":       {map[string]any{"image_path": nil, "image_url": "https://a/b"}, []string{"image_checksum: is required"}},
		"checksum none":     {map[string]any{"image_path": nil, "image_url": "https://a/b", "image_checksum": "none"}, []string{"may not be 'none'"}},
		"checksum of md5":   {map[string]any{"image_path": nil, "image_url": "https://a/b", "image_checksum": "md5:" + strings.Repeat("0", 32)}, []string{"takes sha256 or sha512"}},
		"checksum too long": {map[string]any{"image_checksum": "abc"}, []string{"image_checksum: "}},
		"no cluster":        {map[string]any{"cluster": nil}, []string{"cluster: is required"}},
		"several": {
			map[string]any{"image_template_name": "a b", "image_disk_interface": "scsi", "boot_command": []string{"<leftOption>"}, "boot_key_interval": "1m"},
			[]string{
				"image_template_name: 'a b'", "image_disk_interface: 'scsi' is none of", "boot_command: 'leftoption': must be one of",
				"boot_key_interval: 1m0s is not",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := NewBuilder().Prepare(buildtest.With(minimal(t), test.changes))
			buildtest.MustRefuse(t, err, test.says...)
		})
	}
}
