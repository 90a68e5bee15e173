package store

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

func profile() assess.Profile {
	p, err := assess.LoadProfile("mecsa-2018")
	if err != nil {
		panic(err)
	}
	return p
}

// facts are those of a domain with one MX host that speaks STARTTLS, but for changes.
func facts(d dnsname.Domain, at time.Time, changes ...func(*assess.Facts)) *assess.Facts {
	found := func(records ...string) assess.Lookup {
		return assess.Lookup{Name: string(d), Status: assess.LookupFound, Records: records}
	}
	f := &assess.Facts{Domain: d, At: at}
	f.Hosts = assess.MXFacts{Lookup: found("10 mx." + string(d) + "."), Hosts: []assess.MXHost{{
		Name: "mx." + string(d), A: found("192.0.2.25"),
		Sessions: []assess.SMTPFacts{{
			Address: netip.MustParseAddr("192.0.2.25"), ServerName: "mx." + string(d), At: at, Stage: "quit", Outcome: assess.TLSEstablished,
			Greeting: "220 mx ESMTP " + at.String(), TLS: &assess.TLSFacts{Version: "TLS 1.3", Chain: [][]byte{{0x30, 0x82, 0xff}}},
		}},
	}}}
	f.SPF = assess.SPFFacts{Lookup: found("v=spf1 -all"), Count: 1, Record: "v=spf1 -all", Valid: assess.Check{Result: assess.Pass}, Policy: "-all"}
	for _, change := range changes {
		change(f)
	}
	return f
}

func noSPF(f *assess.Facts) {
	f.SPF = assess.SPFFacts{Lookup: assess.Lookup{Name: string(f.Domain), Status: assess.LookupNoData}}
}

// assessed is an assessment of a domain without sessions.
func assessed(d dnsname.Domain, at time.Time, changes ...func(*assess.Facts)) assess.Assessment {
	return assess.Conclude(d, assess.Evidence{Facts: facts(d, at, changes...)}, profile(), assess.Rules{Threshold: 0.8}, at)
}

func history(t *testing.T, s *Store, d dnsname.Domain) []Judgement {
	t.Helper()
	h, err := s.History(t.Context(), d)
	check(t, err)
	return h
}

func count(t *testing.T, s *Store, table string) (n int) {
	t.Helper()
	check(t, s.read.Load().QueryRow("SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func TestAssessmentIsKeptWhole(t *testing.T) {
	s := open(t, Options{})
	a := assessed("a.example", noon)
	check(t, s.SaveAssessment(t.Context(), a))
	e, err := s.Evidence(t.Context(), "a.example", noon, day)
	check(t, err)
	if !reflect.DeepEqual(e.Facts, a.Evidence.Facts) {
		t.Errorf("facts\n%+v\nwant\n%+v", e.Facts, a.Evidence.Facts)
	}
	h := history(t, s, "a.example")
	if len(h) != 1 {
		t.Fatalf("%d judgements, want 1", len(h))
	}
	a.Evidence.Tally = assess.Tally{}
	if want := (Judgement{noon, a}); !reflect.DeepEqual(h[0], want) {
		t.Errorf("got  %+v\nwant %+v", h[0], want)
	}
}

func TestEqualJudgementsAreOne(t *testing.T) {
	s := open(t, Options{})
	week := noon.Add(7 * day)
	check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon)))
	check(t, s.SaveAssessment(t.Context(), assessed("a.example", week)))
	h := history(t, s, "a.example")
	if len(h) != 1 || !h[0].Since.Equal(noon) || !h[0].At.Equal(week) || !h[0].Evidence.Facts.At.Equal(week) {
		t.Errorf("history %+v", h)
	}
	if n := count(t, s, "facts"); n != 1 {
		t.Errorf("%d facts, want the latest only", n)
	}
}

