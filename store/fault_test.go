package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dnsname"

	"github.com/mattn/go-sqlite3"
)

// pragma sets one on the writer's connection.
func pragma(t *testing.T, s *Store, text string) {
	t.Helper()
	var result any
	check(t, s.write(t.Context(), func(t *tx) error { return t.get("PRAGMA "+text, nil, &result) }))
}

// fillUp adds new domains until that fails, and returns how many were acknowledged.
func fillUp(t *testing.T, s *Store, name string) (acknowledged int, err error) {
	t.Helper()
	for acknowledged < 100_000 {
		if err = s.AddObservation(t.Context(), observe(dnsname.Domain(fmt.Sprintf("%s%d.example", name, acknowledged)), "192.0.2.1")); err != nil {
			return acknowledged, err
		}
		acknowledged++
	}
	t.Fatal("the fault never came")
	return 0, nil
}

// TestFaults breaks writing in several ways while observations come in, lets it work again,
// and compares what was acknowledged with what is stored.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		begin  func(t *testing.T, s *Store) (end func())
		reason sqlite3.ErrNo
	}{
		{"disk full", diskFull, sqlite3.ErrFull},
		{"I/O error", ioError, sqlite3.ErrIoErr},
		{"locked by another process", locked, sqlite3.ErrBusy},
		{"read-only", readOnly, sqlite3.ErrReadonly},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			addAll(t, s, observe("first.example", "192.0.2.1"))
			end := c.begin(t, s)
			before, err := fillUp(t, s, "before")
			var failure sqlite3.Error
			if !errors.As(err, &failure) || failure.Code != c.reason {
				t.Errorf("error %v, want %v", err, c.reason)
			}
			if known, err := s.Known(t.Context(), "first.example"); !known || err != nil {
				t.Errorf("reading during the fault: %v, %v", known, err)
			}
			end()
			for i := range 100 {
				addAll(t, s, observe(dnsname.Domain(fmt.Sprintf("after%d.example", i)), "192.0.2.1"))
			}
			if got, want := count(t, s, "domain"), 1+before+100; got != want {
				t.Errorf("%d domains, want %d", got, want)
			}
			if counters := s.Counters(); counters.Lost != 1 || counters.Committed != int64(1+before+100) {
				t.Errorf("%+v", counters)
			}
			if text := log.String(); strings.Count(text, "level=ERROR") != 1 || strings.Count(text, "written again") != 1 {
				t.Errorf("log:\n%s", text)
			}
			check(t, checkAfresh(t.Context(), s.path))
			t.Logf("%d acknowledged before the fault", before)
		})
	}
}

func diskFull(t *testing.T, s *Store) (end func()) {
	pragma(t, s, "max_page_count = 60")
	return func() { pragma(t, s, "max_page_count = 1000000") }
}

// ioError makes a write past so many octets of a file fail with EFBIG.
func ioError(t *testing.T, s *Store) (end func()) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	before := limit
	end = func() { check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
	t.Cleanup(end)
	limit.Cur = 300_000
	check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	return end
}

func readOnly(t *testing.T, s *Store) (end func()) {
	set := func(value string) {
		_, err := s.writer.file.conn.ExecContext(t.Context(), "PRAGMA query_only = "+value) // in no transaction: none can begin
		check(t, err)
	}
	set("on")
	return func() { set("off") }
}

func locked(t *testing.T, s *Store) (end func()) {
	pragma(t, s, "busy_timeout = 10")
	conn := second(t, s.path)
	statement := func(text string) {
		_, err := conn.ExecContext(t.Context(), text)
		check(t, err)
	}
	statement("BEGIN IMMEDIATE")
	return func() { statement("ROLLBACK") }
}

