package common

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Keys of the state bag. The SDK's own steps use "ui", "hook", "error", "communicator" and "generated_data".
const (
	stateClient   = "client"
	stateEngine   = "engine"
	stateMachine  = "machine"
	stateTemplate = "template"
	stateDisk     = "disk"
	// stateFinished is set by the last step alone: without it, the build has failed, whatever else is set.
	stateFinished = "finished"
	// stateAddress is the host that the communicator connects to.
	stateAddress = "vm_address"
	// stateInstance is what the SDK shows to provisioners as `build.ID`.
	stateInstance = "instance_id"
	stateTimings  = "timings"
	// stateHTTPAddress and stateHTTPPort are where the guest finds Packer's HTTP server.
	stateHTTPAddress = "http_ip"
	stateHTTPPort    = "http_port"
)

func uiOf(state multistep.StateBag) packersdk.Ui {
	return state.Get("ui").(packersdk.Ui)
}

func clientOf(state multistep.StateBag) *client.Client {
	return state.Get(stateClient).(*client.Client)
}

func timingsOf(state multistep.StateBag) *timings {
	return state.Get(stateTimings).(*timings)
}

// soFar is what the state has under a key; zero while it has nothing.
func soFar[T any](state multistep.StateBag, key string) T {
	value, _ := state.Get(key).(T)
	return value
}

// engineOf is the engine that the build uses; nil before the log-in.
func engineOf(state multistep.StateBag) *pb.Engine {
	return soFar[*pb.Engine](state, stateEngine)
}

// Halt ends the build with an error, which it shows before the clean-up starts.
func Halt(ctx context.Context, state multistep.StateBag, doing string, err error) multistep.StepAction {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		uiOf(state).Sayf("Cancelled while %s.", doing)
		return multistep.ActionHalt
	}
	err = fmt.Errorf("error %s: %w", doing, err)
	state.Put("error", err)
	uiOf(state).Error(err.Error())
	return multistep.ActionHalt
}

// verdict is why the build has failed; nil when it has not. Only a build whose last step ran to its end, and whose
// template the clean-up left standing, has not; a cancel that comes after that comes too late.
func verdict(ctx context.Context, state multistep.StateBag) error {
	if _, finished := state.GetOk(stateFinished); finished {
		return nil
	}
	cause := context.Cause(ctx)
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	raw, failed := state.GetOk("error")
	err, typed := raw.(error)
	switch {
	case typed && !(cause != nil && errors.Is(err, context.Canceled)):
		return err
	case failed && !typed:
		return fmt.Errorf("%v", raw)
	}
	if _, cancelled := state.GetOk(multistep.StateCancelled); cancelled || cause != nil {
		return errors.New("the build was cancelled")
	}
	if _, halted := state.GetOk(multistep.StateHalted); halted {
		return errors.New("the build was halted without an error")
	}
	return errors.New("the build ended before its last step")
}
