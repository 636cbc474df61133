// Package iso is the builder ovirt-iso: from an ISO image of an installer over a provisioned machine to a sealed
// template.
package iso

import (
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// BuilderID says which builder an artifact comes from.
const BuilderID = "ovirt-provision.ovirt-iso"

// Builder is the builder ovirt-iso.
type Builder struct {
	common.Builder
	config Config
}

var _ packersdk.Builder = (*Builder)(nil)

// NewBuilder makes the builder.
func NewBuilder() *Builder {
	b := new(Builder)
	b.Builder = common.NewBuilder(BuilderID, &b.config)
	return b
}

// ConfigSpec is the configuration's shape, for HCL.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec {
	return b.config.FlatMapstructure().HCL2Spec()
}
