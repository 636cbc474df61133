package client

import (
	"context"
	"fmt"
	"time"
)

const (
	firstPause = 200 * time.Millisecond
	// longestPause bounds the exponential back-off.
	longestPause = 5 * time.Second
)

// absence is one stretch of time in which the daemon does not answer.
type absence struct {
	client *Client
	pause  time.Duration
	since  time.Time
}

func (c *Client) newAbsence() *absence {
	return &absence{client: c, pause: firstPause}
}

// after returns nil when what failed with err is worth another try, which it has waited for. Otherwise it says why not: the end of
// ctx, the daemon's own answer, or that the daemon stays away.
func (a *absence) after(ctx context.Context, err error) error {
	if cause := ended(ctx); cause != nil {
		return cause
	}
	if !connectionLost(err) {
		return fromStatus(err)
	}
	return a.wait(ctx, err)
}

// wait backs off and then sees to it that a daemon serves. It returns nil when trying again makes sense; otherwise the
// context's end, or that no daemon can be had: a named one has been away for longer than Timeouts.Reconnect, one of
// ours cannot be started. cause is the failure seen last.
func (a *absence) wait(ctx context.Context, cause error) error {
	if a.since.IsZero() {
		a.since = time.Now()
		a.client.say("The daemon does not answer; waiting for it to come back...")
	}
	if away := time.Since(a.since); away > a.client.timeouts.Reconnect {
		return fmt.Errorf("the daemon at %s has been away for %s (time-out `Reconnect`): %w",
			a.client.address, away.Round(time.Second), cause)
	}
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-time.After(a.pause):
	}
	a.pause = min(2*a.pause, longestPause)
	if a.client.address.Explicit {
		return nil
	}
	// Whoever killed the daemon did not mean our operation, which is in its ledger: the next daemon takes it up.
	if err := a.client.ensureServing(ctx); err != nil {
		return fmt.Errorf("the daemon went away (%w) and could not be started again: %w", cause, err)
	}
	return nil
}

// over is told that the daemon has answered.
func (a *absence) over() {
	a.pause, a.since = firstPause, time.Time{}
}
