package clone

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// windows is a guest that answers WS-Management as far as WinRM's communicator speaks it, and runs nothing.
type windows struct {
	port     int
	mu       sync.Mutex
	commands []string
}

var sentCommand = regexp.MustCompile(`(?s)<[a-z]+:Command>(.*)</[a-z]+:Command>`)

func startWindows(t *testing.T, daemon *fakedaemon.Daemon) *windows {
	t.Helper()
	guest := new(windows)
	server := httptest.NewServer(guest)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	guest.port, err = strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}
	daemon.Addresses = []*pb.Address{{Ip: address.Hostname()}}
	return guest
}

// ServeHTTP answers one message: of a shell that is made, a command in it, its output, and its end.
func (w *windows) ServeHTTP(reply http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	reply.Header().Set("Content-Type", "application/soap+xml")
	const shell = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
	action, answer := "", ""
	switch message := string(body); {
	case strings.Contains(message, "transfer/Create"):
		action = "http://schemas.xmlsoap.org/ws/2004/09/transfer/CreateResponse"
		answer = "<rsp:ShellId>shell</rsp:ShellId>"
	case strings.Contains(message, "shell/Command"):
		w.remember(html.UnescapeString(sentCommand.FindStringSubmatch(message)[1]))
		action = shell + "/CommandResponse"
		answer = "<rsp:CommandId>command</rsp:CommandId>"
	case strings.Contains(message, "shell/Receive"):
		// What the SDK's own check of the connection wants to read.
		said := base64.StdEncoding.EncodeToString([]byte("WinRM connected."))
		answer = `<rsp:ReceiveResponse><rsp:Stream Name="stdout" CommandId="command">` + said + `</rsp:Stream>` +
			`<rsp:CommandState State="` + shell + `/CommandState/Done">` +
			`<rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState></rsp:ReceiveResponse>`
	}
	_, _ = fmt.Fprintf(reply, `<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:rsp="%s" `+
		`xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><env:Header><a:Action>%s</a:Action></env:Header>`+
		`<env:Body>%s</env:Body></env:Envelope>`, shell, action, answer)
}

func (w *windows) remember(command string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commands = append(w.commands, plain(command))
}

// plain is a command as it was before PowerShell's encoding: base64 of UTF-16.
func plain(command string) string {
	_, encoded, isEncoded := strings.Cut(command, "-EncodedCommand ")
	raw, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, `"`))
	if !isEncoded || err != nil {
		return command
	}
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])|uint16(raw[i+1])<<8)
	}
	return string(utf16.Decode(units))
}

func (w *windows) ran(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.commands, func(command string) bool { return strings.Contains(command, part) })
}

// A Windows image is started without cloud-init, provisioned over WinRM, and left to generalize and shut itself down.
func TestBuildOverWinRM(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"communicator": "winrm", "winrm_username": "Administrator", "winrm_password": "s3cr3t",
		"shutdown_command": "sysprep.exe /generalize /shutdown",
	}))
	guest := startWindows(t, build.Daemon)
	build.builder.Source.Shared().Comm.WinRMPort = guest.port
	build.Hook = &provisioner{command: "Install-WindowsFeature"}
	if _, err := build.Run(); err != nil {
		t.Fatalf("%v\n%s", err, build.UI.Text())
	}
	for _, command := range []string{"Install-WindowsFeature", "sysprep.exe /generalize /shutdown"} {
		if !guest.ran(command) {
			t.Errorf("the guest never ran %s: %q", command, guest.commands)
		}
	}
	calls := build.Daemon.Calls()
	for _, part := range []string{`,"startWith":{}}`, `"waitOnly":true}`} {
		if !slices.ContainsFunc(calls, func(call string) bool { return strings.Contains(call, part) }) {
			t.Errorf("no call has %s:\n%s", part, strings.Join(calls, "\n"))
		}
	}
	if slices.ContainsFunc(calls, func(call string) bool { return strings.Contains(call, `"seal"`) }) {
		t.Errorf("a template of Windows is sealed:\n%s", strings.Join(calls, "\n"))
	}
}
