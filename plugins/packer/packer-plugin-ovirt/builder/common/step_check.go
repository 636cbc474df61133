package common

import (
	"context"
	"errors"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepCheck has the daemon look up all that the build's result refers to before anything is made, and not after the
// provisioning: a name that is taken, a template that may not be replaced, roles and tags. So it is with what a source refers to.
type stepCheck struct {
	config *Config
	key    string
	newID  func() string
}

func (s *stepCheck) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	err := s.checkOutput(ctx, state)
	checker, isSlow := s.config.source.(Checker)
	if isSlow {
		err = errors.Join(err, checker.Check(ctx, state, s.newID))
	}
	if err != nil || isSlow {
		// What is wrong with the machine is told along with it, and before what takes long.
		daemon := clientOf(state)
		request := s.config.createMachine(daemon.Engine, s.newID(), s.key, firstBoot{}, state)
		request.ValidateOnly = true
		_, others := daemon.Machines.CreateMachine(ctx, request)
		err = errors.Join(err, s.config.machineOptions().Rename(others))
	}
	if err != nil {
		return Halt(ctx, state, "checking the configuration with the engine", err)
	}
	return multistep.ActionContinue
}

func (s *stepCheck) checkOutput(ctx context.Context, state multistep.StateBag) error {
	daemon := clientOf(state)
	switch s.config.output() {
	case outputTemplate:
		request := s.config.createTemplate(daemon.Engine, s.newID(), s.key)
		request.ValidateOnly = true
		_, err := daemon.Templates.CreateTemplate(ctx, request)
		return templateOptions.Rename(err)
	case outputDisk:
		request := s.config.detachDisk(daemon.Engine, s.newID(), s.key)
		request.ValidateOnly = true
		_, err := daemon.Disks.DetachDisk(ctx, request)
		return diskOptions.Rename(err)
	default:
		return nil
	}
}

func (s *stepCheck) Cleanup(multistep.StateBag) {}
