package assess

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"peerscore/assess/dnsname"
)

// refusedZone is a domain whose zone the resolver refuses; its other questions are answered.
func refusedZone(f *Facts) { f.DNSSEC.Zone = suspect("SOA") }

func suspect(kind string) Lookup {
	return Lookup{Name: "example.org", Type: kind, Status: LookupFailed, Security: SuspectAnswer, Reason: "SERVFAIL, DNSKEY Missing"}
}

// A zone is bogus when a later run finds again what an earlier one did, and not before.
func TestSecondLook(t *testing.T) {
	answered := func(*Facts) {}
	expired := func(f *Facts) { refusedZone(f); f.DNSSEC.Zone.Security = BogusAnswer }
	lossy := func(f *Facts) { refusedZone(f); f.SPF.Lookup = failed() }
	notAsked := func(f *Facts) {
		f.DNSSEC.Zone = Lookup{Name: "example.org", Type: "SOA", Status: LookupFailed, Timeout: true, Reason: "timeout"}
	}
	elsewhere := func(f *Facts) { refusedZone(f); f.DNSSEC.Zone.Name = "other.example" }
	const day = 24 * time.Hour
	type run struct {
		after time.Duration // since the run before
		finds func(*Facts)
		want  Result // of the test of the zone
	}
	for _, tt := range []struct {
		name string
		runs []run
	}{
		{"once", []run{{0, refusedZone, Unknown}}},
		{"expired", []run{{0, expired, Bogus}}},
		{"twice", []run{{0, refusedZone, Unknown}, {SecondLook, refusedZone, Bogus}}},
		{"twice, a day apart", []run{{0, refusedZone, Unknown}, {day, refusedZone, Bogus}}},
		{"twice at once", []run{{0, refusedZone, Unknown}, {SecondLook - 1, refusedZone, Unknown}}},
		{"again and again at once, until it is long enough", []run{{0, refusedZone, Unknown}, {10 * time.Minute, refusedZone, Unknown}, {5 * time.Minute, refusedZone, Bogus}}},
		{"answered in between", []run{{0, refusedZone, Unknown}, {day, answered, Fail}, {day, refusedZone, Fail}}},
		{"not asked in between", []run{{0, refusedZone, Unknown}, {day, notAsked, Unknown}, {day, refusedZone, Bogus}}},
		{"the network loses packets", []run{{0, refusedZone, Unknown}, {day, lossy, Unknown}, {day, lossy, Unknown}, {day, refusedZone, Bogus}}},
		{"another name", []run{{0, elsewhere, Unknown}, {day, refusedZone, Unknown}}},
		{"once bogus, for as long as it is refused", []run{{0, refusedZone, Unknown}, {day, refusedZone, Bogus}, {7 * day, lossy, Bogus}, {7 * day, refusedZone, Bogus}}},
		{"fixed", []run{{0, refusedZone, Unknown}, {day, refusedZone, Bogus}, {day, answered, Fail}}},
		{"longer ago than anything stands", []run{{0, refusedZone, Unknown}, {KeepFor + 1, refusedZone, Unknown}}},
	} {
		l, now := newLedger(), testTime
		finds := answered
		a := &Assessor{
			Prober: proberFunc(func(context.Context, dnsname.Domain, []Selector) (Facts, error) {
				return *measuredFacts().with(func(f *Facts) { f.At, f.DNSSEC.Zone = now, found("SOA"); f.DNSSEC.Zone.Name = "example.org" }).with(finds), nil
			}),
			Repository: l, Profile: Profile{}, Now: func() time.Time { return now },
		}
		for i, run := range tt.runs {
			now, finds = now.Add(run.after), run.finds
			result, err := a.Assess(t.Context(), "example.org")
			if err != nil {
				t.Fatal(err)
			}
			if got := protectedZone("", "", result.Evidence.Facts.DNSSEC.Zone, "").Result; got != run.want {
				t.Errorf("%s, run %d: %s, want %s; %+v", tt.name, i+1, got, run.want, result.Evidence.Facts.Suspicions)
			}
		}
	}
}

