package common

import (
	"io"
	"strconv"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const (
	// sayPercent and sayInterval are how often a line is said while a phase lasts.
	sayPercent  = 10
	sayInterval = 30 * time.Second
	// barInterval keeps the bar to a few calls per second: each move is a call to the core of Packer.
	barInterval = 250 * time.Millisecond
)

// progress shows one operation: as a bar where Packer has a terminal, as lines everywhere, and as `progress` lines of
// `packer -machine-readable`.
type progress struct {
	ui packersdk.Ui

	mu      sync.Mutex
	bar     io.ReadCloser
	moved   time.Time
	shown   int32
	said    time.Time
	started time.Time
	percent int32
	last    *pb.Operation

	stop chan struct{}
	done sync.WaitGroup
}

// showProgress begins to show an operation; close ends it.
func showProgress(ui packersdk.Ui, title string) *progress {
	now := time.Now()
	p := &progress{ui: ui, said: now, started: now, stop: make(chan struct{})}
	p.bar = ui.TrackProgress(title, 0, 100, noReader{})
	p.done.Add(1)
	go p.remind()
	return p
}

// show takes a snapshot of the operation.
func (p *progress) show(operation *pb.Operation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	previous := p.last
	p.last = operation
	phase, percent := operation.GetPhase(), operation.GetPercent()
	changed := phase != previous.GetPhase() || (operation.GetState() != previous.GetState() && previous != nil)
	if changed || percent != previous.GetPercent() {
		p.ui.Machine("progress", operation.GetVerb(), phase, strconv.Itoa(int(percent)), operation.GetProgress())
	}
	if changed || percent >= p.percent+sayPercent {
		p.say()
	}
	p.move(percent)
}

// say says where the operation is. The caller holds mu.
func (p *progress) say() {
	operation := p.last
	p.ui.Sayf("    %s (%s)", client.Describe(operation), time.Since(p.started).Round(time.Second))
	p.said, p.percent = time.Now(), operation.GetPercent()
}

// move moves the bar, which only moves forward. The caller holds mu.
func (p *progress) move(percent int32) {
	if percent <= p.shown || (percent < 100 && time.Since(p.moved) < barInterval) {
		return
	}
	// Packer's tracker counts the length of reads.
	_, _ = p.bar.Read(make([]byte, percent-p.shown))
	p.shown, p.moved = percent, time.Now()
}

// remind says that a silent operation goes on.
func (p *progress) remind() {
	defer p.done.Done()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			if p.last != nil && time.Since(p.said) >= sayInterval {
				p.say()
			}
			p.mu.Unlock()
		}
	}
}

func (p *progress) close() {
	close(p.stop)
	p.done.Wait()
	_ = p.bar.Close()
}

// noReader is the stream that a progress bar asks for.
type noReader struct{}

func (noReader) Read(b []byte) (int, error) { return len(b), nil }
func (noReader) Close() error               { return nil }

// bytesShown shows bytes that this process moves, as if they were an operation.
type bytesShown struct {
	*progress
	phase       string
	total, done int64
	started     time.Time
}

// showBytes begins to show bytes; close ends it.
func showBytes(ui packersdk.Ui, phase string, total int64) *bytesShown {
	shown := &bytesShown{progress: showProgress(ui, phase), total: total, started: time.Now()}
	shown.phase = phase
	return shown
}

// to shows how many bytes have been moved.
func (b *bytesShown) to(done int64) {
	b.done = done
	moved := &pb.Operation_Transferred{DoneBytes: done, TotalBytes: b.total}
	if elapsed := time.Since(b.started); elapsed >= time.Second {
		moved.BytesPerSecond = int64(float64(done) / elapsed.Seconds())
	}
	percent := int32(100)
	if b.total > 0 {
		percent = int32(100 * done / b.total)
	}
	b.show(&pb.Operation{Verb: b.phase, Phase: b.phase, Percent: percent, Transferred: moved})
}

// Write lets bytes be shown that are copied.
func (b *bytesShown) Write(p []byte) (int, error) {
	b.to(b.done + int64(len(p)))
	return len(p), nil
}
