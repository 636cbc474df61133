package common

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stateImported is the operation whose result is what a file became in the engine.
const stateImported = "imported"

// Import has the daemon make a disk or a template of a file. What an earlier import has made of the same file is used again.
type Import struct {
	File *ImageFile
	// Target puts what is to be made into the request.
	Target func(request *pb.ImportImageRequest)
	// Origins say which options the fields of the request come from.
	Origins options.Origins
	// Reuse lets the result be what an earlier import has made.
	Reuse bool
	// Keep leaves what was made in the engine, for later builds, when the build succeeds.
	Keep bool
	// RemovesTemplates says that older templates go when the new one is made, so that it stays in every outcome.
	RemovesTemplates bool
	// CleanupTimeout is how long it may take to destroy it otherwise.
	CleanupTimeout time.Duration

	isReused bool
}

// request is the request, but for what varies from call to call.
func (i *Import) request(engine *pb.EngineRef, requestID string) *pb.ImportImageRequest {
	request := &pb.ImportImageRequest{
		Engine: engine, RequestId: requestID, Checksum: i.File.checksum, Url: i.File.url, Reuse: i.Reuse,
	}
	i.Target(request)
	return request
}

// Problems reports where the request breaks rules of the schema.
func (i *Import) Problems(report Reporter) {
	request := i.request(&pb.EngineRef{}, "00000000-0000-4000-8000-000000000000")
	if request.Checksum == "" || request.Checksum == options.NotKnownYet || request.Checksum == "none" {
		request.Checksum = fmt.Sprintf("sha256:%064d", 0)
	}
	for _, problem := range i.Origins.Check(request, nil) {
		reportProblem(report, problem)
	}
}

// Check has the daemon look up all that the import refers to, before a byte is moved.
func (i *Import) Check(ctx context.Context, state multistep.StateBag, newID func() string) error {
	if err := i.File.find(ctx, uiOf(state)); err != nil {
		return err
	}
	daemon := clientOf(state)
	request := i.request(daemon.Engine, newID())
	request.ValidateOnly = true
	reply, err := daemon.Images.ImportImage(ctx, request)
	i.isReused = reply.GetReused()
	return i.Origins.Rename(err)
}

// Steps import the file, once Check has found nothing wrong.
func (i *Import) Steps(newID func() string) []multistep.Step {
	step := &stepImport{Import: i, newID: newID}
	if download := i.File.download(); download != nil {
		return []multistep.Step{&downloadOnce{Step: download, of: i}, step}
	}
	return []multistep.Step{step}
}

// WholeSteps are Check, as a step, and Steps.
func (i *Import) WholeSteps(newID func() string) []multistep.Step {
	return append([]multistep.Step{&stepCheckImport{Import: i, newID: newID}}, i.Steps(newID)...)
}

// stepCheckImport looks up all that the import refers to.
type stepCheckImport struct {
	*Import
	newID func() string
}

func (s *stepCheckImport) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if err := s.Check(ctx, state, s.newID); err != nil {
		return Halt(ctx, state, "checking the configuration with the engine", err)
	}
	return multistep.ActionContinue
}

func (s *stepCheckImport) Cleanup(multistep.StateBag) {}

// downloadOnce downloads what the engine does not have.
type downloadOnce struct {
	multistep.Step
	of *Import
}

func (d *downloadOnce) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if d.of.isReused {
		return multistep.ActionContinue
	}
	return d.Step.Run(ctx, state)
}

// stepImport makes the disk or the template. Its Cleanup destroys it again, unless it is to be kept or was there before.
type stepImport struct {
	*Import
	newID func() string
	made  *pb.Operation
}

func (s *stepImport) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "importing the image"
	ui, daemon := uiOf(state), clientOf(state)
	if !s.isReused {
		if err := s.File.upload(ctx, state); err != nil {
			return Halt(ctx, state, "uploading the image", s.Origins.Rename(err))
		}
		ui.Sayf("Importing %s...", s.File)
	}
	reused := false
	operation, err := run(ctx, state, "ImportImage", func(calling context.Context) (*pb.Operation, error) {
		reply, err := daemon.Images.ImportImage(calling, s.request(daemon.Engine, s.newID()))
		reused = reply.GetReused()
		if reused && reply.GetOperation().GetEndTime() == nil {
			ui.Say("Another build imports it already...")
			return daemon.FollowOperation(ctx, reply.GetOperation().GetId(), nil)
		}
		return reply.GetOperation(), err
	})
	id, what := imported(operation)
	if operation.GetState() == pb.Operation_STATE_SUCCEEDED && id != "" {
		s.succeeded(state, operation, reused)
	}
	if err != nil {
		return Halt(ctx, state, doing, s.Origins.Rename(err))
	}
	if id == "" {
		return Halt(ctx, state, doing, errors.New("the daemon reports success without a result"))
	}
	if reused {
		ui.Sayf("%s has been imported before: it is %s", s.File, what)
	} else {
		ui.Sayf("%s is now %s", s.File, what)
	}
	return multistep.ActionContinue
}

func (s *stepImport) succeeded(state multistep.StateBag, operation *pb.Operation, reused bool) {
	state.Put(stateImported, operation)
	if !reused {
		s.made = operation
	}
	if s.RemovesTemplates {
		// Older ones may be gone already: from here on there is no way back.
		state.Put(stateFinished, true)
	}
}

// handOver says that what was made, which -on-error=abort or ask has kept from being destroyed, stands.
func (s *stepImport) handOver(state multistep.StateBag) {
	if s.made != nil {
		_, what := imported(s.made)
		uiOf(state).Sayf("What %s became stands, as -on-error asks: %s.", s.File, what)
	}
}

func (s *stepImport) Cleanup(state multistep.StateBag) {
	_, finished := state.GetOk(stateFinished)
	if s.made == nil || s.RemovesTemplates || (finished && s.Keep) {
		return
	}
	id, what := imported(s.made)
	if s.made.GetTemplate() != nil {
		undo(state, s.CleanupTimeout, "DestroyTemplate", what, destroyTemplate(clientOf(state), s.newID, id))
	} else {
		undo(state, s.CleanupTimeout, "DestroyDisk", what, destroyDisk(clientOf(state), s.newID, id))
	}
	s.made = nil
}

// imported is what an import has made.
func imported(operation *pb.Operation) (id, what string) {
	if template := operation.GetTemplate(); template != nil {
		return template.GetId(), fmt.Sprintf("template %s (id %s)", template.GetName(), template.GetId())
	}
	disk := operation.GetDisk()
	return disk.GetId(), fmt.Sprintf("disk %s (id %s)", disk.GetName(), disk.GetId())
}

// Imported is the id of what Import has made; empty as long as there is none.
func Imported(state multistep.StateBag) string {
	if state == nil {
		return ""
	}
	id, _ := imported(soFar[*pb.Operation](state, stateImported))
	return id
}
