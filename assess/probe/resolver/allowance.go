package resolver

import (
	"context"
	"sync/atomic"
)

// allowance is what a limited view of a resolver may send.
type allowance struct {
	left      atomic.Int64
	limiter   Limiter // nil when unlimited
	exhausted atomic.Bool
}

// Limiter holds questions back. Wait returns when the next may be sent; the error is that it
// cannot be before the context ends. A *rate.Limiter is one.
type Limiter interface {
	Wait(ctx context.Context) error
}

// Limited is a view of the same resolver that sends at most n queries upstream in its life: a
// question, its retries, its repetition over TCP, and the one with CD set after a SERVFAIL. Each
// question waits until limiter, which may be nil, lets it; what follows from it does not. What
// the cache answers costs nothing.
func (r *Resolver) Limited(n int, limiter Limiter) *Resolver {
	a := &allowance{limiter: limiter}
	a.left.Store(int64(n))
	return &Resolver{upstream: r.upstream, allowance: a}
}

// Cached is a view of the same resolver that answers from the cache alone, at once: what is not
// there has failed with ReasonNotCached.
func (r *Resolver) Cached() *Resolver { return &Resolver{upstream: r.upstream, cached: true} }

// Exhausted reports whether a query was not sent because those before it had used up the limit.
func (r *Resolver) Exhausted() bool { return r.allowance != nil && r.allowance.exhausted.Load() }

// admit holds a question back as the limits demand; the result is why it may not be sent at all.
func (a *allowance) admit(ctx context.Context) (reason string) {
	switch {
	case ctx.Err() != nil:
		return contextReason(ctx)
	case !a.spend():
		return ReasonBudget
	case a != nil && a.limiter != nil && a.limiter.Wait(ctx) != nil:
		return ReasonRate
	}
	return ""
}

// spend takes one query, if there is one left.
func (a *allowance) spend() bool {
	if a == nil || a.left.Add(-1) >= 0 {
		return true
	}
	a.exhausted.Store(true)
	return false
}

// giveBack returns a query that was admitted and not sent.
func (a *allowance) giveBack() {
	if a != nil {
		a.left.Add(1)
	}
}
