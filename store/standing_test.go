package store

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// passive judges by sessions alone, so that observations change scores at once.
func passive(s *Store) *Standings {
	return NewStandings(s, Judge{Profile: profile(), Rules: assess.Rules{Threshold: 0.8, Passive: true}})
}

func rejudge(t *testing.T, st *Standings, want int) {
	t.Helper()
	if n, err := st.Rejudge(t.Context()); n != want || err != nil {
		t.Errorf("%d domains judged, want %d (%v)", n, want, err)
	}
}

func TestStanding(t *testing.T) {
	s := open(t, Options{})
	st := NewStandings(s, Judge{Profile: profile(), Rules: assess.Rules{Threshold: 0.8}})
	if got := st.Standing(t.Context(), "a.example"); got.Known {
		t.Errorf("a domain never heard of: %+v", got)
	}
	addAll(t, s, observe("a.example", "192.0.2.1"))
	if got, want := st.Standing(t.Context(), "a.example"), (assess.Standing{Known: true, Status: assess.StatusPending, Since: noon}); !reflect.DeepEqual(got, want) {
		t.Errorf("seen: %+v, want %+v", got, want)
	}
	a := assessed("a.example", noon)
	check(t, s.SaveAssessment(t.Context(), a))
	want := a.Standing()
	want.Since = noon
	if got := st.Standing(t.Context(), "a.example"); !reflect.DeepEqual(got, want) {
		t.Errorf("assessed:\n%+v, want\n%+v", got, want)
	}
	rejudge(t, st, 1)
	got := st.Standing(t.Context(), "a.example")
	if got.Basis != assess.BasisProbeSessions || !got.Assessed.Equal(noon) || !slices.Equal(got.MX, []netip.Addr{netip.MustParseAddr("192.0.2.25")}) {
		t.Errorf("judged: %+v", got)
	}
	check(t, s.Forget(t.Context(), "a.example"))
	if got := st.Standing(t.Context(), "a.example"); got.Known {
		t.Errorf("forgotten: %+v", got)
	}
}

// A domain is known since its first session or its first judgement, whichever was earlier.
func TestKnownSince(t *testing.T) {
	s := open(t, Options{})
	since := func(d dnsname.Domain, want time.Time) {
		t.Helper()
		if e, err := s.Evidence(t.Context(), d, noon, day); err != nil || !e.Since.Equal(want) {
			t.Errorf("%s: known since %v, %v; want %v", d, e.Since, err, want)
		}
	}
	check(t, s.Learn(t.Context(), "learned.example"))
	since("learned.example", time.Time{})
	since("unheard.example", time.Time{})

	addAll(t, s, observe("seen.example", "192.0.2.1"))
	check(t, s.SaveAssessment(t.Context(), assessed("seen.example", noon.Add(day))))
	since("seen.example", noon)

	check(t, s.SaveAssessment(t.Context(), assessed("asked.example", noon.Add(-3*day))))
	check(t, s.SaveAssessment(t.Context(), assessed("asked.example", noon.Add(-day))))
	addAll(t, s, observe("asked.example", "192.0.2.1"))
	since("asked.example", noon.Add(-3*day))
}

// A database of a version that scored what does not exist is judged again by the rules of today.
func TestOlderEdition(t *testing.T) {
	s := open(t, Options{})
	parked := assessed("parked.example", noon, func(f *assess.Facts) { f.Hosts = assess.MXFacts{Null: true} })
	mistyped := assessed("mistyped.example", noon, func(f *assess.Facts) {
		f.Hosts = assess.MXFacts{Lookup: assess.Lookup{Status: assess.LookupNXDomain}}
		f.SPF, f.DMARC = assess.SPFFacts{Lookup: f.Hosts.Lookup}, assess.DMARCFacts{Lookup: f.Hosts.Lookup}
		f.DKIM.Presence = f.Hosts.Lookup
	})
	check(t, s.Learn(t.Context(), "mistyped.example")) // somebody wrote to it
	for _, a := range []assess.Assessment{parked, mistyped} {
		a.Scores = profile().Score(a.Verdicts) // as they were
		check(t, s.SaveAssessment(t.Context(), a))
	}
	below := func() int {
		peers, err := s.Peers(t.Context(), Filter{Below: 5.5})
		check(t, err)
		return len(peers)
	}
	if n := below(); n != 2 {
		t.Fatalf("%d of 2 have scores", n)
	}
	st := NewStandings(s, Judge{Profile: profile(), Rules: assess.Rules{Threshold: 0.8}})
	check(t, s.write(t.Context(), func(t *tx) error { // nothing is marked, and the memo is that of the older version
		text, err := json.Marshal(st.judge)
		if err == nil {
			_, err = t.exec("INSERT OR REPLACE INTO memo (name, value) VALUES ('rules', ?)", fmt.Sprintf("%x", sha256.Sum256(text)))
		}
		if err == nil {
			_, err = t.exec("UPDATE domain SET judged = observed")
		}
		return err
	}))
	check(t, st.upkeep(t.Context()))
	for _, d := range []dnsname.Domain{"parked.example", "mistyped.example"} {
		if p, err := s.Peer(t.Context(), d); err != nil || p.Status != assess.StatusNoMail || p.Scores.Known() {
			t.Errorf("%s: %+v, %v", d, p, err)
		}
	}
	if n := below(); n != 0 {
		t.Errorf("%d have scores", n)
	}
	before := len(history(t, s, "mistyped.example"))
	check(t, s.Forget(t.Context(), "mistyped.example"))
	if err := s.SaveAssessment(t.Context(), mistyped); !errors.Is(err, assess.ErrNoSuchDomain) || before == 0 {
		t.Errorf("a name that does not exist became known: %v", err)
	}
}

