package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-sqlite3"
)

// While another process has the file locked, sessions wait for patience and then no more.
// Their observations wait in memory, as many as there is room for, and are written after.
func TestNobodyWaitsForALongLock(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	var log bytes.Buffer
	s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	conn := second(t, s.path)
	_, err := conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	check(t, err)

	first := make(chan error)
	go func() { first <- s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")) }()
	var failure sqlite3.Error
	if err := <-first; !errors.Is(err, ErrUnconfirmed) && (!errors.As(err, &failure) || failure.Code != sqlite3.ErrBusy) {
		t.Errorf("error %v", err)
	}
	<-s.writer.stall.reached()
	for s.Counters().Lost == 0 { // the first, once SQLite has waited for as long
		runtime.Gosched()
	}
	began := time.Now()
	const more = 100
	outcomes := map[error]int{}
	for range maxPending + more {
		outcomes[s.AddObservation(t.Context(), observe("a.example", "192.0.2.1"))]++
	}
	if took := time.Since(began); took > patience {
		t.Errorf("%d sessions waited %s; one alone may wait %s", maxPending+more, took, patience)
	}
	c := s.Counters()
	if outcomes[ErrUnconfirmed] != maxPending || outcomes[ErrOverloaded] != more || c.Pending != maxPending {
		t.Errorf("%v, %+v", outcomes, c)
	}

	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	check(t, err)
	for err = ErrOverloaded; errors.Is(err, ErrOverloaded); { // until the writer has taken what waited
		err = s.Learn(t.Context(), "b.example")
	}
	check(t, err)
	addAll(t, s, observe("b.example", "192.0.2.1"))
	if got := tally(t, s, "a.example").Credited(); got != 1+maxPending {
		t.Errorf("%d sessions, want %d", got, 1+maxPending)
	}
	if c = s.Counters(); c.Committed != 1+maxPending+1 || c.Lost != 1+more {
		t.Errorf("%+v", c)
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "observations wait in memory") ||
		!strings.Contains(text, "written again") || !strings.Contains(text, fmt.Sprintf("lost_in_all=%d", 1+more)) {
		t.Errorf("log:\n%s", text)
	}
}

// Who gives up while the writer is at it waits for that: what the transaction tells is written
// by nobody once the caller reads it. What has not begun by then never does.
func TestNothingRunsForWhoHasLeft(t *testing.T) {
	s := open(t, Options{})
	begun, hold := make(chan struct{}), make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan int)
	go func() {
		told := 0
		_ = s.write(ctx, func(*tx) error { close(begun); <-hold; told++; return nil })
		first <- told
	}()
	<-begun
	runs := 0
	second := make(chan error)
	go func() { second <- s.write(ctx, func(*tx) error { runs++; return nil }) }()
	for s.Counters().Pending == 0 { // the second is in the queue
		runtime.Gosched()
	}
	leave()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	select {
	case <-first:
		close(hold)
		t.Fatal("write returned while its function ran")
	case <-time.After(10 * time.Millisecond):
	}
	close(hold)
	if told := <-first; told != 1 {
		t.Errorf("read %d while it was being written", told)
	}
	check(t, s.Learn(t.Context(), "a.example")) // the writer has gone over all that waited
	if runs != 0 {
		t.Error("a function ran after its write had returned")
	}
}

// A disk that does not answer is as bad as a lock; when it does, nothing is lost.
func TestNobodyWaitsForASlowDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	s := open(t, Options{})
	begun, hold, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { done <- s.write(t.Context(), func(*tx) error { close(begun); <-hold; return nil }) }()
	<-begun
	for range 50 {
		if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("error %v", err)
		}
	}
	close(hold)
	check(t, <-done)
	check(t, s.Learn(t.Context(), "b.example"))
	addAll(t, s, observe("b.example", "192.0.2.1"))
	if got, c := tally(t, s, "a.example").Credited(), s.Counters(); got != 50 || c.Lost != 0 || c.Pending != 0 {
		t.Errorf("%d sessions, %+v", got, c)
	}
}

// Neither does anybody wait for one slow transaction after the other.
func TestNobodyWaitsForSeveralTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writer{jobs: make(chan job, maxPending), quit: make(chan struct{}), done: make(chan struct{})}
		s := &Store{writer: w}
		go func() { // a job waits for the end of the transaction that it came in, and for its own
			for range 2 {
				w.watched(func() { time.Sleep(patience - time.Millisecond) })
			}
			j := <-w.jobs
			j.done <- nil
		}()
		began := time.Now()
		err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1"))
		if waited := time.Since(began); waited > patience || !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("waited %s, error %v", waited, err)
		}
		synctest.Wait()
		time.Sleep(patience)
	})
}

// Failures that come and go fill no log, and what they cost is told in the end.
func TestIntermittentFailuresAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 50 {
		end := readOnly(t, s)
		if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); err == nil {
			t.Fatal("the fault never came")
		}
		end()
		addAll(t, s, observe("a.example", "192.0.2.1"))
	}
	if text := log.String(); strings.Count(text, "\n") != 2 {
		t.Errorf("%d lines:\n%.1000s", strings.Count(text, "\n"), text)
	}
	check(t, s.Close())
	if text := log.String(); strings.Count(text, "\n") != 3 || !strings.Contains(text, "level=WARN msg=\"observations were lost\"") || !strings.Contains(text, "failures=49 lost=49 lost_in_all=50") {
		t.Errorf("log:\n%.1000s", text)
	}
}

// An observation whose caller gave up is what becomes of it: on disk, not lost.
func TestCountersTellTheTruth(t *testing.T) {
	s := open(t, Options{})
	begun, hold, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { done <- s.write(t.Context(), func(*tx) error { close(begun); <-hold; return nil }) }()
	<-begun
	if err := s.AddObservation(ended(t), observe("a.example", "192.0.2.1")); err == nil {
		t.Error("acknowledged")
	}
	if c := s.Counters(); c.Committed != 0 || c.Lost != 0 || c.Pending != 1 {
		t.Errorf("meanwhile %+v", c)
	}
	close(hold)
	check(t, <-done)
	check(t, s.Close())
	if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	if c := s.Counters(); c.Committed != 1 || c.Lost != 1 || c.Pending != 0 {
		t.Errorf("in the end %+v", c)
	}
}

// What still waits when the store is closed on a file that is gone is lost, and counted.
func TestWhatWaitsAtTheEndIsCounted(t *testing.T) {
	s := open(t, Options{})
	begun, hold, closed := make(chan struct{}), make(chan struct{}), make(chan error)
	go s.write(context.WithoutCancel(t.Context()), func(*tx) error { close(begun); <-hold; return nil })
	<-begun
	for range 10 {
		_ = s.AddObservation(ended(t), observe("a.example", "192.0.2.1")) // waits in memory
	}
	check(t, os.Remove(s.path))
	go func() { closed <- s.Close() }()
	<-s.writer.quit
	close(hold)
	check(t, <-closed)
	if c := s.Counters(); c.Committed != 0 || c.Lost != 10 || c.Pending != 0 {
		t.Errorf("in the end %+v", c)
	}
}

// The same of reading, which headers need.
func TestIntermittentReadFailuresAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	st := passive(s)
	for range 50 {
		st.Standing(ended(t), "a.example") // fails
		st.Standing(t.Context(), "a.example")
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || strings.Count(text, "works=true") != 1 {
		t.Errorf("%d lines:\n%.1000s", strings.Count(text, "\n"), text)
	}
}
