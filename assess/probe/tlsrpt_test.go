package probe

import (
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestTLSRPT shows the record of RFC 8460 in real zones.
func TestTLSRPT(t *testing.T) {
	l := newLab(t)
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:t@a.example\""}))
	l.dns.Fail("_smtp._tls.lost.example TXT", probetest.ServFail)
	for _, tt := range []struct {
		domain, records string
		support         assess.Support
		say             string
	}{
		{"mail.example", `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:t@a.example"`, assess.SupportYes, `record: pass: reports go to "mailto:t@a.example"`},
		{"web.example", `_smtp._tls TXT "v=TLSRPTv1; rua=https://a.example/report,mailto:t@a.example"`, assess.SupportYes, `"https://a.example/report, mailto:t@a.example"`},
		{"beside.example", "_smtp._tls TXT x\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:t@a.example\"", assess.SupportYes, ""},
		{"none.example", "@ A 192.0.2.1", assess.SupportNo, "there is no TLS-RPT record"},
		{"other.example", "_smtp._tls TXT x", assess.SupportNo, "no TLS-RPT record"},
		{"two.example", "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:t@a.example\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:t@b.example\"", assess.SupportNo, "several TLS-RPT records"},
		{"norua.example", `_smtp._tls TXT "v=TLSRPTv1;"`, assess.SupportNo, "rua"},
		{"scheme.example", `_smtp._tls TXT "v=TLSRPTv1; rua=ftp://a.example/"`, assess.SupportNo, "ftp"},
		{"long.example", `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:t@a.example"` + strings.Repeat(` "; x=`+strings.Repeat("y", 240)+`"`, 20), assess.SupportUnknown, "TLS-RPT record too large"},
		{"lost.example", `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:t@a.example"`, assess.SupportUnknown, "the record is not known: SERVFAIL"},
		{"bogus.example", "", assess.SupportUnknown, "the record is not known: DNSSEC validation failed"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			if tt.records != "" {
				l.zone(tt.domain, "@ MX 0 .\n"+tt.records)
			}
			wants(t, judged(l.probe(tt.domain), assess.TLSRPT), tt.support, tt.say)
		})
	}
}
