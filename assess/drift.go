package assess

import (
	"net/netip"
	"time"

	"peerscore/assess/dnsname"
)

// What makes a drift begin and end. The whole population fails at once where, in a time in
// which driftHeard organisations are heard at the pace of the last day, driftFailed of them fail,
// from driftNetworks networks, and fewer than driftPassed pass.
const (
	driftAge      = 7 * 24 * time.Hour // an organisation votes once it has been known for longer
	driftFailed   = 16
	driftNetworks = 8
	driftPassed   = 3
	driftHeard    = 32
	driftLeast    = time.Hour      // however many are heard
	driftMemory   = 24 * time.Hour // what is older counts no more
)

// Vote is how an organisation that passed a test before does at it now.
type Vote struct {
	Organisation dnsname.Domain
	Since        time.Time    // when it became known; zero: just now
	Host         netip.Prefix // from which it sends; the zero prefix where that is not told
	Failed       bool
	At           time.Time
}

// Drift tells a fault of our own from those of peers, for one test: where the whole population
// begins to fail it at once, the fault is ours, and no failure is held against anybody
// (attribution.md, "It is us").
//
// A newcomer has no vote, a burst of failures decides nothing, and any three organisations that
// pass end a drift. Somebody who wants to begin one needs sixteen organisations that were known
// for a week and did well, hosts of theirs in eight networks, and an hour or more in which
// hardly anybody else passes. It is not safe for concurrent use.
type Drift struct {
	// Bulk is for a run over a list of the operator's, where nobody else chooses who votes, nor
	// when: it goes on for minutes, so that the least time and the networks do not matter.
	Bulk bool

	began, latest time.Time                    // of all votes
	heard         map[dnsname.Domain]time.Time // each voter's last vote
	forgot        time.Time                    // when heard was last rid of what is too old
	failing       map[dnsname.Domain]Vote      // of those whose last vote is a failure
	passed        [driftPassed]Vote            // the last ones of different organisations, the latest first
	frozen        time.Time                    // when the drift began; zero: there is none
}

// Add notes a vote. It reports whether a drift began or ended by it.
func (d *Drift) Add(v Vote) (changed bool) {
	if v.Since.IsZero() || v.At.Sub(v.Since) <= driftAge {
		return false
	}
	before := d.Frozen()
	if d.heard == nil || d.latest.Sub(v.At) > driftMemory { // the clock was ahead
		*d = Drift{Bulk: d.Bulk, began: v.At, forgot: v.At, heard: map[dnsname.Domain]time.Time{}, failing: map[dnsname.Domain]Vote{}}
	}
	if v.At.After(d.latest) {
		d.latest = v.At
	}
	d.heard[v.Organisation] = v.At
	if v.Failed {
		d.failing[v.Organisation] = v
	} else {
		delete(d.failing, v.Organisation)
		d.pass(v)
	}
	d.forget()
	switch third := d.passed[driftPassed-1].At; {
	case d.Frozen() && (!third.Before(d.frozen) || len(d.failing) == 0):
		d.frozen = time.Time{}
	case !d.Frozen() && v.Failed && d.begins(third):
		d.frozen = d.latest
	}
	return d.Frozen() != before
}

// Frozen reports whether failures are not to be believed at present.
func (d *Drift) Frozen() bool { return !d.frozen.IsZero() }

// pass puts a vote first among the last of different organisations.
func (d *Drift) pass(v Vote) {
	last := len(d.passed) - 1
	for i, p := range d.passed {
		if p.Organisation == v.Organisation {
			last = i
		}
	}
	copy(d.passed[1:last+1], d.passed[:last])
	d.passed[0] = v
}

// begins reports whether everybody fails: the last but two to pass did so at third.
func (d *Drift) begins(third time.Time) bool {
	span := d.span()
	start := d.latest.Add(-span)
	if len(d.failing) < driftFailed || d.began.After(start) || third.After(start) {
		return false
	}
	failed, networks := 0, map[netip.Prefix]bool{}
	for _, v := range d.failing {
		if !v.At.Before(start) {
			failed++
			networks[network(v.Host)] = true
		}
	}
	return failed >= driftFailed && (d.Bulk || len(networks) >= driftNetworks)
}

// span is the time in which driftHeard organisations are heard at the pace of the last day.
func (d *Drift) span() time.Duration {
	elapsed := min(d.latest.Sub(d.began), driftMemory)
	span := time.Duration(float64(elapsed) * driftHeard / float64(max(len(d.heard), driftHeard)))
	if d.Bulk {
		return span
	}
	return max(span, driftLeast)
}

// forget drops the votes that are too old.
func (d *Drift) forget() {
	if d.latest.Sub(d.forgot) < driftLeast {
		return
	}
	d.forgot = d.latest
	for organisation, at := range d.heard {
		if d.latest.Sub(at) > driftMemory {
			delete(d.heard, organisation)
			delete(d.failing, organisation)
		}
	}
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
