package probe

import (
	"fmt"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestDMARC finds the record that applies in real zones, up the tree. The tables of package
// dmarc go deeper into records and walks.
func TestDMARC(t *testing.T) {
	l := newLab(t)
	const rua = "; rua=mailto:d@org.example"
	zone := func(name string, records ...string) { l.zone(name, strings.Join(append(records, "@ MX 0 ."), "\n")) }
	zone("plain.example", `_dmarc TXT "v=DMARC1; p=reject`+rua+`"`)
	zone("parts.example", `_dmarc TXT "v=DMARC1; p=reject" "`+rua+`"`)
	zone("old.example", `_dmarc TXT "v=DMARC1; p=quarantine; pct=50; ri=3600; rf=afrf; fo=0:1:d:s; ruf=mailto:f@org.example!10m`+rua+`"`)
	zone("none.example", `_dmarc TXT "v=DMARC1; p=none"`)
	zone("test.example", `_dmarc TXT "v=DMARC1; p=reject; t=y`+rua+`"`)
	zone("nop.example", `_dmarc TXT "v=DMARC1`+rua+`"`)
	zone("bare.example", `_dmarc TXT "v=DMARC1"`)
	zone("wrong.example", `_dmarc TXT "v=DMARC1; p=refuse`+rua+`"`)
	zone("wrongest.example", `_dmarc TXT "v=DMARC1; p=refuse"`)
	zone("twice.example", `_dmarc TXT "v=DMARC1; p=reject; p=none"`)
	zone("two.example", `_dmarc TXT "v=DMARC1; p=reject"`, `_dmarc TXT "v=DMARC1; p=none"`)
	zone("long.example", `_dmarc TXT "v=DMARC1; p=reject`+rua+`"`+strings.Repeat(` "; x=`+strings.Repeat("y", 240)+`"`, 20))
	zone("tags.example", `_dmarc TXT "v=DMARC1; p=reject`+rua+`"`+strings.Repeat(` "; x=y"`, 70))
	zone("other.example", `_dmarc TXT "hello"`, `_dmarc TXT "v=DMARC1; p=reject`+rua+`"`)
	zone("empty.example", "@ A 192.0.2.1")
	zone("version.example", `_dmarc TXT "v=dmarc1; p=reject"`)
	zone("alias.example", "_dmarc CNAME _dmarc.plain.example.")
	zone("org.example", `_dmarc TXT "v=DMARC1; p=reject; sp=quarantine; np=none`+rua+`"`, "a.b.c.d.e.f.g.h.i A 192.0.2.1", "z.a.b.c.d.e.f.g A 192.0.2.1", "sub A 192.0.2.1",
		`own TXT x`, `_dmarc.own TXT "v=DMARC1; p=none"`, `_dmarc.own2 TXT "v=DMARC1; p=quarantine; psd=n"`, "x.own2 A 192.0.2.1")
	zone("suffix.example", `_dmarc TXT "v=DMARC1; p=reject; sp=none; psd=y"`, "a.b A 192.0.2.1", `_dmarc.c TXT "v=DMARC1; p=quarantine"`, "d.c A 192.0.2.1")
	zone("lost.example", "x.y A 192.0.2.1")
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: "_dmarc TXT \"v=DMARC1; p=none\""}))
	l.dns.Fail("_dmarc.lost.example TXT", probetest.ServFail)
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for _, tt := range []struct {
		domain  string
		support assess.Support
		strict  assess.Support // the policy of mecsa-2020
		found   string         // the record's name, below _dmarc
		policy  string
		org     string
		say     string
	}{
		{"plain.example", yes, yes, "plain.example", "reject", "plain.example", `record: pass: "v=DMARC1; p=reject; rua=mailto:d@org.example"`},
		{"parts.example", yes, yes, "parts.example", "reject", "parts.example", ""},
		{"alias.example", yes, yes, "alias.example", "reject", "alias.example", ""},
		{"old.example", yes, yes, "old.example", "quarantine", "old.example", "pct is obsolete since RFC 9989: ignored"},
		{"none.example", yes, no, "none.example", "none", "none.example", "the policy is none: receivers report, and deliver what fails"},
		{"test.example", yes, yes, "test.example", "quarantine", "test.example", ""},
		{"nop.example", yes, no, "nop.example", "none", "nop.example", "no p: the record is read as p=none"},
		{"bare.example", no, no, "bare.example", "", "bare.example", "receivers ignore the record"},
		{"wrong.example", no, no, "wrong.example", "none", "wrong.example", `p="refuse": not none, quarantine or reject`},
		{"wrongest.example", no, no, "wrongest.example", "", "wrongest.example", `p="refuse": not none, quarantine or reject`},
		{"twice.example", no, no, "twice.example", "", "twice.example", "p occurs twice"},
		{"two.example", no, no, "", "", "two.example", "2 DMARC records at _dmarc.two.example, none of which counts; fix it {dmarc-multiple-records}"},
		{"long.example", unknown, unknown, "", "", "long.example", "past a limit: the record at _dmarc.long.example has more octets or tags than are read"},
		{"tags.example", unknown, unknown, "", "", "tags.example", "past a limit: "},
		{"other.example", yes, yes, "other.example", "reject", "other.example", ""},
		{"empty.example", no, no, "", "", "empty.example", "there is no DMARC record, here or at a parent; publish one"},
		{"version.example", no, no, "", "", "version.example", `"v=dmarc1; p=reject" at _dmarc.version.example is no DMARC record: one begins with v=DMARC1;`},
		{"sub.org.example", yes, yes, "org.example", "quarantine", "org.example", "_dmarc.org.example [] record: pass"},
		{"nowhere.org.example", yes, no, "org.example", "none", "org.example", ""},              // np
		{"a.b.c.d.e.f.g.org.example", yes, yes, "org.example", "quarantine", "org.example", ""}, // exists: a name lies below
		{"a.b.c.d.e.f.g.h.i.org.example", yes, yes, "org.example", "quarantine", "org.example", ""},
		{"own.org.example", yes, no, "own.org.example", "none", "org.example", ""},
		{"x.own2.org.example", yes, no, "own2.org.example", "quarantine", "own2.org.example", "no report address (rua=)"},
		{"suffix.example", yes, no, "suffix.example", "reject", "suffix.example", ""},
		{"a.b.suffix.example", yes, no, "suffix.example", "none", "b.suffix.example", ""},
		{"d.c.suffix.example", yes, no, "c.suffix.example", "quarantine", "c.suffix.example", ""},
		{"lost.example", unknown, unknown, "", "", "", "the record is not known: SERVFAIL"},
		{"x.y.lost.example", unknown, unknown, "", "", "", "the record is not known: SERVFAIL"},
		{"bogus.example", unknown, unknown, "", "", "", "the record is not known: DNSSEC validation failed"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			facts := l.probe(tt.domain)
			wants(t, judged(facts, assess.DMARC), tt.support, tt.say)
			wants(t, judged(facts, assess.DMARCPolicy), tt.strict, "")
			f, found := facts.DMARC, ""
			if tt.found != "" {
				found = "_dmarc." + tt.found
			}
			if f.Found != found || f.Policy != tt.policy || f.Organisational != tt.org {
				t.Errorf("found %q, policy %q, organisational domain %q", f.Found, f.Policy, f.Organisational)
			}
			if n := len(f.Walk); n > 7 {
				t.Errorf("%d names above", n)
			}
		})
	}
	if reports := fmt.Sprint(l.probe("old.example").DMARC.Reports); reports != "[mailto:d@org.example mailto:f@org.example]" {
		t.Errorf("reports go to %s", reports)
	}
}
