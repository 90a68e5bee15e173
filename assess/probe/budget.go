package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Limits are the budgets of a prober. What protects one peer, one dialogue with an address at
// a time and its intervals, is not among them: see gate.
type Limits struct {
	ProbesPerMinute int // SMTP dialogues begun within any minute
	AtOnce          int // SMTP dialogues at the same time
	Reserved        int // of AtOnce, kept for addresses that answered well before

	NetworkPerDay int // SMTP dialogues with one /24 or /48 on one day, UTC

	Hosts     int // MX hosts of a domain, by preference
	Addresses int // addresses of a domain, one of each host before the second of any

	Queries          int // DNS queries of one run
	QueriesPerSecond int // of all runs

	Patience time.Duration // how long a dialogue waits for its turn; well below assess.MaxRun
}

// DefaultLimits are for a prober that anyone can set in motion by sending mail.
func DefaultLimits() Limits {
	return Limits{
		ProbesPerMinute: 30, AtOnce: 16, Reserved: 8, NetworkPerDay: 40,
		Hosts: 10, Addresses: 5, Queries: 60, QueriesPerSecond: 50,
		Patience: 3 * time.Minute,
	}
}

// BulkLimits are for an operator who assesses thousands of domains. No address, network or
// domain meets more of us than under DefaultLimits at any one time.
func BulkLimits() Limits {
	limits := DefaultLimits()
	limits.ProbesPerMinute, limits.AtOnce, limits.Reserved = 30_000, 512, 128
	limits.NetworkPerDay = 1000
	limits.QueriesPerSecond = 20_000
	return limits
}

// class is what is known of an address before a dialogue: who comes first.
type class int

const (
	proven   class = iota // answered well before
	newcomer              // never asked
	further               // the same, and its run has asked for another address before
	failing               // did not answer last time
	classes
)

// further is the class of one more dialogue in the same run.
func (c class) further() class {
	if c == newcomer {
		return further
	}
	return c
}

// budget admits dialogues as far as Limits allow. What must wait holds nothing that another
// could use: an address without an open slot of its class, or in a network that is busy, is
// passed over by those behind it. Within a class the newest comes first, so that a thousand
// tarpits do not stand before an honest server that comes after them, nor five addresses of
// each before its one; what waits in vain learns so after Limits.Patience.
type budget struct {
	limits Limits

	mu       sync.Mutex
	waiting  [classes][]*waiter
	running  int
	unproven int // of running
	busy     map[netip.Prefix]bool
	minute   window      // of the dialogues that began
	timer    *time.Timer // wakes dispatch when the next may begin
}

type waiter struct {
	class    class
	network  netip.Prefix
	admitted chan struct{}
}

// newBudget begins as if the last minute had been used evenly, for it may have been, by the
// process before this one.
func newBudget(limits Limits) *budget {
	limits.Reserved = min(limits.Reserved, limits.AtOnce/2) // or newcomers would never be asked
	b := &budget{
		limits: limits,
		busy:   make(map[netip.Prefix]bool),
		minute: newWindow(limits.ProbesPerMinute, time.Minute),
	}
	now, n := time.Now(), len(b.minute.starts)
	for i := range n {
		b.minute.begin(now.Add(-time.Minute + time.Duration(i)*time.Minute/time.Duration(n)))
	}
	return b
}

// admit waits until a dialogue with the network may begin; done must be called at its end. The
// error is the context's.
func (b *budget) admit(ctx context.Context, c class, network netip.Prefix) (done func(), err error) {
	w := &waiter{class: c, network: network, admitted: make(chan struct{})}
	b.mu.Lock()
	b.waiting[c] = append(b.waiting[c], w)
	b.dispatch()
	b.mu.Unlock()
	select {
	case <-w.admitted:
		return func() { b.release(w) }, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	i := slices.Index(b.waiting[c], w)
	if i >= 0 {
		b.waiting[c] = slices.Delete(b.waiting[c], i, i+1)
	}
	b.mu.Unlock()
	if i < 0 { // admitted in the same moment
		b.release(w)
	}
	return nil, ctx.Err()
}

func (b *budget) release(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	if w.class != proven {
		b.unproven--
	}
	delete(b.busy, w.network)
	b.dispatch()
}

// dispatch admits all that may begin now. The lock is held.
func (b *budget) dispatch() {
	for c := range classes {
		for i := len(b.waiting[c]) - 1; i >= 0 && b.slotFree(c); i-- {
			w := b.waiting[c][i]
			if b.busy[w.network] {
				continue
			}
			if !b.mayBegin() {
				return
			}
			b.waiting[c] = slices.Delete(b.waiting[c], i, i+1)
			b.busy[w.network] = true
			b.running++
			if c != proven {
				b.unproven++
			}
			close(w.admitted)
		}
	}
}

func (b *budget) slotFree(c class) bool {
	return b.running < b.limits.AtOnce && (c == proven || b.unproven < b.limits.AtOnce-b.limits.Reserved)
}

// mayBegin takes a place within the minute, or sets the timer for when there is one.
func (b *budget) mayBegin() bool {
	now := time.Now()
	if wait := b.minute.next().Sub(now); wait > 0 {
		if b.timer == nil {
			b.timer = time.AfterFunc(wait, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.timer = nil
				b.dispatch()
			})
		}
		return false
	}
	b.minute.begin(now)
	return true
}
