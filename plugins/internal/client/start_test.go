package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// TestMain lets the test binary be the `ovirt-provision` that a client finds on PATH.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == executable {
		os.Exit(beDaemon())
	}
	os.Exit(m.Run())
}

// birth is what a started daemon finds.
type birth struct {
	Arguments   []string
	Environment []string
	Stdin       string
	Folder      string
	Pid         int
	Session     int
}

// beDaemon is a daemon whose behaviour stands in $HOME/behaviour; it notes its birth in $HOME/births.
func beDaemon() int {
	home := os.Getenv("HOME")
	stdin, _ := io.ReadAll(os.Stdin)
	folder, _ := os.Getwd()
	session, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	line, _ := json.Marshal(birth{os.Args[1:], os.Environ(), string(stdin), folder, os.Getpid(), int(session)})
	births, err := os.OpenFile(filepath.Join(home, "births"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	fmt.Fprintln(births, string(line))
	behaviour, _ := os.ReadFile(filepath.Join(home, "behaviour"))
	switch string(behaviour) {
	case "die":
		fmt.Fprintln(os.Stderr, "no engine is configured: set OVIRT_URL")
		return 78
	case "yield":
		// Blocks until the test opens the other end.
		if err := os.WriteFile(filepath.Join(home, "yields"), nil, 0o600); err != nil {
			return 1
		}
		return 0
	case "hang":
		fmt.Println("importing")
		select {}
	case "serve":
		fmt.Println("serving")
		socket := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "ovirt-provision", "daemon.sock")
		_ = os.Remove(socket)
		if err := fakedaemon.New().Serve(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		select {}
	}
	return 1
}

// home is a home folder with an `ovirt-provision` on PATH, for clients that start daemons.
type home struct {
	t      *testing.T
	folder string
}

func newHome(t *testing.T, behaviour string) *home {
	t.Helper()
	// t.TempDir may be too long for a socket.
	folder, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, folder: folder}
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(folder, "behaviour"), []byte(behaviour), 0o600),
		os.Mkdir(filepath.Join(folder, "bin"), 0o700),
		os.Symlink(itself, filepath.Join(folder, "bin", executable)),
		os.Mkdir(filepath.Join(folder, "run"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, born := range h.births() {
			_ = syscall.Kill(born.Pid, syscall.SIGKILL)
		}
		_ = os.RemoveAll(folder)
	})
	for name, value := range map[string]string{
		"HOME": folder, "PATH": filepath.Join(folder, "bin"), "LANG": "C.UTF-8",
		"XDG_RUNTIME_DIR": filepath.Join(folder, "run"), "XDG_STATE_HOME": "", "OVIRT_PROVISION_ADDRESS": "",
		"OVIRT_URL": engineURL, "OVIRT_USERNAME": "admin@internal", "OVIRT_PASSWORD": "s3cr3t", "OVIRT_CAFILE": "",
		"SSH_AUTH_SOCK": "/tmp/agent",
	} {
		t.Setenv(name, value)
	}
	return h
}

func (h *home) births() []birth {
	content, _ := os.ReadFile(filepath.Join(h.folder, "births"))
	var births []birth
	for line := range strings.Lines(string(content)) {
		var born birth
		if err := json.Unmarshal([]byte(line), &born); err != nil {
			h.t.Error(err)
		}
		births = append(births, born)
	}
	return births
}

func (h *home) state() string { return filepath.Join(h.folder, ".local/state/ovirt-provision") }

