// Package export is the post-processor ovirt-export: what a build has made in the engine, as a file or in an export domain.
package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	{Field: "ova.", Option: "ova."},
	{Field: "export_domain.", Option: "export_domain."},
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
	given := c.given()
	switch {
	case len(given) == 0:
		problems.Report("output", "one of it, ova and export_domain is required")
	case len(given) > 1:
		problems.Report(given[1], "is given next to %s; give one of them", given[0])
	}
	if c.Output == "" && (c.Format != "" || c.DiskName != "") {
		problems.Report("output", "is required for format and disk_name to mean something")
	}
	problems.Add(origins.Check(c.request(), problems.Errors())...)
	if c.Ova != (Ova{}) || c.ExportDomain != (ExportDomain{}) {
		problems.Add(origins.Check(c.templateRequest(uuid.Nil.String()), problems.Errors())...)
	}
	return problems.Err()
}

// given are the options that say where to export to.
func (c *Config) given() []string {
	var given []string
	for option, is := range map[string]bool{
		"output": c.Output != "", "ova": c.Ova != (Ova{}), "export_domain": c.ExportDomain != (ExportDomain{}),
	} {
		if is {
			given = append(given, option)
		}
	}
	slices.Sort(given)
	return given
}

// templateRequest is what the configuration asks for of a template that the engine exports.
func (c *Config) templateRequest(id string) *pb.ExportTemplateRequest {
	request := &pb.ExportTemplateRequest{
		Engine: &pb.EngineRef{Profile: c.Engine}, RequestId: uuid.Nil.String(),
		Template: &pb.TemplateRef{By: &pb.TemplateRef_Id{Id: id}},
	}
	if c.Ova != (Ova{}) {
		request.Target = &pb.ExportTemplateRequest_Ova_{Ova: &pb.ExportTemplateRequest_Ova{
			Host: c.Ova.Host, Directory: c.Ova.Directory, FileName: c.Ova.FileName,
		}}
	} else {
		request.Target = &pb.ExportTemplateRequest_ExportDomain_{ExportDomain: &pb.ExportTemplateRequest_ExportDomain{
			StorageDomain: c.ExportDomain.StorageDomain, Replace: c.ExportDomain.Replace,
		}}
	}
	return request
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
	if c.Output == "" {
		return p.exportTemplate(ctx, ui, engine, kind, input.Id())
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
	return &Artifact{id: step.Image.GetChecksum(), file: c.Output}, nil
}

func (p *PostProcessor) exportTemplate(
	ctx context.Context, ui packersdk.Ui, engine common.EngineConfig, kind, id string,
) (packersdk.Artifact, error) {
	if kind == common.KindDisk {
		return nil, errors.New("the engine exports templates alone to hosts and export domains; a disk takes output")
	}
	step := &common.ExportTemplate{Request: p.config.templateRequest(id), Origins: origins, NewID: p.newID}
	if _, err := common.Play(ctx, ui, p.config.PackerConfig, engine, step); err != nil {
		return nil, err
	}
	place := "export domain " + p.config.ExportDomain.StorageDomain
	if ova := p.config.Ova; ova != (Ova{}) {
		place = fmt.Sprintf("folder %s of host %s", strings.TrimRight(ova.Directory, "/"), ova.Host)
	}
	return &Artifact{id: id, place: place}, nil
}
