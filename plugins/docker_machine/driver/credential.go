package driver

import (
	"os"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
)

// credential is how to reach a daemon elsewhere. Rancher makes the form of a cloud credential of these flags (see
// rancher/node-driver.yaml), and sets their variables at each run.
var credential = section{"A daemon elsewhere", false, []flag{
	{"ovirt-provision-address", "", "host:port of a daemon elsewhere; by its variable only (default: a daemon here, which is started when needed)"},
	{"ovirt-provision-ca", "", "the CA of that daemon's certificate, in PEM format; by its variable only"},
	{"ovirt-provision-token", "", "bearer token for that daemon; by its variable only"},
}}

// checkCredential refuses a credential that later commands would lack, since none is kept, and that a process list would show.
func checkCredential(given wire.Options) error {
	for _, flag := range credential.flags {
		if value := given.String(flag.name); value != "" && value != os.Getenv(flag.variable()) {
			return problem(flag.name, "is not kept, so every later command needs it, too: set the variable %s instead", flag.variable())
		}
	}
	return nil
}
