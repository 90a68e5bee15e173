package assess

import (
	"strings"
	"testing"
)

const (
	up    = TLSEstablished
	plain = TLSNotOffered
	dead  = TLSUnknown
)

// verdictCase is one case of the tables below: what the evidence is worth, and the counts.
type verdictCase struct {
	name                    string
	facts                   *Facts
	tally                   Tally
	want                    Support
	passed, failed, unknown int
	say                     string // in some detail or note; "" for anything
}

func judgeCases(t *testing.T, standard Standard, rules Rules, cases []verdictCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(Evidence{Facts: tt.facts, Tally: tt.tally}, rules)[standard]
			if v.Support != tt.want || v.Passed != tt.passed || v.Failed != tt.failed || v.Unknown != tt.unknown {
				t.Errorf("%s, %d passed, %d failed, %d unknown; want %s, %d, %d, %d\n%s",
					v.Support, v.Passed, v.Failed, v.Unknown, tt.want, tt.passed, tt.failed, tt.unknown, said(v))
			}
			if !strings.Contains(said(v), tt.say) {
				t.Errorf("nothing says %q:\n%s", tt.say, said(v))
			}
		})
	}
}

// said is everything that a verdict says, with advice and reason, one test or note a line.
func said(v Verdict) string {
	var b strings.Builder
	for _, t := range v.Tests {
		detail := t.Detail
		if advice := t.Reason.Advice(); advice != "" {
			detail += "; " + string(advice)
		}
		b.WriteString(strings.Join([]string{t.Subject, t.Address, string(t.Direction), t.Test, t.Result.String(), detail, string(t.Reason)}, " | ") + "\n")
	}
	for _, n := range v.Notes {
		b.WriteString("note: " + n + "\n")
	}
	return b.String()
}

// The two worked examples of assess/methodology.md, section 2, to the stars.
func TestWorkedExamples(t *testing.T) {
	profile, err := LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	mx := []MXHost{
		mxHost("mx1.example.org", dialogue("192.0.2.1", up)), mxHost("mx2.example.org", dialogue("192.0.2.2", up)), mxHost("mx3.example.org", dialogue("192.0.2.3", up)),
	}
	tls, inPlain := sender("198.51.100.1", good, none, none), sender("198.51.100.2", bad, none, none)
	for _, tt := range []struct {
		name  string
		facts *Facts
		tally Tally
		want  Support
		stars float64
	}{
		{"2 of 3 hosts are 66.6 %", factsOf(mx[:2]...), tallyOf(inPlain), SupportNo, 0},
		{"4 of 5 hosts are 80 %", factsOf(mx...), tallyOf(tls, inPlain), SupportYes, 4},
	} {
		a := Conclude("example.org", Evidence{Facts: tt.facts, Tally: tt.tally}, profile, Rules{}, testTime)
		score := a.Scores[Confidentiality]
		if a.Verdicts[StartTLS].Support != tt.want || !score.Known || score.Partial || score.Stars != tt.stars {
			t.Errorf("%s: StartTLS %s, %+v", tt.name, a.Verdicts[StartTLS].Support, score)
		}
	}
}