func TestDifferentJudgementsAreHistory(t *testing.T) {
	s := open(t, Options{})
	for i, changes := range [][]func(*assess.Facts){nil, {noSPF}, {noSPF}, nil} {
		check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon.Add(time.Duration(i)*day), changes...)))
	}
	h := history(t, s, "a.example")
	if len(h) != 3 {
		t.Fatalf("%d judgements, want 3", len(h))
	}
	for i, want := range []assess.Support{assess.SupportYes, assess.SupportNo, assess.SupportYes} {
		if got := h[i].Verdicts.Support(assess.SPF); got != want {
			t.Errorf("judgement %d: SPF %s, want %s", i, got, want)
		}
	}
	if !h[1].Evidence.Facts.At.Equal(noon.Add(2 * day)) {
		t.Errorf("the second judgement rests on facts of %s", h[1].Evidence.Facts.At)
	}
}

func TestSameFactsAreStoredOnce(t *testing.T) {
	s := open(t, Options{})
	a := assessed("a.example", noon)
	check(t, s.SaveAssessment(t.Context(), a))
	a = assess.Conclude(a.Domain, a.Evidence, profile(), assess.Rules{Threshold: 0.8}, noon.Add(day))
	a.Profile = "another" // as after a change of the configuration
	check(t, s.SaveAssessment(t.Context(), a))
	a.Evidence.Facts, a.Profile = nil, "a third" // judged without facts: those that are there stay
	check(t, s.SaveAssessment(t.Context(), a))
	if h := history(t, s, "a.example"); len(h) != 3 || h[0].Evidence.Facts == nil || count(t, s, "facts") != 1 {
		t.Errorf("%d judgements, %d facts", len(h), count(t, s, "facts"))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		want   int
	}{
		{"by length", Limits{HistoryLength: 5}, 5},
		{"by octets", Limits{HistoryFacts: 100_000}, 3}, // of 24 kB each, and the verdicts
		{"the current judgement stays", Limits{HistoryFacts: 10}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, Options{Limits: c.limits})
			for i := range 12 {
				change := func(f *assess.Facts) { f.Hosts.Hosts[0].Sessions[0].Greeting = strings.Repeat("x", 23_000) }
				check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon.Add(time.Duration(i)*day), change, []func(*assess.Facts){noSPF, func(*assess.Facts) {}}[i%2])))
			}
			if h := history(t, s, "a.example"); len(h) != c.want || !h[0].At.Equal(noon.Add(11*day)) {
				t.Errorf("%d judgements, want %d", len(h), c.want)
			}
			if n := count(t, s, "facts"); n != c.want {
				t.Errorf("%d facts, want %d", n, c.want)
			}
		})
	}
}

func TestUnknownDomain(t *testing.T) {
	s := open(t, Options{})
	e, err := s.Evidence(t.Context(), "a.example", noon, day)
	if err != nil || e.Basis() != assess.BasisNone || e.Tally.Window != day {
		t.Errorf("evidence %+v, error %v", e, err)
	}
	if _, err := s.Peer(t.Context(), "a.example"); err != ErrUnknownDomain {
		t.Errorf("error %v", err)
	}
}

