package common

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
	owed bool
	// made is the machine as far as the daemon has told it, even one that failed and was kept.
	made      *pb.Machine
	stopLease func()
}

func (s *stepCreateMachine) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	const doing = "creating the virtual machine"
	if s.owed {
		// Packer tries the step again, as -on-error=ask lets the user choose.
		s.destroy(state)
	}
	ui, daemon := uiOf(state), clientOf(state)
	known, err := s.firstBoot(state)
	if err != nil {
		return Halt(ctx, state, "preparing the first boot", err)
	}
	ui.Sayf("Creating virtual machine from %s...", s.config.source)
	request := s.config.createMachine(daemon.Engine, s.newID(), s.key, known, state)
	s.owed = true
	operation, err := s.create(ctx, state, request, known.bootCommand)
	if err != nil {
		isKept := s.config.keepsOnError() && operation.GetState() == pb.Operation_STATE_FAILED
		s.owed = client.MayHaveEffect(operation, err) || isKept
		s.made = operation.GetMachine()
		return Halt(ctx, state, doing, s.config.machineOptions().Rename(err))
	}
	machine := operation.GetMachine()
	s.made = machine
	if machine == nil {
		return Halt(ctx, state, doing, errors.New("the daemon reports success without a machine"))
	}
	state.Put(stateMachine, machine)
	state.Put(stateInstance, machine.GetId())
	data := packerbuilderdata.GeneratedData{State: state}
	data.Put("VMID", machine.GetId())
	data.Put("VMName", machine.GetName())
	data.Put("SourceTemplateID", machine.GetTemplateId())
	address := client.HostAddress(machine)
	if address == "" {
		address = s.config.Comm.Host()
	}
	data.Put("VMAddress", address)
	if s.config.Comm.Type != "none" && address == "" {
		return Halt(ctx, state, doing, fmt.Errorf("virtual machine %s reports no address; set ssh_host", machine.GetName()))
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

// create makes the machine, keeps its lease from then on, and types the boot command as soon as it has started: typing may go on for
// longer than the grace of the lease.
func (s *stepCreateMachine) create(
	ctx context.Context, state multistep.StateBag, request *pb.CreateMachineRequest, bootCommand string,
) (*pb.Operation, error) {
	daemon := clientOf(state)
	creating, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	typing, stopTyping := context.WithCancel(ctx)
	defer stopTyping()
	var typed chan error
	operation, err := run(creating, state, "CreateMachine", func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.CreateMachine(ctx, request)
		if err == nil && bootCommand != "" {
			typed = make(chan error, 1)
			go func() {
				err := s.config.typeBootCommand(typing, state, s.key, bootCommand)
				if err != nil {
					err = fmt.Errorf("the boot command could not be typed: %w", err)
					giveUp(err)
				}
				typed <- err
			}()
		}
		return reply.GetOperation(), err
	})
	if err == nil {
		s.stopLease = daemon.KeepLease(context.WithoutCancel(ctx), s.key, s.lost)
	}
	if typed == nil {
		return operation, err
	}
	if err != nil {
		stopTyping()
		<-typed
		return operation, err
	}
	return operation, <-typed
}

// firstBoot is what the first boot is told and is known only now.
func (s *stepCreateMachine) firstBoot(state multistep.StateBag) (firstBoot, error) {
	known := firstBoot{}
	if s.config.authorizesKey() {
		known.publicKey = authorizedKey(s.config)
	}
	name := s.config.vmName(s.key)
	if name == "" {
		name = s.key
	}
	var err error
	if known.userData, err = s.config.renderUserData(httpVariables(state, name)); err != nil {
		return known, fmt.Errorf("user_data: %w", err)
	}
	if known.bootCommand, err = s.config.renderBootCommand(httpVariables(state, name)); err != nil {
		return known, fmt.Errorf("boot_command: %w", err)
	}
	if known.files, err = s.config.readCD(); err != nil {
		return known, fmt.Errorf("cd_files: %w", err)
	}
	return known, nil
}

func (s *stepCreateMachine) Cleanup(state multistep.StateBag) {
	s.destroy(state)
}

// destroy destroys the machine, unless that is done already. When it fails, the daemon goes on by itself: the lease of the machine is
// renewed no more.
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
	err := cleanUp(state, s.config.CleanupTimeout, "DestroyMachine", func(ctx context.Context) (*pb.Operation, error) {
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

// gone is told that the machine has ceased to exist by another step's doing.
func (s *stepCreateMachine) gone() {
	if s.stopLease != nil {
		s.stopLease()
		s.stopLease = nil
	}
	s.owed = false
}

// handOver gives the machine, which -on-error=abort or ask has kept from being destroyed, to the user: from now on it lives
// without this build.
func (s *stepCreateMachine) handOver(state multistep.StateBag) {
	if !s.owed {
		return
	}
	ui, daemon := uiOf(state), clientOf(state)
	renewed := s.stopLease != nil
	if renewed {
		s.stopLease()
		s.stopLease = nil
		ctx, cancel := untilCleanupTimeout(s.config.CleanupTimeout)
		defer cancel()
		_, err := daemon.Machines.ConfirmMachine(ctx, &pb.ConfirmMachineRequest{Engine: daemon.Engine, Key: s.key})
		if err != nil {
			ui.Errorf("Virtual machine %s cannot be kept, as -on-error asks: %s\nThe daemon destroys it when the grace of its "+
				"lease is over (key %s).", s.made.GetName(), err, s.key)
			return
		}
	}
	text := fmt.Sprintf("Virtual machine %s (id %s) is kept, as -on-error asks", s.made.GetName(), s.made.GetId())
	if address := client.HostAddress(s.made); address != "" {
		text += ", at " + address
	}
	ui.Sayf("%s. It stays until you destroy it:\n    %s", text, s.destroyCommand())
}

// destroyCommand is what the user types to destroy the machine.
func (s *stepCreateMachine) destroyCommand() string {
	command := "ovirt-provision machine destroy '" + s.key + "'"
	if s.config.Engine != "" {
		command += " --engine " + s.config.Engine
	}
	return command
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