func TestJudgeStartTLS(t *testing.T) {
	judgeCases(t, StartTLS, Rules{}, []verdictCase{
		{"one host", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), Tally{}, SupportYes, 1, 0, 0, "mx1 | 192.0.2.1 | inbound | starttls | pass | TLS 1.3, TLS_AES_128_GCM_SHA256"},
		{"not offered", factsOf(mxHost("mx1", dialogue("192.0.2.1", plain))), Tally{}, SupportNo, 0, 1, 0, "EHLO does not list STARTTLS"},
		{"refused", factsOf(mxHost("mx1", dialogue("192.0.2.1", TLSRefused))), Tally{}, SupportNo, 0, 1, 0, "refused"},
		{"handshake fails", factsOf(mxHost("mx1", dialogue("192.0.2.1", TLSFailed))), Tally{}, SupportNo, 0, 1, 0, "ends the handshake"},
		{"a timeout is not a no", factsOf(mxHost("mx1", dialogue("192.0.2.1", dead))), Tally{}, SupportUnknown, 0, 0, 1, "connect: timeout"},
		{"unknown hosts do not count", factsOf(mxHost("mx1", dialogue("192.0.2.1", up)), mxHost("mx2", dialogue("192.0.2.2", dead))), Tally{}, SupportYes, 1, 0, 1, ""},
		{"old versions count", factsOf(mxHost("mx1", old("192.0.2.1"))), Tally{}, SupportYes, 1, 0, 0, "note: mx1 [192.0.2.1] speaks TLS 1.0, which RFC 8996 retires"},
		{"an address that fails decides", factsOf(mxHost("mx1", dialogue("192.0.2.1", up), dialogue("192.0.2.2", plain), dialogue("192.0.2.3", dead))), Tally{}, SupportNo, 0, 1, 0, "192.0.2.2 | inbound"},
		{"an address that passes outweighs a dead one", factsOf(mxHost("mx1", dialogue("2001:db8::1", dead), dialogue("192.0.2.1", up))), Tally{}, SupportYes, 1, 0, 0, "192.0.2.1 | inbound"},
		{"inbound and outbound together", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), tallyOf(sender("198.51.100.1", bad, none, none)), SupportNo, 1, 1, 0, "TLS in 0 of 10 sessions"},
		{"a host passes at 80 %", nullMX(), tallyOf(sender("198.51.100.1", Count{8, 2}, none, none)), SupportYes, 1, 0, 0, "TLS in 8 of 10 sessions"},
		{"a host fails below", nullMX(), tallyOf(sender("198.51.100.1", Count{79, 21}, none, none)), SupportNo, 0, 1, 0, "198.51.100.1 |  | outbound | starttls | fail"},
		{"a host without a credited session", nullMX(), tallyOf(sender("198.51.100.1", none, good, none)), SupportUnknown, 0, 0, 1, "inconclusive in all 1 sessions"},
		{"relayed mail says nothing of TLS", nullMX(), tallyOf(sender("relayed", none, none, good)), SupportUnknown, 0, 0, 0, ""},
		{"null MX", nullMX(), Tally{}, SupportUnknown, 0, 0, 0, ""},
		{"MX not known", noMX(failed()), Tally{}, SupportUnknown, 0, 0, 1, "its mail hosts are not known: timeout"},
		{"MX bogus", noMX(bogus()), Tally{}, SupportUnknown, 0, 0, 1, "DNSSEC validation failed, SERVFAIL"},
		{"no such domain", noMX(Lookup{Status: LookupNXDomain}), Tally{}, SupportUnknown, 0, 0, 1, "the name does not exist"},
		{"host without address", factsOf(MXHost{Name: "mx1", A: denied("A"), AAAA: denied("AAAA")}), Tally{}, SupportUnknown, 0, 0, 1, "it has no address"},
		{"addresses not known", factsOf(MXHost{Name: "mx1", A: failed(), AAAA: denied("AAAA")}), Tally{}, SupportUnknown, 0, 0, 1, "its addresses are not known: timeout"},
		{"IPv6 not known, no IPv4", factsOf(MXHost{Name: "mx1", A: denied("A"), AAAA: failed()}), Tally{}, SupportUnknown, 0, 0, 1, "its addresses are not known: timeout"},
		{"host at a private address", factsOf(refused()), Tally{}, SupportUnknown, 0, 0, 1, "its address 127.0.0.1 is never dialled"},
		{"alias", factsOf(alias()), Tally{}, SupportYes, 1, 0, 0, "note: mx1 is an alias of mx.elsewhere.example"},
		{"not probed", nil, tallyOf(sender("198.51.100.1", good, none, none)), SupportUnknown, 1, 0, 0, ""},
	})
	judgeCases(t, StartTLS, Rules{Passive: true}, []verdictCase{
		{"passive", nil, tallyOf(sender("198.51.100.1", good, none, none)), SupportYes, 1, 0, 0, ""},
		{"passive, nothing seen", nil, Tally{}, SupportUnknown, 0, 0, 0, ""},
	})
	judgeCases(t, StartTLS, Rules{Threshold: 0.5}, []verdictCase{
		{"another threshold", nullMX(), tallyOf(sender("198.51.100.1", good, none, none), sender("198.51.100.2", bad, none, none)), SupportYes, 1, 1, 0, ""},
	})
}

func nullMX() *Facts       { return factsOf().with(func(f *Facts) { f.Hosts.Null = true }) }
func noMX(l Lookup) *Facts { return factsOf().with(func(f *Facts) { f.Hosts.Lookup = l }) }

func refused() MXHost {
	h := MXHost{Name: "mx1", A: found("A")}
	h.Refused = append(h.Refused, dialogue("127.0.0.1", dead).Address)
	return h
}

func alias() MXHost {
	h := mxHost("mx1", dialogue("192.0.2.1", up))
	h.Alias = "mx.elsewhere.example"
	return h
}

