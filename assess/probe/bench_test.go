package probe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
)

// benchDelay is the emulated round trip.
const benchDelay = 40 * time.Millisecond

// BenchmarkDomain measures one domain at a time against the floor of its longest chain of round
// trips, and beside a prober that does one thing after the other, in the same run. It prints
// medians, ratios, and who waited for whom. contrib/bench/assess calls it.
func BenchmarkDomain(b *testing.B) {
	const (
		dialogues = "connect, greeting, EHLO, STARTTLS, handshake, EHLO; connect, greeting, EHLO, STARTTLS, hello for the other certificate"
	)
	for _, c := range []struct {
		name      string
		resolving time.Duration
		lists     bool // the revocation lists are in the cache, from another domain of the same CA
		floor     int  // round trips
		chain     string
	}{
		{"warm resolver", 0, true, 11, dialogues},
		{"warm resolver, revocation lists not", 0, false, 11, dialogues},
		{"cold resolver, nothing known", benchDelay, false, 13, "MX, A, " + dialogues},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := newProvider(b, c.resolving)
			var took, peer []time.Duration
			var trace []StageTiming
			for b.Loop() {
				var t time.Duration
				t, trace = l.traced(c.lists)
				took = append(took, t)
				t = l.measure(c.lists, sequential)
				peer = append(peer, t)
			}
			ours, floor := median(took), time.Duration(c.floor)*benchDelay
			fmt.Printf("\n%s: %v in the median of %d runs (%v to %v)\n", c.name, ours.Round(100*time.Microsecond), len(took),
				slices.Min(took).Round(100*time.Microsecond), slices.Max(took).Round(100*time.Microsecond))
			fmt.Printf("  floor %v: %d round trips of %v (%s)\n  ratio to the floor %.3f\n", floor, c.floor, benchDelay, c.chain, float64(ours)/float64(floor))
			fmt.Printf("  one probe, host and lookup after the other %v, %.0f round trips: %.1f times as long\n",
				median(peer).Round(time.Millisecond), float64(median(peer))/float64(benchDelay), float64(median(peer))/float64(ours))
			fmt.Printf("  the longest chain of the last run, each stage after the one above it:\n")
			for _, s := range longestChain(trace) {
				fmt.Printf("    %6.1f to %6.1f ms  %s\n", milliseconds(s.Start), milliseconds(s.End), s.Stage)
			}
			fmt.Printf("  all %d stages of that run, and which one each waited for:\n", len(trace))
			for _, s := range trace {
				fmt.Printf("    %6.1f to %6.1f ms  %-50s  %s\n", milliseconds(s.Start), milliseconds(s.End), s.Stage, s.After)
			}
			b.ReportMetric(float64(ours)/float64(floor), "x-floor")
			b.ReportMetric(float64(median(peer))/float64(ours), "x-sequential")
			b.ReportMetric(milliseconds(ours), "ms/domain")
		})
	}
}

// provider is a lab with one provider that has everything.
type provider struct{ *lab }

