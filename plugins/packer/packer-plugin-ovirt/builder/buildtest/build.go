// Package buildtest runs builders in tests: against a fake daemon, with a terminal that remembers.
package buildtest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
)

// Build is one build against a fake daemon and a fake guest.
type Build struct {
	Daemon *fakedaemon.Daemon
	UI     *UI
	// Provision is what the provisioners do.
	Provision func(ctx context.Context) error
	// Hook, where given, takes the place of Provision.
	Hook   packersdk.Hook
	Cancel context.CancelFunc

	builder packersdk.Builder
	ctx     context.Context
}

// With is a configuration with options added; nil removes one.
func With(options map[string]any, changes map[string]any) map[string]any {
	options = maps.Clone(options)
	for name, value := range changes {
		if value == nil {
			delete(options, name)
		} else {
			options[name] = value
		}
	}
	return options
}

// CountingIDs makes UUIDs that count from 1, so that requests can be compared.
func CountingIDs() func() string {
	var mu sync.Mutex
	count := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		count++
		return ID(count)
	}
}

// ID is one of CountingIDs.
func ID(n int) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
}

// New prepares a build.
func New(t *testing.T, builder packersdk.Builder, options map[string]any) *Build {
	t.Helper()
	build := &Build{
		Daemon:    Daemon(t),
		UI:        &UI{},
		Provision: func(context.Context) error { return nil },
		builder:   builder,
	}
	if _, _, err := builder.Prepare(options); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	build.ctx, build.Cancel = context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(build.Cancel)
	return build
}

// Daemon is a fake daemon that clients of this process find until the test ends.
func Daemon(t *testing.T) *fakedaemon.Daemon {
	t.Helper()
	daemon := fakedaemon.Start(t)
	t.Setenv(client.AddressVariable, daemon.Address)
	for _, name := range []string{"OVIRT_URL", "OVIRT_USERNAME", "OVIRT_CAFILE"} {
		t.Setenv(name, "")
	}
	return daemon
}

// Run runs the build.
func (b *Build) Run() (packersdk.Artifact, error) {
	if b.Hook == nil {
		b.Hook = &packersdk.MockHook{RunFunc: func(ctx context.Context) error { return b.Provision(ctx) }}
	}
	return b.builder.Run(b.ctx, b.UI, b.Hook)
}

// MustFail runs the build and checks that its outcome is honest and nothing is left.
func (b *Build) MustFail(t *testing.T) error {
	t.Helper()
	artifact, err := b.Run()
	if err == nil || artifact != nil {
		t.Fatalf("Run gave (%v, %v), not an error alone", artifact, err)
	}
	if left := b.Daemon.Left(); len(left) != 0 {
		t.Errorf("left behind: %v\ncalls:\n%s", left, strings.Join(b.Daemon.Calls(), "\n"))
	}
	if running := b.Daemon.Running(); running != 0 {
		t.Errorf("%d operations still run", running)
	}
	return err
}

// MustRefuse checks that a configuration was refused, and all that the user reads of it.
func MustRefuse(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("it is accepted")
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q:\n%v", text, err)
		}
	}
}

// UI is a user's terminal that remembers.
type UI struct {
	packersdk.MockUi
	// Answers are what the user types, in order.
	Answers []string

	mu    sync.Mutex
	lines []string
}

// Ask implements packersdk.Ui.
func (u *UI) Ask(question string) (string, error) {
	u.add(question)
	u.mu.Lock()
	defer u.mu.Unlock()
	answer := u.Answers[0]
	u.Answers = u.Answers[1:]
	return answer, nil
}

func (u *UI) add(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lines = append(u.lines, line)
}

// Say implements packersdk.Ui.
func (u *UI) Say(message string) { u.add(message) }

// Sayf implements packersdk.Ui.
func (u *UI) Sayf(message string, values ...any) { u.add(fmt.Sprintf(message, values...)) }

// Message implements packersdk.Ui.
func (u *UI) Message(message string) { u.add(message) }

// Error implements packersdk.Ui.
func (u *UI) Error(message string) { u.add("ERROR " + message) }

// Errorf implements packersdk.Ui.
func (u *UI) Errorf(message string, values ...any) { u.Error(fmt.Sprintf(message, values...)) }

// Machine implements packersdk.Ui.
func (u *UI) Machine(kind string, values ...string) {
	u.add("MACHINE " + kind + "," + strings.Join(values, ","))
}

// Lines are all that the user has read.
func (u *UI) Lines() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.lines...)
}

// Text is all that the user has read.
func (u *UI) Text() string {
	return strings.Join(u.Lines(), "\n")
}
