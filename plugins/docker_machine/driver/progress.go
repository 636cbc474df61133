package driver

import (
	"fmt"
	"time"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
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
	p.say(fmt.Sprintf("%s %s (%s)", operation.GetVerb(), client.Describe(operation), time.Since(p.started).Round(time.Second)))
	if operation.GetCleanup() == pb.Operation_CLEANUP_PENDING {
		p.say(client.CleanupPending)
	}
}
