//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,DatasourceOutput
//go:generate go tool packer-sdc struct-markdown

// Package network is the data source ovirt-network.
package network

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

// Config says which network is meant.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Name of an engine profile in the daemon's configuration. By default the
	// daemon's default profile.
	Engine string `mapstructure:"engine" required:"false"`
	// Name of the network, exactly. Networks of several data centers may have
	// it.
	Name string `mapstructure:"name" required:"false"`
	// Regular expression, in [RE2 syntax](https://pkg.go.dev/regexp/syntax),
	// that is found in the name; `^` and `$` bind it to the whole name. Not
	// with `name`.
	NameRegex string `mapstructure:"name_regex" required:"false"`
	// Name of the data center. By default any.
	DataCenter string `mapstructure:"data_center" required:"false"`
}

// DatasourceOutput is the network that was found.
type DatasourceOutput struct {
	// ID of the network.
	ID string `mapstructure:"id"`
	// Name of the network.
	Name string `mapstructure:"name"`
	// Description of the network.
	Description string `mapstructure:"description"`
	// Name of its data center.
	DataCenter string `mapstructure:"data_center"`
	// ID of its VLAN; 0 where it has none.
	VlanID int `mapstructure:"vlan_id"`
	// Its MTU in bytes; 0 where it is the engine's default.
	MTU int `mapstructure:"mtu"`
	// Names of its vNIC profiles. The builder takes
	// `<name of the network>/<name of the profile>` as `vnic_profile`.
	VnicProfiles []string `mapstructure:"vnic_profiles"`
}

// Datasource is the data source ovirt-network.
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

func (d *Datasource) request(engine *pb.EngineRef) *pb.FindNetworkRequest {
	return &pb.FindNetworkRequest{
		Engine:     engine,
		Name:       d.config.Name,
		NameRegex:  d.config.NameRegex,
		DataCenter: d.config.DataCenter,
	}
}

// Execute looks the network up.
func (d *Datasource) Execute() (cty.Value, error) {
	found, err := lookup.Ask(d.config.Engine, func(ctx context.Context, daemon *client.Client) (*pb.FindNetworkResponse, error) {
		return daemon.Networks.FindNetwork(ctx, d.request(daemon.Engine))
	})
	if err != nil {
		return cty.NullVal(cty.EmptyObject), err
	}
	network := found.GetNetwork()
	return hcl2helper.HCL2ValueFromConfig(DatasourceOutput{
		ID:           network.GetId(),
		Name:         network.GetName(),
		Description:  network.GetDescription(),
		DataCenter:   network.GetDataCenter(),
		VlanID:       int(network.GetVlanId()),
		MTU:          int(network.GetMtu()),
		VnicProfiles: append([]string{}, network.GetVnicProfiles()...),
	}, d.OutputSpec()), nil
}
