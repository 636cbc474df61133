package clone

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

// testBuild is one build against a fake daemon and a fake guest.
type testBuild struct {
	daemon    *fakedaemon.Daemon
	builder   *Builder
	ui        *recordingUi
	provision func(ctx context.Context) error
	hook      packersdk.Hook
	ctx       context.Context
	cancel    context.CancelFunc
}

// minimal is the smallest configuration of a build that nobody logs in to.
func minimal() map[string]any {
	return map[string]any{
		"packer_build_name":    "debian",
		"source_template_name": "debian-12",
		"template_name":        "golden",
		"communicator":         "none",
	}
}

// with is a configuration with options added; nil removes one.
func with(options map[string]any, changes map[string]any) map[string]any {
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

// countingIDs makes UUIDs that count from 1, so that requests can be compared.
func countingIDs() func() string {
	var mu sync.Mutex
	count := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		count++
		return id(count)
	}
}

func id(n int) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
}

func newTestBuild(t *testing.T, options map[string]any) *testBuild {
	t.Helper()
	daemon := fakedaemon.Start(t)
	t.Setenv(client.AddressVariable, daemon.Address)
	for _, name := range []string{"OVIRT_URL", "OVIRT_USERNAME", "OVIRT_CAFILE"} {
		t.Setenv(name, "")
	}
	build := &testBuild{
		daemon:    daemon,
		builder:   &Builder{newID: countingIDs()},
		ui:        &recordingUi{},
		provision: func(context.Context) error { return nil },
	}
	if _, _, err := build.builder.Prepare(options); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	build.ctx, build.cancel = context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(build.cancel)
	return build
}

func (b *testBuild) run() (packersdk.Artifact, error) {
	if b.hook == nil {
		b.hook = &packersdk.MockHook{RunFunc: func(ctx context.Context) error { return b.provision(ctx) }}
	}
	return b.builder.Run(b.ctx, b.ui, b.hook)
}

// mustFail runs the build and checks that its outcome is honest and nothing is left.
func (b *testBuild) mustFail(t *testing.T) error {
	t.Helper()
	artifact, err := b.run()
	if err == nil || artifact != nil {
		t.Fatalf("Run gave (%v, %v), not an error alone", artifact, err)
	}
	if left := b.daemon.Left(); len(left) != 0 {
		t.Errorf("left behind: %v\ncalls:\n%s", left, strings.Join(b.daemon.Calls(), "\n"))
	}
	if running := b.daemon.Running(); running != 0 {
		t.Errorf("%d operations still run", running)
	}
	return err
}

// recordingUi is a user's terminal that remembers.
type recordingUi struct {
	packersdk.MockUi
	mu    sync.Mutex
	lines []string
	// answers are what the user types, in order.
	answers []string
}

func (u *recordingUi) Ask(question string) (string, error) {
	u.add(question)
	u.mu.Lock()
	defer u.mu.Unlock()
	answer := u.answers[0]
	u.answers = u.answers[1:]
	return answer, nil
}

func (u *recordingUi) add(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lines = append(u.lines, line)
}

func (u *recordingUi) Say(message string)                   { u.add(message) }
func (u *recordingUi) Sayf(message string, values ...any)   { u.add(fmt.Sprintf(message, values...)) }
func (u *recordingUi) Message(message string)               { u.add(message) }
func (u *recordingUi) Error(message string)                 { u.add("ERROR " + message) }
func (u *recordingUi) Errorf(message string, values ...any) { u.Error(fmt.Sprintf(message, values...)) }
func (u *recordingUi) Machine(kind string, values ...string) {
	u.add("MACHINE " + kind + "," + strings.Join(values, ","))
}

func (u *recordingUi) text() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.lines, "\n")
}
