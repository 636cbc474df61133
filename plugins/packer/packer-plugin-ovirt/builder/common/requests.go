package common

import (
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// firstBootVariables are what `user_data` may use, as in `{{ .HTTPIP }}`.
type firstBootVariables struct {
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
	files     []*pb.File
}

// createMachine is the request that the configuration makes; the state is nil where it is only checked.
func (c *Config) createMachine(
	engine *pb.EngineRef, requestID, key string, known firstBoot, state multistep.StateBag,
) *pb.CreateMachineRequest {
	request := &pb.CreateMachineRequest{Engine: engine, RequestId: requestID, Key: key, Spec: c.machineSpec(state)}
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
