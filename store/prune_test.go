package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

func TestPrune(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now, Window: 60 * day, Keep: 100 * day})
	st := passive(s)
	addAll(t, s,
		observe("a.example", "192.0.2.1"), observe("a.example", "192.0.2.2", failing), observe("a.example", "2001:db8:1:2::3"),
		observe("a.example", "", relayed("one"), func(o *assess.Observation) { o.Selectors = []assess.Selector{{Domain: "a.example", Name: "s1"}} }),
	)
	s.CountUnauthenticated("a.example")
	rejudge(t, st, 1)
	now.set(noon.Add(10 * day))
	addAll(t, s, observe("a.example", "192.0.2.1", at(now.now())))
	for _, c := range []struct {
		after              int // days
		subjects           []string
		sessions, outbound int
	}{
		{9, []string{"relayed", "192.0.2.1", "192.0.2.2", "2001:db8:1:2::/64"}, 5, 1},
		{30, []string{"relayed", "192.0.2.1", "192.0.2.2", "2001:db8:1:2::/64"}, 5, 1},
		{31, []string{"relayed", "192.0.2.0/24", "192.0.2.1", "2001:db8:1::/48"}, 5, 0},
		{41, []string{"relayed", "192.0.2.0/24", "2001:db8:1::/48"}, 5, 0},
		{60, []string{"relayed", "192.0.2.0/24", "2001:db8:1::/48"}, 5, 0},
		{61, []string{"192.0.2.0/24"}, 1, 0},
		{71, nil, 0, 0},
	} {
		now.set(noon.Add(time.Duration(c.after) * day))
		check(t, s.Prune(t.Context(), now.now()))
		got := tally(t, s, "a.example")
		var subjects []string
		for _, h := range got.Hosts {
			subjects = append(subjects, h.Subject())
		}
		slices.Sort(subjects)
		slices.Sort(c.subjects)
		if !slices.Equal(subjects, c.subjects) || got.Credited() != c.sessions {
			t.Errorf("after %d days: %v, %d sessions; want %v, %d", c.after, subjects, got.Credited(), c.subjects, c.sessions)
		}
		if stored := dump(t, s, "domain"); c.after > 40 && (strings.Contains(stored, "192.0.2.1") || strings.Contains(stored, "2001:db8:1:2")) {
			t.Errorf("after %d days an address is still stored:\n%s", c.after, stored)
		}
		outbound := 0
		for _, v := range history(t, s, "a.example")[0].Verdicts {
			if slices.ContainsFunc(v.Tests, isOutbound) {
				outbound = 1
			}
		}
		if outbound != c.outbound {
			t.Errorf("after %d days: outbound tests %d, want %d", c.after, outbound, c.outbound)
		}
	}
	for _, table := range []string{"tally", "signature", "selector", "unauthenticated"} {
		if n := count(t, s, table); n > 0 {
			t.Errorf("%d rows of %s outlived the window", n, table)
		}
	}
	rejudge(t, st, 1) // the score follows
	if p, err := s.Peer(t.Context(), "a.example"); p.Credited != 0 || p.Scores.Known() || err != nil {
		t.Errorf("%+v (%v)", p, err)
	}
}

func TestCoarseHostsAddUp(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now, Window: 60 * day})
	for i := range 5 {
		addAll(t, s, observe("a.example", fmt.Sprintf("192.0.2.%d", i)), observe("a.example", "192.0.3.1", failing))
	}
	before := tally(t, s, "a.example")
	now.set(noon.Add(35 * day))
	for range 2 { // the second finds nothing to do
		check(t, s.Prune(t.Context(), now.now()))
	}
	got := tally(t, s, "a.example")
	if len(got.Hosts) != 2 || got.Hosts[0].DKIM != (assess.Count{Passed: 5}) || got.Hosts[1].SPF != (assess.Count{Failed: 5}) ||
		got.Hosts[0].TLSVersions["TLSv1.3"] != 5 || got.Credited() != before.Credited() {
		t.Errorf("%+v", got.Hosts)
	}
}

