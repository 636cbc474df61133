// Package driver is the docker-machine driver ovirt: a Docker host is one Machine of the ovirt-provision daemon.
package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Version is the released or next version, as in semantic versioning.
const Version = "0.1.0-dev"

// lookTimeout is how long a call that only looks waits for a daemon that is away: `ls` itself waits no more than 10 s.
const lookTimeout = 5 * time.Second

// Driver is one Docker host. Its exported fields are what the host keeps in config.json, the first six of them under the
// names that docker-machine gives them for every driver. None of them is a secret.
type Driver struct {
	MachineName string
	StorePath   string
	IPAddress   string
	SSHUser     string
	SSHPort     int
	SSHKeyPath  string

	// Key is the key of the Machine. It is fixed before anything is made, so that Remove finds what Create has made
	// even if nobody could save more than it.
	Key string
	// MachineID is the id of the VM in the engine, for people.
	MachineID string
	// EngineURL is the engine that was checked before the create; see guard.
	EngineURL string
	// Installation is that of the daemon that was asked before the create; see guard.
	Installation string
	DockerPort   int
	Options      Options

	out   io.Writer
	newID func() string
	// fresh is true when IPAddress was told by the daemon to this process.
	fresh bool
	// making names the flags that the user gave and that shape a VM which is made.
	making []string
}

var _ wire.Driver = (*Driver)(nil)

// New makes a driver that tells out, line by line, how a create or another change goes.
func New(out io.Writer) *Driver {
	return &Driver{out: out, newID: uuid.NewString}
}

// DriverName is the name that users give to --driver.
func (d *Driver) DriverName() string {
	return "ovirt"
}

// GetMachineName is the name of the host.
func (d *Driver) GetMachineName() string {
	return d.MachineName
}

// GetConfigRaw is the state that the host saves.
func (d *Driver) GetConfigRaw() ([]byte, error) {
	return json.Marshal(d)
}

// SetConfigRaw takes the state that the host has saved.
func (d *Driver) SetConfigRaw(state []byte) error {
	if err := json.Unmarshal(state, d); err != nil {
		return fmt.Errorf("the host's state in config.json cannot be read: %w", err)
	}
	return nil
}

// say tells the user a line. Hosts show what a plugin writes to its standard output.
func (d *Driver) say(message string) {
	_, _ = fmt.Fprintln(d.out, message)
}

// inStore is the path of a file of this host.
func (d *Driver) inStore(file string) string {
	return filepath.Join(d.StorePath, "machines", d.MachineName, file)
}

// connect connects to the daemon for a change, of which the user is told.
func (d *Driver) connect(ctx context.Context) (*client.Client, error) {
	return d.connectWith(ctx, client.Options{Say: d.say})
}

// connectToLook connects for a call whose answer may be all that the user's standard output shall hold.
func (d *Driver) connectToLook(ctx context.Context) (*client.Client, error) {
	return d.connectWith(ctx, client.Options{
		Say:      func(message string) { log.Print(message) },
		Timeouts: client.Timeouts{Reconnect: lookTimeout},
	})
}

func (d *Driver) connectWith(ctx context.Context, options client.Options) (*client.Client, error) {
	options.Profile = d.Options.Engine
	options.UserAgent = "docker-machine-driver-ovirt/" + Version
	daemon, err := client.Connect(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := d.guard(ctx, daemon); err != nil {
		_ = daemon.Close()
		return nil, err
	}
	return daemon, nil
}

// guard refuses a daemon other than that of the create, and an engine other than that of the create where the user named
// no profile: to another the VM would seem to be gone, and Remove would forget it.
func (d *Driver) guard(ctx context.Context, daemon *client.Client) error {
	if d.Installation == "" {
		return nil
	}
	reply, err := daemon.Engines.ListEngines(ctx, &pb.ListEnginesRequest{})
	if err != nil {
		return err
	}
	if other := reply.GetDaemon(); other.GetInstallation() != d.Installation {
		return fmt.Errorf("host %s belongs to the installation %s, but the daemon that answers is of the installation %s, "+
			"with the state folder %s; set XDG_STATE_HOME or OVIRT_PROVISION_ADDRESS as they were at the create",
			d.MachineName, d.Installation, other.GetInstallation(), other.GetStateFolder())
	}
	if d.Options.Engine != "" {
		return nil
	}
	for _, engine := range reply.GetEngines() {
		if engine.GetIsDefault() && engine.GetUrl() != d.EngineURL {
			return fmt.Errorf("host %s is on the engine %s, but the daemon's default is %s; set OVIRT_URL and the other "+
				"OVIRT_* variables of that engine, or its profile in the daemon's configuration",
				d.MachineName, d.EngineURL, engine.GetUrl())
		}
	}
	return nil
}

// errNothingMade is that Create was never reached.
var errNothingMade = errors.New("this host was never created; remove it with `rm`")