func TestCallerDoesNotWaitForALock(t *testing.T) {
	s := open(t, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	conn := second(t, s.path)
	_, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	check(t, err)
	if err := s.AddObservation(ended(t), observe("a.example", "192.0.2.1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	check(t, err)
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestOverload(t *testing.T) {
	s := open(t, Options{})
	begun, hold, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { done <- s.write(context.Background(), func(*tx) error { close(begun); <-hold; return nil }) }()
	<-begun
	ctx := ended(t) // the callers do not wait, their observations do
	var err error
	for range maxPending + 1 {
		err = s.AddObservation(ctx, observe("a.example", "192.0.2.1"))
	}
	if !errors.Is(err, ErrOverloaded) || s.Counters().Lost != 1 {
		t.Errorf("error %v, %+v", err, s.Counters())
	}
	close(hold)
	check(t, <-done)
	for errors.Is(err, ErrOverloaded) { // until the writer has taken what waited
		err = s.AddObservation(t.Context(), observe("a.example", "192.0.2.1"))
	}
	check(t, err)
	if got := tally(t, s, "a.example").Credited(); got != maxPending+1 {
		t.Errorf("%d sessions, want %d", got, maxPending+1)
	}
}

func TestCorruptionInUse(t *testing.T) {
	for _, setAside := range []bool{true, false} {
		t.Run(fmt.Sprint("SetAside=", setAside), func(t *testing.T) {
			s := open(t, Options{SetAside: setAside})
			for i := range 200 {
				addAll(t, s, observe(dnsname.Domain(fmt.Sprintf("d%d.example", i)), "192.0.2.1"))
			}
			_, err := second(t, s.path).ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)")
			check(t, err)
			check(t, s.write(t.Context(), func(t *tx) error { _, err := t.exec("PRAGMA shrink_memory"); return err }))
			check(t, scribble(s.path))

			if err := s.AddObservation(t.Context(), observe("d7.example", "192.0.2.1")); !isCorrupt(err) {
				t.Fatalf("error %v", err)
			}
			err = s.AddObservation(t.Context(), observe("new.example", "192.0.2.1"))
			aside, _ := filepath.Glob(s.path + ".corrupt-*Z")
			if !setAside {
				if err == nil || len(aside) > 0 {
					t.Errorf("error %v, set aside %v", err, aside)
				}
				return
			}
			check(t, err)
			if len(aside) != 1 || count(t, s, "domain") != 1 {
				t.Errorf("set aside %v, %d domains in the new file", aside, count(t, s, "domain"))
			}
			if info, err := os.Stat(aside[0]); err != nil || info.Size() < 10_000 {
				t.Errorf("the corrupt file: %v, %v", info, err)
			}
		})
	}
}

func TestAFailingJobUndoesItselfOnly(t *testing.T) {
	s := open(t, Options{})
	mine := errors.New("my own")
	err := s.write(t.Context(), func(t *tx) error {
		if _, err := t.insert("half.example", noon); err != nil {
			return err
		}
		return mine
	})
	if err != mine {
		t.Errorf("error %v", err)
	}
	if known, err := s.Known(t.Context(), "half.example"); known || err != nil {
		t.Errorf("known %v, %v", known, err)
	}
	if c := s.Counters(); c.Commits != 1 {
		t.Errorf("%+v", c)
	}
}

// resumeAsChild opens a file that may only be read, and tells how writing goes before and after
// that changes.
func resumeAsChild(args []string) error {
	if os.Geteuid() == 0 {
		return errors.New("root can write everywhere")
	}
	path, now, ctx := args[0], newClock(noon), context.Background()
	allow := func(mode os.FileMode) error {
		var errs []error
		for _, suffix := range []string{"", "-wal", "-shm"} {
			errs = append(errs, os.Chmod(path+suffix, mode))
		}
		return errors.Join(errs...)
	}
	s, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	if err := errors.Join(s.AddObservation(ctx, observe("a.example", "192.0.2.1")), s.Close(), allow(0o444)); err != nil {
		return err
	}
	if s, err = Open(ctx, path, Options{Now: now.now, SetAside: true, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))}); err != nil {
		return err
	}
	defer s.Close()
	learn := func() error { return s.Learn(ctx, "b.example") }
	add := func() error { return s.AddObservation(ctx, observe("a.example", "192.0.2.1")) }
	for _, attempt := range []struct {
		mode  os.FileMode
		write func() error
	}{{0o444, learn}, {0o644, add}, {0o644, add}} {
		if err := allow(attempt.mode); err != nil {
			return err
		}
		now.set(now.now().Add(reopenEvery))
		err := attempt.write()
		e, readError := s.Evidence(ctx, "a.example", noon, assess.DefaultWindow)
		fmt.Println(e.Tally.Credited(), readError, err)
	}
	return nil
}

// A file system that was read-only when the daemon started is written once it no longer is.
func TestWritingResumesByItself(t *testing.T) {
	const nobody = 65534
	folder := publicFolder(t)
	cmd := exec.Command(copyOf(t, os.Args[0], 0o755), filepath.Join(folder, "peerscore.db"))
	cmd.Env = append(os.Environ(), "PEERSCORE_STORE_CHILD=resume")
	if os.Geteuid() == 0 {
		check(t, os.Chown(folder, nobody, nobody))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	check(t, err)
	var got []string
	for line := range strings.Lines(string(out)) {
		if _, message, found := strings.Cut(line, "msg="); found {
			line = strings.SplitN(message, " file=", 2)[0] + "\n"
		}
		got = append(got, line)
	}
	const lost = "1 <nil> writing the database: attempt to write a readonly database\n"
	want := []string{"\"the database cannot be written; observations are lost until it can\"\n", lost, lost, "\"the database is written again\"\n", "2 <nil> <nil>\n"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