func TestPruneKeepsTheCurrentJudgement(t *testing.T) {
	s := open(t, Options{Keep: 100 * day})
	for i, change := range []func(*assess.Facts){noSPF, func(*assess.Facts) {}, noSPF} {
		check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon.Add(time.Duration(i)*50*day), change)))
	}
	for _, c := range []struct{ after, want int }{{99, 3}, {101, 2}, {151, 1}, {1000, 1}} {
		check(t, s.Prune(t.Context(), noon.Add(time.Duration(c.after)*day)))
		if h := history(t, s, "a.example"); len(h) != c.want || count(t, s, "facts") != c.want {
			t.Errorf("after %d days: %d judgements and %d facts, want %d", c.after, len(h), count(t, s, "facts"), c.want)
		}
	}
	if e, err := s.Evidence(t.Context(), "a.example", noon, day); e.Facts == nil || err != nil {
		t.Errorf("the current facts are gone (%v)", err)
	}
}

func TestPruneForgetsBudgets(t *testing.T) {
	s := open(t, Options{})
	_, err := s.Begin(t.Context(), "a.example", noon, day)
	check(t, err)
	check(t, s.SaveHostRecord(t.Context(), assess.HostRecord{Session: facts("a.example", noon).Hosts.Hosts[0].Sessions[0]}))
	_, err = s.TakeDialogue(t.Context(), "2026-11-20", []assess.Share{{Network: coarse(observe("a.example", "192.0.2.1").Host), Limit: 1}})
	check(t, err)
	for _, c := range []struct {
		after                 int
		runs, hosts, networks int
	}{{1, 1, 1, 1}, {3, 1, 1, 0}, {8, 0, 1, 0}, {31, 0, 0, 0}} {
		check(t, s.Prune(t.Context(), noon.Add(time.Duration(c.after)*day)))
		if r, h, n := count(t, s, "run"), count(t, s, "mx_address"), count(t, s, "share"); r != c.runs || h != c.hosts || n != c.networks {
			t.Errorf("after %d days: %d runs, %d hosts, %d networks; want %d, %d, %d", c.after, r, h, n, c.runs, c.hosts, c.networks)
		}
	}
}

func TestPruneDaily(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now})
	for _, c := range []struct {
		after   time.Duration
		commits int64
	}{{0, 2}, {time.Hour, 2}, {11 * time.Hour, 2}, {13 * time.Hour, 4}} {
		now.set(noon.Add(c.after))
		check(t, s.pruneDaily(t.Context()))
		if got := s.Counters().Commits; got != c.commits {
			t.Errorf("after %s: %d commits, want %d", c.after, got, c.commits)
		}
	}
}

// A clock that leaps ahead by years, and is set right within the day, loses nothing that was
// acknowledged, and puts no probe off.
func TestClockLeaps(t *testing.T) {
	var log bytes.Buffer
	now := newClock(noon)
	s := open(t, Options{Now: now.now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("a.example", "", relayed("one")))
	check(t, s.pruneDaily(t.Context()))

	leap := noon.AddDate(12, 0, 0)
	for _, after := range []time.Duration{0, time.Hour, 11 * time.Hour} {
		now.set(leap.Add(after))
		check(t, s.pruneDaily(t.Context()))
		addAll(t, s, observe("a.example", "192.0.2.2", at(now.now())))
		check(t, s.SaveAssessment(t.Context(), assessed("a.example", now.now())))
		check(t, s.Postpone(t.Context(), "a.example", now.now().Add(7*day)))
	}
	if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "nothing was pruned for long") {
		t.Errorf("log:\n%s", text)
	}
	now.set(noon.Add(12 * time.Hour))
	check(t, s.pruneDaily(t.Context()))
	if got := tally(t, s, "a.example").Credited(); got != 5 {
		t.Errorf("%d sessions", got)
	}
	if got := due(t, s, now.now(), 10); len(got) != 1 {
		t.Errorf("due: %v", got)
	}

	now.set(noon.AddDate(1, 0, 0)) // the daemon was off for a year
	for _, want := range []int{5, 0} {
		check(t, s.pruneDaily(t.Context()))
		var sessions int
		check(t, s.read.Load().QueryRow("SELECT coalesce(sum(sessions), 0) FROM tally").Scan(&sessions))
		if sessions != want {
			t.Errorf("%d sessions are stored, want %d", sessions, want)
		}
		now.set(now.now().Add(day))
	}
}