func TestObservationsChangeScores(t *testing.T) {
	s := open(t, Options{})
	st := passive(s)
	stars := func() (row, header, list float64) {
		p, err := s.Peer(t.Context(), "a.example")
		check(t, err)
		e, err := s.Evidence(t.Context(), "a.example", noon, day)
		check(t, err)
		fresh := assess.Conclude("a.example", e, profile(), assess.Rules{Threshold: 0.8, Passive: true}, noon)
		return p.Scores[assess.Confidentiality].Stars, st.Standing(t.Context(), "a.example").Scores[assess.Confidentiality].Stars, fresh.Scores[assess.Confidentiality].Stars
	}
	seen := map[float64]bool{}
	for i := range 10 {
		o := observe("a.example", "192.0.2.1")
		if i >= 4 {
			failing(&o)
		}
		addAll(t, s, o)
		rejudge(t, st, 1)
		row, header, fresh := stars()
		if row != fresh || header != fresh {
			t.Errorf("after %d sessions: list says %v, header %v, show %v", i+1, row, header, fresh)
		}
		seen[fresh] = true
	}
	if len(seen) < 2 {
		t.Error("failing sessions never changed the score")
	}
	rejudge(t, st, 0)
}

func TestRejudgedAtMostOnceInAWhile(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now})
	st := passive(s)
	judged := 0
	for range 60 { // seconds, with a look and sessions in each
		addAll(t, s, observe("a.example", "192.0.2.1"), observe("a.example", "192.0.2.1"))
		n, err := st.rejudge(t.Context(), now.now().Add(-rejudgeEvery), rejudgeBatch)
		check(t, err)
		judged += n
		now.set(now.now().Add(time.Second))
	}
	if want := 60 / int(rejudgeEvery/time.Second); judged != want {
		t.Errorf("judged %d times in a minute, want %d", judged, want)
	}
}

func TestLongestUnjudgedFirst(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now})
	st := passive(s)
	for round := range 6 {
		for i := range 6 {
			addAll(t, s, observe(dnsname.Domain(fmt.Sprintf("d%d.example", i)), "192.0.2.1"))
		}
		now.set(now.now().Add(time.Minute))
		if n, err := st.rejudge(t.Context(), now.now(), 2); n != 2 || err != nil {
			t.Fatalf("round %d: %d judged (%v)", round, n, err)
		}
	}
	var least int
	check(t, s.read.Load().QueryRow("SELECT count(*) FROM domain WHERE judged_at = 0").Scan(&least))
	if least > 0 {
		t.Errorf("%d domains were never judged in three rounds' worth", least)
	}
}

func TestMarksSurviveARestartAndNewRules(t *testing.T) {
	path := t.TempDir() + "/peerscore.db"
	s := openPath(t, path, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("b.example", "192.0.2.1"))
	check(t, s.Close())

	s = openPath(t, path, Options{})
	st := passive(s)
	check(t, st.noteRules(t.Context()))
	rejudge(t, st, 2)
	check(t, st.noteRules(t.Context()))
	rejudge(t, st, 0)
	st.judge.Rules.Threshold = 0.9
	check(t, st.noteRules(t.Context()))
	rejudge(t, st, 2)
}

