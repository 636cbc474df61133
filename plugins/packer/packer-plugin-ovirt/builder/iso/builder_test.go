package iso

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// minimal is the smallest configuration of an installation that nobody logs in to.
func minimal() map[string]any {
	return map[string]any{
		"packer_build_name": "debian", "iso_name": "debian-12.iso", "cluster": "Default", "template_name": "golden",
		"communicator": "none", "disk": []map[string]any{{"size": 10}}, "storage_domain": "data",
	}
}

func newTestBuild(t *testing.T, options map[string]any) *buildtest.Build {
	t.Helper()
	builder := NewBuilder()
	builder.NewID = buildtest.CountingIDs()
	return buildtest.New(t, builder, options)
}

// createOf is the request with which a build makes its machine.
func createOf(t *testing.T, build *buildtest.Build) string {
	t.Helper()
	if _, err := build.Run(); err != nil {
		t.Fatalf("%v\n%s", err, build.UI.Text())
	}
	made := ""
	for _, call := range build.Daemon.Calls() {
		if strings.HasPrefix(call, "CreateMachine ") {
			made = call
		}
	}
	return made
}

func TestRequestsOfABuild(t *testing.T) {
	const key = `"packer-debian-00000000-0000-4000-8000-000000000001"`
	call := func(method string, n int, rest string) string {
		return method + ` {"engine":{},"requestId":"` + buildtest.ID(n) + `",` + rest + `}`
	}
	watch := func(n string) string { return `WatchOperation {"id":"44444444-4444-4444-8444-00000000000` + n + `"}` }
	machine := func(rest string) string {
		return `"key":` + key + `,"spec":{"template":{"name":"Blank"},"cluster":"Default","newDisks":[{"sizeBytes":"10737418240"}],` +
			`"storageDomain":"data"},"startWith":{},` + rest + `"addressSelection":{"doNotWait":true},"startMedia":{"cdRom":{"name":"debian-12.iso"}}`
	}
	build := newTestBuild(t, minimal())
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`GetEngine {"engine":{}}`,
		call("CreateTemplate", 2, `"machineKey":`+key+`,"name":"golden","seal":true,"validateOnly":true`),
		call("CreateMachine", 3, machine(`"validateOnly":true,`)),
		call("CreateMachine", 4, machine("")),
		watch("1"),
		call("StopMachine", 5, `"key":`+key+`,"waitOnly":true`),
		watch("2"),
		call("CreateTemplate", 6, `"machineKey":`+key+`,"name":"golden","seal":true`),
		watch("3"),
		call("DestroyMachine", 7, `"key":`+key),
		watch("4"),
		`GetTemplate {"engine":{},"id":"` + fakedaemon.TemplateID + `"}`,
	}
	if calls := build.Daemon.Calls(); !slices.Equal(calls, want) {
		t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
}

