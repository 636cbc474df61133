package wire

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds what has to happen at once.
const patience = 30 * time.Second

// Environment variables of the plugin of these tests: its heartbeatTimeout, a file that its undo makes, and that its
// Create succeeds at once.
const (
	heartbeatVariable = "TOY_HEARTBEAT"
	undoneVariable    = "TOY_UNDONE"
	quickVariable     = "TOY_QUICK"
)

// The plugin of these tests is this test binary: a process of its own can be left by its host and be signalled.
func TestMain(m *testing.M) {
	if os.Getenv(TokenVariable) == TokenValue {
		heartbeat := heartbeatTimeout
		if given, err := time.ParseDuration(os.Getenv(heartbeatVariable)); err == nil {
			heartbeat = given
		}
		if err := serve(new(toy), os.Stdout, heartbeat); err != nil {
			fmt.Println("ended:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// toy is a driver that remembers what it is told.
type toy struct {
	state string
	flags string
}

func (d *toy) DriverName() string { return "toy" }
func (d *toy) GetCreateFlags() []Flag {
	return []Flag{
		&StringFlag{Name: "toy-name", EnvVar: "TOY_NAME", Usage: "a name", Value: "x"},
		&IntFlag{Name: "toy-number", Value: 7},
		&BoolFlag{Name: "toy-switch"},
		&StringSliceFlag{Name: "toy-list", Value: []string{"a", "b"}},
	}
}

func (d *toy) SetConfigFromFlags(given Options) error {
	d.flags = fmt.Sprintln(given.String("toy-name"), given.Int("toy-number"), given.Bool("toy-switch"), given.StringSlice("toy-list"),
		given.String("none"), given.Int("toy-name"))
	return nil
}
func (d *toy) PreCreateCheck() error { return errors.New("two things:\n  * one\n  * two") }

// Create waits for its end, and tells of it late.
func (d *toy) Create(ctx context.Context) error {
	if os.Getenv(quickVariable) != "" {
		return nil
	}
	fmt.Println("creating")
	<-ctx.Done()
	fmt.Println("undoing")
	if file := os.Getenv(undoneVariable); file != "" {
		_ = os.WriteFile(file, nil, 0o600)
	}
	return context.Cause(ctx)
}
func (d *toy) Remove() error                   { panic("a text") }
func (d *toy) Start() error                    { return nil }
func (d *toy) Stop() error                     { return errors.New("no stop") }
func (d *toy) Kill() error                     { return nil }
func (d *toy) Restart() error                  { return nil }
func (d *toy) GetState() (State, error)        { return Paused, nil }
func (d *toy) GetURL() (string, error)         { return "tcp://192.0.2.1:2376", nil }
func (d *toy) GetIP() (string, error)          { return "192.0.2.1", nil }
func (d *toy) GetIPv6() (string, error)        { return "", errors.New("no IPv6") }
func (d *toy) GetMachineName() string          { return "host" }
func (d *toy) GetSSHHostname() (string, error) { return "192.0.2.1", nil }
func (d *toy) GetSSHPort() (int, error)        { return 2222, nil }
func (d *toy) GetSSHUsername() string          { return d.flags }
func (d *toy) GetSSHKeyPath() string           { return "/key" }
func (d *toy) GetConfigRaw() ([]byte, error)   { return []byte(d.state), nil }
func (d *toy) SetConfigRaw(state []byte) error { d.state = string(state); return nil }

// testHost is a host of docker-machine with one plugin.
type testHost struct {
	t       *testing.T
	plugin  *exec.Cmd
	client  *rpc.Client
	service string
	out     io.ReadCloser
	lines   *bufio.Scanner
}

func startPlugin(t *testing.T, environment ...string) *testHost {
	t.Helper()
	h := &testHost{t: t, plugin: exec.Command(os.Args[0]), service: "RPCServerDriver"}
	h.plugin.Env = append(append(os.Environ(), TokenVariable+"="+TokenValue), environment...)
	var err error
	if h.out, err = h.plugin.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.plugin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.plugin.Process.Kill() })
	h.lines = bufio.NewScanner(h.out)
	if h.client, err = rpc.DialHTTP("tcp", h.line()); err != nil {
		t.Fatal(err)
	}
	return h
}

// line is the next line of the plugin's standard output.
func (h *testHost) line() string {
	h.t.Helper()
	if !h.lines.Scan() {
		h.t.Fatalf("the plugin says no more: %v", h.lines.Err())
	}
	return h.lines.Text()
}

// call makes a call as docker-machine does.
func call[T any](h *testHost, method string) (reply T, err error) {
	err = h.client.Call(h.service+"."+method, struct{}{}, &reply)
	return reply, err
}

// tell makes a call that has no reply.
func (h *testHost) tell(method string, argument any) error {
	return h.client.Call(h.service+"."+method, argument, nil)
}

// ended waits for the end of the plugin and returns its exit code.
func (h *testHost) ended() int {
	h.t.Helper()
	late := time.AfterFunc(patience, func() { _ = h.plugin.Process.Kill() })
	defer late.Stop()
	_ = h.plugin.Wait()
	return h.plugin.ProcessState.ExitCode()
}

func TestCalls(t *testing.T) {
	for _, service := range []string{"RPCServerDriver", "RpcServerDriver"} {
		t.Run(service, func(t *testing.T) {
			h := startPlugin(t)
			h.service = service
			if version, err := call[int](h, "GetVersion"); version != 1 || err != nil {
				t.Errorf("version %d, %v", version, err)
			}
			if err := h.tell("SetConfigRaw", []byte(`{"MachineName":"host"}`)); err != nil {
				t.Error(err)
			}
			if state, err := call[[]byte](h, "GetConfigRaw"); string(state) != `{"MachineName":"host"}` || err != nil {
				t.Errorf("state %s, %v", state, err)
			}
			for method, want := range map[string]string{
				"DriverName": "toy", "GetURL": "tcp://192.0.2.1:2376", "GetIP": "192.0.2.1", "GetMachineName": "host",
				"GetSSHHostname": "192.0.2.1", "GetSSHKeyPath": "/key",
			} {
				if got, err := call[string](h, method); got != want || err != nil {
					t.Errorf("%s: %q, %v", method, got, err)
				}
			}
			if port, err := call[int](h, "GetSSHPort"); port != 2222 || err != nil {
				t.Errorf("port %d, %v", port, err)
			}
			if state, err := call[int](h, "GetState"); state != 2 || err != nil {
				t.Errorf("state %d, %v", state, err)
			}
			for _, method := range []string{"Start", "Kill", "Restart", "Heartbeat"} {
				if err := h.tell(method, struct{}{}); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
			for method, want := range map[string]string{
				"PreCreateCheck": "two things:\n  * one\n  * two",
				"Stop":           "no stop",
				"GetIPv6":        "no IPv6",
				"Upgrade":        "this driver does not upgrade Docker; the host does so itself",
				"Remove":         "the driver has a defect and gave up, please report it: a text",
			} {
				if err := h.tell(method, struct{}{}); err == nil || err.Error() != want {
					t.Errorf("%s: %v", method, err)
				}
			}
			if err := h.tell("Start", struct{}{}); err != nil {
				t.Errorf("after a panic: %v", err)
			}
			_ = h.tell("Close", struct{}{})
			// A panic is logged, and no log may be in what a host takes for an answer.
			for h.lines.Scan() {
				t.Errorf("on the standard output: %s", h.lines.Text())
			}
			if code := h.ended(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// The names under which hosts know the values, and values of each type.
func TestFlags(t *testing.T) {
	h := startPlugin(t)
	flags, err := call[[]Flag](h, "GetCreateFlags")
	if err != nil || !reflect.DeepEqual(flags, new(toy).GetCreateFlags()) {
		t.Errorf("got %v, %v", flags, err)
	}
	// Hosts send a pointer to an interface.
	var options Options = &Values{Values: map[string]any{
		"toy-name": "n", "toy-number": 3, "toy-switch": true, "toy-list": []string{"c"}, "swarm-master": false,
	}}
	if err := h.tell("SetConfigFromFlags", &options); err != nil {
		t.Fatal(err)
	}
	if got, _ := call[string](h, "GetSSHUsername"); strings.TrimSpace(got) != "n 3 true [c]  0" {
		t.Errorf("the driver read %q", got)
	}
	var sent strings.Builder
	if err := gob.NewEncoder(&sent).Encode(flags); err != nil {
		t.Fatal(err)
	}
	if err := gob.NewEncoder(&sent).Encode(&options); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"*mcnflag.StringFlag", "*mcnflag.IntFlag", "*mcnflag.BoolFlag", "*mcnflag.StringSliceFlag", "*rpcdriver.RPCFlags",
	} {
		if !strings.Contains(sent.String(), name) {
			t.Errorf("%s does not travel", name)
		}
	}
}

// However the host goes, Create ends, its undo is waited for, and the plugin tells of neither to a pipe that is closed.
func TestCreateIsUndone(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(h *testHost) error
		code int
		said string
	}{
		{"the host dies", func(h *testHost) error { return h.client.Close() }, 1, "ended: docker-machine is gone: it has closed the connection"},
		{"SIGINT", func(h *testHost) error { return h.plugin.Process.Signal(os.Interrupt) }, 1, "ended: interrupted by signal: interrupt"},
		{"SIGTERM", func(h *testHost) error { return h.plugin.Process.Signal(syscall.SIGTERM) }, 1, "ended: interrupted by signal: terminated"},
		{"SIGHUP", func(h *testHost) error { return h.plugin.Process.Signal(syscall.SIGHUP) }, 1, "ended: interrupted by signal: hangup"},
		{"the host says that it is done", func(h *testHost) error { return h.tell("Close", struct{}{}) }, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := startPlugin(t)
			create := h.client.Go("RPCServerDriver.Create", struct{}{}, nil, nil)
			if line := h.line(); line != "creating" {
				t.Fatal(line)
			}
			if err := test.end(h); err != nil && !errors.Is(err, rpc.ErrShutdown) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			said := []string{}
			for h.lines.Scan() {
				said = append(said, h.lines.Text())
			}
			want := []string{"undoing"}
			if test.said != "" {
				want = append(want, test.said)
			}
			if !slices.Equal(said, want) {
				t.Errorf("said %q, want %q", said, want)
			}
			if code := h.ended(); code != test.code {
				t.Errorf("exit code %d", code)
			}
			<-create.Done
		})
	}
}

// Nobody reads the pipes of a plugin whose host is gone; writing to them must not end it before the undo.
func TestUndoOutlivesThePipe(t *testing.T) {
	undone := filepath.Join(t.TempDir(), "undone")
	h := startPlugin(t, undoneVariable+"="+undone)
	h.client.Go("RPCServerDriver.Create", struct{}{}, nil, nil)
	h.line()
	_ = h.out.Close()
	_ = h.client.Close()
	if code := h.ended(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(undone); err != nil {
		t.Error(err)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Run("a silent host is given up", func(t *testing.T) {
		h := startPlugin(t, heartbeatVariable+"=2s")
		h.client.Go("RPCServerDriver.Create", struct{}{}, nil, nil)
		for _, want := range []string{"creating", "undoing", "ended: docker-machine is gone: it has been silent for 2s"} {
			if line := h.line(); line != want {
				t.Errorf("said %q, want %q", line, want)
			}
		}
	})
	t.Run("a silent host changes nothing after the create", func(t *testing.T) {
		undone := filepath.Join(t.TempDir(), "undone")
		h := startPlugin(t, heartbeatVariable+"=2s", quickVariable+"=1", undoneVariable+"="+undone)
		if err := h.tell("Create", struct{}{}); err != nil {
			t.Fatal(err)
		}
		if line := h.line(); line != "ended: docker-machine is gone: it has been silent for 2s" {
			t.Errorf("said %q", line)
		}
		if _, err := os.Stat(undone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was created is undone: %v", err)
		}
	})
	t.Run("a heartbeat is heard during a create", func(t *testing.T) {
		h := startPlugin(t)
		h.client.Go("RPCServerDriver.Create", struct{}{}, nil, nil)
		h.line()
		if err := h.tell("Heartbeat", struct{}{}); err != nil {
			t.Error(err)
		}
	})
}
