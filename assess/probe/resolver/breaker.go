package resolver

import (
	"sync"
	"time"
)

const (
	breakerTimeouts = 5
	breakerWindow   = 10 * time.Second
	breakerPause    = 30 * time.Second
)

// breaker spares everybody the wait for a resolver that is dead: five questions in ten seconds
// that timed out, with no reply to any other in between, open it for thirty. The condition about
// replies keeps a sender whose own name servers are dead from stopping all look-ups.
type breaker struct {
	mu        sync.Mutex
	timeouts  []time.Time // since the last reply, oldest first
	openUntil time.Time
}

// closed tells whether questions may be sent.
func (b *breaker) closed(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.openUntil)
}

// answered notes a reply.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timeouts = b.timeouts[:0]
}

// timedOut notes a timeout and tells whether it opens the breaker.
func (b *breaker) timedOut(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.timeouts) > 0 && now.Sub(b.timeouts[0]) >= breakerWindow {
		b.timeouts = b.timeouts[1:]
	}
	b.timeouts = append(b.timeouts, now)
	if len(b.timeouts) < breakerTimeouts {
		return false
	}
	b.timeouts = b.timeouts[:0]
	b.openUntil = now.Add(breakerPause)
	return true
}
