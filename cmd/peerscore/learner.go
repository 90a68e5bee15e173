package main

import (
	"context"
	"time"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
)

// learner stands between the milter, which must not wait, and the queue and the store.
type learner struct {
	*daemon
	recipients chan dnsname.Domain
}

// recipientBacklog is how many recipient domains may wait to be stored; more are dropped, and
// come again with the next mail to them.
const recipientBacklog = 1000

func newLearner(d *daemon) *learner {
	return &learner{daemon: d, recipients: make(chan dnsname.Domain, recipientBacklog)}
}

// Offer has the domain probed unless it was within assess.max_age.
func (l *learner) Offer(domain dnsname.Domain) { l.offer(domain, l.queue.Offer) }

func (l *learner) offer(domain dnsname.Domain, to func(dnsname.Domain)) {
	if !l.config.Assess.Enabled {
		return
	}
	assessed := l.standings.Standing(context.Background(), domain).Assessed
	if time.Since(assessed) > time.Duration(l.config.Assess.MaxAge) {
		to(domain)
	}
}

// Learn makes a domain that our users write to a known peer.
func (l *learner) Learn(domain dnsname.Domain) {
	select {
	case l.recipients <- domain:
	default:
	}
}

// run stores what Learn was told until ctx ends.
func (l *learner) run(ctx context.Context) {
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case domain := <-l.recipients:
			if err := domain.CheckPeer(); err != nil || l.own(domain) {
				continue
			}
			err := l.store.Learn(ctx, domain)
			if err != nil && ctx.Err() == nil && !failing {
				l.log.Warn("recipient domains are not kept", "domain", domain, "error", err)
			}
			if failing = err != nil; !failing {
				l.offer(domain, l.queue.OfferRecipient)
			}
		}
	}
}

func (l *learner) own(domain dnsname.Domain) bool {
	for _, own := range config.Domains(l.config.Milter.OwnDomains) {
		if domain.Within(own) {
			return true
		}
	}
	return false
}