func TestJudgeStartTLS12(t *testing.T) {
	versions := func(v map[string]int) Tally {
		h := sender("198.51.100.1", good, none, none)
		h.TLSVersions = v
		return tallyOf(h)
	}
	judgeCases(t, StartTLS12, Rules{}, []verdictCase{
		{"TLS 1.3", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), Tally{}, SupportYes, 1, 0, 0, "TLS 1.3"},
		{"TLS 1.0", factsOf(mxHost("mx1", old("192.0.2.1"))), Tally{}, SupportNo, 0, 1, 0, "TLS 1.0 only; offer TLS 1.2 and 1.3"},
		{"none", factsOf(mxHost("mx1", dialogue("192.0.2.1", plain))), Tally{}, SupportNo, 0, 1, 0, ""},
		{"dead", factsOf(mxHost("mx1", dialogue("192.0.2.1", dead))), Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"sends with TLS 1.3", nullMX(), versions(map[string]int{"TLSv1.3": 10}), SupportYes, 1, 0, 0, "10 of 10 sessions (TLSv1.3: 10)"},
		{"sends with TLS 1.1", nullMX(), versions(map[string]int{"TLSv1.1": 10}), SupportNo, 0, 1, 0, "0 of 10 sessions (TLSv1.1: 10)"},
		{"sends with both, 80 %", nullMX(), versions(map[string]int{"TLSv1.2": 8, "TLSv1": 2}), SupportYes, 1, 0, 0, "8 of 10 sessions (TLSv1.2: 8, TLSv1: 2)"},
		{"sends with both, 70 %", nullMX(), versions(map[string]int{"TLSv1.2": 7, "TLSv1": 3}), SupportNo, 0, 1, 0, ""},
		{"versions not told", nullMX(), versions(nil), SupportYes, 1, 0, 0, ""},
	})
}

func TestJudgeX509(t *testing.T) {
	with := func(change func(*CertificateFacts)) SMTPFacts {
		s := dialogue("192.0.2.1", up)
		change(&s.TLS.Certificate)
		return s
	}
	fail, unknown := Check{Result: Fail}, Check{}
	wrongName := func(c *CertificateFacts) { c.Named, c.Names = fail, []string{"mail.example.net"} }
	strange := func(c *CertificateFacts) {
		c.Named, c.Names = fail, []string{"a\x1b[31m", "b", "c", "d", "e", "f", "g"}
	}
	judgeCases(t, X509, Rules{}, []verdictCase{
		{"good", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), Tally{}, SupportYes, 4, 0, 0, "valid until 2026-12-20"},
		{"untrusted", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Trusted = Check{Fail, ReasonSelfSigned, "self-signed"} }))), Tally{}, SupportNo, 3, 1, 0, "trusted | fail | self-signed; get a certificate of a public authority"},
		{"wrong name", factsOf(mxHost("mx1.example.org", with(wrongName))), Tally{}, SupportNo, 3, 1, 0, "certificate names mail.example.net, not mx1.example.org; ask for one that lists it"},
		{"hostile names", factsOf(mxHost("mx1", with(strange))), Tally{}, SupportNo, 3, 1, 0, `certificate names "a\x1b[31m", b, c, d, e and 2 more, not mx1`},
		{"expired", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Dated = fail }))), Tally{}, SupportNo, 3, 1, 0, "valid from 2026-10-20 to 2026-12-20 only; renew it"},
		{"revoked", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Revoked = fail }))), Tally{}, SupportNo, 3, 1, 0, "replace it"},
		{"no CRL to be had", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Revoked = unknown }))), Tally{}, SupportYes, 3, 0, 1, "no revocation list could be had"},
		{"no STARTTLS", factsOf(mxHost("mx1", dialogue("192.0.2.1", plain))), Tally{}, SupportUnknown, 0, 0, 0, "certificate | not-applicable | it presents no certificate"},
		{"dead", factsOf(mxHost("mx1", dialogue("192.0.2.1", dead))), Tally{}, SupportUnknown, 0, 0, 1, "connect: timeout"},
		{"one of two hosts expired is 7 of 8", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Dated = fail })), mxHost("mx2", dialogue("192.0.2.2", up))), Tally{}, SupportYes, 7, 1, 0, ""},
		{"the bad address decides", factsOf(mxHost("mx1", dialogue("192.0.2.9", up), with(wrongName))), Tally{}, SupportNo, 3, 1, 0, "192.0.2.1 | inbound | name | fail"},
		{"warnings", factsOf(mxHost("mx1", with(func(c *CertificateFacts) { c.Warnings = []string{"expires in 3 days"} }))), Tally{}, SupportYes, 4, 0, 0, "note: mx1 [192.0.2.1]: expires in 3 days"},
		{"certificate not stored", factsOf(mxHost("mx1", SMTPFacts{Outcome: up})), Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"null MX", nullMX(), Tally{}, SupportUnknown, 0, 0, 0, ""},
	})
}

