package common

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

func TestVerdict(t *testing.T) {
	errLost := errors.New("the lease is lost")
	errScript := errors.New("script exited with 1")
	for _, test := range []struct {
		name  string
		cause error
		state map[string]any
		want  string
	}{
		{"finished", nil, map[string]any{stateFinished: true}, ""},
		{"cancelled after the template was left standing", context.Canceled, map[string]any{stateFinished: true, multistep.StateCancelled: true}, ""},
		{"cancelled", context.Canceled, map[string]any{multistep.StateCancelled: true}, "the build was cancelled"},
		{"cancelled, unnoticed by the runner", context.Canceled, nil, "the build was cancelled"},
		{"cancelled, as a step tells it", context.Canceled, map[string]any{"error": context.Canceled}, "the build was cancelled"},
		{"failed, and cancelled during the clean-up", context.Canceled, map[string]any{"error": errScript}, "script exited with 1"},
		{"failed", nil, map[string]any{"error": errScript, multistep.StateHalted: true}, "script exited with 1"},
		{"failed with a text", nil, map[string]any{"error": "a text"}, "a text"},
		{"lease lost", errLost, map[string]any{"error": context.Canceled, multistep.StateCancelled: true}, "the lease is lost"},
		{"halted without an error", nil, map[string]any{multistep.StateHalted: true}, "the build was halted without an error"},
		{"nothing at all", nil, nil, "the build ended before its last step"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.cause != nil {
				cancel(test.cause)
			}
			state := new(multistep.BasicStateBag)
			for key, value := range test.state {
				state.Put(key, value)
			}
			err := verdict(ctx, state)
			if (err == nil) != (test.want == "") || (err != nil && err.Error() != test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A cancel that comes when all steps are through, but before the build has ended, still takes the template back.
func TestCancelAfterTheLastStep(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.AddTemplate(fakedaemon.TemplateID, "golden")
	t.Setenv(client.AddressVariable, daemon.Address)
	connected, err := client.Connect(t.Context(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	for _, test := range []struct {
		name      string
		cancelled error
		calls     []string
		finished  bool
	}{
		{"not cancelled", nil, nil, true},
		{"cancelled", context.Canceled, []string{"DestroyTemplate", "WatchOperation"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := new(multistep.BasicStateBag)
			state.Put("ui", &buildtest.UI{})
			state.Put(stateClient, connected)
			state.Put(stateTimings, new(timings))
			state.Put(stateFinished, true)
			step := &stepCreateTemplate{
				config: &Config{EngineConfig: EngineConfig{CleanupTimeout: time.Minute}}, newID: buildtest.CountingIDs(),
				made:      &pb.Template{Id: fakedaemon.TemplateID, Name: "golden"},
				cancelled: func() error { return test.cancelled },
			}
			step.Cleanup(state)
			if methods := daemon.Methods(); !slices.Equal(methods, test.calls) {
				t.Errorf("methods: %v, want %v", methods, test.calls)
			}
			if _, finished := state.GetOk(stateFinished); finished != test.finished {
				t.Errorf("finished: %v", finished)
			}
		})
	}
}