func TestForget(t *testing.T) {
	s := open(t, Options{})
	fill := func(d dnsname.Domain) {
		addAll(t, s, observe(d, "192.0.2.1", func(o *assess.Observation) { o.Selectors = []assess.Selector{{Domain: d, Name: "s1"}} }),
			observe(d, "", relayed("one")))
		s.CountUnauthenticated(d)
		check(t, s.SaveAssessment(t.Context(), assessed(d, noon)))
		_, err := s.Begin(t.Context(), d.Organisational(), noon, day)
		check(t, err)
		record := assess.HostRecord{Session: facts(d, noon).Hosts.Hosts[0].Sessions[0], Organisation: d}
		check(t, s.SaveHostRecord(t.Context(), record))
		record.Session.ServerName = "mx.provider.example"
		check(t, s.SaveHostRecord(t.Context(), record))
		_, err = s.TakeDialogue(t.Context(), "2026-11-20", []assess.Share{{Network: netip.MustParsePrefix("192.0.2.0/24"), Of: string(d), Limit: 9}})
		check(t, err)
	}
	fill("other.example")
	before := dump(t, s, "memo", "mx_address")
	fill("gone.example")
	check(t, s.Forget(t.Context(), "gone.example"))
	if after := dump(t, s, "memo", "mx_address"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	records, err := s.HostRecords(t.Context(), facts("gone.example", noon).Hosts.Hosts[0].Sessions[0].Address)
	check(t, err)
	for _, r := range records {
		if r.Organisation == "gone.example" || strings.HasSuffix(r.Session.ServerName, ".gone.example") {
			t.Errorf("kept: %+v", r)
		}
	}
	if len(records) != 2 {
		t.Errorf("%d dialogues are left, want those under the other's name and the provider's", len(records))
	}
	if err := s.Forget(t.Context(), "gone.example"); err != ErrUnknownDomain {
		t.Errorf("error %v", err)
	}
}

func TestSpoofsChangeNothing(t *testing.T) {
	s := open(t, Options{})
	addAll(t, s, observe("victim.example", "192.0.2.1"))
	check(t, s.SaveAssessment(t.Context(), assessed("victim.example", noon)))
	st := NewStandings(s, Judge{Profile: profile(), Rules: assess.Rules{Threshold: 0.8}})
	_, err := st.Rejudge(t.Context())
	check(t, err)
	before, standing := dump(t, s, "unauthenticated", "memo"), st.Standing(t.Context(), "victim.example")
	for i := range 100_000 {
		s.CountUnauthenticated("victim.example")
		s.CountUnauthenticated(dnsname.Domain(fmt.Sprintf("d%d.example", i%5000)))
		s.CountUnauthenticated("")
	}
	check(t, s.write(t.Context(), func(*tx) error { return nil })) // a commit takes them along
	if n, err := st.Rejudge(t.Context()); n != 0 || err != nil {
		t.Errorf("%d domains to judge again (%v)", n, err)
	}
	if after := dump(t, s, "unauthenticated", "memo"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if after := st.Standing(t.Context(), "victim.example"); !reflect.DeepEqual(after, standing) {
		t.Errorf("before %+v, after %+v", standing, after)
	}
	if n, err := s.Unauthenticated(t.Context()); n != 300_000 || err != nil {
		t.Errorf("%d in all, want 300,000 (%v)", n, err)
	}
	if n := tally(t, s, "victim.example").Unauthenticated; n != 100_000 {
		t.Errorf("%d for the victim, want 100,000", n)
	}
	if c := s.Counters(); c.Dropped == 0 {
		t.Error("5,000 domains were counted apart")
	}
}

func TestSpoofsOfAFailedCommitAreKept(t *testing.T) {
	s := open(t, Options{})
	addAll(t, s, observe("victim.example", "192.0.2.1"))
	s.CountUnauthenticated("victim.example")
	s.CountUnauthenticated("victim.example")
	if err := s.write(t.Context(), func(*tx) error { return fatal{fmt.Errorf("disk on fire")} }); err == nil {
		t.Fatal("it was committed")
	}
	s.CountUnauthenticated("victim.example")
	check(t, s.write(t.Context(), func(*tx) error { return nil }))
	if n := tally(t, s, "victim.example").Unauthenticated; n != 3 {
		t.Errorf("%d, want 3", n)
	}
}

// Of more domains than are counted apart, be it over a failed commit, all messages are accounted for.
func TestSpoofsThatAreNotCountedApart(t *testing.T) {
	var c spoofs
	for n := range 2 * maxSpoofed {
		if n == maxSpoofed {
			c.take() // for a transaction that fails
		}
		for range 3 {
			c.count(crashDomain(n))
		}
	}
	c.take()
	if dropped := c.dropped.Load(); len(c.taken) != maxSpoofed || dropped != 3*maxSpoofed || c.takenSum != 6*maxSpoofed {
		t.Errorf("%d domains apart, %d messages dropped of %d", len(c.taken), dropped, c.takenSum)
	}
}
