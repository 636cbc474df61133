// Package image is the builder ovirt-image: from a disk image, of this host or of a URL, over a provisioned machine to a sealed
// template.
package image

import (
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// BuilderID says which builder an artifact comes from.
const BuilderID = "ovirt-provision.ovirt-image"

// Builder is the builder ovirt-image.
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
