package probe

import (
	"fmt"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestSPF audits policies in real zones. The table of package spf goes deeper; here is what
// becomes of each kind of finding, and of answers that do not come.
func TestSPF(t *testing.T) {
	l := newLab(t)
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: `@ TXT "v=spf1 -all"`}))
	l.zone("list.example", `
		@    TXT "v=spf1 ip4:192.0.2.0/24 -all"
		soft TXT "v=spf1 ?all"
		deep TXT "v=spf1 include:a.list.example include:b.list.example include:c.list.example include:d.list.example -all"
		a    TXT "v=spf1 a:host.list.example -all"
		b    TXT "v=spf1 a:host.list.example -all"
		c    TXT "v=spf1 a:host.list.example -all"
		d    TXT "v=spf1 a:host.list.example -all"
		host A 192.0.2.1
		bad  TXT "v=spf1 ipv4:192.0.2.1 -all"`)
	l.dns.Fail("lost.example TXT", probetest.ServFail)
	l.dns.Fail("lost.list.example TXT", probetest.ServFail)
	l.zone("lost.example", "@ A 127.0.0.1")
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for i, tt := range []struct {
		records    string // "bogus" and "lost" are domains of their own
		support    assess.Support
		strict     assess.Support // the policy of mecsa-2020
		lookups    int
		policy     string
		chain, say string
	}{
		{`@ TXT "v=spf1 ip4:192.0.2.1 -all"`, yes, yes, 0, "-all", "", `record: pass: "v=spf1 ip4:192.0.2.1 -all", 0 DNS lookups of 10`},
		{`@ TXT "v=spf1 include:list.example ~all"`, yes, yes, 1, "~all", `  include:list.example -> v=spf1 ip4:192.0.2.0/24 -all`, ""},
		{`@ TXT "v=spf1 redirect=list.example"`, yes, yes, 1, "-all", `  redirect=list.example -> v=spf1`, ""},
		{`@ TXT "v=spf1 redirect=soft.list.example"`, yes, no, 1, "?all", "", "the record ends in ?all"},
		{`@ TXT "v=spf1 +all"`, yes, no, 0, "+all", "", "the record ends in +all: everybody may send for the domain"},
		{`@ TXT "v=spf1 ip4:192.0.2.1"`, yes, no, 0, "", "", "hosts that are not listed are neutral"},
		{`@ TXT "v=spf1 ptr -all"`, yes, yes, 1, "-all", "", "ptr should not be used"},
		{`@ TXT "v=spf1 ip4:10.0.0.0/8 -all"`, yes, yes, 0, "-all", "", "authorises a very wide range"},
		{`@ TXT "v=spf1 " "ip4:192.0.2.1 " "-all"`, yes, yes, 0, "-all", "", `"v=spf1 ip4:192.0.2.1 -all"`},
		{"@ TXT unrelated", no, no, 0, "", "", "publishes no SPF record; list the hosts that send for it"},
		{"@ A 192.0.2.1", no, no, 0, "", "", "publishes no SPF record"},
		{"@ TXT \"v=spf1 -all\"\n@ TXT \"v=spf1 mx -all\"", no, no, 0, "", "", "publishes 2 SPF records, which is an error (RFC 7208, section 4.5); join them into one"},
		{`@ TXT "v=spf1 ipv4:192.0.2.1 -all"`, no, no, 0, "", "", `unknown mechanism (meant ip4?) in "ipv4:192.0.2.1"`},
		{`@ TXT "v=spf1 include:bad.list.example -all"`, no, yes, 1, "-all", "  include:bad.list.example -> v=spf1 ipv4", `bad.list.example: unknown mechanism`},
		{`@ TXT "v=spf1 include:nobody.example -all"`, no, yes, 1, "-all", "", `nobody.example: no SPF record: "v=spf1 include:nobody.example -all"; fix it: receivers treat the domain as if it had no record {spf-record-invalid}`},
		{`@ TXT "v=spf1 include:deep.list.example include:deep.list.example -all"`, no, yes, 18, "-all", "    include:a.list.example -> v=spf1 a:host", `too many DNS lookups: 18, and 10 are allowed: "v=spf1 include:deep.list.example include:deep.list.example -all"; take out the includes that nobody needs, or list networks by ip4: and ip6:, which cost nothing {spf-lookup-limit}`},
		{`@ TXT "v=spf1 a:no1.list.example a:no2.list.example a:no3.list.example -all"`, no, yes, 3, "-all", "", `void lookup limit exceeded: 3, and 2 are allowed: "v=spf1 a:no1.list.example a:no2.list.example a:no3.list.example -all"; take out the terms that find nothing {spf-void-lookup-limit}`},
		{`@ TXT "v=spf1 include:lost.list.example -all"`, unknown, yes, 1, "-all", "", "the record could not be checked: "},
		{"@ TXT \"v=spf1" + strings.Repeat(` ip4:192.0.2.1" "`, 1300) + ` -all"`, unknown, unknown, 0, "", "", "record too long"},
		{"lost", unknown, unknown, 0, "", "", "the record is not known: SERVFAIL"},
		{"bogus", unknown, unknown, 0, "", "", "the record is not known: DNSSEC validation failed"},
	} {
		t.Run(tt.records, func(t *testing.T) {
			domain := tt.records + ".example"
			if domain != "lost.example" && domain != "bogus.example" {
				domain = fmt.Sprintf("p%d.example", i)
				l.zone(domain, "@ MX 0 .\n"+tt.records)
			}
			facts := l.probe(domain)
			wants(t, judged(facts, assess.SPF), tt.support, tt.say)
			wants(t, judged(facts, assess.SPFPolicy), tt.strict, "")
			if f := facts.SPF; f.Lookups != tt.lookups || f.Policy != tt.policy {
				t.Errorf("%d lookups, policy %q", f.Lookups, f.Policy)
			}
			if !hasPrefix(facts.SPF.Chain, tt.chain) {
				t.Errorf("no line %q in %q", tt.chain, facts.SPF.Chain)
			}
		})
	}
}