func TestConnectStartsADaemon(t *testing.T) {
	h := newHome(t, "serve")
	var said []string
	c, err := Connect(t.Context(), Options{Say: func(message string) { said = append(said, message) }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Engines.GetEngine(t.Context(), &pb.GetEngineRequest{Engine: c.Engine}); err != nil {
		t.Error(err)
	}
	if !slices.Equal(said, []string{"Starting the ovirt-provision daemon..."}) {
		t.Errorf("said %q", said)
	}
	births := h.births()
	if len(births) != 1 {
		t.Fatalf("%d daemons were started", len(births))
	}
	born := births[0]
	if !slices.Equal(born.Arguments, []string{"serve", "--auto-started"}) || born.Folder != "/" {
		t.Errorf("started as %v in %s", born.Arguments, born.Folder)
	}
	if born.Session != born.Pid {
		t.Errorf("the daemon %d is in session %d: it would die with the terminal", born.Pid, born.Session)
	}
	if want := "OVIRT_URL=" + engineURL + "\nOVIRT_USERNAME=admin@internal\nOVIRT_PASSWORD=s3cr3t\n"; born.Stdin != want {
		t.Errorf("stdin was %q, want %q", born.Stdin, want)
	}
	for _, variable := range born.Environment {
		name, _, _ := strings.Cut(variable, "=")
		if name != "PATH" && name != "HOME" && name != "LANG" && !strings.HasPrefix(name, "XDG_") {
			t.Errorf("the daemon sees %s", variable)
		}
	}
	log, err := os.ReadFile(filepath.Join(h.state(), "daemon.log"))
	if err != nil || string(log) != "serving\n" {
		t.Errorf("the log holds %q, %v", log, err)
	}
	for _, folder := range []string{h.state(), filepath.Join(h.folder, "run", "ovirt-provision")} {
		if err := checkPrivate(folder); err != nil {
			t.Error(err)
		}
	}
}

func TestManyClientsStartOneDaemon(t *testing.T) {
	h := newHome(t, "serve")
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			c, err := Connect(t.Context(), Options{})
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	clients.Wait()
	if births := h.births(); len(births) != 1 {
		t.Errorf("%d daemons were started", len(births))
	}
}

func TestADaemonThatDiesShowsItsLog(t *testing.T) {
	h := newHome(t, "die")
	if err := os.MkdirAll(h.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.state(), "daemon.log"), []byte("an older story\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Connect(t.Context(), Options{})
	mustSay(t, err, "exit status 78", filepath.Join(h.state(), "daemon.log"), "no engine is configured: set OVIRT_URL")
	if strings.Contains(err.Error(), "an older story") {
		t.Errorf("the error tells of an earlier daemon:\n%v", err)
	}
}

// A daemon that ends with success has found another that is about to serve.
func TestADaemonThatYieldsToAnother(t *testing.T) {
	h := newHome(t, "yield")
	yields := filepath.Join(h.folder, "yields")
	if err := syscall.Mkfifo(yields, 0o600); err != nil {
		t.Fatal(err)
	}
	other := fakedaemon.New()
	served := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(yields)
		if err == nil {
			err = other.Serve(filepath.Join(h.folder, "run", "ovirt-provision", "daemon.sock"))
		}
		served <- err
	}()
	c, err := Connect(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	other.Stop()
}

func TestADaemonThatHangsRunsIntoTheTimeout(t *testing.T) {
	newHome(t, "hang")
	_, err := Connect(t.Context(), Options{Timeouts: Timeouts{Start: 500 * time.Millisecond}})
	mustSay(t, err, "500ms", "`Start`", "importing")
}

func TestNoDaemonToStart(t *testing.T) {
	newHome(t, "serve")
	t.Setenv("PATH", "/nonexistent")
	_, err := Connect(t.Context(), Options{})
	mustSay(t, err, "`ovirt-provision` is not on PATH", "pipx install", "OVIRT_PROVISION_ADDRESS")
}

func TestANamedDaemonIsNeverStarted(t *testing.T) {
	h := newHome(t, "serve")
	t.Setenv(AddressVariable, "unix:"+filepath.Join(h.folder, "d.sock"))
	_, err := Connect(t.Context(), Options{})
	mustSay(t, err, "no daemon listens", "d.sock", AddressVariable)
	if births := h.births(); len(births) != 0 {
		t.Errorf("started: %v", births)
	}
}

func TestASocketFolderOpenToOthersIsRefused(t *testing.T) {
	h := newHome(t, "serve")
	folder := filepath.Join(h.folder, "run", "ovirt-provision")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Connect(t.Context(), Options{})
	mustSay(t, err, folder, "0755", "chmod 700")
}

func TestAClientWaitsForAnotherThatStartsTheDaemon(t *testing.T) {
	h := newHome(t, "serve")
	folder := filepath.Join(h.folder, "run", "ovirt-provision")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(t.Context(), filepath.Join(folder, "daemon.sock.start"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	_, err = Connect(t.Context(), Options{Timeouts: Timeouts{Start: 300 * time.Millisecond}})
	mustSay(t, err, "another client", "`Start`")
	if births := h.births(); len(births) != 0 {
		t.Errorf("started: %v", births)
	}
}

// The daemon is killed in the middle: the client starts another, which takes the operations up from the ledger.
func TestAKilledDaemonIsStartedAgain(t *testing.T) {
	h := newHome(t, "serve")
	c, err := Connect(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := syscall.Kill(h.births()[0].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Engines.GetEngine(t.Context(), &pb.GetEngineRequest{Engine: c.Engine}); err != nil {
		t.Error(err)
	}
	if births := h.births(); len(births) != 2 || births[1].Stdin != births[0].Stdin {
		t.Errorf("daemons: %v", births)
	}
}

func TestAKilledDaemonThatCannotBeStartedAgain(t *testing.T) {
	h := newHome(t, "serve")
	c, err := Connect(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := os.WriteFile(filepath.Join(h.folder, "behaviour"), []byte("die"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(h.births()[0].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, err = c.Engines.GetEngine(t.Context(), &pb.GetEngineRequest{Engine: c.Engine})
	mustSay(t, err, "could not be started again", "no engine is configured")
	if births := h.births(); len(births) != 2 {
		t.Errorf("%d daemons were started", len(births))
	}
}

// The daemon of another client is about to end when ours comes: it is not mistaken for one that serves.
func TestADaemonThatEndsIsReplaced(t *testing.T) {
	h := newHome(t, "serve")
	folder := filepath.Join(h.folder, "run", "ovirt-provision")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ending := fakedaemon.New()
	if err := ending.Serve(filepath.Join(folder, "daemon.sock")); err != nil {
		t.Fatal(err)
	}
	ending.Serving(false)
	checked := ending.HealthChecked()
	go func() {
		<-checked
		ending.Stop()
	}()
	c, err := Connect(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if births := h.births(); len(births) != 1 {
		t.Errorf("%d daemons were started", len(births))
	}
}

func TestConnectWaitsUntilTheDaemonServes(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.Serving(false)
	options := Options{Environment: environment(map[string]string{AddressVariable: daemon.Address})}
	limited, told := options, ""
	// How long it takes until the daemon has told why depends on the machine.
	for limit := 250 * time.Millisecond; limit < time.Minute && !strings.Contains(told, "NOT_SERVING"); limit *= 2 {
		limited.Timeouts.Connect = limit
		_, err := Connect(t.Context(), limited)
		mustSay(t, err, daemon.Address, limit.String(), "`Connect`")
		told = err.Error()
	}
	if !strings.Contains(told, "NOT_SERVING") {
		t.Errorf("the error does not say why: %s", told)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, options); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v", err)
	}
	daemon.Serving(true)
	c, err := Connect(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestTail(t *testing.T) {
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for line := range 100 {
		fmt.Fprintln(log, strconv.Itoa(line))
	}
	lines := strings.Split(tail(log, 0), "\n")
	if len(lines) != tailLines || lines[0] != "    80" || lines[len(lines)-1] != "    99" {
		t.Errorf("got %q", lines)
	}
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if got := tail(log, end); got != "    (empty)" {
		t.Errorf("got %q", got)
	}
}
