package assess

import (
	"net/netip"
	"time"
)

// The tests build their evidence from the words below.

var testTime = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

var problems = map[StartTLSOutcome]string{
	TLSUnknown: "connect: timeout", TLSNotOffered: "ehlo: EHLO does not list STARTTLS",
	TLSRefused: `starttls: STARTTLS is listed and refused: "502 no"`, TLSFailed: "handshake: the server ends the handshake",
}

// dialogue is one session with an address; an established one speaks TLS 1.3 with a good certificate.
func dialogue(addr string, outcome StartTLSOutcome) SMTPFacts {
	s := SMTPFacts{Address: netip.MustParseAddr(addr), At: testTime, Outcome: outcome, Problem: problems[outcome]}
	if outcome == TLSUnknown {
		s.Reason = ReasonSMTPTimeout
	}
	if outcome == TLSEstablished {
		good := Check{Result: Pass}
		s.TLS = &TLSFacts{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Certificate: CertificateFacts{
			Issuer: "CN=Test CA", Names: []string{"mx1.example.org"}, NotBefore: testTime.AddDate(0, -1, 0), NotAfter: testTime.AddDate(0, 1, 0),
			Trusted: good, Named: good, Dated: good, Revoked: good,
		}}
	}
	return s
}

// old is a dialogue that came to TLS 1.0.
func old(addr string) SMTPFacts {
	s := dialogue(addr, TLSEstablished)
	s.TLS.Version, s.TLS.Deprecated = "TLS 1.0", true
	return s
}

func mxHost(name string, sessions ...SMTPFacts) MXHost {
	h := MXHost{Name: name, A: found("A"), Sessions: sessions, DANE: DANEFacts{Lookup: denied("TLSA")}, Zone: found("SOA"), TXT: denied("TXT")}
	for _, s := range sessions {
		h.A.Records = append(h.A.Records, s.Address.String())
	}
	return h
}

func found(kind string) Lookup  { return Lookup{Type: kind, Status: LookupFound, Security: Insecure} }
func denied(kind string) Lookup { return Lookup{Type: kind, Status: LookupNoData, Security: Insecure} }
func failed() Lookup            { return Lookup{Status: LookupFailed, Timeout: true, Reason: "timeout"} }
func secure(l Lookup) Lookup    { l.Security = Secure; return l }
func bogus() Lookup {
	return Lookup{Status: LookupFailed, Security: BogusAnswer, Reason: "SERVFAIL"}
}

// factsOf is what a run finds at a domain with these hosts and nothing else.
func factsOf(hosts ...MXHost) *Facts {
	return &Facts{
		Domain: "example.org", At: testTime,
		Hosts:  MXFacts{Lookup: found("MX"), Hosts: hosts},
		SPF:    SPFFacts{Lookup: denied("TXT")},
		DKIM:   DKIMFacts{Presence: Lookup{Status: LookupNXDomain}},
		DMARC:  DMARCFacts{Lookup: denied("TXT")},
		DNSSEC: DNSSECFacts{Validates: Pass, Zone: found("SOA"), TXT: denied("TXT")},
		MTASTS: MTASTSFacts{Lookup: denied("TXT")},
		TLSRPT: TLSRPTFacts{Lookup: denied("TXT")},
		BIMI:   BIMIFacts{Lookup: denied("TXT")},
	}
}

// with changes facts for one case.
func (f *Facts) with(change func(*Facts)) *Facts {
	change(f)
	return f
}

// sender is an outbound host; "relayed" is the pseudo-host.
func sender(addr string, tls, spf, dkim Count) HostTally {
	h := HostTally{Sessions: tls.Passed + tls.Failed + 1, StartTLS: tls, SPF: spf, DKIM: dkim, LastSeen: testTime}
	if addr != "relayed" {
		h.Host = ClientHost(netip.MustParseAddr(addr))
	}
	return h
}

func tallyOf(hosts ...HostTally) Tally {
	return Tally{Window: DefaultWindow, Hosts: hosts, FirstSeen: testTime, LastSeen: testTime}
}

var (
	none = Count{}
	good = Count{Passed: 10}
	bad  = Count{Failed: 10}
)

func goodSPF() SPFFacts {
	return SPFFacts{Lookup: found("TXT"), Count: 1, Record: "v=spf1 mx -all", Valid: Check{Result: Pass}, Lookups: 1, Policy: "-all"}
}

func goodDMARC() DMARCFacts {
	return DMARCFacts{
		Lookup: found("TXT"), Found: "_dmarc.example.org", Record: "v=DMARC1; p=reject; rua=mailto:d@example.org",
		Valid: Check{Result: Pass}, Policy: "reject", Reports: []string{"mailto:d@example.org"},
	}
}

func goodMTASTS(matches ...Result) MTASTSFacts {
	f := MTASTSFacts{Lookup: found("TXT"), ID: "1", Record: Check{Result: Pass}, Fetched: Check{Result: Pass}, Mode: "enforce", MaxAge: 86400}
	for _, r := range matches {
		f.Matches = append(f.Matches, MTASTSHost{Host: "mx1.example.org", Match: Check{Result: r}})
	}
	return f
}
