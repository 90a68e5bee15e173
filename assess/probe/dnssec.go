package probe

import (
	"context"
	"sync"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
)

// probeDNSSEC asks what no other probe asks, to learn how far DNSSEC vouches for it (RFC 4035,
// section 4.3): the zones and the TXT records of the domain and of each MX host's domain.
func probeDNSSEC(ctx context.Context, t *Target, f *assess.Facts) {
	validation := t.runner.env.Resolver.Validation()
	f.DNSSEC.Validates = map[resolver.Validates]assess.Result{
		resolver.ValidatesYes: assess.Pass, resolver.ValidatesNo: assess.Fail,
	}[validation.Validates]
	if f.DNSSEC.Validates != assess.Pass {
		f.DNSSEC.Problem = validation.Detail
	}
	var questions sync.WaitGroup
	questions.Go(func() { _, f.DNSSEC.Zone = t.lookup(ctx, string(t.Domain), resolver.SOA, "") })
	questions.Go(func() {
		_, f.DNSSEC.TXT = t.lookup(ctx, string(t.Domain), resolver.TXT, "")
		f.DNSSEC.TXT.Records = nil // SPFFacts has them
	})
	for _, h := range t.Hosts() {
		questions.Go(func() { h.findZone(ctx) })
	}
	questions.Wait()
}

// findZone asks for the SOA of the host: the answer, mostly a denial, names the zone that
// really holds it, however many cuts there are above, and is as secure as that zone is.
func (h *Host) findZone(ctx context.Context) {
	after := stageOf(string(h.target.Domain), resolver.MX)
	answer, lookup := h.target.lookup(ctx, h.Name, resolver.SOA, after)
	h.Zone = lookup
	zone := answer.Zone
	if zone == "" {
		zone = h.Name
	}
	_, h.TXT = h.target.lookup(ctx, zone, resolver.TXT, stageOf(h.Name, resolver.SOA))
	h.TXT.Records = nil // only their security is of interest
}
