// Package export is the post-processor ovirt-export: what a build has made in the engine, as a file.
package export

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// BuilderID says which component an artifact comes from.
const BuilderID = "ovirt-provision.ovirt-export"

// PostProcessor is the post-processor ovirt-export.
type PostProcessor struct {
	config Config
	newID  func() string
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// New makes the post-processor.
func New() *PostProcessor {
	return &PostProcessor{newID: uuid.NewString}
}

// ConfigSpec is the configuration's shape, for HCL.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec {
	return p.config.FlatMapstructure().HCL2Spec()
}

var formats = common.WordsOf[pb.Image_Format]("FORMAT_", map[string]int32{
	"FORMAT_QCOW2": int32(pb.Image_FORMAT_QCOW2), "FORMAT_RAW": int32(pb.Image_FORMAT_RAW),
})

var origins = options.Origins{
	{Field: "engine.profile", Option: "engine"},
	{Field: "disk_name", Option: "disk_name"},
	{Field: "format", Option: "format"},
	{Field: "template.id", Option: "the template"},
	{Field: "disk_id", Option: "the disk"},
}

// Configure decodes the configuration and returns all that is wrong with it at once.
func (p *PostProcessor) Configure(raws ...any) error {
	c := &p.config
	err := config.Decode(c, &config.DecodeOpts{PluginType: BuilderID, Interpolate: true, InterpolateContext: &c.ctx}, raws...)
	if err != nil {
		return err
	}
	var problems common.Problems
	c.EngineConfig.Prepare(problems.Report)
	formats.Check(problems.Report, "format", c.Format)
	if c.Output == "" {
		problems.Report("output", "is required")
	}
	problems.Add(origins.Check(c.request(), problems.Errors())...)
	return problems.Err()
}

// request is what the configuration asks for, of whatever is exported.
func (c *Config) request() *pb.ExportImageRequest {
	return &pb.ExportImageRequest{
		Engine: &pb.EngineRef{Profile: c.Engine}, RequestId: uuid.Nil.String(), DiskName: c.DiskName, Format: formats[c.Format],
		Source: &pb.ExportImageRequest_DiskId{DiskId: uuid.Nil.String()},
	}
}

// PostProcess exports what a build has made. The input is kept unless the user says otherwise: a copy of it is no reason to destroy it.
func (p *PostProcessor) PostProcess(
	ctx context.Context, ui packersdk.Ui, input packersdk.Artifact,
) (output packersdk.Artifact, keep, forceOverride bool, err error) {
	output, err = p.export(ctx, ui, input)
	return output, true, false, err
}

func (p *PostProcessor) export(ctx context.Context, ui packersdk.Ui, input packersdk.Artifact) (packersdk.Artifact, error) {
	c := &p.config
	kind, _ := input.State(common.StateKind).(string)
	if kind == "" {
		return nil, fmt.Errorf("ovirt-export takes what ovirt-clone, ovirt-image, ovirt-iso and ovirt-import make, not the artifact of %s",
			input.BuilderId())
	}
	engine := c.EngineConfig
	if built, _ := input.State(common.StateEngine).(string); engine.Engine == "" {
		engine.Engine = built
	}
	request := c.request()
	if kind == common.KindDisk {
		request.Source = &pb.ExportImageRequest_DiskId{DiskId: input.Id()}
	} else {
		request.Source = &pb.ExportImageRequest_Template{Template: &pb.TemplateRef{By: &pb.TemplateRef_Id{Id: input.Id()}}}
	}
	step := &common.ExportImage{
		Request: request, Origins: origins, Output: c.Output, Overwrite: c.PackerForce, Engine: engine, NewID: p.newID,
	}
	if _, err := common.Play(ctx, ui, c.PackerConfig, engine, step); err != nil {
		return nil, err
	}
	return &Artifact{checksum: step.Image.GetChecksum(), file: c.Output}, nil
}
