package assess

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestJudgeBIMI(t *testing.T) {
	as := func(f BIMIFacts) *Facts { return factsOf().with(func(facts *Facts) { facts.BIMI = f }) }
	judgeCases(t, BIMI, Rules{}, []verdictCase{
		{"good", as(BIMIFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}, Location: "https://a.example/x.svg"}), Tally{}, SupportYes, 1, 0, 0, `default._bimi.example.org |  | inbound | record | pass | picture "https://a.example/x.svg", evidence "" | bimi-record-valid`},
		{"none", factsOf(), Tally{}, SupportNo, 0, 1, 0, "there is no BIMI record; publish"},
		{"invalid", as(BIMIFacts{Lookup: found("TXT"), Valid: Check{Result: Fail, Detail: "no l"}}), Tally{}, SupportNo, 0, 1, 0, "no l; fix it"},
		{"declined", as(BIMIFacts{Lookup: found("TXT"), Valid: Check{NotApplicable, ReasonBIMIDeclined, "declines"}}), Tally{}, SupportUnknown, 0, 0, 0, "not-applicable | declines"},
		{"not to be had", as(BIMIFacts{Lookup: failed()}), Tally{}, SupportUnknown, 0, 0, 1, "the record is not known: timeout"},
		{"not asked", as(BIMIFacts{}), Tally{}, SupportUnknown, 0, 0, 1, "the record is not known: not asked"},
		{"not probed", nil, Tally{}, SupportUnknown, 0, 0, 0, ""},
	})
}

// Facts of before it was asked for are not known to lack it, and it stands over a run without an answer.
func TestBIMIOfBefore(t *testing.T) {
	var before Facts
	if err := json.Unmarshal([]byte(`{"domain":"example.org","at":"2026-11-20T12:00:00Z"}`), &before); err != nil {
		t.Fatal(err)
	}
	if v := Judge(Evidence{Facts: &before}, Rules{})[BIMI]; v.Support != SupportUnknown || v.Failed > 0 {
		t.Errorf("%s", said(v))
	}
	has := factsOf().with(func(f *Facts) { f.BIMI = BIMIFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}} })
	lost := factsOf().with(func(f *Facts) { f.BIMI = BIMIFacts{Lookup: failed()} }).Keeping(has)
	if v := Judge(Evidence{Facts: &lost}, Rules{})[BIMI]; v.Support != SupportYes || len(lost.Kept) != 1 || lost.Kept[0].Part != "bimi" {
		t.Errorf("%+v: %s", lost.Kept, said(v))
	}
	if stands := factsOf().Keeping(&before); len(stands.Kept) > 0 {
		t.Errorf("%+v", stands.Kept)
	}
}

// Whatever there is of it, no star and no other standard changes.
func TestBIMIDecidesNothing(t *testing.T) {
	for _, name := range ProfileNames() {
		profile, err := LoadProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		rounds(t, func(r random) {
			e := Evidence{Facts: r.facts(), Tally: r.tally()}
			other := *e.Facts
			other.BIMI = BIMIFacts{Lookup: r.lookup(), Valid: r.check()}
			before, after := Conclude("example.org", e, profile, Rules{}, testTime), Conclude("example.org", Evidence{Facts: &other, Tally: e.Tally}, profile, Rules{}, testTime)
			delete(before.Verdicts, BIMI)
			delete(after.Verdicts, BIMI)
			if before.Status != after.Status || !reflect.DeepEqual(before.Scores, after.Scores) {
				t.Errorf("%+v, then %+v", before.Scores, after.Scores)
			}
			sameSupport(t, before.Verdicts, after.Verdicts)
		})
	}
	if _, err := ParseProfile([]byte(`{"name":"x","tables":{"identity":{"criteria":["bimi"],"rows":[]}}}`)); err == nil {
		t.Error("a profile may ask for it")
	}
}

// Neither does a run count that learned nothing else, nor is a domain due earlier for its sake.
func TestBIMIIsNotWaitedFor(t *testing.T) {
	f := blackout(failed())
	if f.BIMI.Lookup = found("TXT"); f.measured() {
		t.Error("a run that learned nothing else counts")
	}
	if f.BIMI.Lookup = (Lookup{Status: LookupFailed, Security: SuspectAnswer}); f.measured() {
		t.Error("so does one with nothing else but a suspicion")
	}
	s := DefaultSchedule()
	for part, want := range map[string]time.Duration{"bimi": s.MaxAge, "tls-rpt": s.Retry, partSMTP("mx.example.org"): s.Retry} {
		a := Assessment{Status: StatusScored, Evidence: Evidence{Facts: &Facts{Kept: []Kept{{Part: part}}}}}
		if got := s.Next(a, nil, testTime, 0.5).Sub(testTime).Round(time.Second); got != want {
			t.Errorf("%s stands: %s, want %s", part, got, want)
		}
	}
}

// That everybody loses it, or that its question times out, says nothing of the network.
func TestBIMIIsNoSign(t *testing.T) {
	f := factsOf().with(func(f *Facts) {
		f.DNSSEC.Zone = Lookup{Name: "example.org", Type: "SOA", Status: LookupFailed, Security: SuspectAnswer}
		f.BIMI.Lookup = failed()
	})
	old := factsOf()
	old.Suspicions = []Suspicion{{"example.org", "SOA", testTime.Add(-SecondLook)}}
	if f.lookAgain(old); f.DNSSEC.Zone.Security != BogusAnswer {
		t.Errorf("%+v", f.DNSSEC.Zone)
	}
	had := factsOf().with(func(f *Facts) {
		f.TLSRPT = TLSRPTFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}}
		f.BIMI = BIMIFacts{Lookup: found("TXT"), Valid: Check{Result: Pass}}
	})
	var a Assessor
	if err := a.freeze(t.Context(), factsOf(), Evidence{Facts: had}); err != nil {
		t.Fatal(err)
	}
	if z := a.freezer.freezes; z["bimi"] != nil || z["tls-rpt"] == nil {
		t.Errorf("%v", z)
	}
}
