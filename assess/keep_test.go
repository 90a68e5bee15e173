package assess

import (
	"strings"
	"testing"
	"time"
)

// measuredFacts is a domain where everything could be measured.
func measuredFacts() *Facts {
	return factsOf(mxHost("mx1.example.org", dialogue("192.0.2.1", up))).with(func(f *Facts) {
		h := &f.Hosts.Hosts[0]
		h.DANE = DANEFacts{Lookup: secure(found("TLSA")), Match: Check{Result: Pass}}
		h.DANE.Lookup.Records = []string{"3 1 1 ab"}
		f.SPF, f.DMARC, f.MTASTS = goodSPF(), goodDMARC(), goodMTASTS(Pass)
		f.DKIM.Presence, f.DNSSEC.Zone = denied("TXT"), secure(found("SOA"))
		f.TLSRPT = TLSRPTFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}}
	})
}

// A later run that could not measure something leaves the older answer standing, dated.
func TestKeeping(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Facts) // what the later run found instead
		part   string       // what is kept, "" for nothing
		decide Standard
		want   Support
		say    string
	}{
		{"all measured", func(*Facts) {}, "", StartTLS, SupportYes, ""},
		{"MX lost", func(f *Facts) { f.Hosts = MXFacts{Lookup: failed()} }, "mx", StartTLS, SupportYes, "(measured 2026-11-20; not since: timeout)"},
		{"port 25 blocked", func(f *Facts) { f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", dead) }, "smtp mx1.example.org", StartTLS, SupportYes, "(measured 2026-11-20; not since: connect: timeout)"},
		{"port 25 blocked: the certificate", func(f *Facts) { f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", dead) }, "smtp mx1.example.org", X509, SupportYes, "(measured"},
		{"port 25 blocked: the match", blockedWithMatch, "dane mx1.example.org", DANE, SupportYes, "(measured 2026-11-20; not since: no certificate was seen"},
		{"new TLSA records, no certificate", newTLSA, "smtp mx1.example.org", DANE, SupportUnknown, ""},
		{"TLSA lost", func(f *Facts) { f.Hosts.Hosts[0].DANE = DANEFacts{Lookup: failed()} }, "dane mx1.example.org", DANE, SupportYes, "timeout)"},
		{"the host moved", moved, "", StartTLS, SupportUnknown, ""},
		{"TLS is gone", func(f *Facts) { f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", plain) }, "", StartTLS, SupportNo, ""},
		{"SPF lost", func(f *Facts) { f.SPF = SPFFacts{Lookup: failed()} }, "spf", SPF, SupportYes, "timeout)"},
		{"SPF gone", func(f *Facts) { f.SPF = SPFFacts{Lookup: denied("TXT")} }, "", SPF, SupportNo, ""},
		{"an include lost", func(f *Facts) { f.SPF.Valid = Check{Detail: "include: timeout"} }, "spf", SPF, SupportYes, "include: timeout"},
		{"DKIM lost", func(f *Facts) { f.DKIM.Presence = failed() }, "dkim", DKIM, SupportYes, "timeout)"},
		{"DMARC lost", func(f *Facts) { f.DMARC = DMARCFacts{Lookup: failed()} }, "dmarc", DMARC, SupportYes, "timeout)"},
		{"DNSSEC lost", func(f *Facts) { f.DNSSEC.Zone = failed() }, "dnssec", DNSSEC, SupportNo, "timeout)"},
		{"DNSSEC bogus", func(f *Facts) { f.DNSSEC.Zone = bogus() }, "", DNSSEC, SupportNo, "bogus"},
		{"MTA-STS lost", func(f *Facts) { f.MTASTS.Fetched = Check{Detail: "timeout"} }, "mta-sts", MTASTS, SupportYes, "timeout)"},
		{"MTA-STS gone", func(f *Facts) { f.MTASTS = MTASTSFacts{Lookup: denied("TXT")} }, "", MTASTS, SupportNo, ""},
		{"TLS-RPT lost", func(f *Facts) { f.TLSRPT = TLSRPTFacts{Lookup: failed()} }, "tls-rpt", TLSRPT, SupportYes, "timeout)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			later := measuredFacts().with(func(f *Facts) { f.At = testTime.AddDate(0, 0, 7) }).with(tt.change)
			facts := later.Keeping(measuredFacts())
			if _, kept := facts.kept(tt.part); kept != (tt.part != "") || len(facts.Kept) > 2 {
				t.Errorf("kept %+v, want %q", facts.Kept, tt.part)
			}
			v := Judge(Evidence{Facts: &facts}, Rules{})[tt.decide]
			if v.Support != tt.want || !strings.Contains(said(v), tt.say) {
				t.Errorf("%s, want %s and %q\n%s", v.Support, tt.want, tt.say, said(v))
			}
		})
	}
}

func blockedWithMatch(f *Facts) {
	f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", dead)
	f.Hosts.Hosts[0].DANE.Match = Check{}
}

func newTLSA(f *Facts) {
	blockedWithMatch(f)
	f.Hosts.Hosts[0].DANE.Lookup.Records = []string{"3 1 1 cd"}
}

func moved(f *Facts) { f.Hosts.Hosts[0] = mxHost("mx1.example.org", dialogue("192.0.2.99", dead)) }

// What stands keeps the date of its measurement from run to run, and falls when it is too old.
func TestKeepingEnds(t *testing.T) {
	facts := *measuredFacts()
	for days := 1; days <= 20; days++ {
		later := *blackout(failed())
		later.At = testTime.AddDate(0, 0, days)
		facts = later.Keeping(&facts)
		stands := later.At.Sub(testTime) <= KeepFor
		for _, s := range []Standard{StartTLS, X509, SPF, DKIM, DMARC, DANE, MTASTS, TLSRPT} {
			v := Judge(Evidence{Facts: &facts}, Rules{})[s]
			if (v.Support == SupportYes) != stands {
				t.Errorf("after %d days %s is %s\n%s", days, s, v.Support, said(v))
			}
			for _, test := range v.Tests {
				if stands && !test.At.Equal(testTime) {
					t.Errorf("after %d days %s is dated %s", days, s, test.At)
				}
			}
		}
	}
}

// Hosts that stand from a run that had itself kept something of them keep its date.
func TestKeepingOfWhatWasKept(t *testing.T) {
	day10 := measuredFacts().with(func(f *Facts) { f.At = testTime.AddDate(0, 0, 10) })
	blockedWithMatch(day10)
	facts := day10.Keeping(measuredFacts())
	day12 := measuredFacts().with(func(f *Facts) { f.At = testTime.AddDate(0, 0, 12); f.Hosts = MXFacts{Lookup: failed()} })
	facts = day12.Keeping(&facts)
	for _, s := range []Standard{StartTLS, DANE} {
		v := Judge(Evidence{Facts: &facts}, Rules{})[s]
		if v.Support != SupportYes || !v.Tests[0].At.Equal(testTime) || !strings.Contains(said(v), "connect: timeout) (measured 2026-11-20; not since: timeout)") {
			t.Errorf("%s: dated %s\n%s", s, v.Tests[0].At, said(v))
		}
	}
}

// DNSSEC of the domain stands while our own resolver does not validate; what the other lookups
// then say about it is not believed.
func TestKeepingWithBlindResolver(t *testing.T) {
	old := measuredFacts().with(func(f *Facts) { f.Hosts.Hosts[0].Zone = secure(found("SOA")); f.Hosts.Lookup.Security = Secure })
	facts := *old
	for day := range 2 {
		later := *measuredFacts()
		later.At = testTime.AddDate(0, 0, 1+day)
		later.DNSSEC = DNSSECFacts{Validates: Fail, Zone: found("SOA"), TXT: found("TXT")}
		facts = later.Keeping(&facts)
		if v := Judge(Evidence{Facts: &facts}, Rules{})[DNSSEC]; v.Support != SupportYes || v.Failed > 0 {
			t.Errorf("%s\n%s", v.Support, said(v))
		}
	}
}

func TestKeepingOfOtherDomain(t *testing.T) {
	later := *blackout(failed())
	other := measuredFacts().with(func(f *Facts) { f.Domain = "example.net" })
	if got := later.Keeping(other); len(got.Kept) > 0 {
		t.Errorf("kept %+v", got.Kept)
	}
	if got := later.Keeping(nil); len(got.Kept) > 0 {
		t.Errorf("kept %+v", got.Kept)
	}
}

// Keeping changes neither run, only what it returns.
func TestKeepingIsPure(t *testing.T) {
	old, later := measuredFacts(), measuredFacts()
	later.At = testTime.Add(time.Hour)
	blockedWithMatch(later)
	later.Keeping(old)
	if later.Hosts.Hosts[0].answered() || len(later.Kept) > 0 || len(old.Kept) > 0 {
		t.Error("the facts were changed")
	}
}

func TestMeasured(t *testing.T) {
	for _, tt := range []struct {
		name              string
		facts             *Facts
		measured, reached bool
	}{
		{"everything", measuredFacts(), true, true},
		{"nothing", blackout(failed()), false, false},
		{"DNS only", factsOf(mxHost("mx1", dialogue("192.0.2.1", dead))), true, false},
		{"one record", blackout(failed()).with(func(f *Facts) { f.SPF = goodSPF() }), true, false},
		{"SMTP only", blackout(failed()).with(func(f *Facts) { f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", plain) }), true, true},
		{"what was kept", keptOnly(), false, false},
		{"not probed", &Facts{}, false, false},
	} {
		if got := tt.facts.measured(); got != tt.measured {
			t.Errorf("%s: measured %v", tt.name, got)
		}
		if got := tt.facts.reached(); got != tt.reached {
			t.Errorf("%s: reached %v", tt.name, got)
		}
	}
}

func keptOnly() *Facts {
	facts := blackout(failed()).Keeping(measuredFacts())
	return &facts
}
