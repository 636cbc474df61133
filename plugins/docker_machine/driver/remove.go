package driver

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Remove destroys the Machine by its key, which is known even if nothing else was saved, or else by its id, and returns when VM
// and disks are gone. One that is gone is fine. Until the daemon has taken the destroy over, a tombstone stands for it.
func (d *Driver) Remove() error {
	if d.Key == "" && d.MachineID == "" {
		return nil
	}
	ctx := context.Background()
	if d.Key == "" {
		return failedRemove(d.removeByID(ctx))
	}
	stone, unset := d.setTombstone()
	err := d.remove(ctx, stone)
	switch {
	case err == nil:
	case unset != nil:
		err = fmt.Errorf("%w\nNo tombstone could be set either (%s): after `rm -f` nobody would know of the VM but the daemon, "+
			"and `ovirt-provision machine destroy %s` would remove it", err, unset, d.Key)
	case stone.file != "":
		err = fmt.Errorf("%w\nThe host is kept. Were it forgotten by `rm -f`, the next start of a plugin or of the daemon would "+
			"remove the VM, told by the tombstone %s", err, stone.file)
	}
	return failedRemove(err)
}

func (d *Driver) remove(ctx context.Context, stone *tombstone) error {
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	return d.bury(ctx, daemon, stone)
}

// removeByID removes the Machine of a host whose key is lost. Only what the daemon has made for this owner is found.
func (d *Driver) removeByID(ctx context.Context) error {
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	request := &pb.ListMachinesRequest{Engine: daemon.Engine}
	for {
		reply, err := daemon.Machines.ListMachines(ctx, request)
		if err != nil {
			return err
		}
		for _, machine := range reply.GetMachines() {
			if machine.GetId() == d.MachineID {
				d.Key = machine.GetKey()
				return d.destroy(ctx, daemon)
			}
		}
		if request.PageToken = reply.GetNextPageToken(); request.PageToken == "" {
			return nil
		}
	}
}

// destroy destroys the Machine for a caller who stays until it is gone.
func (d *Driver) destroy(ctx context.Context, daemon *client.Client) error {
	return d.bury(ctx, daemon, &tombstone{Key: d.Key, RequestID: d.newID()})
}

// bury waits for the end of the destroy that a tombstone, which may have no file, asks for.
func (d *Driver) bury(ctx context.Context, daemon *client.Client, stone *tombstone) error {
	_, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		return stone.destroy(ctx, daemon)
	}, d.showProgress().show)
	return err
}

var notFound = regexp.MustCompile(`(?i)not found`)

// failedRemove words the error of a Remove. rancher-machine takes one that contains "not found" for a success and forgets
// the host, but what was not found here is never the VM.
func failedRemove(err error) error {
	if err == nil || !notFound.MatchString(err.Error()) {
		return err
	}
	return errors.New(notFound.ReplaceAllString(err.Error(), "missing"))
}