// A run that learned nothing but that everything is refused is kept, or a second could not find
// the same; what was known before stands meanwhile, and the domain is due soon.
func TestSecondLookAtAll(t *testing.T) {
	refused := *factsOf().with(func(f *Facts) {
		f.At = testTime.AddDate(0, 0, 7)
		for _, l := range f.lookups() {
			*l = suspect(l.Type)
		}
		f.DNSSEC.Zone.Type, f.DNSSEC.TXT.Name = "SOA", "also.example.org"
	})
	l, now := newLedger(), refused.At
	l.evidence["example.org"] = Evidence{Facts: measuredFacts()}
	a := &Assessor{
		Prober: proberFunc(func(context.Context, dnsname.Domain, []Selector) (Facts, error) {
			refused.At = now
			return refused, nil
		}),
		Repository: l, Now: func() time.Time { return now },
	}
	first, err := a.Assess(t.Context(), "example.org")
	if err != nil || len(first.Evidence.Facts.Suspicions) == 0 || len(l.saved) != 1 {
		t.Fatalf("%v, %+v, saved %d", err, first.Evidence.Facts.Suspicions, len(l.saved))
	}
	if s := first.Evidence.Facts.DNSSEC.Zone.Security; s != Secure || first.Verdicts[StartTLS].Support != SupportYes {
		t.Errorf("what was known does not stand: the zone is %q, StartTLS %s", s, first.Verdicts[StartTLS].Support)
	}
	s := DefaultSchedule()
	if got := s.Next(first, nil, now, 0.5).Sub(now); got != s.Retry {
		t.Errorf("due in %v, want %v", got, s.Retry)
	}
	now = now.Add(s.Retry)
	if second, err := a.Assess(t.Context(), "example.org"); err != nil || second.Evidence.Facts.DNSSEC.Zone.Security != BogusAnswer || second.Verdicts[DNSSEC].Support != SupportNo {
		t.Errorf("the second time: %v, the zone is %q", err, second.Evidence.Facts.DNSSEC.Zone.Security)
	}
}

func TestSuspicionsAreSuspicious(t *testing.T) {
	s := DefaultSchedule()
	f := factsOf(mxHost("mx1.example.org", dialogue("192.0.2.1", up))).with(refusedZone)
	f.lookAgain(nil)
	if got := s.Next(Assessment{Status: StatusScored, Evidence: Evidence{Facts: f}}, nil, testTime, 0.5).Sub(testTime); got != s.Retry {
		t.Errorf("due in %v, want %v", got, s.Retry)
	}
}

// A domain that names other hosts in each run makes the facts no larger than they may be, and has
// this run's suspicions kept.
func TestSuspicionsAreBounded(t *testing.T) {
	var old *Facts
	for run := range 12 {
		f := factsOf().with(func(f *Facts) { f.At = testTime.AddDate(0, 0, run) })
		for i := range 10 {
			name := fmt.Sprintf("mx%d.run%d.%s.example", i, run, strings.Repeat("long-label.", 18))
			h := MXHost{Name: name, A: suspect("A"), AAAA: suspect("AAAA"), Zone: suspect("SOA"), TXT: suspect("TXT"), DANE: DANEFacts{Lookup: suspect("TLSA")}}
			for _, l := range []*Lookup{&h.A, &h.AAAA, &h.Zone, &h.TXT, &h.DANE.Lookup} {
				l.Name = name
			}
			f.Hosts.Hosts = append(f.Hosts.Hosts, h)
		}
		f.lookAgain(old)
		bounded := f.Bounded()
		old = &bounded
		if size := octets(t, old); size > MaxFacts {
			t.Fatalf("run %d: %d octets, with %d suspicions", run, size, len(old.Suspicions))
		}
		for _, h := range old.Hosts.Hosts {
			if _, was := old.refused(&h.Zone, old.At); was != SuspectAnswer {
				t.Errorf("run %d: %s is not suspected", run, h.Name)
			}
		}
	}
}
