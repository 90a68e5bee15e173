package assess

import (
	"net/netip"
	"slices"
	"testing"
)

func TestConclude(t *testing.T) {
	profile, err := LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	seen := tallyOf(sender("198.51.100.1", good, good, good))
	for _, tt := range []struct {
		name   string
		facts  *Facts
		tally  Tally
		rules  Rules
		status Status
		basis  Basis
		known  bool
	}{
		{"never heard of", nil, Tally{}, Rules{}, StatusPending, BasisNone, false},
		{"seen, not probed", nil, seen, Rules{}, StatusPending, BasisSessions, false},
		{"seen, never to be probed", nil, seen, Rules{Passive: true}, StatusScored, BasisSessions, true},
		{"not seen, never to be probed", nil, Tally{}, Rules{Passive: true}, StatusUnknown, BasisNone, false},
		{"probed", measuredFacts(), Tally{}, Rules{}, StatusScored, BasisProbe, true},
		{"probed and seen", measuredFacts(), seen, Rules{}, StatusScored, BasisProbeSessions, true},
		{"probed in vain", blackout(failed()), Tally{}, Rules{}, StatusUnknown, BasisProbe, false},
		{"null MX", nullMX(), Tally{}, Rules{}, StatusNoMail, BasisProbe, false},
		{"null MX, and it sends", nullMX(), seen, Rules{}, StatusNoMail, BasisProbeSessions, false},
		{"no such name", noSuchName(), Tally{}, Rules{}, StatusNoMail, BasisProbe, false},
		{"gone since it was seen", noSuchName(), seen, Rules{}, StatusNoMail, BasisProbeSessions, false},
		{"denied, and yet it has TXT records", noMX(Lookup{Status: LookupNXDomain}), Tally{}, Rules{}, StatusScored, BasisProbe, true},
		{"no mail host", implicitMX(LookupNoData, LookupNXDomain), Tally{}, Rules{}, StatusNoMail, BasisProbe, false},
		{"no mail host, and it sends", implicitMX(LookupNoData, LookupNoData), seen, Rules{}, StatusScored, BasisProbeSessions, true},
		{"an address", implicitMX(LookupFound, LookupNoData), Tally{}, Rules{}, StatusScored, BasisProbe, true},
		{"an address not told", implicitMX(LookupFailed, LookupNoData), Tally{}, Rules{}, StatusScored, BasisProbe, true},
	} {
		a := Conclude("example.org", Evidence{Facts: tt.facts, Tally: tt.tally}, profile, tt.rules, testTime)
		if a.Status != tt.status || a.Evidence.Basis() != tt.basis || a.Scores.Known() != tt.known || a.Profile != "mecsa-2018" || !a.At.Equal(testTime) {
			t.Errorf("%s: %s, basis %q, scores %+v", tt.name, a.Status, a.Evidence.Basis(), a.Scores)
		}
	}
}

func noSuchName() *Facts {
	return factsOf().with(func(f *Facts) { f.Hosts.Lookup.Status, f.SPF.Lookup.Status = LookupNXDomain, LookupNXDomain })
}

// implicitMX is a domain without MX records, whose own addresses were asked for.
func implicitMX(a, aaaa LookupStatus) *Facts {
	return measuredFacts().with(func(f *Facts) {
		f.Hosts = MXFacts{Lookup: Lookup{Status: LookupNoData}, Implicit: true, Hosts: []MXHost{{Name: string(f.Domain), A: Lookup{Status: a}, AAAA: Lookup{Status: aaaa}}}}
	})
}

// Everything good is five stars in both profiles, all around.
func TestPerfectProvider(t *testing.T) {
	facts := measuredFacts().with(func(f *Facts) {
		f.Hosts.Lookup.Security, f.Hosts.Hosts[0].Zone.Security, f.DMARC.Lookup.Security = Secure, Secure, Secure
	})
	for _, name := range ProfileNames() {
		profile, err := LoadProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		a := Conclude("example.org", Evidence{Facts: facts, Tally: tallyOf(sender("198.51.100.1", good, good, good))}, profile, Rules{}, testTime)
		for _, c := range Categories {
			if s := a.Scores[c]; s.Stars != 5 || s.Partial || len(s.Missing) > 0 || len(s.Next) > 0 {
				t.Errorf("%s, %s: %+v", name, c, s)
			}
		}
		if a.Scores.MinimumSet() != SupportYes {
			t.Errorf("%s: no minimum set", name)
		}
	}
}

func TestStanding(t *testing.T) {
	host := MXHost{Name: "mx1", A: Lookup{Records: []string{"192.0.2.1", "nonsense"}}, AAAA: Lookup{Records: []string{"2001:db8::1", "::ffff:192.0.2.2"}}}
	a := Assessment{Status: StatusScored, Profile: "p", Evidence: Evidence{Facts: factsOf(host)}}
	s := a.Standing()
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}
	if !s.Known || s.Status != StatusScored || s.Profile != "p" || s.Basis != BasisProbe || !s.Assessed.Equal(testTime) || !slices.Equal(s.MX, want) {
		t.Errorf("%+v", s)
	}
	if s := (Assessment{Status: StatusPending}).Standing(); !s.Known || !s.Assessed.IsZero() || s.MX != nil {
		t.Errorf("pending: %+v", s)
	}
}
