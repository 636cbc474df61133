// Command packer-plugin-ovirt builds oVirt templates with Packer, through the ovirt-provision daemon.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/clone"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

func main() {
	set := plugin.NewSet()
	set.RegisterBuilder("clone", clone.NewBuilder())
	set.SetVersion(version.PluginVersion)
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