func TestJudgeSPF(t *testing.T) {
	with := func(change func(*SPFFacts)) *Facts {
		return factsOf().with(func(f *Facts) { f.SPF = goodSPF(); change(&f.SPF) })
	}
	ok := with(func(*SPFFacts) {})
	invalid := with(func(f *SPFFacts) { f.Valid = Check{Fail, ReasonSPFLookupLimit, "too many DNS lookups"} })
	unknown := with(func(f *SPFFacts) { f.Valid = Check{Result: Unknown, Detail: "include:a.example: timeout"} })
	lost := factsOf().with(func(f *Facts) { f.SPF.Lookup = failed() })
	authorised, not, silent := sender("198.51.100.1", none, good, none), sender("198.51.100.2", none, bad, none), sender("198.51.100.3", good, none, none)
	judgeCases(t, SPF, Rules{}, []verdictCase{
		{"record, nothing seen", ok, Tally{}, SupportYes, 1, 0, 0, `"v=spf1 mx -all", 1 DNS lookups of 10, 0 void of 2, ends in -all`},
		{"record and host", ok, tallyOf(authorised), SupportYes, 2, 0, 0, "authorises it for MAIL FROM in 10 of 10 sessions"},
		{"record and a bad host", ok, tallyOf(not), SupportNo, 1, 1, 0, ""},
		{"the record does not make up for hosts", ok, tallyOf(authorised, authorised, authorised, not), SupportNo, 4, 1, 0, ""},
		{"80 % of the hosts", ok, tallyOf(authorised, authorised, authorised, authorised, not), SupportYes, 5, 1, 0, ""},
		{"hosts that decide nothing", ok, tallyOf(silent), SupportYes, 1, 0, 1, ""},
		{"hosts do not make up for the record", invalid, tallyOf(authorised, authorised, authorised, authorised, authorised), SupportNo, 5, 1, 0, "too many DNS lookups: "},
		{"chain", with(func(f *SPFFacts) {
			f.Chain = []string{"example.org -> v=spf1 include:a.example -all", "  include:a.example -> v=spf1 mx"}
		}), Tally{}, SupportYes, 1, 0, 0, "note: chain, 2 of 2:   include:a.example -> v=spf1 mx"},
		{"no record", factsOf(), Tally{}, SupportNo, 0, 1, 0, "publishes no SPF record"},
		{"two records", with(func(f *SPFFacts) { f.Count = 2 }), Tally{}, SupportNo, 0, 1, 0, "publishes 2 SPF records"},
		{"record not to be had", lost, Tally{}, SupportUnknown, 0, 0, 1, "the record is not known: timeout"},
		{"record not to be had, hosts good", lost, tallyOf(authorised), SupportUnknown, 1, 0, 1, ""},
		{"record not to be had, hosts bad", lost, tallyOf(not), SupportNo, 0, 1, 1, ""},
		{"the audit found no answer", factsOf().with(func(f *Facts) { f.SPF.Valid = Check{Result: Unknown, Detail: "timeout"} }), Tally{}, SupportUnknown, 0, 0, 1, "could not be checked: timeout"},
		{"an include not to be had", unknown, Tally{}, SupportUnknown, 0, 0, 1, "include:a.example: timeout"},
		{"+all is noted", with(func(f *SPFFacts) { f.Policy = "+all"; f.Warnings = []string{"ptr is slow"} }), Tally{}, SupportYes, 1, 0, 0, "note: ptr is slow"},
		{"not probed", nil, tallyOf(authorised), SupportUnknown, 1, 0, 0, ""},
	})
	judgeCases(t, SPF, Rules{Passive: true}, []verdictCase{
		{"passive", nil, tallyOf(authorised), SupportYes, 1, 0, 0, ""},
		{"passive, bad", nil, tallyOf(not), SupportNo, 0, 1, 0, ""},
		{"passive, nothing seen", nil, Tally{}, SupportUnknown, 0, 0, 0, ""},
	})
	judgeCases(t, SPFPolicy, Rules{}, []verdictCase{
		{"-all", ok, Tally{}, SupportYes, 1, 0, 0, "ends in -all"},
		{"~all", with(func(f *SPFFacts) { f.Policy = "~all" }), Tally{}, SupportYes, 1, 0, 0, ""},
		{"?all", with(func(f *SPFFacts) { f.Policy = "?all" }), Tally{}, SupportNo, 0, 1, 0, `ends in "?all"`},
		{"+all", with(func(f *SPFFacts) { f.Policy = "+all" }), Tally{}, SupportNo, 0, 1, 0, ""},
		{"no all", with(func(f *SPFFacts) { f.Policy = "" }), Tally{}, SupportNo, 0, 1, 0, "says nothing of other hosts"},
		{"redirect not to be had", with(func(f *SPFFacts) { f.Policy = ""; f.Valid = Check{} }), Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"no record", factsOf(), Tally{}, SupportNo, 0, 1, 0, "publishes no SPF record"},
		{"two records", with(func(f *SPFFacts) { f.Count = 2 }), Tally{}, SupportNo, 0, 1, 0, ""},
		{"record not to be had", lost, Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"not probed", nil, tallyOf(authorised), SupportUnknown, 0, 0, 0, ""},
	})
}

