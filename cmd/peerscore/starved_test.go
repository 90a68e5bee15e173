package main

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/milter/miltertest"
)

// TestLockedDatabase locks the database of the real daemon for five seconds under a stream of
// mail. For two seconds sessions wait for it, each no longer than that; then none does. What
// waited is written after, and counters and log say what was lost.
func TestLockedDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	h := hostileMTA(t)
	v := startVictim(t, buildVictim(t), h.dns)
	db, err := sql.Open("sqlite3", "file:"+v.database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)

	const locked, patience, gap = 5 * time.Second, 2 * time.Second, 50 * time.Millisecond
	ordinary := v.stream(t, h, 20, 0)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	waits := v.stream(t, h, int(locked/gap), gap)
	t.Logf("locked for %s; the slowest message took %s before, %s within 2 s, %s after", time.Since(began).Round(time.Millisecond),
		slowest(ordinary, 0), slowest(waits, 0), slowest(waits, patience+patience/4))
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if after := slowest(waits, patience+patience/4); after > patience/4 {
		t.Errorf("a message took %s, long after the lock began", after)
	}
	if worst := slowest(waits, 0); worst > patience+patience/2 {
		t.Errorf("a message took %s", worst)
	}

	sent := float64(2 * (len(ordinary) + len(waits))) // each honest session has two messages, one of them credited
	var committed, lost float64
	for committed+lost < sent/2 {
		v.stream(t, h, 1, 0) // which shows that writing resumed
		sent += 2
		if committed, lost = v.metric(t, `store_observations_total{outcome="committed"}`), v.metric(t, `store_observations_total{outcome="lost"}`); time.Since(began) > time.Minute {
			t.Fatalf("%g committed and %g lost of %g", committed, lost, sent/2)
		}
	}
	if committed+lost != sent/2 || lost > 5 {
		t.Errorf("%g committed and %g lost of %g", committed, lost, sent/2)
	}
	text, err := os.ReadFile(v.log)
	if err != nil || strings.Count(string(text), "the database is locked by another process") != 1 || strings.Count(string(text), "level=ERROR") != 1 {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestFewDescriptors gives the real daemon 64 descriptors and 120 MTAs that stay. Some are
// served as ever, with the database and the DNS; the others are refused rather than left to wait.
func TestFewDescriptors(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	const descriptors, clients = 64, 120
	h := hostileMTA(t)
	v := startVictim(t, buildVictim(t), h.dns, "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors))
	want, err := v.honest(h)
	if err != nil {
		t.Fatal(err)
	}
	v.empty(t)
	const most = 15 // TestShareOfDescriptors
	admitted := make(chan *miltertest.Client, clients)
	var arriving sync.WaitGroup
	for range clients {
		arriving.Go(func() {
			if c, err := miltertest.Dial("unix", v.socket); err == nil {
				admitted <- c
			}
		})
	}
	settled := make(chan struct{})
	go func() { arriving.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-time.After(20 * time.Second): // an MTA waits for 30
		t.Fatalf("of %d, %d are served and some neither served nor refused", clients, len(admitted))
	}
	close(admitted)
	if len(admitted) != most {
		t.Errorf("%d sessions were admitted, want %d", len(admitted), most)
	}
	var playing sync.WaitGroup
	for c := range admitted {
		playing.Go(func() {
			if got, err := play(c, h); got != want || err != nil {
				t.Errorf("a session gets\n%s\nand alone\n%s\n%v", got, want, err)
			}
		})
	}
	playing.Wait()
	if lost := v.metric(t, `store_observations_total{outcome="lost"}`); lost > 0 {
		t.Errorf("%g observations were lost", lost)
	}
	v.empty(t)
	if got, err := v.honest(h); got != want || err != nil {
		t.Errorf("afterwards an honest session gets\n%s\nand before\n%s\n%v", got, want, err)
	}
	text, err := os.ReadFile(v.log)
	if err != nil || strings.Contains(string(text), "too many open files") || !strings.Contains(string(text), fmt.Sprintf("descriptors=%d sessions=%d", descriptors, most)) {
		t.Errorf("%v\n%s", err, text)
	}
}

// empty waits until the last session has left.
func (v *victim) empty(t *testing.T) {
	t.Helper()
	for v.metric(t, "milter_sessions_open") > 0 {
		time.Sleep(time.Millisecond) // of real time: the daemon is another process
	}
}

// wait is how long a session took that began so long after the stream.
type wait struct{ at, took time.Duration }

// stream plays honest sessions, one beginning each gap, and waits for all to end.
func (v *victim) stream(t *testing.T, h attack, sessions int, gap time.Duration) []wait {
	t.Helper()
	waits, began := make([]wait, sessions), time.Now()
	var players sync.WaitGroup
	for i := range waits {
		time.Sleep(time.Until(began.Add(time.Duration(i) * gap))) // of real time: the daemon is another process
		players.Go(func() {
			at := time.Now()
			if _, err := v.honest(h); err != nil {
				t.Errorf("an honest session: %v", err)
			}
			waits[i] = wait{at.Sub(began), time.Since(at)}
		})
	}
	players.Wait()
	return waits
}

func slowest(waits []wait, since time.Duration) (most time.Duration) {
	for _, w := range waits {
		if w.at >= since {
			most = max(most, w.took)
		}
	}
	return most.Round(time.Millisecond)
}
