package driver

import (
	"context"
	"fmt"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Create makes the Machine, or adopts it, waits until its guest is ready, and confirms it. Whatever goes wrong before it is
// confirmed, the end of ctx included, leaves nothing behind, unless what fails is to be kept; should nobody be there to see to
// that, the daemon destroys the Machine when the grace of its lease is over.
func (d *Driver) Create(ctx context.Context) error {
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	begin := d.make
	if d.Options.Adopt != "" {
		begin = d.adopt
	}
	if mayStand, err := begin(ctx, daemon); err != nil {
		if mayStand {
			err = d.undo(ctx, daemon, err)
		}
		return origins.Rename(err)
	}
	if err := d.settle(ctx, daemon); err != nil {
		return d.undo(ctx, daemon, err)
	}
	return nil
}

// make has the daemon make the VM and waits for its address. With an error it says whether there may be a Machine.
func (d *Driver) make(ctx context.Context, daemon *client.Client) (mayStand bool, err error) {
	publicKey, err := d.placeKey()
	if err != nil {
		return false, err
	}
	request, problems := d.createMachine(daemon.Engine, d.newID(), publicKey)
	if len(problems) > 0 {
		return false, inOneLine(problems)
	}
	shown := d.showProgress()
	operation, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.CreateMachine(ctx, request)
		return reply.GetOperation(), err
	}, func(operation *pb.Operation) {
		d.note(operation.GetMachine())
		shown.show(operation)
	})
	return client.MayHaveEffect(operation, err), err
}

// adopt makes a Machine of a VM that is there already, starts it unless it runs, and waits for its address. It returns as
// make does.
func (d *Driver) adopt(ctx context.Context, daemon *client.Client) (mayStand bool, err error) {
	if _, err := d.placeKey(); err != nil {
		return false, err
	}
	request, problems := d.adoptMachine(daemon.Engine)
	if len(problems) > 0 {
		return false, inOneLine(problems)
	}
	reply, err := daemon.Machines.AdoptMachine(ctx, request)
	if err != nil {
		return client.MayHaveEffect(nil, err), err
	}
	d.note(reply.GetMachine())
	operation, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		return d.start(ctx, daemon)
	}, d.showProgress().show)
	if err == nil {
		d.note(operation.GetMachine())
	}
	return true, err
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
	if err := d.confirm(ctx, daemon); err != nil {
		return err
	}
	// The host may have gone while the call was under way: then nobody knows of the Machine.
	return context.Cause(ctx)
}

func (d *Driver) confirm(ctx context.Context, daemon *client.Client) error {
	request, _ := d.confirmMachine(daemon.Engine)
	_, err := daemon.Machines.ConfirmMachine(ctx, request)
	return err
}

// undo destroys what a failed create may have left, and returns its error. One that failed, and was not interrupted, is kept
// where the user wants to look at it.
func (d *Driver) undo(ctx context.Context, daemon *client.Client, cause error) error {
	if d.Options.KeepOnFailure && ctx.Err() == nil {
		if err := d.confirm(ctx, daemon); err == nil {
			kept := fmt.Sprintf("The VM is kept (--%s); remove it by `rm`", flagKeepOnFailure)
			if d.IPAddress != "" {
				kept += fmt.Sprintf(". To log in: ssh -i %s -p %d %s@%s", d.SSHKeyPath, d.SSHPort, d.SSHUser, d.IPAddress)
			}
			return fmt.Errorf("%w\n%s", cause, kept)
		}
	}
	d.say("Removing the VM again...")
	if d.Options.Adopt != "" {
		d.say("It was adopted, so it is only forgotten.")
	}
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
