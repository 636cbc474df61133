package clone

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// startWith is what the guest of a build was told at its first boot.
func startWith(t *testing.T, daemon *fakedaemon.Daemon) (told struct {
	UserData string
	Files    []struct {
		Path    string
		Content []byte
	}
},
) {
	t.Helper()
	for _, call := range daemon.Calls() {
		if request, isCreate := strings.CutPrefix(call, "CreateMachine "); isCreate {
			var made struct{ StartWith json.RawMessage }
			if err := json.Unmarshal([]byte(request), &made); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(made.StartWith, &told); err != nil {
				t.Fatal(err)
			}
		}
	}
	return told
}

// freePort is a port of this host that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// The guest is told where the HTTP server is, and finds it there while the build runs, and no longer.
func TestHTTPServer(t *testing.T) {
	port := freePort(t)
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"user_data":    "runcmd: [[curl, 'http://{{ .HTTPIP }}:{{ .HTTPPort }}/motd', {{ .Name }}]]",
		"http_content": map[string]string{"/motd": "hello"}, "http_ip": "127.0.0.1", "vm_name": "build-vm",
		"http_port_min": port, "http_port_max": port,
	}))
	served := "http://127.0.0.1:" + strconv.Itoa(port) + "/motd"
	guest := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var read []byte
	build.Daemon.On("CreateMachine", fakedaemon.Behaviour{OnCall: func() {
		reply, err := guest.Get(served)
		if err != nil {
			t.Error(err)
			return
		}
		defer reply.Body.Close()
		read, _ = io.ReadAll(reply.Body)
	}})
	artifact, err := build.Run()
	if err != nil {
		t.Fatal(err)
	}
	if string(read) != "hello" {
		t.Errorf("the guest reads %q", read)
	}
	if told, want := startWith(t, build.Daemon).UserData, "runcmd: [[curl, '"+served+"', build-vm]]"; told != want {
		t.Errorf("the guest is told %q, want %q", told, want)
	}
	if data := artifact.State("generated_data").(map[string]any); data["PackerHTTPAddr"] != "127.0.0.1:"+strconv.Itoa(port) {
		t.Errorf("provisioners read %v", data)
	}
	if reply, err := guest.Get(served); err == nil {
		_ = reply.Body.Close()
		t.Error("the HTTP server outlives the build")
	}
}

// A build that serves nothing needs no address, and one that cannot find it says what to do.
func TestNoAddressOfTheHTTPServer(t *testing.T) {
	build := newTestBuild(t, buildtest.With(started(), map[string]any{"http_content": map[string]string{"/a": "b"}}))
	build.Daemon.EngineURL = "https://127.0.0.1:8443/ovirt-engine/api"
	if err := build.MustFail(t); !strings.Contains(err.Error(), "set http_ip") {
		t.Errorf("error: %v", err)
	}
}

// What is on the CD reaches the guest byte by byte.
func TestFilesOfTheCD(t *testing.T) {
	folder := t.TempDir()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, content := range map[string][]byte{"drivers/nested/a.bin": every, "b.txt": []byte("b"), "glob/c.txt": []byte("c")} {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"cd_files":   []string{filepath.Join(folder, "drivers"), filepath.Join(folder, "b.txt"), filepath.Join(folder, "glob", "*")},
		"cd_content": map[string]string{"b.txt": "mine", "/deep/d": "\x00d"}, "cd_label": "cidata",
	}))
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/run/media/cidata/drivers/nested/a.bin": string(every), "/run/media/cidata/b.txt": "mine",
		"/run/media/cidata/c.txt": "c", "/run/media/cidata/deep/d": "\x00d",
	}
	files := startWith(t, build.Daemon).Files
	if len(files) != len(want) {
		t.Errorf("files: %v", files)
	}
	for _, file := range files {
		if want[file.Path] != string(file.Content) {
			t.Errorf("%s holds %q, want %q", file.Path, file.Content, want[file.Path])
		}
	}
}

func TestAFileOfTheCDThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"cd_files": []string{path}}))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := build.MustFail(t); !strings.Contains(err.Error(), "cd_files: ") || !strings.Contains(err.Error(), path) {
		t.Errorf("error: %v", err)
	}
}

func TestUserDataOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho f1lesecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"user_data_file": path}))
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	if told := startWith(t, build.Daemon).UserData; told != "#!/bin/sh\necho f1lesecret\n" {
		t.Errorf("the guest is told %q", told)
	}
	if filtered := packersdk.LogSecretFilter.FilterString("#!/bin/sh\necho f1lesecret\n"); strings.Contains(filtered, "f1lesecret") {
		t.Errorf("logs show %q", filtered)
	}
}
