package common

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepCheckTemplate looks at the template in the engine once more. It is the last step: without it no build succeeds.
type stepCheckTemplate struct{}

func (s *stepCheckTemplate) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "checking the template"
	daemon, made := clientOf(state), state.Get(stateTemplate).(*pb.Template)
	reply, err := daemon.Templates.GetTemplate(ctx, &pb.GetTemplateRequest{Engine: daemon.Engine, Id: made.GetId()})
	if err != nil {
		if ctx.Err() == nil {
			state.Remove(stateFinished)
		}
		return Halt(ctx, state, doing, err)
	}
	template := reply.GetTemplate()
	if template.GetStatus() != pb.Template_STATUS_OK {
		state.Remove(stateFinished)
		return Halt(ctx, state, doing, fmt.Errorf("template %s (id %s) is %s, not %s",
			made.GetName(), made.GetId(), template.GetStatus(), pb.Template_STATUS_OK))
	}
	state.Put(stateTemplate, template)
	state.Put(stateFinished, true)
	return multistep.ActionContinue
}

func (s *stepCheckTemplate) Cleanup(multistep.StateBag) {}
