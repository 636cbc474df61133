package common

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/bootcommand"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// longestBatch is how many key events go to the daemon at once: few, so that a cancelled build soon types no more.
const longestBatch = 64

// waits are the pauses in a boot command.
var waits = regexp.MustCompile(`<wait[^>]*>`)

var keyOptions = options.Origins{
	{Field: "keys.events[].character", Option: "boot_command"},
	{Field: "keys.events[].special", Option: "boot_command"},
	{Field: "open.key_interval", Option: "boot_key_interval"},
}

// bootCommandProblems are all that is wrong with the boot command, as far as the guest need not be asked.
func (c *Config) bootCommandProblems(report Reporter) {
	for _, problem := range c.BootConfig.Prepare(&c.ctx) {
		report("boot_command", "%s", problem)
	}
	if c.BootGroupInterval < 0 {
		report("boot_keygroup_interval", "%s is negative", c.BootGroupInterval)
	}
	if c.BootKeyInterval < 0 || c.BootKeyInterval > 10*time.Second {
		report("boot_key_interval", "%s is not from 0s to 10s", c.BootKeyInterval)
	}
	if len(c.BootCommand) == 0 {
		return
	}
	said := map[string]bool{}
	typed := &keyboard{press: func(events []*pb.KeyEvent) error {
		request := &pb.SendKeysRequest{Message: &pb.SendKeysRequest_Keys{Keys: &pb.KeyBatch{Events: events}}}
		for _, problem := range keyOptions.Check(request, nil) {
			if text := problem.Error(); !said[text] {
				said[text] = true
				reportProblem(report, problem)
			}
		}
		return nil
	}}
	sample := guestVariables{HTTPIP: "192.0.2.1", HTTPPort: c.HTTPPortMin, Name: "packer"}
	command, err := c.renderBootCommand(sample)
	if err != nil {
		report("boot_command", "%s", err)
		return
	}
	parsed, err := bootcommand.GenerateExpressionSequence(waits.ReplaceAllString(command, ""))
	if err != nil {
		report("boot_command", "%s", err)
		return
	}
	if err := parsed.Do(context.Background(), typed); err != nil {
		report("boot_command", "%s", err)
	}
}

// renderBootCommand fills in what is known only now.
func (c *Config) renderBootCommand(variables guestVariables) (string, error) {
	rendering := c.ctx
	rendering.Data = &variables
	return interpolate.Render(c.FlatBootCommand(), &rendering)
}

// typeBootCommand types the boot command into the machine of that key, once it has started.
func (c *Config) typeBootCommand(ctx context.Context, state multistep.StateBag, key, command string) (err error) {
	parsed, err := bootcommand.GenerateExpressionSequence(command)
	if err != nil {
		return fmt.Errorf("boot_command: %w", err)
	}
	ui := uiOf(state)
	console, err := clientOf(state).OpenConsole(ctx, key, c.BootKeyInterval)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := console.Close(); err == nil {
			err = closeErr
		}
	}()
	wait := max(c.BootWait, 0)
	ui.Sayf("Typing the boot command in %s (console: %s)...", wait, console.Description)
	if err := pause(ctx, wait); err != nil {
		return err
	}
	typed := &keyboard{press: console.Press, afterGroup: func() error { return pause(ctx, c.BootGroupInterval) }}
	if err := parsed.Do(ctx, typed); err != nil {
		return err
	}
	ui.Say("The boot command is typed.")
	return nil
}

func pause(ctx context.Context, duration time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(duration):
		return nil
	}
}

// keyboard gathers the keys of a boot command and presses them group by group.
type keyboard struct {
	press func([]*pb.KeyEvent) error
	// afterGroup, which may be nil, runs when a group of keys, between two waits, was pressed.
	afterGroup func() error
	events     []*pb.KeyEvent
	// err ends the typing: the SDK does not look at what Flush returns before a wait.
	err error
}

var _ bootcommand.BCDriver = (*keyboard)(nil)

var keyActions = map[bootcommand.KeyAction]pb.KeyEvent_Action{
	bootcommand.KeyOn:  pb.KeyEvent_ACTION_DOWN,
	bootcommand.KeyOff: pb.KeyEvent_ACTION_UP,
}

// SendKey implements bootcommand.BCDriver.
func (k *keyboard) SendKey(key rune, action bootcommand.KeyAction) error {
	return k.add(&pb.KeyEvent{Key: &pb.KeyEvent_Character{Character: string(key)}, Action: keyActions[action]})
}

// SendSpecial implements bootcommand.BCDriver.
func (k *keyboard) SendSpecial(special string, action bootcommand.KeyAction) error {
	return k.add(&pb.KeyEvent{Key: &pb.KeyEvent_Special{Special: special}, Action: keyActions[action]})
}

func (k *keyboard) add(event *pb.KeyEvent) error {
	k.events = append(k.events, event)
	if len(k.events) >= longestBatch {
		k.pressGathered()
	}
	return k.err
}

func (k *keyboard) pressGathered() {
	if k.err == nil && len(k.events) > 0 {
		k.err = k.press(k.events)
	}
	k.events = nil
}

// Flush implements bootcommand.BCDriver.
func (k *keyboard) Flush() error {
	isGroup := len(k.events) > 0
	k.pressGathered()
	if k.err == nil && isGroup && k.afterGroup != nil {
		k.err = k.afterGroup()
	}
	return k.err
}
