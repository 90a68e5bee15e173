package assess

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unfit says why the reason of a test does not explain it, or "".
func unfit(s Standard, test Test) string {
	e, ok := explanationOf[test.Reason]
	switch {
	case !ok:
		return fmt.Sprintf("no reason is called %q", test.Reason)
	case e.Standard != "" && e.Standard != s && e.Standard != baseOf(s):
		return fmt.Sprintf("%s is a reason of %s", e.Reason, e.Standard)
	case !slices.Contains(e.Results, test.Result):
		return fmt.Sprintf("%s does not explain %s", e.Reason, test.Result)
	}
	return ""
}

// baseOf is the standard that a criterion is a stricter reading of.
func baseOf(s Standard) Standard {
	all := standards()
	return all[slices.IndexFunc(all, func(row standard) bool { return row.name == s })].of
}

// The table is closed and lint-free: tokens are unlike each other and spelled as tokens are, each
// says what it means, where it is written, and what to do about a failure, and only there.
func TestReasonsAreWhole(t *testing.T) {
	token, section := regexp.MustCompile(`^[a-z0-9]+([-.][a-z0-9]+)*$`), regexp.MustCompile(`^(RFC \d+, section \d+(\.\d+)*|draft(-[a-z]+)+)$`)
	seen := map[Reason]bool{}
	for _, e := range Explanations {
		switch {
		case seen[e.Reason]:
			t.Errorf("%s: twice", e.Reason)
		case !token.MatchString(string(e.Reason)), !section.MatchString(e.Section), !strings.HasSuffix(e.Meaning, "."), len(e.Results) == 0:
			t.Errorf("%+v", e)
		case slices.Contains(e.Results, Fail) && e.Advice == "", slices.Contains(e.Results, Bogus) && e.Advice == "":
			t.Errorf("%s: no advice", e.Reason)
		}
		seen[e.Reason] = true
	}
}

