// Package image is the builder ovirt-image: from a disk image, of this host or of a URL, over a provisioned machine to a sealed
// template.
package image

import (
	"github.com/hashicorp/hcl/v2/hcldec"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// BuilderID says which builder an artifact comes from.
const BuilderID = "ovirt-provision.ovirt-image"

// NewBuilder makes the builder.
func NewBuilder() *common.Builder {
	config := new(Config)
	return common.NewBuilder(BuilderID, config, func() hcldec.ObjectSpec { return config.FlatMapstructure().HCL2Spec() })
}