// What a clock that is ahead writes within seconds leaves with all that was written in those:
// after a day and the next pruning nothing is dated later than it should be.
func TestTheFutureIsPruned(t *testing.T) {
	for _, leap := range []time.Duration{3 * day, 40 * day, 3650 * day} {
		t.Run(leap.String(), func(t *testing.T) {
			live := func(leap time.Duration) (*Store, *clock) {
				now := newClock(noon)
				s := open(t, Options{Now: now.now})
				check(t, s.pruneDaily(t.Context()))
				addAll(t, s, observe("a.example", "192.0.2.1"))
				now.set(noon.Add(leap))
				addAll(t, s, observe("a.example", "192.0.2.1", failing, at(now.now())), observe("b.example", "192.0.2.2", at(now.now())),
					observe("a.example", "", relayed("one"), at(now.now()), func(o *assess.Observation) { o.Selectors = []assess.Selector{{Domain: "a.example", Name: "s1"}} }))
				s.CountUnauthenticated("a.example")
				check(t, s.SaveAssessment(t.Context(), assessed("a.example", now.now())))
				check(t, s.Postpone(t.Context(), "a.example", now.now().Add(7*day)))
				check(t, s.Postpone(t.Context(), "b.example", now.now().Add(6*time.Hour)))
				_, err := s.Begin(t.Context(), "a.example", now.now(), day)
				check(t, err)
				check(t, s.SaveHostRecord(t.Context(), assess.HostRecord{Session: facts("a.example", now.now()).Hosts.Hosts[0].Sessions[0], NotBefore: now.now().Add(7 * day)}))
				_, err = s.TakeDialogue(t.Context(), now.now().Format(time.DateOnly), []assess.Share{{Network: coarse(observe("a.example", "192.0.2.1").Host), Limit: 40}})
				check(t, err)
				check(t, s.pruneDaily(t.Context()))
				now.set(noon.Add(8 * time.Second))
				check(t, s.pruneDaily(t.Context()))
				now.set(noon.Add(day))
				check(t, s.pruneDaily(t.Context()))
				return s, now
			}
			s, now := live(leap)
			never, _ := live(0)
			latest := now.now().Add(clockSkew)
			for _, c := range []struct {
				column string
				most   any
			}{
				{"max(day) FROM tally", dayOf(latest)}, {"max(last_seen) FROM tally", stamp(latest)}, {"max(day) FROM signature", dayOf(latest)},
				{"max(day) FROM unauthenticated", dayOf(latest)}, {"max(last_seen) FROM selector", stamp(latest)},
				{"max(last_seen) FROM domain", stamp(latest)}, {"max(at) FROM assessment", stamp(latest)}, {"max(since) FROM assessment", stamp(latest)},
				{"max(begun) FROM run", stamp(latest)}, {"max(at) FROM mx_address", stamp(latest)}, {"max(day) FROM share", latest.Add(day).Format(time.DateOnly)},
			} {
				var late bool
				check(t, s.read.Load().QueryRow("SELECT "+c.column[:strings.Index(c.column, " ")]+" > ?"+c.column[strings.Index(c.column, " "):], c.most).Scan(&sqlBool{&late}))
				if late {
					t.Errorf("%s is later than %v", c.column, latest)
				}
			}
			if got := due(t, s, now.now().Add(8*day), 10); len(got) != 2 {
				t.Errorf("due within the week: %v", got)
			}
			for _, d := range []dnsname.Domain{"a.example", "b.example"} {
				if got, want := tally(t, s, d).Credited(), tally(t, never, d).Credited(); got != want {
					t.Errorf("%s: %d sessions, without the leap %d", d, got, want)
				}
			}
			now.set(noon.Add(32 * day)) // but for a day, the window is over; nothing was pruned for long
			for range 2 {
				check(t, s.pruneDaily(t.Context()))
				now.set(now.now().Add(day))
			}
			for _, table := range []string{"tally", "signature", "selector", "unauthenticated", "run", "share"} {
				if n := count(t, s, table); n > 0 {
					t.Errorf("%d rows of %s outlived the window", n, table)
				}
			}
		})
	}
}

