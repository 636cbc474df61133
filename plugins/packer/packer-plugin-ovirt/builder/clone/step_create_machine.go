package clone

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packerbuilderdata"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// stepCreateMachine makes the machine, waits for its address and keeps its lease until the build ends. Its Cleanup
// destroys the machine, in every outcome.
type stepCreateMachine struct {
	config *Config
	key    string
	newID  func() string
	// lost is told when the lease of the machine cannot be kept.
	lost func(error)

	// owed is true from the moment the machine may exist until it is known to be gone.
	owed      bool
	stopLease func()
}

func (s *stepCreateMachine) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "creating the virtual machine"
	ui, daemon := uiOf(state), clientOf(state)
	ui.Sayf("Creating virtual machine from template %s...", s.source())
	publicKey := ""
	if s.config.usesKey() {
		publicKey = authorizedKey(s.config)
	}
	request := s.config.createMachine(daemon.Engine, s.newID(), s.key, publicKey)
	s.owed = true
	operation, err := run(ctx, state, "CreateMachine", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.CreateMachine(ctx, request)
		return reply.GetOperation(), err
	})
	if err != nil {
		s.owed = client.MayHaveEffect(operation, err)
		return halt(ctx, state, doing, machineOptions.Rename(err))
	}
	machine := operation.GetMachine()
	if machine == nil {
		return halt(ctx, state, doing, errors.New("the daemon reports success without a machine"))
	}
	s.stopLease = daemon.KeepLease(context.WithoutCancel(ctx), s.key, s.lost)
	state.Put(stateMachine, machine)
	state.Put(stateInstance, machine.GetId())
	data := packerbuilderdata.GeneratedData{State: state}
	data.Put("VMID", machine.GetId())
	data.Put("VMName", machine.GetName())
	data.Put("SourceTemplateID", machine.GetTemplateId())
	address := client.HostAddress(machine)
	data.Put("VMAddress", address)
	if s.config.Comm.Type != "none" && address == "" && s.config.Comm.Host() == "" {
		return halt(ctx, state, doing, fmt.Errorf("virtual machine %s reports no address; set ssh_host", machine.GetName()))
	}
	stands := fmt.Sprintf("Virtual machine %s (id %s) stands", machine.GetName(), machine.GetId())
	if address != "" {
		state.Put(stateAddress, address)
		stands += " at " + address
	}
	ui.Say(stands)
	timingsOf(state).machineReady()
	return multistep.ActionContinue
}

// source is the template to start from, as the user named it.
func (s *stepCreateMachine) source() string {
	switch {
	case s.config.SourceTemplateID != "":
		return s.config.SourceTemplateID
	case s.config.SourceTemplateVersion != 0:
		return fmt.Sprintf("%s version %d", s.config.SourceTemplateName, s.config.SourceTemplateVersion)
	default:
		return s.config.SourceTemplateName + ", newest version"
	}
}

func (s *stepCreateMachine) Cleanup(state multistep.StateBag) {
	s.destroy(state)
}

// destroy destroys the machine, unless that is done already. It does not depend on the context of the build, which has
// often ended by then. When it fails, the daemon goes on by itself: the lease of the machine is renewed no more.
func (s *stepCreateMachine) destroy(state multistep.StateBag) {
	if s.stopLease != nil {
		s.stopLease()
		s.stopLease = nil
	}
	if !s.owed {
		return
	}
	ui, daemon := uiOf(state), clientOf(state)
	ui.Say("Destroying the virtual machine of the build...")
	ctx, cancel := context.WithTimeout(context.Background(), s.config.CleanupTimeout)
	defer cancel()
	_, err := run(ctx, state, "DestroyMachine", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.DestroyMachine(ctx, &pb.DestroyMachineRequest{
			Engine: daemon.Engine, RequestId: s.newID(), Key: s.key,
		})
		return reply.GetOperation(), err
	})
	s.owed = false
	if err != nil {
		ui.Errorf("The virtual machine could not be destroyed yet: %s\nThe daemon destroys it when the grace of "+
			"its lease is over; `ovirt-provision machine list` shows it until then (key %s).", err, s.key)
	}
}

// leftBehind says what becomes of a machine that -on-error=abort or ask keeps from being destroyed.
func (s *stepCreateMachine) leftBehind(state multistep.StateBag) {
	if s.stopLease != nil {
		s.stopLease()
	}
	machine := machineOf(state)
	if !s.owed || machine == nil {
		return
	}
	uiOf(state).Sayf("Virtual machine %s %s is left as -on-error asks, but not for long: its lease ends with this "+
		"build, and the daemon destroys it a few minutes later (key %s).", machine.GetName(), client.HostAddress(machine), s.key)
}

// authorizedKey is the public key as a line of authorized_keys. Its comment is what the SDK looks for when it removes
// a temporary key.
func authorizedKey(config *Config) string {
	line := strings.TrimSpace(string(config.Comm.SSHPublicKey))
	if config.Comm.SSHPrivateKeyFile == "" {
		line += " " + config.Comm.SSHTemporaryKeyPairName
	}
	return line
}
