package driver

import (
	"fmt"
	"os"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
)

// credentialFlags are how to reach a daemon elsewhere. Rancher makes the form of a cloud credential of them (see
// rancher/node-driver.yaml), and sets their variables at each run.
func credentialFlags() []wire.Flag {
	return []wire.Flag{
		&wire.StringFlag{Name: "ovirt-provision-address", EnvVar: client.AddressVariable, Usage: "host:port of a daemon elsewhere; by its " +
			"variable only (default: a daemon here, which is started when needed)"},
		&wire.StringFlag{Name: "ovirt-provision-ca", EnvVar: "OVIRT_PROVISION_CA", Usage: "the CA of that daemon's certificate, in PEM format; by its variable only"},
		&wire.StringFlag{Name: "ovirt-provision-token", EnvVar: "OVIRT_PROVISION_TOKEN", Usage: "bearer token for that daemon; by its variable only"},
	}
}

// checkCredential refuses a credential that later commands would lack, since none is kept, and that a process list would show.
func checkCredential(given wire.Options) error {
	for _, flag := range credentialFlags() {
		flag := flag.(*wire.StringFlag)
		if value := given.String(flag.Name); value != "" && value != os.Getenv(flag.EnvVar) {
			return &options.Problem{Option: "--" + flag.Name, Text: fmt.Sprintf(
				"is not kept, so every later command needs it, too: set the variable %s instead", flag.EnvVar)}
		}
	}
	return nil
}
