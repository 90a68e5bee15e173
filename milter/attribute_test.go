package milter

import (
	"context"
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// trait is one thing that a test changes about a session.
type trait func(*testimony)

// The session of a stranger in TLS who writes in the name of example.org, and what may be
// different about it.
func stranger0() testimony {
	return testimony{
		author: "example.org", host: netip.MustParsePrefix("192.0.2.1/32"), startTLS: assess.Pass,
		tlsVersion: "TLSv1.3", spf: "none", dkim: assess.Fail, dkimResult: "none", dmarc: assess.Pass, dmarcResult: "none",
	}
}

func plain(t *testimony)     { t.startTLS, t.tlsVersion = assess.Fail, "none" }
func tlsUntold(t *testimony) { t.startTLS, t.tlsVersion = assess.Unknown, "" }
func dkimValid(t *testimony) {
	t.dkim, t.dkimResult, t.signature = assess.Pass, "pass", assess.SignatureID{1}
}
func dkimUntold(t *testimony)   { t.dkim, t.dkimResult = assess.Unknown, "policy" }
func isMX(t *testimony)         { t.isMX = true }
func isHost(t *testimony)       { t.isOwnHost = true }
func handedOn(t *testimony)     { t.handedOn = true }
func nullPath(t *testimony)     { t.nullPath = true }
func own(t *testimony)          { t.own = true }
func internal(t *testimony)     { t.internal = true }
func lookupFailed(t *testimony) { t.incomplete = true }
func noIdentity(t *testimony)   { t.author = "" }
func noAddress(t *testimony)    { t.host = netip.Prefix{} }
func dmarcFails(t *testimony)   { t.dmarc, t.dmarcResult = assess.Fail, "fail" }
func dmarcUntold(t *testimony)  { t.dmarc, t.dmarcResult = assess.Unknown, "temperror" }

// spfPass is an aligned pass of a domain.
func spfPass(domain dnsname.Domain) trait {
	return func(t *testimony) { t.spf, t.spfDomain, t.spfAligned, t.spfNarrow = "pass", domain, true, true }
}

// spfResult is another result, of a domain that need not be aligned.
func spfResult(result string, domain dnsname.Domain) trait {
	return func(t *testimony) { t.spf, t.spfDomain = result, domain }
}

func spfWide(t *testimony) { spfPass("example.org")(t); t.spfNarrow = false }

// summary is a decision in one line: row, host, what is credited, probe, header.
func (d decision) summary() string {
	words := []string{fmt.Sprint("row ", d.row)}
	if o := d.observation; o != nil {
		words = append(words, assess.HostTally{Host: o.Host}.Subject())
		for _, test := range []struct {
			name   string
			result assess.Result
		}{{"tls", o.StartTLS}, {"spf", o.SPF}, {"dkim", o.DKIM}} {
			if test.result != assess.Unknown {
				words = append(words, test.name+"="+test.result.String())
			}
		}
	}
	if d.probe {
		words = append(words, "probe")
	}
	if d.learn {
		words = append(words, "learn")
	}
	switch {
	case d.status != statusNone:
		words = append(words, string(d.status))
	case d.proof != 0:
		words = append(words, "stars for "+d.proof.String())
	}
	return strings.Join(words, ", ")
}

func TestAttribute(t *testing.T) {
	pass, parent, child, sibling := spfPass("example.org"), spfPass("example.org"), spfPass("evil.example.org"), spfPass("bounce.example.org")
	news := func(t *testimony) { t.author = "news.example.org" }
	tests := []struct {
		name   string
		traits []trait
		want   string
	}{
		{"row 1: SPF and DKIM", []trait{pass, dkimValid}, "row 1, 192.0.2.1, tls=pass, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: in plain text", []trait{pass, dkimValid, plain}, "row 1, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: TLS not told", []trait{pass, dkimValid, tlsUntold}, "row 1, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: proven by the parent", []trait{parent, news, dkimValid, plain}, "row 1, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: a child has no vote against", []trait{child, dkimValid, plain}, "row 1, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: a child may vote for", []trait{child, dkimValid}, "row 1, 192.0.2.1, tls=pass, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: a sibling has no vote against", []trait{sibling, news, dkimValid, plain}, "row 1, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"row 1: nor with the MX host beside it", []trait{child, isMX, dkimValid, plain}, "row 1, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf+mx"},

		{"row 2: SPF, no signature", []trait{pass}, "row 2, 192.0.2.1, tls=pass, spf=pass, dkim=fail, probe, stars for spf"},
		{"row 2: in plain text", []trait{pass, plain}, "row 2, 192.0.2.1, tls=fail, spf=pass, dkim=fail, probe, stars for spf"},
		{"row 2: through a list", []trait{pass, handedOn}, "row 2, 192.0.2.1, tls=pass, spf=pass, probe, stars for spf"},
		{"row 2: t=y", []trait{pass, dkimUntold}, "row 2, 192.0.2.1, tls=pass, spf=pass, probe, stars for spf"},
		{"row 2: key not available", []trait{pass, dkimUntold, lookupFailed}, "row 2, 192.0.2.1, tls=pass, spf=pass, stars for spf"},
		{"row 2: a child has no vote against", []trait{child, plain}, "row 2, 192.0.2.1, spf=pass, probe, stars for spf"},

		{"row 3: a forwarder", []trait{spfResult("fail", "example.org"), dkimValid}, "row 3, relayed, dkim=pass, probe, stars for dkim"},
		{"row 3: an ESP with its own return path", []trait{spfResult("pass", "esp.example"), dkimValid, plain}, "row 3, relayed, dkim=pass, probe, stars for dkim"},
		{"row 3: no SPF at all", []trait{dkimValid, plain}, "row 3, relayed, dkim=pass, probe, stars for dkim"},
		{"row 3: the MTA named no address", []trait{isMX, dkimValid, noAddress}, "row 3, relayed, dkim=pass, probe, stars for dkim"},

		{"row 4: DKIM from an MX host", []trait{dkimValid, isMX, plain}, "row 4, 192.0.2.1, tls=fail, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: MX host that SPF forgot", []trait{dkimValid, isMX, spfResult("softfail", "example.org")}, "row 4, 192.0.2.1, tls=pass, spf=fail, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: permerror", []trait{dkimValid, isMX, spfResult("permerror", "example.org")}, "row 4, 192.0.2.1, tls=pass, spf=fail, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: neutral says nothing", []trait{dkimValid, isMX, spfResult("neutral", "example.org")}, "row 4, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: the SPF of somebody else", []trait{dkimValid, isMX, spfResult("fail", "else.example")}, "row 4, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: the SPF of a child", []trait{dkimValid, isMX, spfResult("fail", "evil.example.org")}, "row 4, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"row 4: DKIM from an own host", []trait{dkimValid, isHost}, "row 4, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+host"},
		{"row 4: plain text is no vote on P-HOST", []trait{dkimValid, isHost, plain, spfResult("fail", "example.org")}, "row 4, 192.0.2.1, dkim=pass, probe, stars for dkim+host"},

		{"row 5: MX host alone", []trait{isMX}, "row 5, 192.0.2.1, tls=pass, dkim=fail, probe, stars for mx"},
		{"row 5: in plain text, its own SPF doubts it", []trait{isMX, plain, spfResult("softfail", "example.org")}, "row 5, 192.0.2.1, tls=fail, spf=fail, dkim=fail, probe, stars for mx"},
		{"row 5: against its own SPF", []trait{isMX, plain, spfResult("fail", "example.org")}, "row 5, 192.0.2.1, spf=fail, unauthenticated"},
		{"row 5: against the SPF of another", []trait{isMX, plain, spfResult("fail", "else.example")}, "row 5, unauthenticated"},
		{"row 5: against the SPF of a child", []trait{isMX, plain, spfResult("fail", "evil.example.org")}, "row 5, unauthenticated"},
		{"row 5: DMARC fails", []trait{isMX, plain, dmarcFails}, "row 5, unauthenticated"},
		{"row 5: DMARC fails, and SPF", []trait{isMX, plain, dmarcFails, spfResult("softfail", "example.org")}, "row 5, 192.0.2.1, spf=fail, unauthenticated"},
		{"row 5: DMARC passes by +all", []trait{spfWide, isMX, plain}, "row 5, 192.0.2.1, tls=fail, dkim=fail, probe, stars for mx"},
		{"row 5: DMARC is not told", []trait{isMX, plain, dmarcUntold, lookupFailed}, "row 5, unknown"},
		{"row 5: DMARC is not told, and SPF fails", []trait{isMX, plain, dmarcUntold, spfResult("permerror", "example.org")}, "row 5, 192.0.2.1, spf=fail, unknown"},
		{"row 5: SPF temperror", []trait{isMX, spfResult("temperror", "example.org"), lookupFailed}, "row 5, 192.0.2.1, tls=pass, dkim=fail, stars for mx"},
		{"row 5: through its own list", []trait{isMX, handedOn}, "row 5, 192.0.2.1, tls=pass, probe, stars for mx"},

		{"row 6: own host alone", []trait{isHost}, "row 6, 192.0.2.1, tls=pass, probe, stars for host"},
		{"row 6: in plain text", []trait{isHost, plain}, "row 6, 192.0.2.1, probe, stars for host"},
		{"row 6: DMARC fails", []trait{isHost, dmarcFails}, "row 6, unauthenticated"},
		{"row 6: DMARC is not told", []trait{isHost, dmarcUntold, lookupFailed}, "row 6, unknown"},
		{"row 6: SPF of another fails", []trait{isHost, spfResult("fail", "else.example")}, "row 6, unauthenticated"},

		{"an earlier milter says that DMARC fails", []trait{pass, dkimValid, dmarcFails}, "row 1, unauthenticated"},
		{"and so does SPF, of an MX host", []trait{isMX, dkimValid, dmarcFails, spfResult("fail", "example.org")}, "row 4, 192.0.2.1, spf=fail, unauthenticated"},
		{"and so through a forwarder", []trait{dkimValid, dmarcFails}, "row 3, unauthenticated"},
		{"proven, DMARC is not told", []trait{pass, dkimValid, dmarcUntold, lookupFailed}, "row 1, 192.0.2.1, tls=pass, spf=pass, dkim=pass, stars for dkim+spf"},

		{"row 7: no proof", nil, "row 7, unauthenticated"},
		{"row 7: SPF fail", []trait{spfResult("fail", "example.org"), plain}, "row 7, unauthenticated"},
		{"row 7: SPF pass of another domain", []trait{spfResult("pass", "else.example")}, "row 7, unauthenticated"},
		{"row 7: t=y only", []trait{dkimUntold}, "row 7, unauthenticated"},

		{"row 8: no identity", []trait{noIdentity, pass, plain}, "row 8, no-identity"},

		{"row 9: bounce with a signature", []trait{nullPath, dkimValid, plain}, "row 9, relayed, dkim=pass, stars for dkim"},
		{"row 9: bounce from an MX host", []trait{nullPath, isMX, plain}, "row 9, stars for mx"},
		{"row 9: bounce from an MX host, DMARC fails", []trait{nullPath, isMX, dmarcFails}, "row 9, unauthenticated"},
		{"row 9: bounce from an MX host, SPF of HELO fails", []trait{nullPath, isMX, spfResult("fail", "")}, "row 9, unauthenticated"},
		{"row 9: HELO is no proof", []trait{nullPath, pass}, "row 7, unauthenticated"},

		{"row 10: our own user", []trait{internal, pass, dkimValid}, "row 10, learn"},
		{"row 10: whatever From says", []trait{internal, noIdentity}, "row 10, learn"},
		{"row 10: a bounce is not to whom we write", []trait{internal, nullPath}, "row 10"},

		{"row 11: our domain from outside", []trait{own, plain}, "row 11, unauthenticated"},
		{"row 11: proven, yet not scored", []trait{own, pass, dkimValid}, "row 11, unknown"},
		{"row 11: our MX host, DMARC fails", []trait{own, isMX, dmarcFails}, "row 11, unauthenticated"},

		{"row 12: nothing proven", []trait{spfResult("temperror", "example.org"), lookupFailed}, "row 12, unknown"},
		{"row 12: DKIM proven, SPF temperror", []trait{spfResult("temperror", "example.org"), lookupFailed, dkimValid, plain}, "row 3, relayed, dkim=pass, stars for dkim"},
		{"row 12: SPF proven, DMARC temperror", []trait{pass, lookupFailed}, "row 2, 192.0.2.1, tls=pass, spf=pass, dkim=fail, stars for spf"},

		{"row 14: +all alone", []trait{spfWide, plain}, "row 7, unauthenticated"},
		{"row 14: +all and DKIM", []trait{spfWide, dkimValid, plain}, "row 14, relayed, dkim=pass, probe, stars for dkim"},
		{"row 14: +all and MX host", []trait{spfWide, isMX}, "row 5, 192.0.2.1, tls=pass, dkim=fail, probe, stars for mx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := stranger0()
			for _, change := range tt.traits {
				change(&in)
			}
			if got := attribute(in).summary(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// session is a testimony at random, for the properties. Names and hosts are few, so that they meet.
type anySession struct{ testimony }

func (anySession) Generate(r *rand.Rand, _ int) reflect.Value {
	domains := []dnsname.Domain{"", "example.org", "news.example.org", "victim.example", "own.example"}
	results := []string{"", "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
	yes := func() bool { return r.Intn(3) == 0 }
	t := testimony{
		author: domains[r.Intn(len(domains))], spfDomain: domains[r.Intn(len(domains))],
		host:     assess.ClientHost(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.Intn(5))})),
		internal: r.Intn(10) == 0, nullPath: yes(), startTLS: assess.Result(r.Intn(3)),
		spf: results[r.Intn(len(results))], spfNarrow: !yes(),
		dkim: assess.Result(r.Intn(3)), dmarc: assess.Result(r.Intn(3)), isMX: yes(), isOwnHost: yes(), handedOn: yes(), incomplete: yes(),
	}
	t.own = t.author == "own.example"
	t.spfAligned = t.spf == "pass" && t.author.Within(t.spfDomain)
	t.signature[0] = byte(r.Intn(4))
	return reflect.ValueOf(anySession{t})
}

// record keeps sessions as the milter does.
func record(sessions []anySession) *ledger {
	l := &ledger{}
	for _, s := range sessions {
		d := attribute(s.testimony)
		if d.observation != nil {
			l.AddObservation(context.Background(), *d.observation)
		}
	}
	return l
}

var checked = &quick.Config{MaxCount: 3000}

func tallies(l *ledger) string {
	var all []string
	for _, d := range []dnsname.Domain{"example.org", "news.example.org", "victim.example", "own.example"} {
		all = append(all, fmt.Sprintf("%s: %+v", d, l.tally(d)))
	}
	return strings.Join(all, "\n")
}

// A message without stars says nothing of its author domain but that its SPF record leaves out
// its own MX host.
func TestNoCreditWithoutStars(t *testing.T) {
	property := func(s anySession) bool {
		d := attribute(s.testimony)
		o := d.observation
		if d.status == statusNone || o == nil {
			return d.status == statusNone || !d.probe
		}
		return !d.probe && o.SPF == assess.Fail && o.StartTLS == assess.Unknown && o.DKIM == assess.Unknown && o.Selectors == nil && s.isMX
	}
	if err := quick.Check(property, checked); err != nil {
		t.Errorf("%.400v", err)
	}
}

// Property 1: messages without proof or identity change nothing, wherever they stand.
func TestUnprovenChangesNothing(t *testing.T) {
	property := func(sessions []anySession, seed int64) bool {
		r := rand.New(rand.NewSource(seed))
		mixed := append([]anySession(nil), sessions...)
		for range 100 {
			s, _ := anySession{}.Generate(r, 0).Interface().(anySession)
			if row := attribute(s.testimony).row; row == 7 || row == 8 {
				at := r.Intn(len(mixed) + 1)
				mixed = append(mixed[:at], append([]anySession{s}, mixed[at:]...)...)
			}
		}
		return tallies(record(mixed)) == tallies(record(sessions))
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 300}); err != nil {
		t.Errorf("%.400v", err)
	}
}

// Property 2: without a proof there are no stars, nor on a message that fails DMARC, whatever
// the proof, nor on one that has P-MX and P-HOST alone and fails SPF.
func TestNoStarsWithoutProof(t *testing.T) {
	property := func(s anySession) bool {
		d := attribute(s.testimony)
		stars := d.status == statusNone && !s.internal
		strong := d.proof.Has(assess.ProofDKIM) || d.proof.Has(assess.ProofSPF)
		return !stars || d.proof != 0 && s.author != "" && !s.own && s.dmarc != assess.Fail && (strong || s.spf != "fail" && s.dmarc != assess.Unknown)
	}
	if err := quick.Check(property, checked); err != nil {
		t.Errorf("%.400v", err)
	}
}

// Property 3: the order of messages does not matter.
func TestOrderDoesNotMatter(t *testing.T) {
	property := func(sessions []anySession, seed int64) bool {
		shuffled := append([]anySession(nil), sessions...)
		rand.New(rand.NewSource(seed)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		return tallies(record(shuffled)) == tallies(record(sessions))
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 300}); err != nil {
		t.Errorf("%.400v", err)
	}
}

// Property 4: nothing from outside the SPF, the MX hosts and the organisation of a domain
// lowers it; nor does a holder of one of its subdomains.
func TestOutsidersCannotLower(t *testing.T) {
	property := func(s anySession) bool {
		o := attribute(s.testimony).observation
		if o == nil || o.StartTLS != assess.Fail && o.SPF != assess.Fail && o.DKIM != assess.Fail {
			return true
		}
		bySPF := s.spf == "pass" && s.spfAligned && s.spfNarrow && s.author.Within(s.spfDomain) && s.spfDomain != ""
		return o.Domain == s.author && o.Host == s.host && (bySPF || s.isMX)
	}
	if err := quick.Check(property, checked); err != nil {
		t.Errorf("%.400v", err)
	}
}

// Property 5: what one host sends, however often, stays in its own row.
func TestHostsDoNotOutvoteEachOther(t *testing.T) {
	property := func(sessions []anySession, again anySession) bool {
		once := record(append(sessions, again))
		often := record(append(sessions, again, again, again, again, again, again, again, again))
		for _, d := range []dnsname.Domain{"example.org", "news.example.org", "victim.example"} {
			a, b := once.tally(d), often.tally(d)
			if len(a) != len(b) {
				return false
			}
			for i := range a {
				repeated := attribute(again.testimony).observation
				same := repeated != nil && repeated.Domain == d && repeated.Host == a[i].Host
				if !same && !reflect.DeepEqual(a[i], b[i]) {
					return false
				}
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 300}); err != nil {
		t.Errorf("%.400v", err)
	}
}
