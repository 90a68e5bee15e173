package assess

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// random makes evidence of every shape, with hostile text in every place that holds a peer's.
type random struct{ *rand.Rand }

const propertyRounds = 500

func rounds(t *testing.T, test func(r random)) {
	t.Helper()
	for seed := range uint64(propertyRounds) {
		test(random{rand.New(rand.NewPCG(seed, 1))})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func pickOf[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

func (r random) text() string {
	return pickOf(r, "", "plain", "a\x1b[2Jb", "line\r\nPeer-Score: forged", "\xff\xfe", "\u202Etxt", strings.Repeat("é", 3000), `"`)
}

func (r random) result() Result { return pickOf(r, Unknown, Pass, Fail) }
func (r random) check() Check   { return Check{Result: r.result(), Detail: r.text()} }
func (r random) count() Count   { return Count{r.IntN(6), r.IntN(6)} }

func (r random) lookup() Lookup {
	return Lookup{
		Type: "TXT", Name: r.text(), Reason: r.text(), Timeout: r.IntN(2) == 0, Records: []string{r.text()},
		Status:   pickOf(r, LookupUnknown, LookupFound, LookupFound, LookupNoData, LookupNXDomain, LookupFailed),
		Security: pickOf(r, Indeterminate, Insecure, Secure, Secure, SuspectAnswer, BogusAnswer),
	}
}

func (r random) session(i int) SMTPFacts {
	s := SMTPFacts{
		Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), At: testTime.Add(-time.Duration(r.IntN(9*24)) * time.Hour), Problem: r.text(), Reason: pickOf(r, "", ReasonSMTPTimeout, ReasonBudgetExhausted),
		Outcome: pickOf(r, TLSEstablished, TLSEstablished, TLSAnswered, TLSNotOffered, TLSRefused, TLSFailed, TLSUnknown), TLSEHLO: []string{"", r.text(), "250 REQUIRETLS"},
	}
	if s.Outcome == TLSEstablished && r.IntN(9) > 0 {
		s.TLS = &TLSFacts{Version: r.text(), Cipher: r.text(), Deprecated: r.IntN(4) == 0, Certificate: CertificateFacts{
			Names: []string{r.text()}, Trusted: r.check(), Named: r.check(), Dated: r.check(), Revoked: r.check(), Warnings: []string{r.text()},
		}}
	}
	return s
}

func (r random) host(i int) MXHost {
	h := MXHost{Name: fmt.Sprintf("mx%d.example.org", i), Alias: r.text(), A: r.lookup(), AAAA: r.lookup(), Zone: r.lookup(), TXT: r.lookup()}
	h.DANE = DANEFacts{Lookup: r.lookup(), Match: r.check(), Matched: r.text(), Warnings: []string{r.text()}}
	for n := range r.IntN(4) {
		h.Sessions = append(h.Sessions, r.session(n))
	}
	return h
}

func (r random) facts() *Facts {
	f := &Facts{Domain: "example.org", At: testTime}
	f.Hosts = MXFacts{Lookup: r.lookup(), Null: r.IntN(20) == 0, Omitted: r.IntN(2)}
	for i := range r.IntN(4) {
		f.Hosts.Hosts = append(f.Hosts.Hosts, r.host(i))
	}
	f.SPF = SPFFacts{Lookup: r.lookup(), Count: r.IntN(3), Record: r.text(), Valid: r.check(), Policy: pickOf(r, "", "-all", "~all", "?all", "+all"), Warnings: []string{r.text()}}
	f.DKIM = DKIMFacts{Presence: r.lookup(), Keys: []DKIMKey{{Selector: Selector{"example.org", r.text()}, Lookup: r.lookup(), Key: r.text(), Problem: r.text()}}}
	f.DMARC = DMARCFacts{Lookup: r.lookup(), Record: r.text(), Found: pickOf(r, "", "example.org"), Valid: r.check(), Policy: pickOf(r, "", "none", "reject"), Warnings: []string{r.text()}, Walk: []Lookup{r.lookup()}}
	f.DNSSEC = DNSSECFacts{Validates: r.result(), Problem: r.text(), Zone: r.lookup(), TXT: r.lookup()}
	f.MTASTS = MTASTSFacts{Lookup: r.lookup(), ID: r.text(), Record: r.check(), Fetched: r.check(), Mode: pickOf(r, "enforce", "testing", r.text()), MX: []string{r.text()}, Matches: []MTASTSHost{{"mx0.example.org", r.check()}}}
	f.TLSRPT = TLSRPTFacts{Lookup: r.lookup(), Valid: r.check(), Reports: []string{r.text()}}
	f.BIMI = BIMIFacts{Lookup: r.lookup(), Valid: r.check(), Location: r.text(), Evidence: r.text()}
	return f
}

func (r random) tally() Tally {
	t := Tally{Window: DefaultWindow}
	for i := range r.IntN(5) {
		h := HostTally{Sessions: r.IntN(20), StartTLS: r.count(), SPF: r.count(), DKIM: r.count(), TLSVersions: map[string]int{"TLSv1.3": r.IntN(5), "TLSv1": r.IntN(3)}, LastSeen: testTime}
		if i > 0 {
			h.Host = ClientHost(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		}
		t.Hosts = append(t.Hosts, h)
	}
	return t
}

func (r random) evidence() Evidence {
	e := Evidence{Tally: r.tally()}
	if r.IntN(10) > 0 {
		e.Facts = r.facts()
	}
	return e
}

// remedy finds the imperative in the advice to a failed test.
var remedy = regexp.MustCompile(`^(?:turn|look|let|get|send|ask|renew|replace|list|take|fix|join|end|set|add|offer|publish|sign|have)\b`)

// Whatever the evidence: every standard has a verdict, every test says what it tested, when and
// why, and what to do where it fails; its counts add up, and nothing that a peer wrote can move a cursor or begin a line.
func TestVerdictsAreWellFormed(t *testing.T) {
	rounds(t, func(r random) {
		e := r.evidence()
		verdicts := Judge(e, Rules{Passive: r.IntN(2) == 0})
		for _, s := range namesOf(func(standard) bool { return true }) {
			v, ok := verdicts[s]
			if !ok || v.Standard != s || v.Support == "" && len(v.Tests) > 0 {
				t.Errorf("%s: %v, %+v", s, ok, v)
			}
			known := 0
			for _, test := range v.Tests {
				if test.Subject == "" || test.Test == "" || test.Detail == "" || test.Direction == "" || test.At.IsZero() {
					t.Errorf("%s: an incomplete test: %+v", s, test)
				}
				if test.Result != NotApplicable {
					known++
				}
				if problem := unfit(s, test); problem != "" {
					t.Errorf("%s: %s: %+v", s, problem, test)
				}
				if (test.Result == Fail || test.Result == Bogus) && !remedy.MatchString(string(test.Reason.Advice())) {
					t.Errorf("%s: no word of what to do: %s, %s", s, test.Detail, test.Reason)
				}
			}
			if v.Passed+v.Failed+v.Unknown != known {
				t.Errorf("%s: the counts do not add up:\n%s", s, said(v))
			}
			for line := range strings.SplitSeq(said(v), "\n") {
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || len(line) > 1500 {
					t.Errorf("%s: %d octets: %q", s, len(line), line)
				}
			}
		}
	})
}

// "Could not measure" is never "no": facts in which nothing was answered lack nothing, and with
// any sessions a standard that only a probe can test stays unknown.
func TestNothingMeasuredIsNeverNo(t *testing.T) {
	for _, f := range []*Facts{
		{Domain: "example.org", At: testTime},
		blackout(Lookup{Status: LookupFailed, Timeout: true, Reason: "timeout"}),
		blackout(Lookup{Status: LookupFailed, Security: Insecure, Reason: "SERVFAIL"}),
	} {
		for s, v := range Judge(Evidence{Facts: f}, Rules{}) {
			if v.Support != SupportUnknown || v.Passed+v.Failed > 0 {
				t.Errorf("%s: %s\n%s", s, v.Support, said(v))
			}
			if v.Unknown == 0 {
				t.Errorf("%s: nothing says what could not be measured", s)
			}
		}
	}
}

// blackout is what a run finds while neither DNS nor SMTP answer, with hosts known from a cache.
func blackout(l Lookup) *Facts {
	h := MXHost{Name: "mx1.example.org", A: l, AAAA: l, Zone: l, TXT: l, DANE: DANEFacts{Lookup: l}, Sessions: []SMTPFacts{dialogue("192.0.2.1", dead)}}
	return &Facts{
		Domain: "example.org", At: testTime, Hosts: MXFacts{Lookup: l, Hosts: []MXHost{h}}, SPF: SPFFacts{Lookup: l}, DKIM: DKIMFacts{Presence: l},
		DMARC: DMARCFacts{Lookup: l}, DNSSEC: DNSSECFacts{Validates: Pass, Zone: l, TXT: l}, MTASTS: MTASTSFacts{Lookup: l}, TLSRPT: TLSRPTFacts{Lookup: l}, BIMI: BIMIFacts{Lookup: l},
	}
}

// The number of messages of one host never outvotes another host.
func TestOneHostIsOneTest(t *testing.T) {
	rounds(t, func(r random) {
		e := r.evidence()
		before := Judge(e, Rules{Passive: true})
		loud := e
		loud.Tally.Hosts = slices.Clone(e.Tally.Hosts)
		for i := range loud.Tally.Hosts {
			h := &loud.Tally.Hosts[i]
			n := 1 + r.IntN(1_000_000)
			for _, c := range []*Count{&h.StartTLS, &h.SPF, &h.DKIM} {
				c.Passed, c.Failed = c.Passed*n, c.Failed*n
			}
			h.TLSVersions = map[string]int{"TLSv1.3": h.TLSVersions["TLSv1.3"] * n, "TLSv1": h.TLSVersions["TLSv1"] * n}
		}
		sameSupport(t, before, Judge(loud, Rules{Passive: true}))
	})
}

// Neither the order of hosts nor of addresses matters.
func TestOrderDoesNotMatter(t *testing.T) {
	rounds(t, func(r random) {
		e := r.evidence()
		before := Judge(e, Rules{Passive: true})
		r.Shuffle(len(e.Tally.Hosts), func(i, j int) { e.Tally.Hosts[i], e.Tally.Hosts[j] = e.Tally.Hosts[j], e.Tally.Hosts[i] })
		if f := e.Facts; f != nil {
			slices.Reverse(f.Hosts.Hosts)
			for _, h := range f.Hosts.Hosts {
				slices.Reverse(h.Sessions)
			}
		}
		sameSupport(t, before, Judge(e, Rules{Passive: true}))
	})
}

// One more good session, or a session that turns out good, never takes support away.
func TestGoodSessionsNeverHarm(t *testing.T) {
	rounds(t, func(r random) {
		e := r.evidence()
		before := Judge(e, Rules{Passive: true})
		if n := len(e.Tally.Hosts); n > 0 {
			h := &e.Tally.Hosts[r.IntN(n)]
			for _, c := range []*Count{&h.StartTLS, &h.SPF, &h.DKIM} {
				if c.Passed+c.Failed > 0 { // a host that was not heard of is one more to count
					c.Passed, c.Failed = c.Passed+1, max(0, c.Failed-1)
				}
			}
		}
		after := Judge(e, Rules{Passive: true})
		for _, s := range []Standard{StartTLS, SPF, DKIM} {
			if before.Support(s) == SupportYes && after.Support(s) != SupportYes {
				t.Errorf("%s: from yes to %s\n%s", s, after.Support(s), said(after[s]))
			}
		}
	})
}

// A domain that was not probed has no support and lacks none, whatever its sessions were.
func TestUnprobedIsPending(t *testing.T) {
	profile, err := LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	rounds(t, func(r random) {
		a := Conclude("example.org", Evidence{Tally: r.tally()}, profile, Rules{}, testTime)
		if a.Status != StatusPending || a.Scores.Known() {
			t.Errorf("%s, %+v", a.Status, a.Scores)
		}
	})
}

// Facts that went through the store are judged as they were before.
func TestStoredFactsJudgeTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	rounds(t, func(r random) {
		f := r.facts()
		f.Kept = []Kept{{Part: string(SPF), At: testTime.AddDate(0, 0, -1), Reason: r.text()}}
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again Facts
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		sameSupport(t, Judge(Evidence{Facts: f}, Rules{}), Judge(Evidence{Facts: &again}, Rules{}))
	})
}

func sameSupport(t *testing.T, before, after Verdicts) {
	t.Helper()
	for s, v := range before {
		if after.Support(s) != v.Support && v.Support != "" {
			t.Errorf("%s: from %s to %s\n%s---\n%s", s, v.Support, after.Support(s), said(v), said(after[s]))
		}
	}
}

// FuzzConclude judges stored facts of any shape: a database from elsewhere must not stop us.
func FuzzConclude(f *testing.F) {
	for seed := range uint64(8) {
		data, err := json.Marshal(random{rand.New(rand.NewPCG(seed, 2))}.facts())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	profile, err := LoadProfile("mecsa-2020")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var facts Facts
		if json.Unmarshal(data, &facts) != nil {
			return
		}
		kept := facts.Keeping(factsOf(mxHost("mx1.example.org", dialogue("192.0.2.1", up))))
		Conclude("example.org", Evidence{Facts: &facts}, profile, Rules{}, testTime)
		Conclude("example.org", Evidence{Facts: &kept}, profile, Rules{}, testTime).Standing()
	})
}
