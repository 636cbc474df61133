// Command packer-plugin-ovirt builds oVirt templates with Packer, through the ovirt-provision daemon.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/clone"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/image"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/iso"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/disk"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/network"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/datasource/template"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/post-processor/export"
	importer "github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/post-processor/import"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

func main() {
	if err := newSet().Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newSet is what the plugin has, by the names that follow `ovirt-`.
func newSet() *plugin.Set {
	set := plugin.NewSet()
	set.RegisterBuilder("clone", clone.NewBuilder())
	set.RegisterBuilder("image", image.NewBuilder())
	set.RegisterBuilder("iso", iso.NewBuilder())
	set.RegisterPostProcessor("export", export.New())
	set.RegisterPostProcessor("import", importer.New())
	set.RegisterDatasource("template", new(template.Datasource))
	set.RegisterDatasource("disk", new(disk.Datasource))
	set.RegisterDatasource("network", new(network.Datasource))
	set.SetVersion(version.PluginVersion)
	return set
}
