//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,DatasourceOutput
//go:generate go tool packer-sdc struct-markdown

// Package disk is the data source ovirt-disk.
package disk

import (
	"context"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/zclconf/go-cty/cty"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/lookup"
)

// Config says which disk is meant.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Name of an engine profile in the daemon's configuration. By default the
	// daemon's default profile.
	Engine string `mapstructure:"engine" required:"false"`
	// Name of the disk (its alias), exactly. Several disks may have it.
	Name string `mapstructure:"name" required:"false"`
	// Regular expression, in [RE2 syntax](https://pkg.go.dev/regexp/syntax),
	// that is found in the name; `^` and `$` bind it to the whole name. Not
	// with `name`.
	NameRegex string `mapstructure:"name_regex" required:"false"`
	// What the disk holds, as the engine calls it: `data`, `iso` and so on. By
	// default anything.
	ContentType string `mapstructure:"content_type" required:"false"`
	// Take only disks that builds of this installation of ovirt-provision
	// have left. Defaults to `false`.
	Ours bool `mapstructure:"ours" required:"false"`
	// Take the newest of several. Only with `ours`, because the engine does
	// not tell when a disk was made. By default several are an error that
	// names them.
	Latest bool `mapstructure:"latest" required:"false"`
}

// DatasourceOutput is the disk that was found.
type DatasourceOutput struct {
	// ID of the disk.
	ID string `mapstructure:"id"`
	// Name of the disk.
	Name string `mapstructure:"name"`
	// Description of the disk.
	Description string `mapstructure:"description"`
	// Its size in bytes, as a guest sees it.
	SizeBytes int64 `mapstructure:"size_bytes"`
	// `cow` (QCOW2) or `raw`.
	Format string `mapstructure:"format"`
	// What it holds, such as `data` or `iso`.
	ContentType string `mapstructure:"content_type"`
	// Names of the storage domains that it is on.
	StorageDomains []string `mapstructure:"storage_domains"`
	// Whether a build of this installation of ovirt-provision has left it.
	Ours bool `mapstructure:"ours"`
}

// Datasource is the data source ovirt-disk.
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

func (d *Datasource) request(engine *pb.EngineRef) *pb.FindDiskRequest {
	return &pb.FindDiskRequest{
		Engine:      engine,
		Name:        d.config.Name,
		NameRegex:   d.config.NameRegex,
		ContentType: d.config.ContentType,
		Ours:        d.config.Ours,
		Latest:      d.config.Latest,
	}
}

// Execute looks the disk up.
func (d *Datasource) Execute() (cty.Value, error) {
	found, err := lookup.Ask(d.config.Engine, func(ctx context.Context, daemon *client.Client) (*pb.FindDiskResponse, error) {
		return daemon.Disks.FindDisk(ctx, d.request(daemon.Engine))
	})
	if err != nil {
		return cty.NullVal(cty.EmptyObject), err
	}
	disk := found.GetDisk()
	return hcl2helper.HCL2ValueFromConfig(DatasourceOutput{
		ID:             disk.GetId(),
		Name:           disk.GetName(),
		Description:    disk.GetDescription(),
		SizeBytes:      disk.GetSizeBytes(),
		Format:         disk.GetFormat(),
		ContentType:    disk.GetContentType(),
		StorageDomains: append([]string{}, disk.GetStorageDomains()...),
		Ours:           disk.GetOurs(),
	}, d.OutputSpec()), nil
}
