package driver

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// errNotRunning is known to hosts by its text: `ls` shows no error then.
//
//lint:ignore ST1005 The text is docker-machine's.
var errNotRunning = errors.New("Host is not running")

// states are what docker-machine calls the states of a Machine.
var states = map[pb.Machine_Status]wire.State{
	pb.Machine_STATUS_CREATING:   wire.Starting,
	pb.Machine_STATUS_DOWN:       wire.Stopped,
	pb.Machine_STATUS_STARTING:   wire.Starting,
	pb.Machine_STATUS_UP:         wire.Running,
	pb.Machine_STATUS_STOPPING:   wire.Stopping,
	pb.Machine_STATUS_PAUSED:     wire.Paused,
	pb.Machine_STATUS_SUSPENDED:  wire.Saved,
	pb.Machine_STATUS_UNKNOWN:    wire.Error,
	pb.Machine_STATUS_DESTROYING: wire.Stopping,
	pb.Machine_STATUS_ABSENT:     wire.Error,
}

// readingAge is how old a reading of the VM may be. Of a hundred hosts, whose plugins `ls` starts one after the other, each one
// but the first then finds what was read for the first.
const readingAge = 15 * time.Second

// GetState is the state of the VM. That the VM is gone is an error, and so is that nobody can tell.
func (d *Driver) GetState() (wire.State, error) {
	machine, err := d.look()
	if err != nil {
		return wire.Error, err
	}
	return states[machine.GetStatus()], nil
}

// look asks the daemon for the Machine.
func (d *Driver) look() (*pb.Machine, error) {
	if d.Key == "" {
		return nil, errNothingMade
	}
	ctx := context.Background()
	daemon, err := d.connectToLook(ctx)
	if err != nil {
		return nil, failedLook(err)
	}
	defer daemon.Close()
	reply, err := daemon.Machines.GetMachine(ctx, &pb.GetMachineRequest{
		Engine: daemon.Engine, Key: d.Key, MaxAge: durationpb.New(readingAge),
	})
	if status.Code(err) == codes.NotFound || reply.GetMachine().GetStatus() == pb.Machine_STATUS_ABSENT {
		return nil, fmt.Errorf("the VM of host %s is gone (not found in the engine); `rm` removes what is left of the host", d.MachineName)
	}
	if err != nil {
		return nil, failedLook(err)
	}
	d.note(reply.GetMachine())
	return reply.GetMachine(), nil
}

// failedLook words an error that says nothing about the VM: hosts take one that contains "not found" for its absence.
func failedLook(err error) error {
	if !notFound.MatchString(err.Error()) {
		return err
	}
	return &client.Error{
		Detail: &pb.Error{Code: int32(status.Code(err)), Message: notFound.ReplaceAllString(err.Error(), "missing")},
		Typed:  true,
	}
}

// GetIP is the address of the guest. The daemon is asked once, since by DHCP the address may change between two runs of
// the host; while it cannot be asked, the last address stands.
func (d *Driver) GetIP() (string, error) {
	if d.fresh {
		return d.IPAddress, nil
	}
	machine, err := d.look()
	switch {
	case status.Code(err) == codes.Unavailable && d.IPAddress != "":
		log.Printf("the last known address is used: %s", err)
		return d.IPAddress, nil
	case err != nil:
		return "", err
	case machine.GetStatus() != pb.Machine_STATUS_UP:
		return "", errNotRunning
	case d.IPAddress == "":
		return "", fmt.Errorf("the guest of host %s reports no address", d.MachineName)
	}
	return d.IPAddress, nil
}

// GetIPv6 is the address of a guest that has none but IPv6.
func (d *Driver) GetIPv6() (string, error) {
	address, err := d.GetIP()
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(address); err != nil || !ip.Is6() {
		return "", fmt.Errorf("host %s has an IPv4 address", d.MachineName)
	}
	return address, nil
}

// GetSSHHostname is the address too: some hosts take no name here.
func (d *Driver) GetSSHHostname() (string, error) {
	return d.GetIP()
}

// GetSSHPort is the port of the guest's SSH server.
func (d *Driver) GetSSHPort() (int, error) {
	return d.SSHPort, nil
}

// GetSSHUsername is the account that the first boot has made.
func (d *Driver) GetSSHUsername() string {
	return d.SSHUser
}

// GetSSHKeyPath is the private key that Create has made.
func (d *Driver) GetSSHKeyPath() string {
	return d.SSHKeyPath
}

// GetURL is where the Docker daemon listens, for DOCKER_HOST.
func (d *Driver) GetURL() (string, error) {
	address, err := d.GetIP()
	if err != nil {
		return "", err
	}
	return "tcp://" + net.JoinHostPort(address, strconv.Itoa(d.DockerPort)), nil
}
