// Package wire is how docker-machine, its fork for GitLab and rancher-machine speak to the plugin of a driver: net/rpc
// with gob over a loopback port that the plugin prints. It stands in for libmachine, whose server cannot be told that
// the host is gone and logs to the standard output.
package wire

import "context"

// Driver is what a host asks of a driver, once it is told its state by SetConfigRaw. One call is made at a time.
type Driver interface {
	DriverName() string
	GetCreateFlags() []Flag
	SetConfigFromFlags(options Options) error
	// PreCreateCheck is called before Create. The host saves the state between the two.
	PreCreateCheck() error
	// Create is the one call that has to be undone when the host is gone: then ctx ends, and the plugin lives on until
	// Create has returned.
	Create(ctx context.Context) error
	Remove() error
	Start() error
	Stop() error
	Kill() error
	Restart() error
	GetState() (State, error)
	GetURL() (string, error)
	GetIP() (string, error)
	GetIPv6() (string, error)
	GetMachineName() string
	GetSSHHostname() (string, error)
	GetSSHPort() (int, error)
	GetSSHUsername() string
	GetSSHKeyPath() string

	// GetConfigRaw is the state as JSON, which the host keeps in config.json, and SetConfigRaw gives it back.
	GetConfigRaw() ([]byte, error)
	SetConfigRaw(state []byte) error
}

// State is the state of a machine.
type State int

// The states of docker-machine.
const (
	None State = iota
	Running
	Paused
	Saved
	Stopped
	Stopping
	Starting
	Error
	Timeout
)
