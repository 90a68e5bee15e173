package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"peerscore/assess/dnsname"
)

// Limits are the budgets of a prober. What protects one peer, one dialogue with an address at
// a time and its intervals, is not among them: see gate.
type Limits struct {
	ProbesPerMinute int // SMTP dialogues begun within any minute
	AtOnce          int // SMTP dialogues at the same time
	Reserved        int // of AtOnce, kept for addresses that answered well before
	NetworkPerDay   int // SMTP dialogues with one /24 or /48 on one day, UTC

	Hosts     int // MX hosts of a domain, by preference
	Addresses int // addresses of a domain, one of each host before the second of any

	Queries          int // DNS queries of one run
	QueriesPerSecond int // of all runs

	Patience time.Duration // how long a dialogue waits for its turn; well below assess.MaxRun

	// Foreign is a prober that strangers set in motion: an organisation has one dialogue at a
	// time with what has not answered before, and nobody has all of a network's; see shares.
	Foreign bool
}

// DefaultLimits are for a prober that anyone can set in motion by sending mail.
func DefaultLimits() Limits {
	return Limits{
		ProbesPerMinute: 30, AtOnce: 16, Reserved: 8, NetworkPerDay: 40, Foreign: true,
		Hosts: 10, Addresses: 5, Queries: 60, QueriesPerSecond: 50,
		Patience: 3 * time.Minute,
	}
}

// BulkLimits are for an operator who assesses thousands of domains. No address, network or
// domain meets more of us than under DefaultLimits at any one time.
func BulkLimits() Limits {
	limits := DefaultLimits()
	limits.ProbesPerMinute, limits.AtOnce, limits.Reserved = 30_000, 512, 128
	limits.NetworkPerDay, limits.Foreign = 1000, false
	limits.QueriesPerSecond = 20_000
	return limits
}

// class is what is known of an address, under a server name, before a dialogue: who comes first.
type class int

const (
	proven   class = iota // answered well before
	newcomer              // never asked
	failing               // did not answer last time
	further               // never asked, and its run has asked for another address before
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
// could use: an address without an open slot of its class, in a network that is busy, or of an
// organisation that has its slot, is passed over by those behind it.
//
// Newcomers and failing addresses have their turns one after the other, further ones what these
// leave. Within a class the oldest and the newest do: so a thousand tarpits do not stand before
// an honest server that comes after them, and one more every few seconds, for ever, does not
// keep an older one waiting. What waits in vain learns so after Limits.Patience.
type budget struct {
	limits Limits

	mu       sync.Mutex
	waiting  [classes][]*waiter
	newest   [classes]bool // it is the newest one's turn
	failing  bool          // it is the turn of failing addresses
	running  int
	unproven map[dnsname.Domain]int // of running, by organisation
	slow     int                    // all of unproven
	busy     map[netip.Prefix]bool
	minute   window      // of the dialogues that began
	timer    *time.Timer // wakes dispatch when the next may begin
}

type waiter struct {
	class        class
	network      netip.Prefix
	organisation dnsname.Domain
	admitted     chan struct{}
}

// newBudget begins as if the last minute had been used evenly, for it may have been, by the
// process before this one.
func newBudget(limits Limits) *budget {
	limits.Reserved = min(limits.Reserved, limits.AtOnce/2) // or newcomers would never be asked
	b := &budget{
		limits:   limits,
		unproven: make(map[dnsname.Domain]int),
		busy:     make(map[netip.Prefix]bool),
		minute:   newWindow(limits.ProbesPerMinute, time.Minute),
	}
	now, n := time.Now(), len(b.minute.starts)
	for i := range n {
		b.minute.begin(now.Add(-time.Minute + time.Duration(i)*time.Minute/time.Duration(n)))
	}
	return b
}

// admit waits until a dialogue with the network may begin; done must be called at its end. The
// error is the context's.
func (b *budget) admit(ctx context.Context, c class, network netip.Prefix, organisation dnsname.Domain) (done func(), err error) {
	w := &waiter{class: c, network: network, organisation: organisation, admitted: make(chan struct{})}
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
		b.slow--
		if b.unproven[w.organisation]--; b.unproven[w.organisation] == 0 {
			delete(b.unproven, w.organisation)
		}
	}
	delete(b.busy, w.network)
	b.dispatch()
}

// dispatch admits all that may begin now. The lock is held.
func (b *budget) dispatch() {
	for w := b.next(); w != nil && b.mayBegin(); w = b.next() {
		b.begin(w)
	}
}

// next is who begins when the next dialogue may, nil for nobody.
func (b *budget) next() *waiter {
	order := [...]class{proven, newcomer, failing, further}
	if b.failing {
		order[1], order[2] = failing, newcomer
	}
	for _, c := range order {
		waiting := b.waiting[c]
		for i := range waiting {
			if b.newest[c] {
				i = len(waiting) - 1 - i
			}
			if b.free(waiting[i]) {
				return waiting[i]
			}
		}
	}
	return nil
}

func (b *budget) free(w *waiter) bool {
	return b.running < b.limits.AtOnce && !b.busy[w.network] &&
		(w.class == proven || b.slow < b.limits.AtOnce-b.limits.Reserved && (!b.limits.Foreign || b.unproven[w.organisation] == 0))
}

func (b *budget) begin(w *waiter) {
	i := slices.Index(b.waiting[w.class], w)
	b.waiting[w.class] = slices.Delete(b.waiting[w.class], i, i+1)
	b.newest[w.class] = !b.newest[w.class]
	if w.class == newcomer || w.class == failing {
		b.failing = w.class == newcomer
	}
	b.busy[w.network] = true
	b.running++
	if w.class != proven {
		b.unproven[w.organisation]++
		b.slow++
	}
	close(w.admitted)
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