// reached has evidence for each reason, by which Judge gives it. Some come with the facts, from
// the prober: its own tests hold that it gives them.
func reached() map[Reason]Evidence {
	facts := func(change func(*Facts)) Evidence {
		h := mxHost("mx1.example.org", dialogue("192.0.2.1", up))
		return Evidence{Facts: factsOf(h).with(change)}
	}
	host := func(change func(*MXHost)) Evidence {
		return facts(func(f *Facts) { change(&f.Hosts.Hosts[0]) })
	}
	session := func(change func(*SMTPFacts)) Evidence {
		return host(func(h *MXHost) { change(&h.Sessions[0]) })
	}
	ends := func(reason Reason) Evidence {
		return session(func(s *SMTPFacts) { *s = dialogue("192.0.2.1", dead); s.Reason = reason })
	}
	outcome := func(o StartTLSOutcome) Evidence {
		return session(func(s *SMTPFacts) { *s = dialogue("192.0.2.1", o) })
	}
	certificate := func(change func(*CertificateFacts)) Evidence {
		return session(func(s *SMTPFacts) { change(&s.TLS.Certificate) })
	}
	trusted := func(r Result, reason Reason) Evidence {
		return certificate(func(c *CertificateFacts) { c.Trusted = Check{Result: r, Reason: reason} })
	}
	dated := func(r Result, reason Reason) Evidence {
		return certificate(func(c *CertificateFacts) { c.Dated = Check{Result: r, Reason: reason} })
	}
	revoked := func(r Result, reason Reason) Evidence {
		return certificate(func(c *CertificateFacts) { c.Revoked = Check{Result: r, Reason: reason} })
	}
	spf := func(change func(*SPFFacts)) Evidence {
		return facts(func(f *Facts) { f.SPF = goodSPF(); change(&f.SPF) })
	}
	dmarc := func(change func(*DMARCFacts)) Evidence {
		return facts(func(f *Facts) { f.DMARC = goodDMARC(); change(&f.DMARC) })
	}
	sts := func(change func(*MTASTSFacts)) Evidence {
		return facts(func(f *Facts) { f.MTASTS = goodMTASTS(Pass); change(&f.MTASTS) })
	}
	match := func(r Result, reason Reason) Evidence {
		return sts(func(f *MTASTSFacts) { f.Matches[0].Match = Check{Result: r, Reason: reason} })
	}
	bimi := func(r Result, reason Reason) Evidence {
		return facts(func(f *Facts) { f.BIMI = BIMIFacts{Lookup: found("TXT"), Valid: Check{Result: r, Reason: reason}} })
	}
	rpt := func(r Result) Evidence {
		return facts(func(f *Facts) { f.TLSRPT = TLSRPTFacts{Lookup: found("TXT"), Valid: Check{Result: r}} })
	}
	tlsa := func(o StartTLSOutcome, r Result) Evidence {
		return host(func(h *MXHost) {
			h.Sessions[0], h.DANE = dialogue("192.0.2.1", o), DANEFacts{Lookup: found("TLSA"), Match: Check{Result: r}}
		})
	}
	asks := func(l Lookup) Evidence { return facts(func(f *Facts) { f.TLSRPT.Lookup = l }) }
	zone := func(l Lookup) Evidence { return facts(func(f *Facts) { f.DNSSEC.Zone = l }) }
	suspect := bogus()
	suspect.Security = SuspectAnswer
	sends := func(h HostTally) Evidence { return Evidence{Facts: nullMX(), Tally: tallyOf(h)} }
	sender := func(tls, spf, dkim Count) Evidence { return sends(sender("198.51.100.1", tls, spf, dkim)) }
	lists := func(lines ...string) Evidence { return session(func(s *SMTPFacts) { s.TLSEHLO = lines }) }
	same := func(*SPFFacts) {}

	all := map[Reason]Evidence{
		ReasonNotAsked: asks(Lookup{}), ReasonLookupTimeout: asks(failed()), ReasonLookupFailure: asks(Lookup{Status: LookupFailed, Reason: "SERVFAIL"}),
		ReasonLookupBogus: asks(bogus()), ReasonLookupSuspect: asks(suspect), ReasonNameNonexistent: zone(Lookup{Status: LookupNXDomain}), ReasonRecordsAbsent: facts(func(*Facts) {}),
		ReasonAddressAbsent: host(func(h *MXHost) { *h = MXHost{Name: h.Name, A: denied("A"), AAAA: denied("AAAA")} }), ReasonAddressForbidden: host(func(h *MXHost) { *h = refused() }),
		ReasonAddressUntested: host(func(h *MXHost) { h.Sessions = nil }), ReasonDialogueFailure: ends(""),
		ReasonTLSNotOffered: outcome(plain), ReasonTLSRefusal: outcome(TLSRefused), ReasonHandshakeFailure: outcome(TLSFailed), ReasonSessionsUndecided: sender(none, good, none),

		ReasonTLSEstablished: outcome(up), ReasonTLSAnswered: outcome(TLSAnswered), ReasonSessionsEncrypted: sender(good, none, none), ReasonSessionsInPlainText: sender(bad, none, none),
		ReasonTLSVersionUnknown: outcome(TLSAnswered), ReasonTLSVersionDeprecated: session(func(s *SMTPFacts) { *s = old("192.0.2.1") }),
		ReasonSessionsTLS12: sender(good, none, none), ReasonSessionsDeprecated: sender(Count{8, 2}, none, none),

		ReasonCertificateTrusted: outcome(up), ReasonCertificateUntrusted: trusted(Fail, ""), ReasonNameMatch: outcome(up), ReasonNameMismatch: certificate(func(c *CertificateFacts) { c.Named = Check{Result: Fail} }),
		ReasonCertificateDated: outcome(up), ReasonCertificateOutdated: dated(Fail, ""), ReasonCertificateUnrevoked: outcome(up), ReasonCertificateRevoked: revoked(Fail, ""),
		ReasonRevocationUnknown: revoked(Unknown, ""), ReasonCertificateUnchecked: trusted(Unknown, ""), ReasonCertificateAbsent: outcome(plain),
		ReasonCertificateExpired: dated(Fail, ReasonCertificateExpired), ReasonCertificateEarly: dated(Fail, ReasonCertificateEarly),
		ReasonCRLAbsent: revoked(Unknown, ReasonCRLAbsent), ReasonCRLUnavailable: revoked(Unknown, ReasonCRLUnavailable),

		ReasonSPFValid: spf(same), ReasonSPFAbsent: facts(func(*Facts) {}), ReasonSPFMultiple: spf(func(f *SPFFacts) { f.Count = 2 }),
		ReasonSPFInvalid: spf(func(f *SPFFacts) { f.Valid = Check{Result: Fail} }), ReasonSPFLookupLimit: spf(func(f *SPFFacts) { f.Valid = Check{Result: Fail, Reason: ReasonSPFLookupLimit} }),
		ReasonSPFVoidLimit: spf(func(f *SPFFacts) { f.Valid = Check{Result: Fail, Reason: ReasonSPFVoidLimit} }), ReasonSPFUnchecked: spf(func(f *SPFFacts) { f.Valid = Check{} }),
		ReasonSessionsAuthorised: sender(none, good, none), ReasonSessionsUnauthorised: sender(none, bad, none), ReasonSPFPolicyStrict: spf(same),
		ReasonSPFPolicyOpen: spf(func(f *SPFFacts) { f.Policy = "?all" }), ReasonSPFPolicyAbsent: spf(func(f *SPFFacts) { f.Policy = "" }),

		ReasonDKIMKeys: facts(func(f *Facts) { f.DKIM.Presence = denied("TXT") }), ReasonDKIMKeysAbsent: facts(func(*Facts) {}),
		ReasonSessionsSigned: sender(none, none, good), ReasonSessionsUnsigned: sender(none, none, bad),

		ReasonDMARCValid: dmarc(func(*DMARCFacts) {}), ReasonDMARCAbsent: facts(func(*Facts) {}), ReasonDMARCInvalid: dmarc(func(f *DMARCFacts) { f.Valid = Check{Result: Fail} }),
		ReasonDMARCMultiple: dmarc(func(f *DMARCFacts) { f.Valid = Check{Result: Fail, Reason: ReasonDMARCMultiple} }), ReasonDMARCUnchecked: dmarc(func(f *DMARCFacts) { f.Valid = Check{} }),
		ReasonDMARCEnforced: dmarc(func(*DMARCFacts) {}), ReasonDMARCPolicyNone: dmarc(func(f *DMARCFacts) { f.Policy = "none" }), ReasonDMARCReportsAbsent: dmarc(func(f *DMARCFacts) { f.Reports = nil }),

		ReasonTLSAMatch: tlsa(up, Pass), ReasonTLSAAbsent: facts(func(*Facts) {}), ReasonTLSAMismatch: tlsa(up, Fail), ReasonTLSAWithoutTLS: tlsa(plain, Unknown), ReasonTLSAUnchecked: tlsa(up, Unknown),

		ReasonZoneSigned: zone(secure(found("SOA"))), ReasonZoneUnsigned: zone(found("SOA")), ReasonRecordsUnsigned: facts(func(f *Facts) { f.DNSSEC.TXT = found("TXT") }), ReasonValidationFailure: zone(bogus()),
		ReasonResolverWithoutDNSSEC: facts(func(f *Facts) { f.DNSSEC.Validates = Fail }), ReasonSecurityIndeterminate: zone(Lookup{Status: LookupFound}),

		ReasonSTSRecordValid: sts(func(*MTASTSFacts) {}), ReasonSTSRecordAbsent: facts(func(*Facts) {}), ReasonSTSRecordInvalid: sts(func(f *MTASTSFacts) { f.Record = Check{Result: Fail} }),
		ReasonSTSRecordUnchecked: sts(func(f *MTASTSFacts) { f.Record = Check{} }), ReasonSTSPolicyValid: sts(func(*MTASTSFacts) {}), ReasonSTSPolicyInvalid: sts(func(f *MTASTSFacts) { f.Fetched = Check{Result: Fail} }),
		ReasonSTSPolicyCertificate: sts(func(f *MTASTSFacts) { f.Fetched = Check{Result: Fail, Reason: ReasonSTSPolicyCertificate} }), ReasonSTSPolicyUnavailable: sts(func(f *MTASTSFacts) { f.Fetched = Check{} }),
		ReasonSTSEnforced: sts(func(*MTASTSFacts) {}), ReasonSTSNotEnforced: sts(func(f *MTASTSFacts) { f.Mode = "testing" }),
		ReasonSTSHostCovered: match(Pass, ""), ReasonSTSHostInvalid: match(Fail, ""), ReasonSTSHostNotListed: match(Fail, ReasonSTSHostNotListed), ReasonSTSHostUnchecked: match(Unknown, ""),

		ReasonTLSRPTValid: rpt(Pass), ReasonTLSRPTAbsent: facts(func(*Facts) {}), ReasonTLSRPTInvalid: rpt(Fail), ReasonTLSRPTUnchecked: rpt(Unknown),
		ReasonBIMIValid: bimi(Pass, ""), ReasonBIMIAbsent: facts(func(*Facts) {}), ReasonBIMIInvalid: bimi(Fail, ""), ReasonBIMIDeclined: bimi(NotApplicable, ReasonBIMIDeclined),
		ReasonRequireTLSOffered: lists("250-mx1", "250 REQUIRETLS"), ReasonRequireTLSNotOffered: lists("250 mx1"), ReasonRequireTLSUnseen: lists("250-mx1", CutMark),
	}
	for _, reason := range []Reason{ReasonSelfSigned, ReasonIntermediateMissing, ReasonIntermediateExpired, ReasonIssuerMismatch, ReasonKeyUsage} {
		all[reason] = trusted(Fail, reason)
	}
	for _, reason := range []Reason{ReasonCertificateEncrypted, ReasonCertificateUnreadable} {
		all[reason] = trusted(Unknown, reason)
	}
	for _, reason := range []Reason{
		ReasonBudgetExhausted, ReasonRunOver, ReasonDialogueNotKept, ReasonConnectionFailure, ReasonConnectionClosed, ReasonSMTPTimeout, ReasonServiceRefusal,
		ReasonTemporaryFailure, ReasonProtocolError, ReasonLimitExceeded, ReasonTextInjection, ReasonHandshakeCut, ReasonHandshakeAlert, ReasonLibraryLimit,
	} {
		all[reason] = ends(reason)
	}
	return all
}

