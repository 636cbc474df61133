package common

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// guestVariables are what `user_data` and `boot_command` may use, as in `{{ .HTTPIP }}`.
type guestVariables struct {
	// HTTPIP and HTTPPort are where the guest finds Packer's HTTP server.
	HTTPIP   string
	HTTPPort int
	// Name is that of the virtual machine.
	Name string
}

// firstBoot is what the first boot is told and is known only once the build runs.
type firstBoot struct {
	// publicKey is authorized, in OpenSSH format; empty where Packer logs in otherwise.
	publicKey string
	userData  string
	// bootCommand is typed when the machine has started.
	bootCommand string
	files       []*pb.File
}

// createMachine is the request that the configuration makes; the state is nil while the configuration is checked.
func (c *Config) createMachine(
	engine *pb.EngineRef, requestID, key string, known firstBoot, state multistep.StateBag,
) *pb.CreateMachineRequest {
	request := &pb.CreateMachineRequest{Engine: engine, RequestId: requestID, Key: key, Spec: c.machineSpec(key)}
	if c.starts() {
		request.StartWith = c.initialization(known)
		request.AddressSelection = c.addressSelection()
		if c.IPWaitTimeout != 0 {
			request.Timeouts = map[string]*durationpb.Duration{"address": durationpb.New(c.IPWaitTimeout)}
		}
	}
	if c.keepsOnError() {
		request.OnFailure = pb.OnFailure_ON_FAILURE_KEEP
	}
	c.source.Put(request, state)
	return request
}

// keepsOnError says whether Packer may leave the machine of a build that fails to the user.
func (c *Config) keepsOnError() bool {
	switch c.PackerOnError {
	case "abort", "ask", "run-cleanup-provisioner":
		return true
	default:
		return false
	}
}

// servesHTTP says whether Packer's HTTP server runs while the machine is built.
func (c *Config) servesHTTP() bool {
	return c.HTTPDir != "" || len(c.HTTPContent) > 0
}

// destroyTemplate is the call that destroys a template of ours.
func destroyTemplate(daemon *client.Client, newID func() string, id string) call {
	return func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Templates.DestroyTemplate(ctx, &pb.DestroyTemplateRequest{
			Engine: daemon.Engine, RequestId: newID(), Id: id,
		})
		return reply.GetOperation(), err
	}
}

// destroyDisk is the call that destroys a disk of ours.
func destroyDisk(daemon *client.Client, newID func() string, id string) call {
	return func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Disks.DestroyDisk(ctx, &pb.DestroyDiskRequest{
			Engine: daemon.Engine, RequestId: newID(), Id: id,
		})
		return reply.GetOperation(), err
	}
}