func TestJudgeDKIM(t *testing.T) {
	presence := func(l Lookup) *Facts { return factsOf().with(func(f *Facts) { f.DKIM.Presence = l }) }
	signs, not, silent, relayed := sender("198.51.100.1", none, none, good), sender("198.51.100.2", none, none, bad), sender("198.51.100.3", good, none, none), sender("relayed", none, none, good)
	keys := func(k DKIMKey) *Facts { return factsOf().with(func(f *Facts) { f.DKIM.Keys = []DKIMKey{k} }) }
	s1 := Selector{Domain: "example.org", Name: "s1"}
	judgeCases(t, DKIM, Rules{}, []verdictCase{
		{"signs", factsOf(), tallyOf(signs), SupportYes, 1, 0, 0, "a valid aligned signature in 10 of 10 sessions"},
		{"does not sign", presence(denied("TXT")), tallyOf(not), SupportNo, 0, 1, 0, "signature | fail"},
		{"relayed counts as a host", factsOf(), tallyOf(relayed), SupportYes, 1, 0, 0, "relayed |  | outbound | signature | pass"},
		{"relayed and a host that does not", factsOf(), tallyOf(relayed, not), SupportNo, 1, 1, 0, ""},
		{"estimate: present", presence(denied("TXT")), Tally{}, SupportYes, 1, 0, 0, "presence | pass | estimate"},
		{"estimate: present, other sessions", presence(denied("TXT")), tallyOf(silent), SupportYes, 1, 0, 1, "presence | pass | estimate"},
		{"estimate: absent", factsOf(), Tally{}, SupportNo, 0, 1, 0, "presence | fail | estimate"},
		{"estimate not to be had", presence(failed()), Tally{}, SupportUnknown, 0, 0, 1, "timeout"},
		{"estimate not asked", presence(Lookup{}), Tally{}, SupportUnknown, 0, 0, 1, "not asked"},
		{"key", keys(DKIMKey{Selector: s1, Lookup: secure(found("TXT")), Key: "RSA 2048", Testing: true}), tallyOf(signs), SupportYes, 1, 0, 0, "note: key s1._domainkey.example.org: RSA 2048, testing (t=y): receivers treat its messages as unsigned, remove the flag, DNSSEC secure"},
		{"key with a problem", keys(DKIMKey{Selector: s1, Lookup: found("TXT"), Key: "RSA 512", Problem: "too short"}), tallyOf(signs), SupportYes, 1, 0, 0, "RSA 512, DNSSEC insecure; too short"},
		{"key gone", keys(DKIMKey{Selector: s1, Lookup: Lookup{Status: LookupNXDomain}}), tallyOf(signs), SupportYes, 1, 0, 0, "key s1._domainkey.example.org: the name does not exist"},
		{"not probed", nil, tallyOf(signs), SupportUnknown, 1, 0, 0, ""},
	})
	for _, tt := range []struct {
		tally Tally
		want  bool
	}{{Tally{}, true}, {tallyOf(silent), true}, {tallyOf(signs), false}, {tallyOf(relayed), false}} {
		if v := Judge(Evidence{Facts: factsOf(), Tally: tt.tally}, Rules{})[DKIM]; v.Estimate != tt.want {
			t.Errorf("estimate %v, want %v:\n%s", v.Estimate, tt.want, said(v))
		}
	}
}