// Every reason is reachable: some evidence has it, with a result that it explains.
func TestEveryReasonIsReached(t *testing.T) {
	reached := reached()
	for _, e := range Explanations {
		found := false
		for s, v := range Judge(reached[e.Reason], Rules{Passive: true}) {
			found = found || slices.ContainsFunc(v.Tests, func(test Test) bool { return test.Reason == e.Reason && unfit(s, test) == "" })
		}
		if !found {
			t.Errorf("nothing comes to %s", e.Reason)
		}
		delete(reached, e.Reason)
	}
	for reason := range reached {
		t.Errorf("%s is not in the table", reason)
	}
}

// No rule reads a sentence: what the prober says in words is for people.
func TestNoSentenceIsParsed(t *testing.T) {
	parsed := regexp.MustCompile(`(strings\.\w*|regexp\.\w*|slices\.Contains\w*)\([^)]*(Detail|Problem|Advice\(\)|[a-z]\.Reason|\bdetail\b|\bproblem\b)`)
	for _, line := range []string{ // that were there
		`case strings.HasPrefix(detail, "missing intermediate"):`, `case strings.Contains(detail, "too many DNS lookups"):`, `strings.HasPrefix(problem, OverBudget)`,
		`strings.HasSuffix(session.Problem, problemTimeout)`, `strings.HasPrefix(l.Reason, "timeout")`, `strings.Contains(older.Problem, protocolVersion.Error())`,
		`strings.TrimPrefix(facts.Problem, "handshake: ")`, `strings.Cut(t.Detail, "; ")`,
	} {
		if !parsed.MatchString(line) {
			t.Errorf("not found: %s", line)
		}
	}
	var sources []string
	for _, folder := range []string{".", "probe", "pkix", "../store", "../cmd/peerscore", "../cmd/peerscore/*"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, files...)
	}
	if len(sources) < 50 {
		t.Fatalf("%d files", len(sources))
	}
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if parsed.MatchString(line) {
				t.Errorf("%s:%d: %s", file, i+1, strings.TrimSpace(line))
			}
		}
	}
}