// What the drives and the machine hold, as the options say.
func TestMachines(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{"a.txt": "a", "sub/b.txt": "b", "installer.iso": "an ISO image\n"} {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		changes map[string]any
		parts   []string
	}{
		"an ISO image by id": {
			map[string]any{"iso_name": nil, "iso_disk_id": fakedaemon.DiskID, "boot_order": []string{"cdrom", "hd"}},
			[]string{`"startMedia":{"cdRom":{"diskId":"` + fakedaemon.DiskID + `"},"bootOrder":["BOOT_DEVICE_CDROM","BOOT_DEVICE_HD"]}`},
		},
		"an ISO image of this host": {
			map[string]any{"iso_name": nil, "iso_url": filepath.Join(folder, "installer.iso")},
			[]string{`"startMedia":{"cdRom":{"diskId":"` + fakedaemon.ImportedID + `"}}`},
		},
		"a floppy": {
			map[string]any{"floppy_files": []string{filepath.Join(folder, "*.txt"), filepath.Join(folder, "sub")}, "floppy_content": map[string]string{"c": "c"}, "floppy_label": "ANSWERS"},
			[]string{`"payload":{"type":"TYPE_FLOPPY","volumeId":"ANSWERS","files":[{"name":"a.txt","content":"a"},{"name":"b.txt","content":"b"},{"name":"c","content":"c"}]}`},
		},
		"a CD": {
			map[string]any{"cd_content": map[string]string{"user-data": "#cloud-config\n", "meta-data": ""}, "cd_label": "cidata"},
			[]string{`"payload":{"type":"TYPE_CDROM","volumeId":"cidata","files":[{"name":"meta-data"},{"name":"user-data","content":"#cloud-config\n"}]}`, `"startWith":{},`},
		},
		"Windows": {
			map[string]any{"operating_system": "windows_2022"},
			[]string{`"name":"packer-00000001"`, `"operatingSystem":"windows_2022"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(minimal(), test.changes))
			made := createOf(t, build)
			for _, part := range test.parts {
				if !strings.Contains(made, part) {
					t.Errorf("the request lacks %s:\n%s", part, made)
				}
			}
			isSealed := slices.ContainsFunc(build.Daemon.Calls(), func(call string) bool { return strings.Contains(call, `"seal":true`) })
			if isSealed == (name == "Windows") {
				t.Errorf("sealed: %v", isSealed)
			}
		})
	}
}

// The boot command is typed while the machine is still being created, and its creation is what the build waits for.
func TestBootCommand(t *testing.T) {
	options := buildtest.With(minimal(), map[string]any{
		"boot_wait": "-1s", "boot_key_interval": "50ms", "http_content": map[string]string{"/preseed": "d-i"}, "http_ip": "192.0.2.1",
		"http_port_min": 8123, "http_port_max": 8200,
		"boot_command": []string{"<esc><wait10ms>auto url=http://{{ .HTTPIP }}/preseed<enter>", "<leftCtrlOn>x<leftCtrlOff>"},
	})
	build := newTestBuild(t, options)
	typed := ""
	build.Daemon.On("CreateMachine", fakedaemon.Behaviour{Hang: true})
	build.Daemon.On("StopMachine", fakedaemon.Behaviour{OnCall: func() { typed = build.Daemon.Typed() }})
	build.Daemon.On("SendKeys", fakedaemon.Behaviour{OnCall: build.Daemon.Release})
	made := createOf(t, build)
	if want := "<esc>auto url=http://192.0.2.1/preseed<enter><leftctrl down>x<leftctrl up>"; typed != want {
		t.Errorf("the guest got %q before it was waited for, want %q", typed, want)
	}
	if !strings.Contains(made, `"vncConsole":true`) {
		t.Errorf("the machine has no console: %s", made)
	}
	if text := build.UI.Text(); strings.Contains(text, "preseed") || !strings.Contains(text, "Typing the boot command in 0s (console: host1:5900)") {
		t.Errorf("the user reads:\n%s", text)
	}
	if !slices.ContainsFunc(build.Daemon.Calls(), func(call string) bool {
		return call == `SendKeys {"engine":{},"key":"packer-debian-`+buildtest.ID(1)+`","keyInterval":"0.050s"}`
	}) {
		t.Errorf("calls: %q", build.Daemon.Calls())
	}
}

// A console that cannot be typed into ends the build, whether or not the machine is still being created.
func TestABootCommandThatCannotBeTyped(t *testing.T) {
	for name, behaviour := range map[string]fakedaemon.Behaviour{
		"while the machine is created": {Hang: true},
		"when the machine stands":      {},
	} {
		t.Run(name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"boot_wait": "-1s", "boot_command": []string{"<enter><wait10ms>a"}}))
			build.Daemon.On("CreateMachine", behaviour)
			build.Daemon.On("SendKeys", fakedaemon.Behaviour{Refuse: status.Error(codes.FailedPrecondition, "no VNC console")})
			if err := build.MustFail(t); !strings.Contains(err.Error(), "the boot command could not be typed: no VNC console") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// The machine's creation may fail, or be cancelled, while somebody types.
func TestTypingEndsWithTheBuild(t *testing.T) {
	slow := buildtest.With(minimal(), map[string]any{"boot_wait": "1h", "boot_command": []string{"<enter>"}})
	t.Run("cancelled", func(t *testing.T) {
		build := newTestBuild(t, slow)
		build.Daemon.On("CreateMachine", fakedaemon.Behaviour{Hang: true})
		build.Daemon.On("SendKeys", fakedaemon.Behaviour{OnCall: build.Cancel})
		if err := build.MustFail(t); err.Error() != "the build was cancelled" {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("cancelled when the machine stands", func(t *testing.T) {
		build := newTestBuild(t, slow)
		build.Daemon.On("SendKeys", fakedaemon.Behaviour{OnCall: build.Cancel})
		if err := build.MustFail(t); err.Error() != "the build was cancelled" {
			t.Errorf("error: %v", err)
		}
	})
}

// A boot command with long waits goes on when the machine stands. Until it is typed nothing but the lease tells the daemon that
// somebody is there.
func TestTheLeaseIsKeptWhileSomebodyTypes(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"boot_wait": "1h", "boot_command": []string{"<enter>"}}))
	build.Daemon.On("RenewLease", fakedaemon.Behaviour{OnCall: build.Cancel})
	if err := build.MustFail(t); err.Error() != "the build was cancelled" {
		t.Errorf("the lease was not renewed until the build ended: %v", err)
	}
}

// With -on-error=abort a machine that stands and cannot be typed into is the user's, and lives on.
func TestOnErrorAbortOfABootCommand(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"boot_wait": "-1s", "boot_command": []string{"<enter>"}, "packer_on_error": "abort",
	}))
	build.Daemon.On("SendKeys", fakedaemon.Behaviour{
		OnCall: func() { _ = build.Daemon.WaitCall(t.Context(), "RenewLease") },
		Refuse: status.Error(codes.FailedPrecondition, "no VNC console"),
	})
	if _, err := build.Run(); err == nil || !strings.Contains(err.Error(), "no VNC console") {
		t.Errorf("error: %v", err)
	}
	if methods := build.Daemon.Methods(); methods[len(methods)-1] != "ConfirmMachine" {
		t.Errorf("the user reads that the machine is kept, and nobody told the daemon: %v\n%s", methods, build.UI.Text())
	}
}

func TestCancel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "installer.iso")
	if err := os.WriteFile(path, []byte("an ISO image\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := buildtest.With(minimal(), map[string]any{"iso_name": nil, "iso_url": path})
	for _, method := range []string{"UploadImage", "ImportImage", "CreateMachine", "StopMachine", "CreateTemplate", "GetTemplate"} {
		t.Run(method, func(t *testing.T) {
			build := newTestBuild(t, options)
			hangs := method != "UploadImage" && method != "GetTemplate"
			build.Daemon.On(method, fakedaemon.Behaviour{Hang: hangs, OnCall: build.Cancel})
			if err := build.MustFail(t); err.Error() != "the build was cancelled" {
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
		"no ISO image":    {map[string]any{"iso_name": nil}, []string{"iso_url: one of it, iso_urls, iso_name and iso_disk_id is required"}},
		"two ISO images":  {map[string]any{"iso_url": "https://a/b"}, []string{"iso_url: is given next to iso_name"}},
		"no checksum":     {map[string]any{"iso_name": nil, "iso_url": "https://a/b"}, []string{"iso_checksum: is required"}},
		"an id of no use": {map[string]any{"iso_name": nil, "iso_disk_id": "abc"}, []string{"iso_disk_id: 'abc': "}},
		"no disk":         {map[string]any{"disk": nil}, []string{"disk: at least one block is required"}},
		"no cluster":      {map[string]any{"cluster": nil}, []string{"cluster: is required"}},
		"a long name of a Windows": {
			map[string]any{"operating_system": "windows_11", "vm_name": "windows-is-built"}, []string{"vm_name: 'windows-is-built' has 16 characters"},
		},
		"a temporary key":    {map[string]any{"communicator": "ssh", "ssh_username": "root"}, []string{"ssh_password: or ssh_private_key_file is required with an installation"}},
		"folders":            {map[string]any{"floppy_dirs": []string{"."}}, []string{"floppy_dirs: cannot be"}},
		"two volumes":        {map[string]any{"floppy_content": map[string]string{"a": "a"}, "cd_content": map[string]string{"b": "b"}}, []string{"floppy_files: does not go with cd_files"}},
		"a file too long":    {map[string]any{"cd_content": map[string]string{"a": strings.Repeat("a", 8193)}}, []string{"cd_content[0]"}},
		"no such device":     {map[string]any{"boot_order": []string{"disk"}}, []string{"boot_order: 'disk' is none of 'hd', 'cdrom', 'network'"}},
		"a bad boot command": {map[string]any{"boot_command": []string{"<wait0s>"}}, []string{"boot_command: "}},
		"a variable that is none": {
			map[string]any{"boot_command": []string{"{{ .HTTPPIP }}<enter>"}}, []string{"boot_command: ", "HTTPPIP"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := NewBuilder().Prepare(buildtest.With(minimal(), test.changes))
			buildtest.MustRefuse(t, err, test.says...)
		})
	}
}
