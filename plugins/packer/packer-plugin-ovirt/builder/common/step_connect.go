package common

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepConnect connects to the daemon and lets it log in to the engine, so that a wrong password ends the build before
// anything is made.
type stepConnect struct {
	options client.Options
}

func (s *stepConnect) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	daemon, err := client.Connect(ctx, s.options)
	if err != nil {
		return Halt(ctx, state, "connecting to the ovirt-provision daemon", err)
	}
	state.Put(stateClient, daemon)
	reply, err := daemon.Engines.GetEngine(ctx, &pb.GetEngineRequest{Engine: daemon.Engine})
	if err != nil {
		return Halt(ctx, state, "logging in to the engine", commonOptions.Rename(err))
	}
	engine := reply.GetEngine()
	state.Put(stateEngine, engine)
	uiOf(state).Sayf("Using engine %s as %s (oVirt %s)", engine.GetUrl(), engine.GetUsername(), engine.GetVersion())
	return multistep.ActionContinue
}

func (s *stepConnect) Cleanup(state multistep.StateBag) {
	if daemon, connected := state.Get(stateClient).(*client.Client); connected {
		_ = daemon.Close()
	}
}
