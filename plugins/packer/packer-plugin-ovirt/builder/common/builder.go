// Package common is what the builders share: everything but where the machine comes from.
package common

import (
	"context"
	"fmt"
	"log"
	"runtime/debug"
	"slices"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// generatedVariables are what provisioners and post-processors read as `build.VMID` and so on.
var generatedVariables = []string{"VMID", "VMName", "VMAddress", "SourceTemplateID", "TemplateID", "TemplateName", "TemplateVersion",
	"DiskID", "DiskName"}

// Builder is a builder; what sets it apart from the others is where the machine comes from.
type Builder struct {
	// ID says which builder an artifact comes from.
	ID     string
	Source Source
	// NewID makes request ids, and what sets the key of the build's machine apart.
	NewID func() string

	spec func() hcldec.ObjectSpec
}

var _ packersdk.Builder = (*Builder)(nil)

// NewBuilder makes a builder; spec is the shape of its configuration.
func NewBuilder(id string, source Source, spec func() hcldec.ObjectSpec) *Builder {
	return &Builder{ID: id, Source: source, NewID: uuid.NewString, spec: spec}
}

// ConfigSpec is the configuration's shape, for HCL.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec {
	return b.spec()
}

// Prepare checks the configuration; see Config.prepare.
func (b *Builder) Prepare(raws ...any) (variables []string, warnings []string, err error) {
	warnings, err = b.Source.Shared().prepare(b.ID, b.Source, raws...)
	return generatedVariables, warnings, err
}

// Play runs the steps of a component that is no builder, after it has logged in to the engine; their state is of use once they have
// succeeded.
func Play(
	ctx context.Context, ui packersdk.Ui, packer common.PackerConfig, engine EngineConfig, steps ...multistep.Step,
) (state multistep.StateBag, err error) {
	defer reportDefect(&err)
	state, measured := newState(ui)
	steps = append([]multistep.Step{&stepConnect{options: engine.clientOptions(ui.Say)}}, steps...)
	commonsteps.NewRunner(append(steps, &stepFinish{}), packer, ui).Run(ctx, state)
	measured.show(ui)
	if err := verdict(ctx, state); err != nil {
		return nil, err
	}
	tellTooLate(ctx, ui)
	return state, nil
}

// tellTooLate tells who has cancelled what is made all the same: Packer itself calls it cancelled.
func tellTooLate(ctx context.Context, ui packersdk.Ui) {
	if ctx.Err() != nil {
		ui.Say("It is too late to cancel: what the build was to make is made, and older templates may be gone.")
	}
}

func newState(ui packersdk.Ui) (multistep.StateBag, *timings) {
	state, measured := new(multistep.BasicStateBag), new(timings)
	state.Put("ui", ui)
	state.Put(stateTimings, measured)
	return state, measured
}

// reportDefect makes an error of a panic: what Packer would make of a component that panics is not always a failure.
func reportDefect(err *error) {
	if panicked := recover(); panicked != nil {
		log.Printf("[ERROR] panic in the plugin: %v\n%s", panicked, debug.Stack())
		*err = fmt.Errorf("the plugin has a defect and gave up, please report it: %v", panicked)
	}
}

// Run builds the template. It returns an artifact only if the template stands, and an error in every other case: what
// Packer would make of neither is a success.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (artifact packersdk.Artifact, err error) {
	defer reportDefect(&err)
	config := b.Source.Shared()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	state, measured := newState(ui)
	state.Put("hook", packersdk.Hook(&timedHook{Hook: hook, timings: measured}))
	steps, created := b.steps(ui, fail)
	// The runner puts wrappers in the place of the steps.
	commonsteps.NewRunner(slices.Clone(steps), config.PackerConfig, ui).Run(ctx, state)
	measured.show(ui)
	if err := verdict(ctx, state); err != nil {
		if config.keepsOnError() {
			for _, step := range steps {
				if owner, owns := step.(handsOver); owns {
					owner.handOver(state)
				}
			}
		}
		return nil, err
	}
	// Still there only if -on-error has kept it in a build that came too far to be cancelled.
	created.destroy(state)
	tellTooLate(ctx, ui)
	if config.output() == outputNothing {
		return nil, nil
	}
	return NewArtifact(b.ID, state, config.EngineConfig, b.NewID), nil
}

// steps are the steps of a build, and the one among them that owns the machine.
func (b *Builder) steps(ui packersdk.Ui, fail func(error)) ([]multistep.Step, *stepCreateMachine) {
	config := b.Source.Shared()
	key := fmt.Sprintf("packer-%s-%s", config.PackerBuildName, b.NewID())
	created := &stepCreateMachine{config: config, key: key, newID: b.NewID, lost: func(err error) {
		fail(fmt.Errorf("the virtual machine of the build is lost: %w", err))
	}}
	steps := []multistep.Step{
		&stepConnect{options: config.clientOptions(ui.Say)},
		&stepCheck{config: config, key: key, newID: b.NewID},
	}
	steps = append(steps, b.Source.Steps(b.NewID)...)
	steps = append(steps,
		&stepFindHTTPAddress{config: config},
		commonsteps.HTTPServerFromHTTPConfig(&config.HTTPConfig),
		multistep.If(config.usesKey(), &communicator.StepSSHKeyGen{
			CommConf:            &config.Comm,
			SSHTemporaryKeyPair: config.Comm.SSHTemporaryKeyPair,
		}),
		multistep.If(config.usesKey() && config.PackerDebug, &communicator.StepDumpSSHKey{
			Path: fmt.Sprintf("ovirt_%s.pem", config.PackerBuildName),
			SSH:  &config.Comm.SSH,
		}),
		created,
		&communicator.StepConnect{
			Config:    &config.Comm,
			Host:      communicator.CommHost(config.Comm.Host(), stateAddress),
			SSHConfig: config.Comm.SSHConfigFunc(),
		},
		&commonsteps.StepProvision{},
		multistep.If(config.Comm.Type == "ssh", &commonsteps.StepCleanupTempKeys{Comm: &config.Comm}),
		&stepStopMachine{config: config, key: key, newID: b.NewID},
	)
	switch config.output() {
	case outputTemplate:
		template := &stepCreateTemplate{config: config, key: key, newID: b.NewID}
		steps = append(steps, template, &stepDestroyMachine{created: created}, &stepCheckTemplate{})
	case outputDisk:
		steps = append(steps, &stepDetachDisk{config: config, key: key, newID: b.NewID, created: created})
	case outputNothing:
		steps = append(steps, &stepDestroyMachine{created: created}, &stepFinish{})
	}
	return steps, created
}

// handsOver is a step whose work -on-error=abort or ask may leave to the user.
type handsOver interface {
	handOver(state multistep.StateBag)
}

// stepFinish ends a build that leaves nothing.
type stepFinish struct{}

func (s *stepFinish) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	state.Put(stateFinished, true)
	return multistep.ActionContinue
}

func (s *stepFinish) Cleanup(multistep.StateBag) {}
