package milter

import (
	"context"
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
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
func spfResult(result spf.Result, domain dnsname.Domain) trait {
	return func(t *testimony) { t.spf, t.spfDomain = result, domain }
}

func spfWide(t *testimony) { spfPass("example.org")(t); t.spfNarrow = false }

// summary is a decision in one line: row, host, what is credited, probe, header.
func (d decision) summary() string {
	words := []string{d.row.String()}
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

// milter/attribution.md names the rows as the code does, in the same order.
func TestRowWords(t *testing.T) {
	text, err := os.ReadFile("attribution.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Table\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var words []string
	for _, cell := range regexp.MustCompile("(?m)^\\| `(.*?)` \\|").FindAllStringSubmatch(table, -1) {
		words = append(words, cell[1])
	}
	if !slices.Equal(words, rowWords[rowSPFDKIM:]) {
		t.Errorf("the table has %q, the code %q", words, rowWords[rowSPFDKIM:])
	}
}

func TestAttribute(t *testing.T) {
	pass, parent, child, sibling := spfPass("example.org"), spfPass("example.org"), spfPass("evil.example.org"), spfPass("bounce.example.org")
	news := func(t *testimony) { t.author = "news.example.org" }
	tests := []struct {
		name   string
		traits []trait
		want   string
	}{
		{"spf-dkim: SPF and DKIM", []trait{pass, dkimValid}, "spf-dkim, 192.0.2.1, tls=pass, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: in plain text", []trait{pass, dkimValid, plain}, "spf-dkim, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: TLS not told", []trait{pass, dkimValid, tlsUntold}, "spf-dkim, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: proven by the parent", []trait{parent, news, dkimValid, plain}, "spf-dkim, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: a child has no vote against", []trait{child, dkimValid, plain}, "spf-dkim, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: a child may vote for", []trait{child, dkimValid}, "spf-dkim, 192.0.2.1, tls=pass, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: a sibling has no vote against", []trait{sibling, news, dkimValid, plain}, "spf-dkim, 192.0.2.1, spf=pass, dkim=pass, probe, stars for dkim+spf"},
		{"spf-dkim: nor with the MX host beside it", []trait{child, isMX, dkimValid, plain}, "spf-dkim, 192.0.2.1, tls=fail, spf=pass, dkim=pass, probe, stars for dkim+spf+mx"},

		{"spf-only: SPF, no signature", []trait{pass}, "spf-only, 192.0.2.1, tls=pass, spf=pass, dkim=fail, probe, stars for spf"},
		{"spf-only: in plain text", []trait{pass, plain}, "spf-only, 192.0.2.1, tls=fail, spf=pass, dkim=fail, probe, stars for spf"},
		{"spf-only: through a list", []trait{pass, handedOn}, "spf-only, 192.0.2.1, tls=pass, spf=pass, probe, stars for spf"},
		{"spf-only: t=y", []trait{pass, dkimUntold}, "spf-only, 192.0.2.1, tls=pass, spf=pass, probe, stars for spf"},
		{"spf-only: key not available", []trait{pass, dkimUntold, lookupFailed}, "spf-only, 192.0.2.1, tls=pass, spf=pass, stars for spf"},
		{"spf-only: a child has no vote against", []trait{child, plain}, "spf-only, 192.0.2.1, spf=pass, probe, stars for spf"},

		{"relayed: a forwarder", []trait{spfResult("fail", "example.org"), dkimValid}, "relayed, relayed, dkim=pass, probe, stars for dkim"},
		{"relayed: an ESP with its own return path", []trait{spfResult("pass", "esp.example"), dkimValid, plain}, "relayed, relayed, dkim=pass, probe, stars for dkim"},
		{"relayed: no SPF at all", []trait{dkimValid, plain}, "relayed, relayed, dkim=pass, probe, stars for dkim"},
		{"relayed: the MTA named no address", []trait{isMX, dkimValid, noAddress}, "relayed, relayed, dkim=pass, probe, stars for dkim"},

		{"dkim-host: DKIM from an MX host", []trait{dkimValid, isMX, plain}, "dkim-host, 192.0.2.1, tls=fail, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: MX host that SPF forgot", []trait{dkimValid, isMX, spfResult("softfail", "example.org")}, "dkim-host, 192.0.2.1, tls=pass, spf=fail, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: permerror", []trait{dkimValid, isMX, spfResult("permerror", "example.org")}, "dkim-host, 192.0.2.1, tls=pass, spf=fail, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: neutral says nothing", []trait{dkimValid, isMX, spfResult("neutral", "example.org")}, "dkim-host, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: the SPF of somebody else", []trait{dkimValid, isMX, spfResult("fail", "else.example")}, "dkim-host, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: the SPF of a child", []trait{dkimValid, isMX, spfResult("fail", "evil.example.org")}, "dkim-host, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+mx"},
		{"dkim-host: DKIM from an own host", []trait{dkimValid, isHost}, "dkim-host, 192.0.2.1, tls=pass, dkim=pass, probe, stars for dkim+host"},
		{"dkim-host: plain text is no vote on P-HOST", []trait{dkimValid, isHost, plain, spfResult("fail", "example.org")}, "dkim-host, 192.0.2.1, dkim=pass, probe, stars for dkim+host"},

		{"mx-only: MX host alone", []trait{isMX}, "mx-only, 192.0.2.1, tls=pass, dkim=fail, probe, stars for mx"},
		{"mx-only: in plain text, its own SPF doubts it", []trait{isMX, plain, spfResult("softfail", "example.org")}, "mx-only, 192.0.2.1, tls=fail, spf=fail, dkim=fail, probe, stars for mx"},
		{"mx-only: against its own SPF", []trait{isMX, plain, spfResult("fail", "example.org")}, "mx-only, 192.0.2.1, spf=fail, unauthenticated"},
		{"mx-only: against the SPF of another", []trait{isMX, plain, spfResult("fail", "else.example")}, "mx-only, unauthenticated"},
		{"mx-only: against the SPF of a child", []trait{isMX, plain, spfResult("fail", "evil.example.org")}, "mx-only, unauthenticated"},
		{"mx-only: DMARC fails", []trait{isMX, plain, dmarcFails}, "mx-only, unauthenticated"},
		{"mx-only: DMARC fails, and SPF", []trait{isMX, plain, dmarcFails, spfResult("softfail", "example.org")}, "mx-only, 192.0.2.1, spf=fail, unauthenticated"},
		{"mx-only: DMARC passes by +all", []trait{spfWide, isMX, plain}, "mx-only, 192.0.2.1, tls=fail, dkim=fail, probe, stars for mx"},
		{"mx-only: DMARC is not told", []trait{isMX, plain, dmarcUntold, lookupFailed}, "mx-only, unknown"},
		{"mx-only: DMARC is not told, and SPF fails", []trait{isMX, plain, dmarcUntold, spfResult("permerror", "example.org")}, "mx-only, 192.0.2.1, spf=fail, unknown"},
		{"mx-only: SPF temperror", []trait{isMX, spfResult("temperror", "example.org"), lookupFailed}, "mx-only, 192.0.2.1, tls=pass, dkim=fail, stars for mx"},
		{"mx-only: through its own list", []trait{isMX, handedOn}, "mx-only, 192.0.2.1, tls=pass, probe, stars for mx"},

		{"host-only: own host alone", []trait{isHost}, "host-only, 192.0.2.1, tls=pass, probe, stars for host"},
		{"host-only: in plain text", []trait{isHost, plain}, "host-only, 192.0.2.1, probe, stars for host"},
		{"host-only: DMARC fails", []trait{isHost, dmarcFails}, "host-only, unauthenticated"},
		{"host-only: DMARC is not told", []trait{isHost, dmarcUntold, lookupFailed}, "host-only, unknown"},
		{"host-only: SPF of another fails", []trait{isHost, spfResult("fail", "else.example")}, "host-only, unauthenticated"},

		{"an earlier milter says that DMARC fails", []trait{pass, dkimValid, dmarcFails}, "spf-dkim, unauthenticated"},
		{"and so does SPF, of an MX host", []trait{isMX, dkimValid, dmarcFails, spfResult("fail", "example.org")}, "dkim-host, 192.0.2.1, spf=fail, unauthenticated"},
		{"and so through a forwarder", []trait{dkimValid, dmarcFails}, "relayed, unauthenticated"},
		{"proven, DMARC is not told", []trait{pass, dkimValid, dmarcUntold, lookupFailed}, "spf-dkim, 192.0.2.1, tls=pass, spf=pass, dkim=pass, stars for dkim+spf"},

		{"unauthenticated: no proof", nil, "unauthenticated, unauthenticated"},
		{"unauthenticated: SPF fail", []trait{spfResult("fail", "example.org"), plain}, "unauthenticated, unauthenticated"},
		{"unauthenticated: SPF pass of another domain", []trait{spfResult("pass", "else.example")}, "unauthenticated, unauthenticated"},
		{"unauthenticated: t=y only", []trait{dkimUntold}, "unauthenticated, unauthenticated"},

		{"no-identity: no identity", []trait{noIdentity, pass, plain}, "no-identity, no-identity"},

		{"null-path: bounce with a signature", []trait{nullPath, dkimValid, plain}, "null-path, relayed, dkim=pass, stars for dkim"},
		{"null-path: bounce from an MX host", []trait{nullPath, isMX, plain}, "null-path, stars for mx"},
		{"null-path: bounce from an MX host, DMARC fails", []trait{nullPath, isMX, dmarcFails}, "null-path, unauthenticated"},
		{"null-path: bounce from an MX host, SPF of HELO fails", []trait{nullPath, isMX, spfResult("fail", "")}, "null-path, unauthenticated"},
		{"null-path: HELO is no proof", []trait{nullPath, pass}, "unauthenticated, unauthenticated"},

		{"internal: our own user", []trait{internal, pass, dkimValid}, "internal, learn"},
		{"internal: whatever From says", []trait{internal, noIdentity}, "internal, learn"},
		{"internal: a bounce is not to whom we write", []trait{internal, nullPath}, "internal"},

		{"own-domain: our domain from outside", []trait{own, plain}, "own-domain, unauthenticated"},
		{"own-domain: proven, yet not scored", []trait{own, pass, dkimValid}, "own-domain, unknown"},
		{"own-domain: our MX host, DMARC fails", []trait{own, isMX, dmarcFails}, "own-domain, unauthenticated"},

		{"incomplete: nothing proven", []trait{spfResult("temperror", "example.org"), lookupFailed}, "incomplete, unknown"},
		{"incomplete: DKIM proven, SPF temperror", []trait{spfResult("temperror", "example.org"), lookupFailed, dkimValid, plain}, "relayed, relayed, dkim=pass, stars for dkim"},
		{"incomplete: SPF proven, DMARC temperror", []trait{pass, lookupFailed}, "spf-only, 192.0.2.1, tls=pass, spf=pass, dkim=fail, stars for spf"},

		{"wide-spf: +all alone", []trait{spfWide, plain}, "unauthenticated, unauthenticated"},
		{"wide-spf: +all and DKIM", []trait{spfWide, dkimValid, plain}, "wide-spf, relayed, dkim=pass, probe, stars for dkim"},
		{"wide-spf: +all and MX host", []trait{spfWide, isMX}, "mx-only, 192.0.2.1, tls=pass, dkim=fail, probe, stars for mx"},
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
	results := []spf.Result{"", "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
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
			if row := attribute(s.testimony).row; row == rowUnauthenticated || row == rowNoIdentity {
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
