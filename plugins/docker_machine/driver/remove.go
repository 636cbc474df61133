package driver

import (
	"context"
	"errors"
	"regexp"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Remove destroys the Machine by its key, which is known even if nothing else was saved. One that is gone is fine.
func (d *Driver) Remove() error {
	if d.Key == "" {
		return nil
	}
	ctx := context.Background()
	daemon, err := d.connect(ctx)
	if err == nil {
		defer daemon.Close()
		err = d.destroy(ctx, daemon)
	}
	return failedRemove(err)
}

func (d *Driver) destroy(ctx context.Context, daemon *client.Client) error {
	_, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.DestroyMachine(ctx, &pb.DestroyMachineRequest{
			Engine: daemon.Engine, RequestId: d.newID(), Key: d.Key,
		})
		return reply.GetOperation(), err
	}, d.showProgress().show)
	return err
}

var notFound = regexp.MustCompile(`(?i)not found`)

// failedRemove words the error of a Remove. rancher-machine takes one that contains "not found" for a success and forgets
// the host, but what was not found here is never the VM.
func failedRemove(err error) error {
	if err == nil || !notFound.MatchString(err.Error()) {
		return err
	}
	return errors.New(notFound.ReplaceAllString(err.Error(), "missing"))
}