func TestJudgeDMARC(t *testing.T) {
	with := func(change func(*DMARCFacts)) *Facts {
		return factsOf().with(func(f *Facts) { f.DMARC = goodDMARC(); change(&f.DMARC) })
	}
	ok := with(func(*DMARCFacts) {})
	invalid := with(func(f *DMARCFacts) { f.Valid = Check{Result: Fail, Detail: "p= is missing"} })
	lost := factsOf().with(func(f *Facts) { f.DMARC.Lookup = failed() })
	lostOnTheWay := factsOf().with(func(f *Facts) { f.DMARC.Walk = []Lookup{denied("TXT"), failed()} })
	judgeCases(t, DMARC, Rules{}, []verdictCase{
		{"good", ok, Tally{}, SupportYes, 1, 0, 0, `"v=DMARC1; p=reject`},
		{"none", factsOf(), Tally{}, SupportNo, 0, 1, 0, "there is no DMARC record"},
		{"invalid", invalid, Tally{}, SupportNo, 0, 1, 0, `p= is missing: "v=DMARC1`},
		{"not to be had", lost, Tally{}, SupportUnknown, 0, 0, 1, "the record is not known: timeout"},
		{"not to be had at a parent", lostOnTheWay, Tally{}, SupportUnknown, 0, 0, 1, "timeout"},
		{"the walk found no answer", factsOf().with(func(f *Facts) { f.DMARC.Valid = Check{Result: Unknown, Detail: "timeout"} }), Tally{}, SupportUnknown, 0, 0, 1, "could not be checked: timeout"},
		{"of a parent", with(func(f *DMARCFacts) { f.Found, f.Policy = "_dmarc.parent.example", "quarantine" }), Tally{}, SupportYes, 1, 0, 0, "note: the record at _dmarc.parent.example applies to this domain, with the policy quarantine"},
		{"p=none is noted", with(func(f *DMARCFacts) { f.Policy = "none"; f.Reports = nil }), Tally{}, SupportYes, 1, 0, 0, "note: no report address"},
		{"warnings", with(func(f *DMARCFacts) { f.Warnings = []string{"pct= is history"} }), Tally{}, SupportYes, 1, 0, 0, "note: pct= is history"},
	})
	judgeCases(t, DMARCPolicy, Rules{}, []verdictCase{
		{"reject", ok, Tally{}, SupportYes, 1, 0, 0, "the policy is reject, and reports are asked for"},
		{"quarantine", with(func(f *DMARCFacts) { f.Policy = "quarantine" }), Tally{}, SupportYes, 1, 0, 0, ""},
		{"none", with(func(f *DMARCFacts) { f.Policy = "none" }), Tally{}, SupportNo, 0, 1, 0, "set p=quarantine or p=reject"},
		{"no reports", with(func(f *DMARCFacts) { f.Reports = nil }), Tally{}, SupportNo, 0, 1, 0, "add rua="},
		{"no record", factsOf(), Tally{}, SupportNo, 0, 1, 0, ""},
		{"invalid", invalid, Tally{}, SupportNo, 0, 1, 0, ""},
		{"not to be had", lost, Tally{}, SupportUnknown, 0, 0, 1, ""},
	})
}

func TestJudgeDANE(t *testing.T) {
	tlsa := func(outcome StartTLSOutcome, change func(*DANEFacts)) *Facts {
		h := mxHost("mx1", dialogue("192.0.2.1", outcome))
		h.DANE = DANEFacts{Lookup: secure(found("TLSA")), Usable: 1, Match: Check{Result: Pass}, Matched: "3 1 1 ab"}
		change(&h.DANE)
		return factsOf(h).with(func(f *Facts) { f.Hosts.Lookup.Security = Secure })
	}
	ok := tlsa(up, func(*DANEFacts) {})
	unsignedMX := tlsa(up, func(*DANEFacts) {}).with(func(f *Facts) { f.Hosts.Lookup.Security = Insecure })
	judgeCases(t, DANE, Rules{}, []verdictCase{
		{"matches", ok, Tally{}, SupportYes, 1, 0, 0, `matches "3 1 1 ab"`},
		{"matches unprotected", tlsa(up, func(d *DANEFacts) { d.Lookup.Security = Insecure }), Tally{}, SupportYes, 1, 0, 0, "note: mx1: matches, but DNSSEC does not protect it: senders ignore it"},
		{"matches, MX unprotected", unsignedMX, Tally{}, SupportYes, 1, 0, 0, "does not protect the MX records"},
		{"no TLSA", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), Tally{}, SupportNo, 0, 1, 0, "publishes no TLSA records"},
		{"does not match", tlsa(up, func(d *DANEFacts) { d.Match = Check{Result: Fail} }), Tally{}, SupportNo, 0, 1, 0, "do not deliver"},
		{"no STARTTLS", tlsa(plain, func(d *DANEFacts) { d.Match = Check{} }), Tally{}, SupportNo, 0, 1, 0, "speaks no STARTTLS"},
		{"dead", tlsa(dead, func(d *DANEFacts) { d.Match = Check{} }), Tally{}, SupportUnknown, 0, 0, 1, "no certificate was seen: connect: timeout"},
		{"not to be had", tlsa(up, func(d *DANEFacts) { *d = DANEFacts{Lookup: failed()} }), Tally{}, SupportUnknown, 0, 0, 1, "timeout"},
		{"warnings", tlsa(up, func(d *DANEFacts) { d.Warnings = []string{"usage 1 is not for SMTP"} }), Tally{}, SupportYes, 1, 0, 0, "note: mx1: usage 1"},
		{"null MX", nullMX(), Tally{}, SupportUnknown, 0, 0, 0, ""},
	})
	if v := Judge(Evidence{Facts: ok}, Rules{})[DANE]; len(v.Notes) > 0 {
		t.Errorf("a protected match is warned of: %q", v.Notes)
	}
}

