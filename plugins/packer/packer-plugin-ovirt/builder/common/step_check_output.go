package common

import (
	"context"
	"errors"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepCheckOutput has the daemon look up all that the build's result refers to before anything is made, and not after the
// provisioning: a name that is taken, a template that may not be replaced, roles and tags.
type stepCheckOutput struct {
	config *Config
	key    string
	newID  func() string
}

func (s *stepCheckOutput) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	err := s.check(ctx, state)
	if err == nil {
		return multistep.ActionContinue
	}
	// What is wrong with the machine is told along with it.
	daemon := clientOf(state)
	request := s.config.createMachine(daemon.Engine, s.newID(), s.key, firstBoot{}, nil)
	request.ValidateOnly = true
	_, others := daemon.Machines.CreateMachine(ctx, request)
	return halt(ctx, state, "checking the configuration with the engine", errors.Join(err, s.config.machineOptions().Rename(others)))
}

func (s *stepCheckOutput) check(ctx context.Context, state multistep.StateBag) error {
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

func (s *stepCheckOutput) Cleanup(multistep.StateBag) {}
