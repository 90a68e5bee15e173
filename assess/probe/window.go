package probe

import (
	"context"
	"sync"
	"time"
)

// window says when something may begin that may begin so many times within any interval of
// one length.
type window struct {
	length time.Duration
	starts []time.Time // the last ones, as many as fit into the interval
	oldest int         // index into starts
}

func newWindow(n int, length time.Duration) window {
	return window{length: length, starts: make([]time.Time, max(1, n))}
}

// next is the moment from which on one more may begin.
func (w *window) next() time.Time { return w.starts[w.oldest].Add(w.length) }

// begin notes one that begins.
func (w *window) begin(at time.Time) {
	w.starts[w.oldest] = at
	w.oldest = (w.oldest + 1) % len(w.starts)
}

// queryLimit holds the DNS queries of all runs back to so many in any second, in the order of
// their asking. Unlike a token bucket it allows no burst on top.
type queryLimit struct {
	mu     sync.Mutex
	window window
}

func newQueryLimit(perSecond int) *queryLimit {
	return &queryLimit{window: newWindow(perSecond, time.Second)}
}

// Wait returns when a query may be sent. The error is the context's, or comes at once when its
// deadline is before that moment.
func (l *queryLimit) Wait(ctx context.Context) error {
	l.mu.Lock()
	at := time.Now()
	if next := l.window.next(); next.After(at) {
		at = next
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(at) {
		l.mu.Unlock()
		return context.DeadlineExceeded
	}
	l.window.begin(at)
	l.mu.Unlock()
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