func TestOneBadRowHoldsUpNobody(t *testing.T) {
	s := open(t, Options{})
	st := passive(s)
	check(t, s.SaveAssessment(t.Context(), assessed("bad.example", noon)))
	check(t, s.write(t.Context(), func(t *tx) error { _, err := t.exec("UPDATE facts SET content = '{'"); return err }))
	addAll(t, s, observe("good.example", "192.0.2.1"))
	rejudge(t, st, 2)
	if got := st.Standing(t.Context(), "good.example"); got.Status != assess.StatusScored {
		t.Errorf("%+v", got)
	}
	rejudge(t, st, 0)
}

// A hundred bad rows that change all the time fill no log.
func TestBadRowsAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	st := passive(s)
	for range 2 {
		for i := range 50 {
			check(t, s.SaveAssessment(t.Context(), assessed(crashDomain(i), noon)))
		}
		check(t, s.write(t.Context(), func(t *tx) error { _, err := t.exec("UPDATE facts SET content = '{'"); return err }))
		rejudge(t, st, 50)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 {
		t.Errorf("%d lines:\n%.500s", strings.Count(text, "\n"), text)
	}
}

func TestCacheIsBoundedAndAges(t *testing.T) {
	now := newClock(noon)
	path := t.TempDir() + "/peerscore.db"
	s := openPath(t, path, Options{Now: now.now, Limits: Limits{StandingsInCache: 10}})
	st := passive(s)
	for i := range 30 {
		d := dnsname.Domain(fmt.Sprintf("d%d.example", i))
		check(t, s.Learn(t.Context(), d))
		st.Standing(t.Context(), d)
		st.Standing(t.Context(), dnsname.Domain(fmt.Sprintf("unknown%d.example", i)))
	}
	if len(st.cached) != 10 {
		t.Errorf("%d cached, want 10", len(st.cached))
	}
	st.Standing(t.Context(), "d3.example")
	other := openPath(t, path, Options{}) // as a command of the operator
	check(t, other.Forget(t.Context(), "d3.example"))
	if !st.Standing(t.Context(), "d3.example").Known {
		t.Error("not cached")
	}
	now.set(now.now().Add(cacheFor))
	if st.Standing(t.Context(), "d3.example").Known {
		t.Error("a domain that another process erased stays in the cache")
	}
}

// A row that may have been read before a change is not cached after it.
func TestOvertakenReadIsNotCached(t *testing.T) {
	s := open(t, Options{})
	st := passive(s)
	check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon)))
	readers := s.read.Load()
	var busy []*sql.Conn // all connections that a row could be read over
	for range readers.Stats().MaxOpenConnections {
		conn, err := readers.Conn(t.Context())
		check(t, err)
		busy = append(busy, conn)
	}
	waiting := readers.Stats().WaitCount
	read := make(chan assess.Standing)
	go func() { read <- st.Standing(t.Context(), "a.example") }()
	for readers.Stats().WaitCount == waiting {
		runtime.Gosched()
	}
	check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon.Add(time.Hour))))
	for _, conn := range busy {
		check(t, conn.Close())
	}
	<-read
	if len(st.cached) > 0 {
		t.Error("what was read across a change is cached")
	}
	if st.Standing(t.Context(), "a.example"); len(st.cached) != 1 {
		t.Error("what was read after it is not")
	}
}

func TestUnreadableDatabaseKeepsTheLastStanding(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now})
	st := passive(s)
	check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon)))
	want := st.Standing(t.Context(), "a.example")
	check(t, s.Close())
	now.set(now.now().Add(time.Hour))
	if got := st.Standing(t.Context(), "a.example"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := st.Standing(t.Context(), "b.example"); got.Known {
		t.Errorf("%+v", got)
	}
}

func BenchmarkStanding(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir()+"/peerscore.db", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 1000 {
		if err := s.SaveAssessment(b.Context(), assessed(dnsname.Domain(fmt.Sprintf("d%d.example", i)), noon)); err != nil {
			b.Fatal(err)
		}
	}
	st := passive(s)
	b.Run("hit", func(b *testing.B) {
		for b.Loop() {
			st.Standing(b.Context(), "d7.example")
		}
	})
	b.Run("miss", func(b *testing.B) {
		for b.Loop() {
			clear(st.cached)
			st.Standing(b.Context(), "d7.example")
		}
	})
	b.Run("rejudge", func(b *testing.B) {
		for b.Loop() {
			if _, err := st.conclude(b.Context(), "d7.example", noon); err != nil {
				b.Fatal(err)
			}
		}
	})
}
