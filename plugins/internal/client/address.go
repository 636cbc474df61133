package client

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// AddressVariable names the environment variable that says where the daemon listens.
const AddressVariable = "OVIRT_PROVISION_ADDRESS"

// longestSocketPath is what fits sockaddr_un with its final zero byte (unix(7)): 107 on Linux, 103 on macOS.
const longestSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// Environment looks a variable up, as os.Getenv does.
type Environment func(name string) string

// Address says where the daemon listens.
type Address struct {
	// Target is the gRPC target: unix:/path or host:port.
	Target string
	// Socket is the path of the unix socket; empty for TCP.
	Socket string
	// Explicit is true when the user named the address: that daemon is the user's, clients never start it.
	Explicit bool
}

// String is the address as a user gives it.
func (a Address) String() string {
	return strings.TrimPrefix(a.Target, "passthrough:///")
}

// errNoDaemonHere is what a client on Windows says, where the daemon does not run.
var errNoDaemonHere = fmt.Errorf("the daemon does not run on Windows: run `ovirt-provision serve` with TLS on another machine, and set "+
	"%s to its host:port, %s to its CA, and either %s with %s or %s", AddressVariable, caFileVariable, certFileVariable,
	keyFileVariable, tokenFileVariable)

// ResolveAddress finds the daemon's address: OVIRT_PROVISION_ADDRESS, else the socket in XDG_RUNTIME_DIR, else the one
// in the state folder. On Windows there is OVIRT_PROVISION_ADDRESS alone, and it is host:port.
func ResolveAddress(env Environment) (Address, error) {
	return resolveAddress(env, runtime.GOOS)
}

func resolveAddress(env Environment, system string) (Address, error) {
	given := env(AddressVariable)
	if system == "windows" && (given == "" || strings.HasPrefix(given, "unix:")) {
		return Address{}, errNoDaemonHere
	}
	if path, isUnix := strings.CutPrefix(given, "unix:"); isUnix {
		return socketAddress(cleanSocketPath(path), true)
	}
	if given != "" {
		return tcpAddress(given)
	}
	if runtime := env("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		return socketAddress(filepath.Join(runtime, "ovirt-provision", "daemon.sock"), false)
	}
	state, err := StateFolder(env)
	if err != nil {
		return Address{}, err
	}
	return socketAddress(filepath.Join(state, "run", "daemon.sock"), false)
}

// StateFolder is where the daemon keeps its ledger and its log: ${XDG_STATE_HOME:-~/.local/state}/ovirt-provision.
func StateFolder(env Environment) (string, error) {
	if state := env("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "ovirt-provision"), nil
	}
	home := env("HOME")
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("the state folder of ovirt-provision cannot be found: neither HOME nor "+
			"XDG_STATE_HOME is set; set %s to the address of a running daemon", AddressVariable)
	}
	return filepath.Join(home, ".local", "state", "ovirt-provision"), nil
}

// cleanSocketPath turns what follows `unix:` into a path: both unix:/path and unix:///path are in use.
func cleanSocketPath(path string) string {
	if strings.HasPrefix(path, "///") {
		return path[2:]
	}
	return path
}

func socketAddress(path string, explicit bool) (Address, error) {
	if !filepath.IsAbs(path) {
		return Address{}, fmt.Errorf("%s is 'unix:%s', but a socket path must be absolute, as in "+
			"unix:/run/ovirt-provision/daemon.sock", AddressVariable, path)
	}
	if len(path) > longestSocketPath {
		return Address{}, fmt.Errorf("the socket path %s is %d bytes long, at most %d are possible; set "+
			"XDG_RUNTIME_DIR or %s to something shorter", path, len(path), longestSocketPath, AddressVariable)
	}
	return Address{Target: "unix:" + path, Socket: path, Explicit: explicit}, nil
}

// tcpAddress accepts any host: there is no TCP without TLS, see dialCredentials.
func tcpAddress(given string) (Address, error) {
	host, _, err := net.SplitHostPort(given)
	if err != nil || host == "" {
		return Address{}, fmt.Errorf("%s is '%s', but must be unix:/path or host:port", AddressVariable, given)
	}
	return Address{Target: "passthrough:///" + given, Explicit: true}, nil
}

// listening says whether a daemon is at the address right now, be it too busy to accept a connection.
func (a Address) listening() bool {
	if a.Socket == "" {
		return true
	}
	connection, err := net.Dial("unix", a.Socket)
	if err != nil {
		return !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = connection.Close()
	return true
}
