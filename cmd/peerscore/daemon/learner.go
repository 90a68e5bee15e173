package daemon

import (
	"context"
	"time"

	"peerscore/assess/dnsname"
)

// learner stands between the milter, which must not wait, and the queue and the store.
type learner struct {
	*Daemon
	recipients chan dnsname.Domain
}

// recipientBacklog is how many recipient domains may wait to be stored; more are dropped, and
// come again with the next mail to them.
const recipientBacklog = 1000

func newLearner(d *Daemon) *learner {
	return &learner{Daemon: d, recipients: make(chan dnsname.Domain, recipientBacklog)}
}

// Offer has the domain probed unless it was within assess.max_age.
func (l *learner) Offer(domain dnsname.Domain) { l.offer(domain, l.queue.Offer) }

func (l *learner) offer(domain dnsname.Domain, to func(dnsname.Domain)) {
	if !l.config.Assess.Enabled {
		return
	}
	assessed := l.Standings.Standing(context.Background(), domain).Assessed
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
			err := l.Store.Learn(ctx, domain)
			if err != nil && ctx.Err() == nil && !failing {
				l.log.Warn("recipient domains are not kept", "domain", domain, "error", err)
			}
			if failing = err != nil; !failing {
				l.offer(domain, l.queue.OfferRecipient)
			}
		}
	}
}
