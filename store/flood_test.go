package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// fill puts as many domains into the table as it may hold: each was seen on ten days.
func fill(tb testing.TB, s *Store) {
	tb.Helper()
	err := s.write(tb.Context(), func(t *tx) error {
		_, err := t.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO domain (name, organisation, first_seen, last_seen, credited, due, observed, judged)
			SELECT 'old' || i || '.example', 'old' || i || '.example', ?2 - 864000000, ?2, 10, ?2, 1, 1 FROM n`, s.options.Limits.Domains, stamp(noon))
		if err == nil {
			_, err = t.exec("UPDATE domain SET worth = " + worthOf)
		}
		t.domains = -1
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// touched is how many rows the writer has changed so far, those of other tables included.
func touched(t *testing.T, s *Store) (rows int) {
	t.Helper()
	check(t, s.write(t.Context(), func(t *tx) error { return t.get("SELECT total_changes()", nil, &rows) }))
	return rows
}

// Where there are 200,000 domains, a newcomer costs the writer no more than it does elsewhere,
// but for the row that goes. However many come, they displace each other.
func TestFloodOfDomains(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	s := open(t, Options{})
	fill(t, s)
	for _, d := range []dnsname.Domain{"learned.example", "labelled.example", "assessed.example"} {
		check(t, s.Learn(t.Context(), d))
	}
	check(t, s.SetLabels(t.Context(), "labelled.example", []string{"bank"}))
	cost := func(d dnsname.Domain) int {
		before := touched(t, s)
		addAll(t, s, observe(d, "192.0.2.1"))
		return touched(t, s) - before
	}
	room := open(t, Options{})
	before := touched(t, room)
	addAll(t, room, observe("flood.example", "192.0.2.1"))
	ordinary := touched(t, room) - before
	worst := 0
	for i := range 100 {
		worst = max(worst, cost(dnsname.Domain(fmt.Sprintf("first%d.example", i))))
	}
	t.Logf("a newcomer touches %d rows, and %d at most where there is no room", ordinary, worst)
	if worst > 2*ordinary {
		t.Errorf("a newcomer touches %d rows, an ordinary one %d", worst, ordinary)
	}
	for i := range 50 {
		var flood sync.WaitGroup
		for j := range 100 {
			flood.Go(func() {
				addInTheEnd(t, s, observe(dnsname.Domain(fmt.Sprintf("flood%d-%d.example", i, j)), "192.0.2.1"))
			})
		}
		flood.Wait()
	}
	var all, old, kept, last int
	check(t, s.read.Load().QueryRow(`SELECT count(*), count(*) FILTER (WHERE name LIKE 'old%'), count(*) FILTER (WHERE learned),
		count(*) FILTER (WHERE name LIKE 'flood49-%') FROM domain`).Scan(&all, &old, &kept, &last))
	if most := s.options.Limits.Domains; all != most || old < most-most/newcomers-3 || kept != 3 || last != 100 {
		t.Errorf("of %d domains remain %d; %d old ones, %d that we write to, %d of the 100 that came last", most, all, old, kept, last)
	}
}

// addInTheEnd tries again where the disk was too slow, as another message of the domain would.
func addInTheEnd(t *testing.T, s *Store, o assess.Observation) {
	for {
		err := s.AddObservation(t.Context(), o)
		if !errors.Is(err, ErrUnconfirmed) && !errors.Is(err, ErrOverloaded) {
			if err != nil {
				t.Error(err)
			}
			return
		}
		time.Sleep(busyPause)
	}
}

// Victims come from the index in its order: nothing is sorted, no row is read that stays.
func TestVictimsAreNotSearchedFor(t *testing.T) {
	s := open(t, Options{})
	var plan strings.Builder
	var id, parent, unused int
	var detail string
	check(t, s.write(t.Context(), func(t *tx) error {
		return t.each("EXPLAIN QUERY PLAN "+leastWorth, []any{worthLabel, 0, 1}, func() error { plan.WriteString(detail + "\n"); return nil }, &id, &parent, &unused, &detail)
	}))
	if plan.String() != "SEARCH domain USING COVERING INDEX domain_worth (worth<?)\nSCALAR SUBQUERY 1\nSEARCH domain\n" {
		t.Error(plan.String())
	}
}

func TestWorth(t *testing.T) {
	s := open(t, Options{Limits: Limits{Domains: 8}})
	steps := []func(dnsname.Domain){ // each of them is worth more than all before
		func(d dnsname.Domain) { addAll(t, s, observe(d, "192.0.2.1")) },
		func(d dnsname.Domain) {
			addAll(t, s, observe(d, "192.0.2.1"), observe(d, "192.0.2.1"), observe(d, "192.0.2.2"))
		},
		func(d dnsname.Domain) { check(t, s.SaveAssessment(t.Context(), assessed(d, noon))) },
		func(d dnsname.Domain) {
			addAll(t, s, observe(d, "192.0.2.1"), observe(d, "192.0.2.1", at(noon.Add(day))))
		},
		func(d dnsname.Domain) {
			addAll(t, s, observe(d, "192.0.2.1"), observe(d, "192.0.2.1", at(noon.Add(6*day))))
		},
		func(d dnsname.Domain) {
			addAll(t, s, observe(d, "192.0.2.1"), observe(d, "192.0.2.1", at(noon.Add(30*day))))
		},
		func(d dnsname.Domain) { check(t, s.Learn(t.Context(), d)) },
		func(d dnsname.Domain) {
			check(t, s.Learn(t.Context(), d))
			check(t, s.SetLabels(t.Context(), d, []string{"bank"}))
		},
	}
	for i := len(steps) - 1; i >= 0; i-- { // what goes first became known last
		steps[i](dnsname.Domain(fmt.Sprintf("d%d.example", i)))
	}
	for i := range len(steps) - 1 {
		check(t, s.write(t.Context(), func(t *tx) error {
			_, err := t.insert(dnsname.Domain(fmt.Sprintf("n%d.example", i)), noon)
			if err == nil {
				_, err = t.exec("UPDATE domain SET worth = ? WHERE worth = 0", worthLabel)
			}
			return err
		}))
		for j := range steps {
			known, err := s.Known(t.Context(), dnsname.Domain(fmt.Sprintf("d%d.example", j)))
			if want := j > i; known != want || err != nil {
				t.Errorf("after %d newcomers d%d is known: %v, want %v (%v)", i+1, j, known, want, err)
			}
		}
	}
}

// Too many domains of another process go bit by bit.
func TestExcessGoesInSlices(t *testing.T) {
	s := open(t, Options{Limits: Limits{Domains: 1000}})
	fill(t, s)
	s.options.Limits.Domains = 500
	addAll(t, s, observe("a.example", "192.0.2.1"))
	if got, want := count(t, s, "domain"), 1001-1-evictMore; got != want {
		t.Errorf("%d domains, want %d", got, want)
	}
	for range 10 {
		addAll(t, s, observe("a.example", "192.0.2.1"))
	}
	if got := count(t, s, "domain"); got != 500 {
		t.Errorf("%d domains, want 500", got)
	}
}

// BenchmarkFlood is what honest mail waits for while new domains flood a full table.
func BenchmarkFlood(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir()+"/peerscore.db", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill(b, s)
	var longest time.Duration
	for n := 0; b.Loop(); n++ {
		var flood sync.WaitGroup
		for i := range 100 {
			flood.Go(func() { add(b, s, observe(dnsname.Domain(fmt.Sprintf("flood%d-%d.example", n, i)), "192.0.2.1")) })
		}
		began := time.Now()
		add(b, s, observe("old1.example", "192.0.2.1"))
		longest = max(longest, time.Since(began))
		flood.Wait()
	}
	b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
}
