package common

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// timings collects how long the parts of a build took, in order.
type timings struct {
	mu    sync.Mutex
	parts []timing
	// ready is when the machine could be connected to.
	ready time.Time
}

type timing struct {
	name     string
	duration time.Duration
}

func (t *timings) add(name string, duration time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parts = append(t.parts, timing{name, duration})
}

// machineReady is told when the machine can be connected to.
func (t *timings) machineReady() {
	t.ready = time.Now()
}

// addPhases adds the phases of an operation, as the daemon measured them.
func (t *timings) addPhases(operation *pb.Operation) {
	for _, phase := range operation.GetPhases() {
		end := phase.GetEndTime()
		if end == nil {
			end = operation.GetEndTime()
		}
		if phase.GetStartTime() != nil && end != nil {
			t.add(operation.GetVerb()+" "+phase.GetName(), end.AsTime().Sub(phase.GetStartTime().AsTime()))
		}
	}
}

// show says where the time went: as a table, and as `timing` lines of `packer -machine-readable`, in seconds.
func (t *timings) show(ui packersdk.Ui) {
	table := t.String()
	if table == "" {
		return
	}
	ui.Say("Where the time went:" + table)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, part := range t.parts {
		ui.Machine("timing", part.name, fmt.Sprintf("%.1f", part.duration.Seconds()))
	}
}

// String is a table, one line for each part; empty where nothing was measured.
func (t *timings) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	width := 0
	for _, part := range t.parts {
		width = max(width, len(part.name))
	}
	var table strings.Builder
	for _, part := range t.parts {
		fmt.Fprintf(&table, "\n    %-*s %7.1f s", width, part.name, part.duration.Seconds())
	}
	return table.String()
}

// timedHook measures the provisioners, and how long it took to connect before them.
type timedHook struct {
	packersdk.Hook
	timings *timings
}

func (h *timedHook) Run(
	ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, data any,
) error {
	if name == packersdk.HookProvision {
		h.timings.add("connecting", time.Since(h.timings.ready))
		started := time.Now()
		defer func() { h.timings.add("provisioning", time.Since(started)) }()
	}
	return h.Hook.Run(ctx, name, ui, comm, data)
}
