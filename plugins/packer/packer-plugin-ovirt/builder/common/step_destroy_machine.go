package common

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepDestroyMachine destroys the machine once the template is made, while the build can still be cancelled.
type stepDestroyMachine struct {
	created *stepCreateMachine
}

func (s *stepDestroyMachine) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	s.created.destroy(state)
	return multistep.ActionContinue
}

func (s *stepDestroyMachine) Cleanup(multistep.StateBag) {}
