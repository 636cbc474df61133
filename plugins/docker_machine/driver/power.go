package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stopMargin is how much longer the engine may take than the guest.
const stopMargin = 10 * time.Minute

// Start starts the VM and waits for its address; one that is up stays as it is.
func (d *Driver) Start() error {
	return d.change(d.start)
}

func (d *Driver) start(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
	timeouts, _ := d.timeouts()
	reply, err := daemon.Machines.StartMachine(ctx, &pb.StartMachineRequest{
		Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key, Timeouts: timeouts,
	})
	return reply.GetOperation(), err
}

// Stop shuts the VM down. A guest that does not obey in time is powered off where the user wanted that.
func (d *Driver) Stop() error {
	err := d.stop(false)
	var late *client.Error
	if errors.As(err, &late) && late.Typed && status.Code(late) == codes.DeadlineExceeded && !d.Options.StopPowerOff {
		return fmt.Errorf("%w\n  what to do: `kill` powers the VM off; with --%s at the create, `stop` does so by itself", err, flagStopPowerOff)
	}
	return err
}

// Kill powers the VM off at once.
func (d *Driver) Kill() error {
	return d.stop(true)
}

func (d *Driver) stop(force bool) error {
	return d.change(func(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
		timeouts, _ := d.timeouts()
		if patience := time.Duration(d.Options.StopTimeout) * time.Second; patience > 0 && !force {
			own := map[string]*durationpb.Duration{
				"shutdown": durationpb.New(patience),
				// The phase that waits for the shutdown has to last longer.
				"destroy": durationpb.New(patience + stopMargin),
			}
			maps.Copy(own, timeouts)
			timeouts = own
		}
		reply, err := daemon.Machines.StopMachine(ctx, &pb.StopMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key, Force: force, Timeouts: timeouts,
			KeepRunning: !force && !d.Options.StopPowerOff,
		})
		return reply.GetOperation(), err
	})
}

// Restart shuts the VM down, or powers it off when the guest does not obey, and starts it again.
func (d *Driver) Restart() error {
	return d.change(func(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
		timeouts, _ := d.timeouts()
		reply, err := daemon.Machines.RestartMachine(ctx, &pb.RestartMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key, Timeouts: timeouts,
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
