package clone

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepCheckTemplateName refuses a name that is taken before anything is made, and not after the provisioning.
type stepCheckTemplateName struct {
	name string
}

func (s *stepCheckTemplateName) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	daemon := clientOf(state)
	reply, err := daemon.Templates.ListTemplates(ctx, &pb.ListTemplatesRequest{
		Engine: daemon.Engine, Name: s.name, PageSize: 1,
	})
	if err != nil {
		return halt(ctx, state, "looking for a template of the new name", err)
	}
	if taken := reply.GetTemplates(); len(taken) > 0 {
		return halt(ctx, state, "checking template_name", fmt.Errorf(
			"template_name: a template '%s' exists already (id %s) and is never replaced; choose another name, such as "+
				"one with {{timestamp}}, or remove that template first", s.name, taken[0].GetId()))
	}
	return multistep.ActionContinue
}

func (s *stepCheckTemplateName) Cleanup(multistep.StateBag) {}
