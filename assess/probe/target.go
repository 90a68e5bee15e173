package probe

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/mtasts"
	"peerscore/assess/probe/resolver"
)

// Target is one domain in one run: what several probes need is fetched once, by whoever asks
// first, and shared.
type Target struct {
	Domain    dnsname.Domain
	Selectors []assess.Selector

	runner *Runner
	dns    *resolver.Resolver // within the budget of the run
	trace  *trace
	mx     func() (assess.MXFacts, []*Host)
	sts    func() sts

	dialogues sync.WaitGroup // they may outlast the probes
	visits    atomic.Int32   // addresses asked for
}

// Host is one MX host of the target. Each field belongs to the probe of its name.
type Host struct {
	Name       string
	preference uint16

	DANE      assess.DANEFacts
	Zone, TXT assess.Lookup

	target    *Target
	addresses func() addresses
	sessions  func() []*Session
	tlsa      func() resolver.Answer
}

// addresses are what the lookups of a host gave.
type addresses struct {
	a, aaaa resolver.Answer
	chosen  []netip.Addr // to be asked
	refused []netip.Addr
	refusal error // of the first of them
	omitted int
}

func newTarget(ctx context.Context, r *Runner, d dnsname.Domain, selectors []assess.Selector) *Target {
	t := &Target{
		Domain: d, Selectors: selectors,
		runner: r,
		dns:    r.env.Resolver.Limited(r.env.Limits.Queries, r.queries),
		trace:  newTrace(r.env.Trace),
	}
	t.sts = t.later(func() sts { return t.findPolicy(ctx) })
	t.mx = sync.OnceValues(func() (assess.MXFacts, []*Host) { return t.findHosts(ctx) })
	return t
}

// later is a function that begins when its value is first asked for; whoever asks waits for its end.
func (t *Target) later(find func() sts) func() sts {
	var found sts
	done := make(chan struct{})
	begin := sync.OnceFunc(func() {
		t.dialogues.Go(func() {
			defer close(done)
			found = find()
		})
	})
	return func() sts {
		begin()
		<-done
		return found
	}
}

// Hosts are the MX hosts, by preference, as many as a run may ask.
func (t *Target) Hosts() []*Host {
	_, hosts := t.mx()
	return hosts
}

// findHosts asks for the MX records (RFC 5321, section 5.1).
func (t *Target) findHosts(ctx context.Context) (assess.MXFacts, []*Host) {
	answer, lookup := t.lookup(ctx, string(t.Domain), resolver.MX, "")
	facts := assess.MXFacts{Lookup: lookup}
	records := slices.Clone(answer.MX)
	switch {
	case answer.Status == resolver.NoData:
		// "If an empty list of MXs is returned, the address is treated as if it was associated
		// with an implicit MX RR, with a preference of 0, pointing to that host."
		facts.Implicit = true
		records = []resolver.MXRecord{{Host: string(t.Domain)}}
	case len(records) == 1 && records[0].Host == ".": // RFC 7505
		facts.Null = true
		return facts, nil
	}
	slices.SortStableFunc(records, func(a, b resolver.MXRecord) int { return cmp.Compare(a.Preference, b.Preference) })
	var hosts []*Host
	for _, record := range records {
		known := slices.ContainsFunc(hosts, func(h *Host) bool { return h.Name == record.Host })
		switch {
		case known, record.Host == ".": // the root beside others is a mistake and no host
		case len(hosts) == t.runner.env.Limits.Hosts:
			facts.Omitted++
		default:
			hosts = append(hosts, &Host{Name: record.Host, preference: record.Preference, target: t})
		}
	}
	for i, h := range hosts {
		quota := share(t.runner.env.Limits.Addresses, i, len(hosts))
		h.addresses = sync.OnceValue(func() addresses { return h.findAddresses(ctx, quota) })
		h.tlsa = sync.OnceValue(func() resolver.Answer { return h.lookupTLSA(ctx) })
		h.sessions = sync.OnceValue(func() []*Session { return h.holdSessions(ctx) })
	}
	return facts, hosts
}

// share is how many of n addresses fall to host i of so many: as evenly as can be, those of
// better preference first. It does not wait for what the others have.
func share(n, i, hosts int) int {
	quota := n / hosts
	if i < n%hosts {
		quota++
	}
	return quota
}

// certificatesDecide reports whether it matters which certificates the host has, besides the one
// that it shows: it has TLSA records, or a policy that senders enforce lists it.
func (h *Host) certificatesDecide() bool {
	if h.tlsa().Status == resolver.Found {
		return true
	}
	policy := h.target.sts().policy
	_, listed := policy.Match(h.Name)
	return listed && policy.Mode == mtasts.Enforce
}

// findAddresses asks for both families at once. Every address is checked before it counts.
func (h *Host) findAddresses(ctx context.Context, quota int) addresses {
	var found addresses
	after := stageOf(string(h.target.Domain), resolver.MX)
	var six sync.WaitGroup
	six.Go(func() { found.aaaa, _ = h.target.lookup(ctx, h.Name, resolver.AAAA, after) })
	found.a, _ = h.target.lookup(ctx, h.Name, resolver.A, after)
	six.Wait()
	for _, addr := range alternate(found.a.Addrs, found.aaaa.Addrs) {
		refusal := h.target.runner.env.Dialer.Check(addr)
		switch {
		case refusal != nil:
			found.refused = append(found.refused, addr)
			found.refusal = cmp.Or(found.refusal, refusal)
		case len(found.chosen) == quota:
			found.omitted++
		default:
			found.chosen = append(found.chosen, addr)
		}
	}
	return found
}

// alternate takes from both lists in turn, so that a small quota holds both families.
func alternate(a, b []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for i := range max(len(a), len(b)) {
		for _, list := range [][]netip.Addr{a, b} {
			if i < len(list) && !slices.Contains(all, list[i]) {
				all = append(all, list[i])
			}
		}
	}
	return all
}

// facts puts together what the probes found at the hosts. All of them have ended.
func (t *Target) facts() assess.MXFacts {
	facts, hosts := t.mx()
	for _, h := range hosts {
		found := h.addresses()
		host := assess.MXHost{
			Name: h.Name, Preference: h.preference,
			A: fact(found.a), AAAA: fact(found.aaaa),
			Refused: found.refused, Omitted: found.omitted,
			DANE: h.DANE, Zone: h.Zone, TXT: h.TXT,
		}
		if len(found.a.Aliases) > 0 {
			host.Alias = found.a.Canonical
		}
		if found.refusal != nil {
			host.Refusal = found.refusal.Error()
		}
		for _, s := range h.sessions() {
			host.Sessions = append(host.Sessions, s.Facts())
		}
		facts.Hosts = append(facts.Hosts, host)
	}
	return facts
}
