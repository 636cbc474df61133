package common

import (
	"context"
	"errors"
	"fmt"

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
		s.succeeded(state, operation.GetTemplate())
	}
	if err != nil {
		return Halt(ctx, state, doing, templateOptions.Rename(err))
	}
	if s.made.GetId() == "" {
		return Halt(ctx, state, doing, errors.New("the daemon reports success without a template"))
	}
	return multistep.ActionContinue
}

func (s *stepCreateTemplate) succeeded(state multistep.StateBag, made *pb.Template) {
	s.made = made
	state.Put(stateTemplate, made)
	data := packerbuilderdata.GeneratedData{State: state}
	data.Put("TemplateID", made.GetId())
	data.Put("TemplateName", made.GetName())
	data.Put("TemplateVersion", fmt.Sprint(made.GetVersion()))
	if s.config.RemovesTemplates(s.config.PackerForce) {
		// Older ones may be gone already: from here on there is no way back.
		state.Put(stateFinished, true)
	}
}

// handOver says that the template, which -on-error=abort or ask has kept from being destroyed, stands.
func (s *stepCreateTemplate) handOver(state multistep.StateBag) {
	if s.made.GetId() != "" {
		uiOf(state).Sayf("Template %s (version %d, id %s) stands, as -on-error asks.",
			s.made.GetName(), s.made.GetVersion(), s.made.GetId())
	}
}

func (s *stepCreateTemplate) Cleanup(state multistep.StateBag) {
	if s.made.GetId() == "" {
		return
	}
	_, finished := state.GetOk(stateFinished)
	if s.config.RemovesTemplates(s.config.PackerForce) || (finished && s.cancelled() == nil) {
		return
	}
	state.Remove(stateFinished)
	undo(state, s.config.CleanupTimeout, "DestroyTemplate", fmt.Sprintf("template %s (id %s)", s.made.GetName(), s.made.GetId()),
		destroyTemplate(clientOf(state), s.newID, s.made.GetId()))
}
