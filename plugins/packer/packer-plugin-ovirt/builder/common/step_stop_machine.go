package common

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepStopMachine brings the machine down: by shutdown_command, where there is one, else by the daemon.
type stepStopMachine struct {
	config *Config
	key    string
	newID  func() string
}

func (s *stepStopMachine) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "shutting the virtual machine down"
	if !s.config.starts() {
		return multistep.ActionContinue
	}
	ui, daemon := uiOf(state), clientOf(state)
	if s.config.isLeftAlone() {
		ui.Say("Waiting until the installation shuts the virtual machine down...")
	} else {
		ui.Say("Shutting the virtual machine down...")
	}
	isTold, err := s.runCommand(ctx, state)
	if err != nil {
		return Halt(ctx, state, "running shutdown_command", err)
	}
	errLate := fmt.Errorf("it is not down after %s (shutdown_timeout)", s.config.ShutdownTimeout)
	timed, cancel := context.WithTimeoutCause(ctx, s.config.ShutdownTimeout, errLate)
	defer cancel()
	_, err = run(timed, state, "StopMachine", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.StopMachine(ctx, &pb.StopMachineRequest{
			Engine: daemon.Engine, RequestId: s.newID(), Key: s.key, WaitOnly: isTold || s.config.isLeftAlone(),
		})
		return reply.GetOperation(), err
	})
	if err != nil {
		return Halt(ctx, state, doing, err)
	}
	return multistep.ActionContinue
}

// runCommand starts shutdown_command, where there is one, and does not wait for it: the guest takes the connection down with it.
func (s *stepStopMachine) runCommand(ctx context.Context, state multistep.StateBag) (isTold bool, err error) {
	if s.config.ShutdownCommand == "" || s.config.Comm.Type == "none" {
		return false, nil
	}
	communicator, connected := state.Get("communicator").(packersdk.Communicator)
	if !connected {
		return false, errors.New("there is no connection to the guest")
	}
	// The SDK's communicator for WinRM panics without writers.
	return true, communicator.Start(ctx, &packersdk.RemoteCmd{
		Command: s.config.ShutdownCommand, Stdout: io.Discard, Stderr: io.Discard,
	})
}

func (s *stepStopMachine) Cleanup(multistep.StateBag) {}