func TestJudgeDNSSEC(t *testing.T) {
	signed := func(change func(*Facts)) *Facts {
		h := mxHost("mx1", dialogue("192.0.2.1", up))
		h.Zone, h.TXT, h.DANE.Lookup = secure(h.Zone), secure(found("TXT")), secure(found("TLSA"))
		return factsOf(h).with(func(f *Facts) {
			f.Hosts.Lookup, f.DNSSEC.Zone, f.DNSSEC.TXT, f.DMARC.Lookup = secure(found("MX")), secure(found("SOA")), secure(found("TXT")), secure(found("TXT"))
			change(f)
		})
	}
	all := func(set func(*Lookup)) func(*Facts) {
		return func(f *Facts) {
			h := &f.Hosts.Hosts[0]
			for _, l := range []*Lookup{&f.DNSSEC.Zone, &f.DNSSEC.TXT, &f.DMARC.Lookup, &f.Hosts.Lookup, &h.Zone, &h.TXT, &h.DANE.Lookup} {
				set(l)
			}
		}
	}
	judgeCases(t, DNSSEC, Rules{}, []verdictCase{
		{"all signed", signed(func(*Facts) {}), Tally{}, SupportYes, 7, 0, 0, ""},
		{"nothing signed", factsOf(mxHost("mx1", dialogue("192.0.2.1", up))), Tally{}, SupportNo, 0, 3, 0, "mx1 |  | inbound | mx-host | fail | not signed"},
		{"one fails: there is no threshold", signed(func(f *Facts) { f.Hosts.Hosts[0].Zone.Security = Insecure }), Tally{}, SupportNo, 6, 1, 0, ""},
		{"no record, no question", signed(func(f *Facts) { f.Hosts.Hosts[0].DANE.Lookup = denied("TLSA") }), Tally{}, SupportYes, 6, 0, 0, "tlsa | not-applicable"},
		{"no TXT", signed(func(f *Facts) { f.DNSSEC.TXT = denied("TXT"); f.DMARC.Lookup = denied("TXT") }), Tally{}, SupportYes, 5, 0, 0, "txt | not-applicable"},
		{"implicit MX", signed(func(f *Facts) { f.Hosts.Lookup = secure(denied("MX")) }), Tally{}, SupportYes, 6, 0, 0, "mx | not-applicable"},
		{"a zone below the apex", signed(func(f *Facts) { f.DNSSEC.Zone = secure(denied("SOA")) }), Tally{}, SupportYes, 7, 0, 0, ""},
		{"a host that does not exist", signed(func(f *Facts) { f.Hosts.Hosts[0].Zone = Lookup{Status: LookupNXDomain, Security: Insecure} }), Tally{}, SupportYes, 6, 0, 0, "mx-host | not-applicable | the name does not exist"},
		{"bogus", signed(func(f *Facts) { f.DNSSEC.TXT = bogus() }), Tally{}, SupportNo, 6, 1, 0, "txt | bogus | does not validate"},
		{"bogus DMARC", signed(func(f *Facts) { f.DMARC.Lookup = bogus() }), Tally{}, SupportNo, 6, 1, 0, "_dmarc.example.org |  | inbound | dmarc | bogus"},
		{"one not to be had", signed(func(f *Facts) { f.Hosts.Hosts[0].TXT = failed() }), Tally{}, SupportYes, 6, 0, 1, "mx-host-txt | unknown | not known: timeout"},
		{"none to be had", signed(all(func(l *Lookup) { *l = failed() })), Tally{}, SupportUnknown, 0, 0, 6, ""},
		{"indeterminate", signed(all(func(l *Lookup) { l.Security = Indeterminate })), Tally{}, SupportUnknown, 0, 0, 7, "the resolver does not tell"},
		{"resolver does not validate", signed(func(f *Facts) { f.DNSSEC.Validates = Fail; all(func(l *Lookup) { l.Security = Insecure })(f) }), Tally{}, SupportUnknown, 0, 0, 7, "does not validate"},
		{"resolver not tested", signed(func(f *Facts) { f.DNSSEC.Validates = Unknown; f.DNSSEC.Problem = "no answer" }), Tally{}, SupportUnknown, 0, 0, 7, "no answer"},
		{"null MX", signed(func(f *Facts) { f.Hosts.Null, f.Hosts.Hosts = true, nil }), Tally{}, SupportYes, 4, 0, 0, ""},
		{"other names", signed(func(f *Facts) { f.MTASTS.Lookup = secure(found("TXT")); f.MTASTS.Lookup.Name = "_mta-sts.example.org" }), Tally{}, SupportYes, 7, 0, 0, "note: _mta-sts.example.org: secure"},
	})
}

