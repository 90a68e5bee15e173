package resolver

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

const (
	breakerTimeouts = 5
	breakerWindow   = 10 * time.Second
	breakerPause    = 30 * time.Second
)

// breaker spares everybody the wait for a resolver that is dead. Questions that time out only
// raise the suspicion, five of different organisations within ten seconds with no reply in
// between, because the names in a message are its sender's choice: five domains with silent name
// servers cost little. What decides is the control question, whose name is ours. Nothing waits
// for it, and one is under way at most. Unless a reply comes, to it or to any other question, the
// breaker opens for thirty seconds; after these questions are sent again, and the control
// question beside the first of them.
//
// A control question that the resolver answers from its cache is answered all the same: it shows
// that somebody is there, and then a question without an answer ends at its own timeout.
type breaker struct {
	mu        sync.Mutex
	timeouts  []silence // since the last reply, oldest first, one of each organisation
	openUntil time.Time // zero once a reply has come
	asking    bool      // the control question is under way
	replied   bool      // since it began
	lastReply time.Time
}

// silence is a question of an organisation that timed out.
type silence struct {
	organisation string
	at           time.Time
}

// closed reports whether questions may be sent, and whether the caller must see to the control
// question, because they are sent again after a pause.
func (b *breaker) closed(now time.Time) (yes, control bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openUntil.IsZero() {
		return true, false
	}
	if now.Before(b.openUntil) {
		return false, false
	}
	return true, b.ask()
}

// ask begins a control question, unless one is under way; mu is held.
func (b *breaker) ask() bool {
	if b.asking {
		return false
	}
	b.asking, b.replied = true, false
	return true
}

// answered notes a reply: the resolver lives.
func (b *breaker) answered(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timeouts, b.openUntil, b.replied, b.lastReply = b.timeouts[:0], time.Time{}, true, now
}

// timedOut notes that a question has timed out. One that began before the last reply counts for
// nothing. The result reports whether the caller must see to the control question.
func (b *breaker) timedOut(organisation string, began, now time.Time) (control bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began.Before(b.lastReply) {
		return false
	}
	for len(b.timeouts) > 0 && now.Sub(b.timeouts[0].at) >= breakerWindow {
		b.timeouts = b.timeouts[1:]
	}
	for _, t := range b.timeouts {
		if t.organisation == organisation {
			return false
		}
	}
	b.timeouts = append(b.timeouts, silence{organisation, now})
	if len(b.timeouts) < breakerTimeouts {
		return false
	}
	b.timeouts = b.timeouts[:0]
	return b.ask()
}

// settle ends the control question, and reports whether the breaker opens.
func (b *breaker) settle(timedOut bool, now time.Time) (opens bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asking = false
	if b.replied || !timedOut {
		b.openUntil = time.Time{}
		return false
	}
	b.openUntil = now.Add(breakerPause)
	return true
}

// control asks for the NS records of the self-test's zone, which are few and which every
// resolver has. Any reply will do.
func (u *upstream) control() {
	name, ok := canonicalName(u.testName)
	if !ok {
		name = "."
	}
	q := question{name, NS}
	defer u.contain(q)
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	timedOut := false
	defer func() {
		if u.breaker.settle(timedOut, u.now()) {
			u.logger.Warn("resolver does not answer: lookups fail at once for a while", "servers", serverList(u.servers), "for", breakerPause)
		}
	}()
	timedOut = u.tryServers(ctx, q, nil).Reason == ReasonTimeout
}

// organisation is whose name it is: the registrable domain by the Public Suffix List, and below
// arpa the network, an IPv4 /24 or an IPv6 /48.
func organisation(name string) string {
	for suffix, labels := range map[string]int{".in-addr.arpa": 5, ".ip6.arpa": 14} {
		if strings.HasSuffix(name, suffix) {
			return lastLabels(name, labels)
		}
	}
	if registrable, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return registrable
	}
	return name
}

func lastLabels(name string, n int) string {
	for at := len(name); at >= 0; n-- {
		if at = strings.LastIndexByte(name[:at], '.'); n == 1 {
			return name[at+1:]
		}
	}
	return name
}
