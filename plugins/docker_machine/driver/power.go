package driver

import (
	"context"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Start starts the VM and waits for its address.
func (d *Driver) Start() error {
	return d.change(func(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
		reply, err := daemon.Machines.StartMachine(ctx, &pb.StartMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key,
		})
		return reply.GetOperation(), err
	})
}

// Stop shuts the VM down; the daemon powers it off when the guest does not obey in time.
func (d *Driver) Stop() error {
	return d.stop(false)
}

// Kill powers the VM off at once.
func (d *Driver) Kill() error {
	return d.stop(true)
}

func (d *Driver) stop(force bool) error {
	return d.change(func(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
		reply, err := daemon.Machines.StopMachine(ctx, &pb.StopMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key, Force: force,
		})
		return reply.GetOperation(), err
	})
}

// Restart shuts the VM down and starts it again.
func (d *Driver) Restart() error {
	return d.change(func(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
		reply, err := daemon.Machines.RestartMachine(ctx, &pb.RestartMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key,
		})
		return reply.GetOperation(), err
	})
}

// change calls a verb that ends with the Machine as it is then. Once called, the verb goes on in the daemon whatever
// becomes of us.
func (d *Driver) change(call func(context.Context, *client.Client) (*pb.Operation, error)) error {
	if d.Key == "" {
		return errNothingMade
	}
	ctx := context.Background()
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	operation, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		return call(ctx, daemon)
	}, d.showProgress().show)
	if err != nil {
		return err
	}
	d.note(operation.GetMachine())
	return nil
}
