package driver

import (
	"context"
	"fmt"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Create makes the Machine, waits until its guest is ready, and confirms it. Whatever goes wrong before it is
// confirmed, the end of ctx included, leaves nothing behind; should nobody be there to see to that, the daemon destroys
// the Machine when the grace of its lease is over.
func (d *Driver) Create(ctx context.Context) error {
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	publicKey, err := makeKey(d.SSHKeyPath, d.Key)
	if err != nil {
		return err
	}
	request, err := d.createMachine(daemon.Engine, d.newID(), publicKey)
	if err != nil {
		return err
	}
	shown := d.showProgress()
	operation, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.CreateMachine(ctx, request)
		return reply.GetOperation(), err
	}, func(operation *pb.Operation) {
		d.note(operation.GetMachine())
		shown.show(operation)
	})
	if err != nil {
		if client.MayHaveEffect(operation, err) {
			err = d.undo(daemon, err)
		}
		return origins.Rename(err)
	}
	if err := d.settle(ctx, daemon); err != nil {
		return d.undo(daemon, err)
	}
	return nil
}

// settle takes a Machine that stands to the end of its session.
func (d *Driver) settle(ctx context.Context, daemon *client.Client) error {
	if d.IPAddress == "" {
		return fmt.Errorf("VM %s reports no address", d.MachineName)
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	stop := daemon.KeepLease(ctx, d.Key, lose)
	err := d.waitForSSH(ctx)
	stop()
	if err != nil {
		return err
	}
	_, err = daemon.Machines.ConfirmMachine(ctx, &pb.ConfirmMachineRequest{Engine: daemon.Engine, Key: d.Key})
	if err != nil {
		return err
	}
	// The host may have gone while the call was under way: then nobody knows of the Machine.
	return context.Cause(ctx)
}

// undo destroys what a failed create may have left, and returns its error.
func (d *Driver) undo(daemon *client.Client, cause error) error {
	d.say("Removing the VM again...")
	if err := d.destroy(context.Background(), daemon); err != nil {
		return fmt.Errorf("%w\nThe VM could not be removed yet: %s\nThe daemon removes it when the grace of its lease is over",
			cause, err)
	}
	return cause
}

// note keeps what the daemon tells of the Machine.
func (d *Driver) note(machine *pb.Machine) {
	if machine == nil {
		return
	}
	d.MachineID = machine.GetId()
	d.IPAddress = client.HostAddress(machine)
	d.fresh = d.IPAddress != ""
}
