package driver

import (
	"fmt"
	"time"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// sayPercent and sayInterval are how often a line is said while a phase lasts.
const (
	sayPercent  = 10
	sayInterval = 15 * time.Second
)

// progress shows one operation, line by line.
type progress struct {
	say     func(string)
	started time.Time
	last    *pb.Operation
	said    time.Time
	percent int32
}

func (d *Driver) showProgress() *progress {
	return &progress{say: d.say, started: time.Now()}
}

// show takes a snapshot of the operation.
func (p *progress) show(operation *pb.Operation) {
	previous := p.last
	p.last = operation
	changed := operation.GetPhase() != previous.GetPhase() || operation.GetState() != previous.GetState()
	news := operation.GetPercent() >= p.percent+sayPercent || time.Since(p.said) >= sayInterval
	if operation.GetPhase() == "" || !changed && !news {
		return
	}
	p.said, p.percent = time.Now(), operation.GetPercent()
	line := fmt.Sprintf("%3d %% %s", operation.GetPercent(), operation.GetPhase())
	switch operation.GetState() {
	case pb.Operation_STATE_UNDOING:
		line = "undoing: " + operation.GetPhase()
	case pb.Operation_STATE_SUCCEEDED:
		line = "100 % done"
	case pb.Operation_STATE_CANCELLED:
		line = "cancelled and undone"
	case pb.Operation_STATE_FAILED:
		line = "failed"
	}
	if text := operation.GetProgress(); text != "" && operation.GetEndTime() == nil {
		line += ": " + text
	}
	p.say(fmt.Sprintf("%s %s (%s)", operation.GetVerb(), line, time.Since(p.started).Round(time.Second)))
	if operation.GetCleanup() == pb.Operation_CLEANUP_PENDING {
		p.say("The engine still holds a lock on what is to be removed; the daemon goes on until it is gone.")
	}
}
