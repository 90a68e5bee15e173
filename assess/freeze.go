package assess

import (
	"net/netip"
	"sync"
	"time"

	"peerscore/assess/dnsname"
)

// What makes a freeze begin and end. The whole population fails at once where, in a time in
// which freezeHeard organisations are heard at the pace of the last day, freezeFailed of them fail,
// from freezeNetworks networks, and fewer than freezePassed pass.
const (
	freezeAge      = 7 * 24 * time.Hour // an organisation votes once it has been known for longer
	freezeFailed   = 16
	freezeNetworks = 8
	freezePassed   = 3
	freezeHeard    = 32
	freezeLeast    = time.Hour      // however many are heard
	freezeMemory   = 24 * time.Hour // what is older counts no more
)

// Vote is how an organisation that passed a test before does at it now.
type Vote struct {
	Organisation dnsname.Domain
	Since        time.Time    // when it became known; zero: just now
	Host         netip.Prefix // from which it sends; the zero prefix where that is not told
	Failed       bool
	At           time.Time
}

// Freeze tells a fault of our own from those of peers, for one test: where the whole population
// begins to fail it at once, the fault is ours; the test is frozen, and no failure is held against
// anybody (milter/attribution.md, "It is us").
//
// A newcomer has no vote, a burst of failures decides nothing, and any three organisations that
// pass end a freeze. Somebody who wants to begin one needs sixteen organisations that were known
// for a week and did well, hosts of theirs in eight networks, and an hour or more in which
// hardly anybody else passes. It is not safe for concurrent use.
type Freeze struct {
	// Bulk is for a run over a list of the operator's, where nobody else chooses who votes, nor
	// when: it goes on for minutes, so that the least time and the networks do not matter.
	Bulk bool

	began, latest time.Time                    // of all votes
	heard         map[dnsname.Domain]time.Time // each voter's last vote
	forgot        time.Time                    // when heard was last rid of what is too old
	failing       map[dnsname.Domain]Vote      // of those whose last vote is a failure
	passed        [freezePassed]Vote           // the last ones of different organisations, the latest first
	frozen        time.Time                    // when the freeze began; zero: there is none
}

// Add notes a vote. It reports whether a freeze began or ended by it.
func (z *Freeze) Add(v Vote) (changed bool) {
	if v.Since.IsZero() || v.At.Sub(v.Since) <= freezeAge {
		return false
	}
	before := z.Frozen()
	if z.heard == nil || z.latest.Sub(v.At) > freezeMemory { // the clock was ahead
		*z = Freeze{Bulk: z.Bulk, began: v.At, forgot: v.At, heard: map[dnsname.Domain]time.Time{}, failing: map[dnsname.Domain]Vote{}}
	}
	if v.At.After(z.latest) {
		z.latest = v.At
	}
	z.heard[v.Organisation] = v.At
	if v.Failed {
		z.failing[v.Organisation] = v
	} else {
		delete(z.failing, v.Organisation)
		z.pass(v)
	}
	z.forget()
	switch third := z.passed[freezePassed-1].At; {
	case z.Frozen() && (!third.Before(z.frozen) || len(z.failing) == 0):
		z.frozen = time.Time{}
	case !z.Frozen() && v.Failed && z.begins(third):
		z.frozen = z.latest
	}
	return z.Frozen() != before
}

// Frozen reports whether failures are not to be believed at present.
func (z *Freeze) Frozen() bool { return !z.frozen.IsZero() }

// pass puts a vote first among the last of different organisations.
func (z *Freeze) pass(v Vote) {
	last := len(z.passed) - 1
	for i, p := range z.passed {
		if p.Organisation == v.Organisation {
			last = i
		}
	}
	copy(z.passed[1:last+1], z.passed[:last])
	z.passed[0] = v
}

// begins reports whether everybody fails: the last but two to pass did so at third.
func (z *Freeze) begins(third time.Time) bool {
	span := z.span()
	start := z.latest.Add(-span)
	if len(z.failing) < freezeFailed || z.began.After(start) || third.After(start) {
		return false
	}
	failed, networks := 0, map[netip.Prefix]bool{}
	for _, v := range z.failing {
		if !v.At.Before(start) {
			failed++
			networks[network(v.Host)] = true
		}
	}
	return failed >= freezeFailed && (z.Bulk || len(networks) >= freezeNetworks)
}

// span is the time in which freezeHeard organisations are heard at the pace of the last day.
func (z *Freeze) span() time.Duration {
	elapsed := min(z.latest.Sub(z.began), freezeMemory)
	span := time.Duration(float64(elapsed) * freezeHeard / float64(max(len(z.heard), freezeHeard)))
	if z.Bulk {
		return span
	}
	return max(span, freezeLeast)
}

// forget drops the votes that are too old.
func (z *Freeze) forget() {
	if z.latest.Sub(z.forgot) < freezeLeast {
		return
	}
	z.forgot = z.latest
	for organisation, at := range z.heard {
		if z.latest.Sub(at) > freezeMemory {
			delete(z.heard, organisation)
			delete(z.failing, organisation)
		}
	}
}

// Freezer holds a Freeze for each of several tests. The zero value is ready, and safe for
// concurrent use.
type Freezer struct {
	mu      sync.Mutex
	freezes map[string]*Freeze
}

// Vote notes a vote on a test. It reports whether the test is frozen now, and whether that began or
// ended by the vote.
func (z *Freezer) Vote(test string, bulk bool, v Vote) (frozen, changed bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f := z.freezes[test]
	if f == nil {
		if z.freezes == nil {
			z.freezes = make(map[string]*Freeze)
		}
		f = &Freeze{Bulk: bulk}
		z.freezes[test] = f
	}
	changed = f.Add(v)
	return f.Frozen(), changed
}

// Frozen reports whether failures of a test are not to be believed at present.
func (z *Freezer) Frozen(test string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	f := z.freezes[test]
	return f != nil && f.Frozen()
}

// network is what a host stands in: an IPv4 /24 or an IPv6 /48.
func network(host netip.Prefix) netip.Prefix {
	bits := 24
	if host.Addr().Is6() {
		bits = 48
	}
	p, _ := host.Addr().Prefix(bits) // the bits fit by construction; the zero Prefix gives itself
	return p
}
