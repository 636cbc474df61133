package common

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// ExportImage is the step that writes a disk of a template, or a disk, to a file of this host.
type ExportImage struct {
	// Request is what is exported, without engine and id.
	Request *pb.ExportImageRequest
	Origins options.Origins
	// Output is the path of the file; Overwrite lets it replace one.
	Output    string
	Overwrite bool
	Engine    EngineConfig
	NewID     func() string
	// Image is what the daemon calls the file, once it is whole.
	Image *pb.Image

	exportID string
}

// Run implements multistep.Step.
func (s *ExportImage) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "exporting the disk"
	if err := s.checkOutput(); err != nil {
		return Halt(ctx, state, doing, err)
	}
	ui, daemon := uiOf(state), clientOf(state)
	ui.Say("Having the daemon export the disk...")
	s.Request.Engine, s.Request.RequestId = daemon.Engine, s.NewID()
	operation, err := run(ctx, state, "ExportImage", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Images.ExportImage(ctx, s.Request)
		return reply.GetOperation(), err
	})
	if operation.GetState() == pb.Operation_STATE_SUCCEEDED {
		s.Image, s.exportID = operation.GetImage(), operation.GetId()
	}
	if err != nil {
		return Halt(ctx, state, doing, s.Origins.Rename(err))
	}
	if s.Image.GetChecksum() == "" {
		return Halt(ctx, state, doing, errors.New("the daemon reports success without an image"))
	}
	if err := s.download(ctx, state); err != nil {
		return Halt(ctx, state, "downloading the disk", err)
	}
	ui.Sayf("The disk is in %s (%s)", s.Output, s.Image.GetChecksum())
	return multistep.ActionContinue
}

func (s *ExportImage) checkOutput() error {
	if _, err := os.Stat(s.Output); err == nil && !s.Overwrite {
		return fmt.Errorf("output: %s exists; use packer build -force to replace it", s.Output)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("output: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.Output), 0o755); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// download writes the file beside its place, so that there it is whole or not at all.
func (s *ExportImage) download(ctx context.Context, state multistep.StateBag) (err error) {
	// Who may read it is the umask's to say: a disk may hold secrets.
	part, err := os.OpenFile(s.Output+".part-"+s.NewID(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = part.Close()
			_ = os.Remove(part.Name())
		}
	}()
	ui := uiOf(state)
	ui.Sayf("Downloading %s to %s...", client.DescribeSize(s.Image.GetSizeBytes()), s.Output)
	shown := showBytes(ui, "download", s.Image.GetSizeBytes())
	defer shown.close()
	if err := clientOf(state).DownloadImage(ctx, s.Image, part, shown.to); err != nil {
		return err
	}
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), s.Output)
}

// Cleanup has the daemon forget the image, in every outcome, unless it had that before.
func (s *ExportImage) Cleanup(state multistep.StateBag) {
	if s.Image.GetChecksum() == "" {
		return
	}
	ctx, cancel := untilCleanupTimeout(s.Engine.CleanupTimeout)
	defer cancel()
	_, err := clientOf(state).Images.RemoveImage(ctx, &pb.RemoveImageRequest{Checksum: s.Image.GetChecksum(), ExportId: s.exportID})
	if err != nil {
		uiOf(state).Errorf("The daemon still has the image %s: %s", s.Image.GetChecksum(), err)
	}
}

// ExportTemplate is the step that has the engine write a template to where it can: an OVA file on a host, or an export domain.
type ExportTemplate struct {
	// Request is what is exported and where to, without engine and id.
	Request *pb.ExportTemplateRequest
	Origins options.Origins
	NewID   func() string
}

// Run implements multistep.Step.
func (s *ExportTemplate) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	daemon := clientOf(state)
	uiOf(state).Say("Having the engine export the template...")
	s.Request.Engine, s.Request.RequestId = daemon.Engine, s.NewID()
	_, err := run(ctx, state, "ExportTemplate", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Templates.ExportTemplate(ctx, s.Request)
		return reply.GetOperation(), err
	})
	if err != nil {
		return Halt(ctx, state, "exporting the template", s.Origins.Rename(err))
	}
	return multistep.ActionContinue
}

// Cleanup does nothing: what the engine has exported nobody takes back.
func (s *ExportTemplate) Cleanup(multistep.StateBag) {}
