package probe

import (
	"fmt"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/probe/probetest"
)

func TestBIMI(t *testing.T) {
	l := newLab(t)
	l.dns.Fail("default._bimi.lost.example TXT", probetest.ServFail)
	l.zone("lost.example", "@ A 192.0.2.1")
	manyTags := ""
	for i := range dkim.MaxTags {
		manyTags += fmt.Sprintf(";x%d=", i)
	}
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for i, tt := range []struct {
		records string // at default._bimi; "lost" is a domain of its own
		support assess.Support
		say     string
	}{
		{`"v=BIMI1; l=https://www.example/logo.svg; a=https://www.example/mark.pem"`, yes, `pass: picture "https://www.example/logo.svg", evidence "https://www.example/mark.pem" {bimi-record-valid}`},
		{`"v = BIMI1;l=https://www.example/logo.svg"`, yes, `evidence ""`},
		{`"v=BIMI1; x=later; a=; l=https://www.example/" "logo.svg;"`, yes, `"https://www.example/logo.svg"`},
		{`"v=BIMI1; l=; a=https://www.example/mark.pem"`, yes, `picture "", evidence "https://www.example/mark.pem"`},
		{`"v=BIMI1; l=; a=;"`, unknown, "not-applicable: the owner declines to have a picture beside its mail {bimi-declined}"},
		{"", no, "there is no BIMI record; publish"},
		{`"v=spf1 -all"`, no, `no TXT record begins with v=BIMI1;; publish "v=BIMI1; l=https://...; a=" once DMARC is enforced (no score asks for it) {bimi-record-absent}`},
		{`"v=bimi1; l="`, no, "no TXT record begins with"},
		{`"l=https://www.example/logo.svg; v=BIMI1"`, no, "no TXT record begins with"},
		{`"v=spf1 -all" | "v=BIMI1; l=https://www.example/logo.svg"`, yes, ""},
		{`"v=BIMI1; l=https://www.example/a.svg" | "v=BIMI1; l=https://www.example/b.svg"`, no, "2 BIMI records, of which none counts; fix it (no score asks for it) {bimi-record-invalid}"},
		{`"v=BIMI1; a=https://www.example/mark.pem"`, no, "the location of the picture (l=) is missing"},
		{`"v=BIMI1; l=http://www.example/logo.svg"`, no, `"http://www.example/logo.svg" is not one https URI`},
		{`"v=BIMI1; l=https://www.example/a.svg,https://www.example/b.svg"`, no, "is not one https URI"},
		{`"v=BIMI1; l=https://localhost/logo.svg"`, no, "is not one https URI"},
		{`"v=BIMI1; l=https://www.example/logo.svg; a=nothing"`, no, `"nothing" is not one https URI`},
		{`"v=BIMI1; l=https://www.example/a.svg; l=https://www.example/b.svg"`, no, `a tag occurs twice: "l"`},
		{`"v=BIMI1; logo"`, no, `malformed tag list: " logo"`},
		{`"v=BIMI1; l=https://www.example/a.svg` + manyTags + `"`, unknown, "too many tags: \"x62\" is past the limit {limit-exceeded}"},
		{"lost", unknown, "the record is not known: SERVFAIL {lookup-failure}"},
	} {
		t.Run(tt.records, func(t *testing.T) {
			domain := tt.records + ".example"
			if tt.records != "lost" {
				domain = fmt.Sprintf("b%d.example", i)
				zone := "@ A 192.0.2.1\n"
				for _, record := range strings.Split(tt.records, " | ") {
					if record != "" {
						zone += "default._bimi TXT " + record + "\n"
					}
				}
				l.zone(domain, zone)
			}
			wants(t, judged(l.probe(domain), assess.BIMI), tt.support, tt.say)
		})
	}
}

func FuzzBIMI(f *testing.F) {
	for _, record := range []string{"v=BIMI1; l=https://a.example/x.svg; a=", "v=BIMI1;l=;a=;", "v=BIMI1; =", ";;;", "v=BIMI1; l=https://[::1/"} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		check, location, evidence := parseBIMI(record)
		if check.Result != assess.Pass && location+evidence != "" || check.Result != assess.Pass && check.Detail == "" {
			t.Errorf("%+v, %q, %q", check, location, evidence)
		}
	})
}
