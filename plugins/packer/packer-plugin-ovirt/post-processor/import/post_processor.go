// Package importer is the post-processor ovirt-import: a disk image that another builder has made, as a template or a disk of the
// engine.
package importer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
const BuilderID = "ovirt-provision.ovirt-import"

// PostProcessor is the post-processor ovirt-import.
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

// Configure decodes the configuration and returns all that is wrong with it at once.
func (p *PostProcessor) Configure(raws ...any) error {
	c := &p.config
	err := config.Decode(c, &config.DecodeOpts{PluginType: BuilderID, Interpolate: true, InterpolateContext: &c.ctx}, raws...)
	if err != nil {
		return err
	}
	var problems common.Problems
	c.EngineConfig.Prepare(problems.Report)
	c.HardwareConfig.Problems(problems.Report)
	c.TemplateConfig.Problems(problems.Report)
	common.DiskInterfaces.Check(problems.Report, "disk_interface", c.DiskInterface)
	common.DiskFormats.Check(problems.Report, "disk.format", c.Disk.Format)
	switch {
	case c.makesDisk() && c.TemplateName != "":
		problems.Report("disk", "is given next to template_name '%s'; an image becomes one of them", c.TemplateName)
	case !c.makesDisk() && c.Cluster == "":
		problems.Report("cluster", "is required: an image is of none")
	}
	if _, err := filepath.Match(c.File, ""); err != nil {
		problems.Report("file", "'%s': %s", c.File, err)
	}
	c.imports(common.LocalFile("")).Problems(problems.Report)
	return problems.Err()
}

func (c *Config) makesDisk() bool {
	return c.Disk.Name != "" || c.Disk.Description != "" || c.Disk.StorageDomain != "" || c.Disk.Format != "" || len(c.Disk.Permissions) > 0
}

// imports is the import that the configuration describes.
func (c *Config) imports(file *common.ImageFile) *common.Import {
	return &common.Import{
		File: file, Target: c.target, Origins: c.origins(), Keep: true, CleanupTimeout: c.CleanupTimeout,
		RemovesTemplates: !c.makesDisk() && c.RemovesTemplates(c.PackerForce),
	}
}

func (c *Config) target(request *pb.ImportImageRequest) {
	if c.makesDisk() {
		request.Target = &pb.ImportImageRequest_Disk{Disk: &pb.ImportedDisk{
			Name: c.Disk.Name, Description: c.Disk.Description, StorageDomain: c.Disk.StorageDomain,
			Format: common.DiskFormats[c.Disk.Format], Permissions: common.Permissions(c.Disk.Permissions),
		}}
		return
	}
	machine := &pb.MachineSpec{Template: common.Blank()}
	c.HardwareConfig.Put(machine)
	request.Target = &pb.ImportImageRequest_Template{Template: &pb.ImportedTemplate{
		Machine: machine, Name: c.TemplateName, Description: c.TemplateDescription, NewVersion: c.NewVersion, VersionName: c.VersionName,
		Tags: c.TemplateTags, Permissions: common.Permissions(c.TemplatePermissions), Replace: c.Replaces(c.PackerForce),
		KeepVersions: options.ToInt32(c.KeepVersions), StorageDomain: c.TemplateStorageDomain,
		DiskFormat: common.DiskFormats[c.TemplateDiskFormat], DiskInterface: common.DiskInterfaces[c.DiskInterface],
	}}
}

// origins say where the fields of the request come from.
func (c *Config) origins() options.Origins {
	own := options.Origins{
		{Field: "engine.profile", Option: "engine"},
		{Field: "checksum", Option: "file"},
		{Field: "disk.permissions", Option: "disk.permission"},
		{Field: "disk.", Option: "disk."},
		{Field: "template.disk_interface", Option: "disk_interface"},
	}
	return slices.Concat(own, common.HardwareOrigins("template.machine."), common.TemplateOrigins("template."))
}

// PostProcess imports the image of a build. The input goes unless the user keeps it, as with other post-processors that send images
// somewhere.
func (p *PostProcessor) PostProcess(
	ctx context.Context, ui packersdk.Ui, input packersdk.Artifact,
) (output packersdk.Artifact, keep, forceOverride bool, err error) {
	path, err := p.config.find(input)
	if err != nil {
		return nil, true, false, err
	}
	c := &p.config
	imports := c.imports(common.LocalFile(path))
	state, err := common.Play(ctx, ui, c.PackerConfig, c.EngineConfig, imports.WholeSteps(p.newID)...)
	if err != nil {
		return nil, true, false, err
	}
	return common.NewArtifact(BuilderID, state, c.EngineConfig, p.newID), false, false, nil
}

// find is the file of the artifact that is the image.
func (c *Config) find(input packersdk.Artifact) (string, error) {
	var found []string
	for _, file := range input.Files() {
		isImage := slices.Contains([]string{".qcow2", ".raw", ".img"}, strings.ToLower(filepath.Ext(file)))
		if c.File != "" {
			isImage, _ = filepath.Match(c.File, file)
		}
		if isImage {
			found = append(found, file)
		}
	}
	if len(found) == 0 && c.File == "" && len(input.Files()) == 1 {
		// The qemu builder names its disk after the virtual machine, without an extension.
		found = input.Files()
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if len(input.Files()) == 0 {
			return "", fmt.Errorf("the artifact of %s has no files: what it made is not on this host", input.BuilderId())
		}
		return "", fmt.Errorf("none of the artifact's files is the image: %s; set file", strings.Join(input.Files(), ", "))
	default:
		return "", errors.New("several of the artifact's files may be the image: " + strings.Join(found, ", ") + "; set file")
	}
}