func TestJudgeMTASTS(t *testing.T) {
	with := func(f MTASTSFacts, change func(*MTASTSFacts)) *Facts {
		change(&f)
		return factsOf().with(func(facts *Facts) { facts.MTASTS = f })
	}
	as := func(f MTASTSFacts) *Facts { return with(f, func(*MTASTSFacts) {}) }
	judgeCases(t, MTASTS, Rules{}, []verdictCase{
		{"good", as(goodMTASTS(Pass)), Tally{}, SupportYes, 4, 0, 0, "mode | pass | enforce"},
		{"no record", factsOf(), Tally{}, SupportNo, 0, 1, 0, "there is no MTA-STS record"},
		{"record not to be had", as(MTASTSFacts{Lookup: failed()}), Tally{}, SupportUnknown, 0, 0, 1, "timeout"},
		{"not asked", as(MTASTSFacts{}), Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"record invalid", with(goodMTASTS(), func(f *MTASTSFacts) { f.Record = Check{Result: Fail, Detail: "no id"} }), Tally{}, SupportNo, 0, 1, 0, "no id"},
		{"policy missing", with(goodMTASTS(), func(f *MTASTSFacts) { f.Fetched = Check{Result: Fail, Detail: "status 404"} }), Tally{}, SupportNo, 1, 1, 0, "policy | fail | status 404"},
		{"policy not to be had", with(goodMTASTS(), func(f *MTASTSFacts) { f.Fetched = Check{Result: Unknown, Detail: "timeout"} }), Tally{}, SupportUnknown, 1, 0, 1, ""},
		{"testing protects nothing", with(goodMTASTS(Pass), func(f *MTASTSFacts) { f.Mode = "testing" }), Tally{}, SupportNo, 3, 1, 0, `mode "testing" protects nothing`},
		{"many hosts do not make up for the mode", with(goodMTASTS(Pass, Pass, Pass, Pass, Pass, Pass), func(f *MTASTSFacts) { f.Mode = "none" }), Tally{}, SupportNo, 8, 1, 0, ""},
		{"a host not covered", as(goodMTASTS(Pass, Fail)), Tally{}, SupportNo, 4, 1, 0, "mx | fail"},
		{"80 % of the hosts", as(goodMTASTS(Pass, Pass, Pass, Pass, Fail)), Tally{}, SupportYes, 7, 1, 0, ""},
		{"hosts not known", as(goodMTASTS(Unknown, Unknown)), Tally{}, SupportYes, 3, 0, 2, ""},
		{"no hosts", as(goodMTASTS()), Tally{}, SupportYes, 3, 0, 0, ""},
	})
}

func TestJudgeTLSRPT(t *testing.T) {
	as := func(f TLSRPTFacts) *Facts { return factsOf().with(func(facts *Facts) { facts.TLSRPT = f }) }
	judgeCases(t, TLSRPT, Rules{}, []verdictCase{
		{"good", as(TLSRPTFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}, Reports: []string{"mailto:a@b.example"}}), Tally{}, SupportYes, 1, 0, 0, `reports go to "mailto:a@b.example"`},
		{"none", factsOf(), Tally{}, SupportNo, 0, 1, 0, "there is no TLS-RPT record"},
		{"invalid", as(TLSRPTFacts{Lookup: found("TXT"), Valid: Check{Result: Fail, Detail: "no rua"}}), Tally{}, SupportNo, 0, 1, 0, "no rua"},
		{"not to be had", as(TLSRPTFacts{Lookup: failed()}), Tally{}, SupportUnknown, 0, 0, 1, "timeout"},
	})
}

func TestJudgeRequireTLS(t *testing.T) {
	says := func(plain, tls string) *Facts {
		s := dialogue("192.0.2.1", up)
		s.EHLO, s.TLSEHLO = []string{"250-mx1", "250 " + plain}, []string{"250-REQUIRETLS", "250-SIZE 1000", "250 " + tls}
		return factsOf(mxHost("mx1", s))
	}
	judgeCases(t, RequireTLS, Rules{}, []verdictCase{
		{"listed", says("STARTTLS", "REQUIRETLS"), Tally{}, SupportYes, 1, 0, 0, "lists REQUIRETLS"},
		{"in lower case", says("STARTTLS", "requiretls "), Tally{}, SupportYes, 1, 0, 0, ""},
		{"the name of the server is no keyword", says("STARTTLS", "8BITMIME"), Tally{}, SupportNo, 0, 1, 0, ""},
		{"in plain text only", says("REQUIRETLS", "8BITMIME"), Tally{}, SupportNo, 0, 1, 0, ""},
		{"a longer word", says("STARTTLS", "REQUIRETLSX"), Tally{}, SupportNo, 0, 1, 0, ""},
		{"no STARTTLS", factsOf(mxHost("mx1", dialogue("192.0.2.1", plain))), Tally{}, SupportNo, 0, 1, 0, ""},
		{"dead", factsOf(mxHost("mx1", dialogue("192.0.2.1", dead))), Tally{}, SupportUnknown, 0, 0, 1, ""},
		{"nothing said", factsOf(mxHost("mx1", SMTPFacts{Outcome: up})), Tally{}, SupportNo, 0, 1, 0, ""},
	})
}
