package common

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packerbuilderdata"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepDetachDisk turns the boot disk of the machine into the build's result; the machine goes with it. Its Cleanup destroys the
// disk again when the build has failed after all.
type stepDetachDisk struct {
	config  *Config
	key     string
	newID   func() string
	created *stepCreateMachine

	made *pb.DiskInfo
}

func (s *stepDetachDisk) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "detaching the disk"
	ui, daemon := uiOf(state), clientOf(state)
	if s.config.Sparsify {
		ui.Say("Sparsifying the disk...")
		_, err := run(ctx, state, "SparsifyDisk", func(ctx context.Context) (*pb.Operation, error) {
			reply, err := daemon.Disks.SparsifyDisk(ctx, &pb.SparsifyDiskRequest{
				Engine: daemon.Engine, RequestId: s.newID(), Disk: &pb.SparsifyDiskRequest_MachineKey{MachineKey: s.key},
			})
			return reply.GetOperation(), err
		})
		if err != nil {
			return Halt(ctx, state, "sparsifying the disk", err)
		}
	}
	ui.Sayf("Detaching the disk as %s and destroying the virtual machine of the build...", s.config.DetachedDisk.Name)
	operation, err := run(ctx, state, "DetachDisk", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Disks.DetachDisk(ctx, s.config.detachDisk(daemon.Engine, s.newID(), s.key))
		return reply.GetOperation(), err
	})
	if operation.GetState() == pb.Operation_STATE_SUCCEEDED {
		s.made = operation.GetDisk()
		s.created.gone()
	}
	if err != nil {
		return Halt(ctx, state, doing, diskOptions.Rename(err))
	}
	if s.made.GetId() == "" {
		return Halt(ctx, state, doing, errors.New("the daemon reports success without a disk"))
	}
	data := packerbuilderdata.GeneratedData{State: state}
	data.Put("DiskID", s.made.GetId())
	data.Put("DiskName", s.made.GetName())
	state.Put(stateDisk, s.made)
	state.Put(stateFinished, true)
	return multistep.ActionContinue
}

func (s *stepDetachDisk) Cleanup(state multistep.StateBag) {
	_, finished := state.GetOk(stateFinished)
	if s.made.GetId() == "" || finished {
		return
	}
	undo(state, s.config.CleanupTimeout, "DestroyDisk", fmt.Sprintf("disk %s (id %s)", s.made.GetName(), s.made.GetId()),
		destroyDisk(clientOf(state), s.newID, s.made.GetId()))
}