// newProvider starts a provider with three MX hosts on two networks, a policy host, and an SPF
// policy with includes, all a round trip away.
func newProvider(b *testing.B, resolving time.Duration) provider {
	b.Helper()
	l := newDistantLab(b, benchDelay, resolving)
	mx := l.issue(probetest.Leaf{Names: []string{"mx1.mail.example", "mx2.mail.example", "mx3.mail.example"}})
	l.zone("mail.example", `
		@             MX   10 mx1
		@             MX   20 mx2
		@             MX   30 mx3
		mx1           A    127.1.1.1
		mx2           A    127.1.2.1
		mx3           A    127.1.3.1
		mta-sts       A    127.0.0.43
		@             TXT  "v=spf1 mx include:a.spf.mail.example include:b.spf.mail.example -all"
		a.spf         TXT  "v=spf1 ip4:192.0.2.0/24 include:c.spf.mail.example ?all"
		b.spf         TXT  "v=spf1 a:mx1.mail.example a:mx2.mail.example ?all"
		c.spf         TXT  "v=spf1 ip4:198.51.100.0/24 ?all"
		_dmarc        TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@mail.example"
		s1._domainkey TXT  "v=DKIM1; p="
		_mta-sts      TXT  "v=STSv1; id=1"
		_smtp._tls    TXT  "v=TLSRPTv1; rua=mailto:tls@mail.example"
		_25._tcp.mx1  TLSA `+tlsa(mx)+`
		_25._tcp.mx2  TLSA `+tlsa(mx)+`
		_25._tcp.mx3  TLSA `+tlsa(mx))
	l.zone("other.example", "@ MX 10 mx\nmx A 127.1.9.1")
	l.serveCRLs()
	for _, addr := range []string{"127.1.1.1", "127.1.2.1", "127.1.3.1"} {
		l.serveSMTP(addr, probetest.SMTPConfig{Certificates: certs(mx)})
	}
	l.serveSMTP("127.1.9.1", probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx.other.example"}}))})
	l.servePolicy("127.0.0.43", l.issue(probetest.Leaf{Names: []string{"mta-sts.mail.example"}}), probetest.PolicyPath("mail.example"),
		probetest.Policy("version: STSv1", "mode: enforce", "mx: *.mail.example", "max_age: 604800"))
	return provider{l}
}

// traced takes the time of one run, and of its stages in the order in which they began.
func (p provider) traced(lists bool) (took time.Duration, stages []StageTiming) {
	var mu sync.Mutex
	p.env.Trace = func(s StageTiming) {
		mu.Lock()
		defer mu.Unlock()
		stages = append(stages, s)
	}
	defer func() { p.env.Trace = nil }()
	took = p.measure(lists, func(r *Runner, ctx context.Context, d dnsname.Domain, selectors []assess.Selector) (assess.Facts, error) {
		stages = nil // of the domain before
		return r.Probe(ctx, d, selectors)
	})
	slices.SortStableFunc(stages, func(a, b StageTiming) int { return cmp.Compare(a.Start, b.Start) })
	return took, stages
}

// measure takes the time of one run by a prober that knows nothing, but for revocation lists.
func (p provider) measure(lists bool, run func(*Runner, context.Context, dnsname.Domain, []assess.Selector) (assess.Facts, error)) time.Duration {
	p.t.Helper()
	p.env.Resolver = p.resolver()
	r := p.runner()
	if lists {
		probeWith(p.t, r, "other.example")
	}
	began := time.Now()
	facts, err := run(r, context.Background(), "mail.example", []assess.Selector{{Domain: "mail.example", Name: "s1"}})
	took := time.Since(began)
	must(p.t, err)
	for _, h := range facts.Hosts.Hosts {
		c := h.Sessions[0].TLS.Certificate
		for _, check := range []assess.Check{c.Trusted, c.Named, c.Dated, c.Revoked, h.DANE.Match} {
			if check.Result != assess.Pass {
				p.t.Fatalf("%s: %+v", h.Name, check)
			}
		}
	}
	if len(facts.Hosts.Hosts) != 3 || facts.SPF.Valid.Result != assess.Pass || facts.MTASTS.Fetched.Result != assess.Pass {
		p.t.Fatalf("not measured: %d hosts, SPF %v, policy %v", len(facts.Hosts.Hosts), facts.SPF.Valid, facts.MTASTS.Fetched)
	}
	return took
}

// sequential is a prober that does one probe after the other, one MX host after the other.
func sequential(r *Runner, ctx context.Context, d dnsname.Domain, selectors []assess.Selector) (assess.Facts, error) {
	r.gate.budget = newBudget(Limits{AtOnce: 1, ProbesPerMinute: 30_000, NetworkPerDay: 1000, Patience: time.Minute})
	facts := assess.Facts{Domain: d, At: r.env.Now().UTC()}
	t := newTarget(ctx, r, d, selectors)
	for _, p := range All {
		p.Run(ctx, t, &facts)
		t.dialogues.Wait()
	}
	facts.Hosts = t.facts()
	return facts, nil
}

// longestChain goes back from the stage that ended last to those that it waited for.
func longestChain(stages []StageTiming) []StageTiming {
	byName := make(map[string]StageTiming)
	var last StageTiming
	for _, s := range stages {
		if _, twice := byName[s.Stage]; !twice { // a question asked again is answered by the cache
			byName[s.Stage] = s
		}
		if s.End > last.End {
			last = s
		}
	}
	chain := []StageTiming{last}
	for last.After != "" && len(chain) < len(stages) {
		last = byName[last.After]
		chain = append(chain, last)
	}
	slices.Reverse(chain)
	return chain
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
