package probe

import (
	"slices"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestProbe is one provider that does everything right, with two MX hosts, in one run.
func TestProbe(t *testing.T) {
	l := newLab(t)
	mx := l.issue(probetest.Leaf{Names: []string{"mx1.good.example", "mx2.good.example"}})
	l.zone("good.example", `
		@             MX   10 mx1
		@             MX   20 mx2
		mx1           A    127.1.1.1
		mx2           A    127.1.2.1
		mta-sts       A    127.0.0.43
		@             TXT  "v=spf1 mx -all"
		_dmarc        TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@good.example"
		s1._domainkey TXT  "v=DKIM1; p="
		_mta-sts      TXT  "v=STSv1; id=1"
		_smtp._tls    TXT  "v=TLSRPTv1; rua=mailto:tls@good.example"
		_25._tcp.mx1  TLSA `+tlsa(mx)+`
		_25._tcp.mx2  TLSA `+tlsa(mx))
	l.serveCRLs()
	cfg := probetest.SMTPConfig{Certificates: certs(mx), TLSExtensions: []string{"REQUIRETLS"}}
	server := l.serveSMTP("127.1.1.1", cfg)
	l.serveSMTP("127.1.2.1", cfg)
	l.servePolicy("127.0.0.43", l.issue(probetest.Leaf{Names: []string{"mta-sts.good.example"}}), probetest.PolicyPath("good.example"),
		probetest.Policy("version: STSv1", "mode: enforce", "mx: *.good.example", "max_age: 604800"))
	facts := l.probe("good.example")
	for what, ok := range map[string]bool{
		"two hosts":     len(facts.Hosts.Hosts) == 2,
		"SPF":           facts.SPF.Valid.Result == assess.Pass && facts.SPF.Policy == "-all",
		"DKIM presence": facts.DKIM.Presence.Status == assess.LookupNoData,
		"DMARC":         facts.DMARC.Valid.Result == assess.Pass && facts.DMARC.Policy == "reject",
		"DNSSEC":        facts.DNSSEC.Validates == assess.Pass && facts.DNSSEC.Zone.Security == assess.Secure,
		"MTA-STS":       facts.MTASTS.Fetched.Result == assess.Pass && facts.MTASTS.Mode == "enforce" && len(facts.MTASTS.Matches) == 2,
		"TLS-RPT":       facts.TLSRPT.Valid.Result == assess.Pass,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, facts)
		}
	}
	for i, h := range facts.Hosts.Hosts {
		s := h.Sessions[0]
		c := s.TLS.Certificate
		if s.Outcome != assess.TLSEstablished || s.TLS.Version != "TLS 1.3" || s.TLSEHLO[1] != "250 REQUIRETLS" {
			t.Errorf("%s: %+v", h.Name, s)
		}
		for _, check := range []assess.Check{c.Trusted, c.Named, c.Dated, c.Revoked, h.DANE.Match, facts.MTASTS.Matches[i].Match} {
			if check.Result != assess.Pass {
				t.Errorf("%s: %+v", h.Name, check)
			}
		}
	}
	server.Wait()
	if commands := server.Commands(); !slices.Equal(commands, []string{"EHLO probe.example", "STARTTLS", "EHLO probe.example", "QUIT", "EHLO probe.example", "STARTTLS"}) {
		t.Errorf("the server heard %q", commands)
	}
	if names := server.ServerNames(); !slices.Equal(names, []string{"mx1.good.example", "mx1.good.example"}) { // the second for the other certificate
		t.Errorf("SNI: %q", names)
	}
}
