package client

import "time"

// Timeouts are all the time-outs of a client. A zero field means its default.
type Timeouts struct {
	// Start is how long a started daemon may take until it serves. Default 60 s.
	Start time.Duration
	// Connect is how long a daemon that listens already may take until it serves. Default 30 s.
	Connect time.Duration
	// Call is how long one attempt at a call that is no stream may take. Default 2 min.
	Call time.Duration
	// Reconnect is how long the daemon may be away before a call or a wait gives up. Default 4 min: less than the
	// 5 min of grace that a session lease has.
	Reconnect time.Duration
	// Answer is how much longer the answer to a verb is waited for once the caller has given up. Default 10 s.
	Answer time.Duration
	// Undo is how long an operation may take to undo its effects after it was cancelled. Default 10 min.
	Undo time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	for field, fallback := range map[*time.Duration]time.Duration{
		&t.Start:     60 * time.Second,
		&t.Connect:   30 * time.Second,
		&t.Call:      2 * time.Minute,
		&t.Reconnect: 4 * time.Minute,
		&t.Answer:    10 * time.Second,
		&t.Undo:      10 * time.Minute,
	} {
		if *field == 0 {
			*field = fallback
		}
	}
	return t
}
