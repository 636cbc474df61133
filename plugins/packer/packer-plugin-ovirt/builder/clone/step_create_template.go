package clone

import (
	"context"
	"errors"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packerbuilderdata"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepCreateTemplate makes the template. Its Cleanup destroys it again when the build has failed after all.
type stepCreateTemplate struct {
	config *Config
	key    string
	newID  func() string

	made      *pb.Template
	cancelled func() error
}

func (s *stepCreateTemplate) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "creating the template"
	ui, daemon := uiOf(state), clientOf(state)
	sealed := ""
	if s.config.TemplateSeal.True() {
		sealed = "sealed "
	}
	ui.Sayf("Creating %stemplate %s...", sealed, s.config.TemplateName)
	s.cancelled = ctx.Err
	request := s.config.createTemplate(daemon.Engine, s.newID(), s.key)
	operation, err := run(ctx, state, "CreateTemplate", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Templates.CreateTemplate(ctx, request)
		return reply.GetOperation(), err
	})
	if operation.GetState() == pb.Operation_STATE_SUCCEEDED {
		s.made = operation.GetTemplate()
	}
	if err != nil {
		return halt(ctx, state, doing, templateOptions.Rename(err))
	}
	if s.made.GetId() == "" {
		return halt(ctx, state, doing, errors.New("the daemon reports success without a template"))
	}
	state.Put(stateTemplate, s.made)
	data := packerbuilderdata.GeneratedData{State: state}
	data.Put("TemplateID", s.made.GetId())
	data.Put("TemplateName", s.made.GetName())
	return multistep.ActionContinue
}

func (s *stepCreateTemplate) Cleanup(state multistep.StateBag) {
	if s.made.GetId() == "" {
		return
	}
	_, finished := state.GetOk(stateFinished)
	if finished && s.cancelled() == nil {
		return
	}
	state.Remove(stateFinished)
	ui, daemon := uiOf(state), clientOf(state)
	ui.Sayf("Destroying template %s, because the build has failed...", s.made.GetName())
	ctx, cancel := context.WithTimeout(context.Background(), s.config.CleanupTimeout)
	defer cancel()
	_, err := run(ctx, state, "DestroyTemplate", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Templates.DestroyTemplate(ctx, &pb.DestroyTemplateRequest{
			Engine: daemon.Engine, RequestId: s.newID(), Id: s.made.GetId(),
		})
		return reply.GetOperation(), err
	})
	if err != nil {
		ui.Errorf("Template %s (id %s) could not be destroyed and still stands: %s", s.made.GetName(), s.made.GetId(), err)
	}
}
