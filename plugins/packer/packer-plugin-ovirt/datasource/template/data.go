//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,DatasourceOutput
//go:generate go tool packer-sdc struct-markdown

// Package template is the data source ovirt-template.
package template

import (
	"context"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/zclconf/go-cty/cty"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/lookup"
)

// Config says which template version is meant.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Name of an engine profile in the daemon's configuration. By default the
	// daemon's default profile.
	Engine string `mapstructure:"engine" required:"false"`
	// Name of the template, exactly.
	Name string `mapstructure:"name" required:"false"`
	// Regular expression, in [RE2 syntax](https://pkg.go.dev/regexp/syntax),
	// that is found in the name; `^` and `$` bind it to the whole name. Not
	// with `name`.
	NameRegex string `mapstructure:"name_regex" required:"false"`
	// Names of tags. The template must have all of them.
	Tags []string `mapstructure:"tags" required:"false"`
	// Number of the version. By default any.
	Version int `mapstructure:"version" required:"false"`
	// Take the newest of several: the one that was made last. By default
	// several are an error that names them.
	Latest bool `mapstructure:"latest" required:"false"`
	// Take only templates that this installation of ovirt-provision has made.
	// Defaults to `false`.
	Ours bool `mapstructure:"ours" required:"false"`
}

// DatasourceOutput is the template version that was found.
type DatasourceOutput struct {
	// ID of the template version; what the builder takes as
	// `source_template_id`.
	ID string `mapstructure:"id"`
	// Name of the template.
	Name string `mapstructure:"name"`
	// Number of the version; 1 is the base template.
	Version int `mapstructure:"version"`
	// Name of the version, which need not be unique.
	VersionName string `mapstructure:"version_name"`
	// Description of the version.
	Description string `mapstructure:"description"`
	// When it was made, in RFC 3339 format.
	CreateTime string `mapstructure:"create_time"`
	// Names of its tags.
	Tags []string `mapstructure:"tags"`
	// Name of its cluster; empty where it has none.
	Cluster string `mapstructure:"cluster"`
	// Its operating system as the engine calls it, such as `debian_12x64`.
	OS string `mapstructure:"os"`
	// IDs of its disks, the boot disk first.
	DiskIDs []string `mapstructure:"disk_ids"`
	// Whether this installation of ovirt-provision has made it.
	Ours bool `mapstructure:"ours"`
}

// Datasource is the data source ovirt-template.
type Datasource struct {
	config Config
}

var _ packersdk.Datasource = (*Datasource)(nil)

// ConfigSpec is the configuration's shape, for HCL.
func (d *Datasource) ConfigSpec() hcldec.ObjectSpec {
	return d.config.FlatMapstructure().HCL2Spec()
}

// OutputSpec is the output's shape, for HCL.
func (d *Datasource) OutputSpec() hcldec.ObjectSpec {
	return (&DatasourceOutput{}).FlatMapstructure().HCL2Spec()
}

// Configure checks the configuration. It looks nothing up.
func (d *Datasource) Configure(raws ...any) error {
	if err := config.Decode(&d.config, nil, raws...); err != nil {
		return err
	}
	return lookup.Check(d.request(&pb.EngineRef{Profile: d.config.Engine}), d.config.NameRegex)
}

func (d *Datasource) request(engine *pb.EngineRef) *pb.FindTemplateRequest {
	return &pb.FindTemplateRequest{
		Engine:    engine,
		Name:      d.config.Name,
		NameRegex: d.config.NameRegex,
		Tags:      d.config.Tags,
		Latest:    d.config.Latest,
		Version:   options.ToInt32(d.config.Version),
		Ours:      d.config.Ours,
	}
}

// Execute looks the template version up.
func (d *Datasource) Execute() (cty.Value, error) {
	found, err := lookup.Ask(d.config.Engine, func(ctx context.Context, daemon *client.Client) (*pb.FindTemplateResponse, error) {
		return daemon.Templates.FindTemplate(ctx, d.request(daemon.Engine))
	})
	if err != nil {
		return cty.NullVal(cty.EmptyObject), err
	}
	template := found.GetTemplate()
	output := DatasourceOutput{
		ID:          template.GetId(),
		Name:        template.GetName(),
		Version:     int(template.GetVersion()),
		VersionName: template.GetVersionName(),
		Description: template.GetDescription(),
		CreateTime:  template.GetCreateTime().AsTime().Format(time.RFC3339),
		Tags:        append([]string{}, template.GetTags()...),
		Cluster:     template.GetCluster(),
		OS:          template.GetOs(),
		DiskIDs:     []string{},
		Ours:        template.GetOurs(),
	}
	for _, disk := range template.GetDisks() {
		output.DiskIDs = append(output.DiskIDs, disk.GetId())
	}
	return hcl2helper.HCL2ValueFromConfig(output, d.OutputSpec()), nil
}