// sqlBool is false for NULL.
type sqlBool struct{ b *bool }

func (v *sqlBool) Scan(value any) error {
	n, _ := value.(int64)
	*v.b = n != 0
	return nil
}

// A clock that is behind for a while makes nothing older than it is.
func TestAClockSetBackMovesNothing(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	check(t, s.pruneDaily(t.Context()))
	before := dump(t, s, "memo")
	now.set(noon.AddDate(-10, 0, 0))
	for range 20 {
		check(t, s.pruneDaily(t.Context()))
		now.set(now.now().Add(time.Hour / 2))
	}
	now.set(noon)
	check(t, s.pruneDaily(t.Context()))
	if after := dump(t, s, "memo"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// crowd fills a store with domains of many hosts, whose rows are old.
func crowd(t *testing.T, s *Store, domains, hosts int) {
	t.Helper()
	check(t, s.write(t.Context(), func(t *tx) error {
		_, err := t.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO domain (name, organisation, due) SELECT 'd' || i || '.example', 'd' || i || '.example', 0 FROM n`, domains)
		if err != nil {
			return err
		}
		_, err = t.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO tally SELECT id, '192.0.' || i || '.1/32', ?2, 1, 1, 0, 1, 0, 1, 0, ?3, '{}' FROM domain, n`,
			hosts, dayOf(noon.Add(-40*day)), stamp(noon.Add(-40*day)))
		return err
	}))
}

// No transaction of pruning goes over more than a bounded number of rows, whatever there is.
func TestPruneGoesInSlices(t *testing.T) {
	s := open(t, Options{Window: 60 * day})
	crowd(t, s, 300, 40)
	r := retention{now: noon, window: 60 * day, keep: DefaultKeep, maxAge: DefaultMaxAge}
	slices, worst := 0, 0
	for from := int64(0); from <= 300; slices++ {
		to, err := s.workload(t.Context(), from)
		check(t, err)
		before := touched(t, s)
		check(t, s.write(t.Context(), func(t *tx) error { return t.prune(from, to, r) }))
		worst = max(worst, touched(t, s)-before)
		from = to + 1
	}
	t.Logf("%d slices of %d changes at most", slices, worst)
	if worst > 4*pruneWork {
		t.Errorf("%d changes in one transaction", worst)
	}
	var left int
	check(t, s.read.Load().QueryRow("SELECT count(*) FROM tally WHERE host NOT LIKE '%/24'").Scan(&left))
	if left > 0 {
		t.Errorf("%d hosts keep their address", left)
	}
}

// While one process prunes, another comes in between.
func TestPruneLetsOthersWrite(t *testing.T) {
	pruner := open(t, Options{Window: 60 * day})
	crowd(t, pruner, 100, 40)
	process := openPath(t, pruner.path, Options{})
	done := make(chan error)
	go func() { done <- pruner.Prune(t.Context(), noon) }()
	for n := 0; ; n++ {
		select {
		case err := <-done:
			check(t, err)
			if commits := int(pruner.Counters().Commits); n < 5 || commits < 8 {
				t.Errorf("%d observations of another process came between %d transactions", n, commits)
			}
			return
		default:
			addAll(t, process, observe("a.example", "192.0.2.1"))
		}
	}
}
