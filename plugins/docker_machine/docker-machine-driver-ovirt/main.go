// Command docker-machine-driver-ovirt makes Docker hosts on oVirt for docker-machine and rancher-machine, through the
// ovirt-provision daemon.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/driver"
	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
)

func main() {
	if os.Getenv(wire.TokenVariable) != wire.TokenValue {
		fmt.Fprintf(os.Stderr, "docker-machine-driver-ovirt %s is a plugin: put it on PATH and run "+
			"`docker-machine create --driver ovirt` or `rancher-machine create --driver ovirt`\n", driver.Version)
		os.Exit(1)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		driver.SendTombstones(context.Background())
	}()
	err := wire.Serve(driver.New(os.Stdout), os.Stdout)
	<-sent
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
