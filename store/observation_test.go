package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

func TestObservationsAddUp(t *testing.T) {
	s := open(t, Options{})
	later := noon.Add(26 * time.Hour)
	s.now = newClock(later).now
	addAll(t, s,
		observe("a.example", "192.0.2.1"), observe("a.example", "192.0.2.1", failing), observe("a.example", "192.0.2.1", at(later)),
		observe("a.example", "2001:db8::1", func(o *assess.Observation) {
			o.Proof, o.TLSVersion, o.DKIM = assess.ProofHost, "TLSv1.2", assess.Unknown
		}),
		observe("a.example", "", relayed("one")), observe("b.example", "192.0.2.1"),
	)
	got := tally(t, s, "a.example")
	want := assess.Tally{Window: s.options.Window, FirstSeen: noon, LastSeen: later, Hosts: []assess.HostTally{
		{Sessions: 1, DKIM: assess.Count{Passed: 1}, LastSeen: noon,
			TLSVersions: map[string]int{"TLSv1.3": 1}, Proofs: map[string]int{"dkim": 1}},
		{Host: netip.MustParsePrefix("192.0.2.1/32"), Sessions: 3, LastSeen: later,
			StartTLS: assess.Count{Passed: 2, Failed: 1}, SPF: assess.Count{Passed: 2, Failed: 1}, DKIM: assess.Count{Passed: 2, Failed: 1},
			TLSVersions: map[string]int{"TLSv1.3": 2, "none": 1}, Proofs: map[string]int{"dkim+spf": 3}},
		{Host: netip.MustParsePrefix("2001:db8::/64"), Sessions: 1, LastSeen: noon,
			StartTLS: assess.Count{Passed: 1}, SPF: assess.Count{Passed: 1},
			TLSVersions: map[string]int{"TLSv1.2": 1}, Proofs: map[string]int{"host": 1}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOnlyTheWindowCounts(t *testing.T) {
	s := open(t, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("a.example", "192.0.2.2", at(noon.Add(-20*day))), observe("a.example", "192.0.2.3", at(noon.Add(-31*day))))
	for window, want := range map[time.Duration]int{day: 1, 21 * day: 2, 30 * day: 2, 40 * day: 3} {
		e, err := s.Evidence(t.Context(), "a.example", noon, window)
		check(t, err)
		if e.Tally.Credited() != want {
			t.Errorf("window %s: %d sessions, want %d", window, e.Tally.Credited(), want)
		}
	}
}

func TestReplayCountsOnce(t *testing.T) {
	s := open(t, Options{})
	var wg sync.WaitGroup
	for range 50 {
		for _, signature := range []string{"one", "two"} {
			wg.Go(func() { add(t, s, observe("a.example", "", relayed(signature))) })
		}
	}
	wg.Wait()
	before := dump(t, s, "memo")
	addAll(t, s, observe("a.example", "", relayed("two"), at(noon.Add(9*day)))) // another day
	if after := dump(t, s, "memo"); after != before {
		t.Errorf("a replay changed\n%s\nto\n%s", before, after)
	}
	if got := tally(t, s, "a.example").Credited(); got != 2 {
		t.Errorf("%d sessions, want 2", got)
	}
}

func TestRelayedSignaturesADay(t *testing.T) {
	s := open(t, Options{Limits: Limits{RelayedDay: 5}})
	for i := range 20 {
		addAll(t, s, observe("a.example", "", relayed(fmt.Sprint(i))), observe("a.example", "", relayed(fmt.Sprint("tomorrow", i)), at(noon.Add(day))))
	}
	var signatures int
	check(t, s.read.Load().QueryRow("SELECT count(*) FROM signature").Scan(&signatures))
	if signatures != 10 {
		t.Errorf("%d signatures on two days, want 10", signatures)
	}
}

func TestHostsADomain(t *testing.T) {
	s := open(t, Options{Limits: Limits{Hosts: 4}})
	addAll(t, s, observe("a.example", "", relayed("one"), at(noon.Add(-time.Hour))))
	for i := range 10 {
		addAll(t, s, observe("a.example", fmt.Sprintf("192.0.2.%d", i), at(noon.Add(time.Duration(i%7)*time.Minute))))
	}
	var hosts []string
	for _, h := range tally(t, s, "a.example").Hosts {
		hosts = append(hosts, h.Subject())
	}
	if want := []string{"relayed", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"}; !slices.Equal(hosts, want) {
		t.Errorf("hosts %v, want %v", hosts, want)
	}
}

func TestSelectorsADomain(t *testing.T) {
	s := open(t, Options{Limits: Limits{Selectors: 3}})
	for i, name := range []string{"one", "two", "three", "four", "two", "bad name", "user@host", ""} {
		addAll(t, s, observe("a.example", "192.0.2.1", at(noon.Add(time.Duration(2*i-20)*time.Hour)), func(o *assess.Observation) {
			o.Selectors = []assess.Selector{{Domain: "a.example", Name: name}}
		}))
	}
	want := []assess.Selector{{Domain: "a.example", Name: "two"}, {Domain: "a.example", Name: "four"}, {Domain: "a.example", Name: "three"}}
	if got := tally(t, s, "a.example").Selectors; !slices.Equal(got, want) {
		t.Errorf("selectors %v, want %v", got, want)
	}
}

func TestKeysAnOrganisation(t *testing.T) {
	s := open(t, Options{Limits: Limits{Keys: 4}})
	for i := range 6 {
		d := dnsname.Domain(fmt.Sprintf("s%d.uni.example", i))
		addAll(t, s, observe(d, "192.0.2.1"), observe(d, "192.0.2.2", failing))
	}
	for _, c := range []struct {
		domain   dnsname.Domain
		sessions int
	}{{"s0.uni.example", 2}, {"s2.uni.example", 2}, {"s3.uni.example", 0}, {"uni.example", 6}} {
		if got := tally(t, s, c.domain).Credited(); got != c.sessions {
			t.Errorf("%s has %d sessions, want %d", c.domain, got, c.sessions)
		}
	}
	for _, h := range tally(t, s, "uni.example").Hosts {
		if h.StartTLS.Failed+h.SPF.Failed+h.DKIM.Failed > 0 {
			t.Errorf("a subdomain voted against its organisation: %+v", h)
		}
	}
	check(t, s.Learn(t.Context(), "learned.uni.example"))
	if known, err := s.Known(t.Context(), "learned.uni.example"); known || err != nil {
		t.Errorf("a fifth key: %v, %v", known, err)
	}
	if err := s.SaveAssessment(t.Context(), assessed("assessed.uni.example", noon)); !errors.Is(err, ErrTooManyKeys) {
		t.Errorf("a fifth key was assessed: %v", err)
	}
}

func TestDomainsInAll(t *testing.T) {
	s := open(t, Options{Limits: Limits{Domains: 200}})
	check(t, s.SaveAssessment(t.Context(), assessed("assessed.example", noon)))
	check(t, s.Learn(t.Context(), "learned.example"))
	for range 3 {
		addAll(t, s, observe("busy.example", "192.0.2.1", at(noon.Add(-day))))
	}
	check(t, s.SaveAssessment(t.Context(), assessed("both.example", noon)))
	addAll(t, s, observe("both.example", "192.0.2.1", at(noon.Add(-2*day))))
	for i := range 500 {
		addAll(t, s, observe(dnsname.Domain(fmt.Sprintf("d%d.example", i)), "192.0.2.1", at(noon.Add(time.Duration(i)*time.Second))))
	}
	peers, err := s.Peers(t.Context(), Filter{})
	check(t, err)
	if len(peers) != 200 {
		t.Errorf("%d domains, want 200", len(peers))
	}
	for d, want := range map[dnsname.Domain]bool{"learned.example": true, "busy.example": true, "both.example": true, "d3.example": false, "d499.example": true} {
		if known, err := s.Known(t.Context(), d); known != want || err != nil {
			t.Errorf("%s is known: %v, want %v (%v)", d, known, want, err)
		}
	}
}

func TestOrderOfObservationsDoesNotMatter(t *testing.T) {
	var all []assess.Observation
	for i := range 120 {
		changes := []func(*assess.Observation){at(noon.Add(time.Duration(i) * time.Hour))}
		if i%3 == 0 {
			changes = append(changes, failing)
		}
		o := observe(dnsname.Domain(fmt.Sprintf("d%d.example", i%5)), fmt.Sprintf("192.0.2.%d", i%11), changes...)
		if i%7 == 0 {
			relayed(fmt.Sprint(i))(&o)
		}
		all = append(all, o)
	}
	tallies := func() (out []assess.Tally) {
		s := open(t, Options{Now: (newClock(noon.Add(6 * day))).now})
		addAll(t, s, all...)
		for i := range 5 {
			out = append(out, tally(t, s, dnsname.Domain(fmt.Sprintf("d%d.example", i))))
		}
		return out
	}
	want := tallies()
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if got := tallies(); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestForeignNamesAreRefused(t *testing.T) {
	s := open(t, Options{})
	for _, name := range []dnsname.Domain{"", "user@a.example", "A.example", "a.example\n", "ü.example", "a b.example", dnsname.Domain(strings.Repeat("a", 254))} {
		if err := s.AddObservation(t.Context(), observe(name, "192.0.2.1")); err == nil {
			t.Errorf("an observation of %q was taken", name)
		}
		if err := s.Learn(t.Context(), name); err == nil {
			t.Errorf("%q was learned", name)
		}
		if err := s.SaveAssessment(t.Context(), assess.Assessment{Domain: name}); err == nil {
			t.Errorf("an assessment of %q was taken", name)
		}
	}
}

// TestGroupCommit shows that what is pending shares a transaction and counts one by one.
func TestGroupCommit(t *testing.T) {
	s := open(t, Options{})
	begun, hold := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.write(t.Context(), func(*tx) error { close(begun); <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	for i := range 300 {
		wg.Go(func() { add(t, s, observe("a.example", fmt.Sprintf("192.0.2.%d", i%3))) })
	}
	for len(s.writer.jobs) < 300 {
		runtime.Gosched() // the callers are on their way to the queue
	}
	close(hold)
	wg.Wait()
	if c := s.Counters(); c.Committed != 300 || c.Commits != 2 {
		t.Errorf("%+v, want 300 observations in 2 commits", c)
	}
	if got := tally(t, s, "a.example").Credited(); got != 300 {
		t.Errorf("%d sessions, want 300", got)
	}
}
