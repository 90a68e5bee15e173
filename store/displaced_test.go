package store

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// stepping is a clock that goes on a second each time that it is read.
func stepping() func() time.Time {
	var reads atomic.Int64
	return func() time.Time { return noon.Add(time.Duration(reads.Add(1)) * time.Second) }
}

// TestDisplacedFile does to the file under an open store what people do: what is acknowledged
// afterwards stands in the file at the path, and what is lost is reported once.
func TestDisplacedFile(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const before, after = 30, 20
	for _, c := range []struct {
		name  string
		fault func(path, backup string) error
		old   int // sessions from before that are in the file at the path
	}{
		{"moved", func(path, _ string) error { return os.Rename(path, path+".moved") }, 0},
		{"deleted", func(path, _ string) error { return os.Remove(path) }, 0},
		{"deleted with all that belongs to it", func(path, _ string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
		}, 0},
		{"backup renamed into its place", func(path, backup string) error { return os.Rename(backup, path) }, before},
		{"moved, and backup copied", func(path, backup string) error {
			return errors.Join(os.Rename(path, path+".moved"), overwrite(path, backup))
		}, before},
		{"backup copied over it", overwrite, before},
		{"cut to half", func(path, _ string) error { return os.Truncate(path, 60_000) }, 0},
		{"cut to nothing", func(path, _ string) error { return os.Truncate(path, 0) }, 0},
		{"log deleted", func(path, _ string) error { return os.Remove(path + "-wal") }, 2 * before},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			path := filepath.Join(t.TempDir(), "peerscore.db")
			s := openPath(t, path, Options{SetAside: true, Now: stepping(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			addSessions(t, s, "a.example", before)
			backup := filepath.Join(t.TempDir(), "backup.db")
			foreign(t, path, "VACUUM INTO '"+backup+"'")
			check(t, s.EmptyLog(t.Context()))
			addSessions(t, s, "a.example", before)

			check(t, c.fault(path, backup))
			addSessions(t, s, "b.example", after)
			check(t, s.Close())
			r, err := OpenReader(t.Context(), path)
			check(t, err)
			defer r.Close()
			if got := credited(t, r, "b.example"); got != after {
				t.Errorf("%d of %d acknowledged sessions are in the file at the path", got, after)
			}
			if got := credited(t, r, "a.example"); got != c.old {
				t.Errorf("%d sessions from before, want %d", got, c.old)
			}
			if n := strings.Count(log.String(), "the database file is not the one that was opened"); n != 1 || s.Counters().Displaced != 1 {
				t.Errorf("reported %d times, counted %d times:\n%s", n, s.Counters().Displaced, log.String())
			}
			check(t, checkAfresh(t.Context(), path))
			if _, err := os.Stat(path + ".moved"); err == nil {
				if got := creditedIn(t, path+".moved", "a.example"); got != 2*before {
					t.Errorf("%d sessions in the file that was moved, want %d", got, 2*before)
				}
			}
		})
	}
}

// foreign runs a statement of another program. Its connection must not stay: connections of one
// process share what they know of the log.
func foreign(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	check(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	check(t, errors.Join(err, db.Close()))
}

// A file that was begun anew is younger than the backup that is copied over it, in epochs too.
func TestBackupOverAYoungerFile(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{SetAside: true, Now: stepping()})
	addSessions(t, s, "a.example", 30)
	check(t, s.EmptyLog(t.Context()))
	backup := path + ".backup"
	check(t, overwrite(backup, path))
	check(t, os.Remove(path))
	addSessions(t, s, "b.example", 1)
	check(t, overwrite(path, backup))
	addSessions(t, s, "b.example", 1)
	if a, b := credited(t, s, "a.example"), credited(t, s, "b.example"); a != 30 || b != 1 {
		t.Errorf("%d sessions from the backup, %d since, want 30 and 1", a, b)
	}
	addSessions(t, s, "a.example", 5)
	check(t, s.EmptyLog(t.Context()))
	check(t, overwrite(backup+"-newer", path))
	for _, c := range []struct {
		copy string
		want int
	}{{backup, 30}, {backup + "-newer", 35}} { // the newer one after the older
		check(t, overwrite(path, c.copy))
		addSessions(t, s, "c.example", 1)
		if a := credited(t, s, "a.example"); a != c.want {
			t.Errorf("%d sessions, want %d", a, c.want)
		}
	}
}

func addSessions(t *testing.T, s *Store, d dnsname.Domain, n int) {
	t.Helper()
	for range n {
		addAll(t, s, observe(d, "192.0.2.1"))
	}
}

// overwrite does what cp does.
func overwrite(path, backup string) error {
	content, err := os.ReadFile(backup)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o640)
}

func credited(t *testing.T, s *Store, d dnsname.Domain) int {
	t.Helper()
	e, err := s.Evidence(t.Context(), d, noon, assess.DefaultWindow)
	check(t, err)
	return e.Tally.Credited()
}

// creditedIn is what the file at a path holds, whoever has it open.
func creditedIn(t *testing.T, path string, d dnsname.Domain) int {
	t.Helper()
	r, err := OpenReader(t.Context(), path)
	check(t, err)
	defer r.Close()
	return credited(t, r, d)
}

// A store that nobody writes to notices as well, and its readers see the other file.
func TestDisplacedWhileIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{SetAside: true})
	addSessions(t, s, "a.example", 1)
	check(t, os.Remove(path))
	for deadline := time.Now().Add(3 * flushEvery); s.Counters().Displaced == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not noticed")
		}
	}
	check(t, s.write(t.Context(), func(*tx) error { return nil })) // the writer is done with it
	if known, err := s.Known(t.Context(), "a.example"); known || err != nil {
		t.Errorf("known %v, %v", known, err)
	}
}

// A file that is moved just before the store is closed gets what its log holds all the same.
func TestMovedBeforeTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{SetAside: true})
	addSessions(t, s, "a.example", 30)
	check(t, os.Rename(path, path+".moved"))
	check(t, s.Close())
	if got := creditedIn(t, path+".moved", "a.example"); got != 30 {
		t.Errorf("%d of 30 acknowledged sessions are in the file that was moved", got)
	}
}

// A broken backup that is put in place while no new file can be begun is set aside once one can.
func TestBrokenBackupOnAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	now := newClock(noon)
	s := open(t, Options{SetAside: true, Now: now.now})
	addSessions(t, s, "a.example", 1)
	check(t, os.MkdirAll(filepath.Join(s.path+".new", "in the way"), 0o700))
	check(t, os.WriteFile(s.path+".broken", bytes.Repeat([]byte("not a database "), 1000), 0o600))
	check(t, os.Rename(s.path+".broken", s.path))
	for range 10 {
		if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); err == nil {
			t.Fatal("acknowledged")
		}
		now.set(now.now().Add(reopenEvery))
	}
	check(t, os.RemoveAll(s.path+".new"))
	now.set(now.now().Add(examineEvery))
	_ = s.AddObservation(t.Context(), observe("b.example", "192.0.2.1"))
	addSessions(t, s, "b.example", 1)
	if c := s.Counters(); c.SetAside != 1 || c.Displaced != 1 || credited(t, s, "b.example") != 1 {
		t.Errorf("%+v", c)
	}
}

// Another process that copies the log, or makes the file smaller, displaces nothing.
func TestOthersCopyTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	var log bytes.Buffer
	s := openPath(t, path, Options{SetAside: true, Now: stepping(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 100 {
		addAll(t, s, observe(dnsname.Domain("d"+string(rune('a'+i%26))+".example"), "192.0.2.1"))
		check(t, s.SaveAssessment(t.Context(), assessed("a.example", noon.Add(time.Duration(i)*time.Hour))))
		if i%10 == 0 {
			command := openPath(t, path, Options{})
			addSessions(t, command, "a.example", 1)
			check(t, command.EmptyLog(t.Context()))
			check(t, command.Close())
		}
	}
	check(t, s.write(t.Context(), func(t *tx) error { _, err := t.exec("DELETE FROM assessment; DELETE FROM facts"); return err }))
	foreign(t, path, "VACUUM")
	check(t, s.EmptyLog(t.Context()))
	addSessions(t, s, "a.example", 5)
	if got := credited(t, s, "a.example"); got != 15 || s.Counters().Displaced > 0 || log.Len() > 0 {
		t.Errorf("%d sessions, %+v\n%s", got, s.Counters(), log.String())
	}
}

func TestCommandIsToldOfADisplacedFile(t *testing.T) {
	s := open(t, Options{})
	check(t, os.Remove(s.path))
	if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); !errors.Is(err, errDisplaced) {
		t.Errorf("error %v", err)
	}
}

// Whoever reads within the daemon holds on to what SQLite knows of the file: going on before that
// ends fails, or takes what is known of the old log for the new one.
func TestDisplacedWhileBeingRead(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(path, backup string) error
		old   int
	}{
		{"log deleted", func(path, _ string) error { return os.Remove(path + "-wal") }, 60},
		{"backup copied over it", overwrite, 30},
		{"moved", func(path, _ string) error { return os.Rename(path, path+".moved") }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it waits
			path := filepath.Join(t.TempDir(), "peerscore.db")
			s := openPath(t, path, Options{SetAside: true})
			addSessions(t, s, "a.example", 30)
			backup := filepath.Join(t.TempDir(), "backup.db")
			foreign(t, path, "VACUUM INTO '"+backup+"'")
			check(t, s.EmptyLog(t.Context()))
			addSessions(t, s, "a.example", 30)
			rows, err := s.read.Load().QueryContext(t.Context(), "SELECT name FROM sqlite_schema")
			check(t, err)
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
			time.AfterFunc(2*patience, func() { rows.Close() })

			check(t, c.fault(path, backup))
			for range 5 {
				add(t, s, observe("b.example", "192.0.2.1"))
			}
			check(t, s.write(t.Context(), func(*tx) error { return nil })) // what was not confirmed is written before
			check(t, s.Close())
			r, err := OpenReader(t.Context(), path)
			check(t, err)
			defer r.Close()
			if a, b := credited(t, r, "a.example"), credited(t, r, "b.example"); a != c.old || b != 5 {
				t.Errorf("%d sessions from before and %d since, want %d and 5", a, b, c.old)
			}
			if n := s.Counters(); n.Lost > 0 || n.Displaced != 1 {
				t.Errorf("%+v", n)
			}
			if _, err := os.Stat(path + ".moved"); err == nil {
				if got := creditedIn(t, path+".moved", "a.example"); got != 60 {
					t.Errorf("%d sessions in the file that was moved, want 60", got)
				}
			}
		})
	}
}

// A file that is moved just before kill -9 leaves its log at the path. That of another file is
// neither taken for the log of a new one nor deleted: it holds what was acknowledged.
func TestMovedBeforeKill(t *testing.T) {
	for _, c := range []struct {
		name   string
		behind func(path string) error
	}{
		{"nothing", func(string) error { return nil }},
		{"an empty file", func(path string) error { return os.WriteFile(path, nil, 0o640) }},
	} {
		var log bytes.Buffer
		path := filepath.Join(t.TempDir(), "peerscore.db")
		s := openPath(t, path, Options{})
		addSessions(t, s, "a.example", 30)
		killed := filepath.Join(t.TempDir(), "peerscore.db") // the files as they are at this moment
		moved := killed + ".moved"
		check(t, errors.Join(overwrite(moved, path), overwrite(killed+"-wal", path+"-wal"), overwrite(killed+"-shm", path+"-shm"), c.behind(killed)))

		s = openPath(t, killed, Options{SetAside: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		addSessions(t, s, "b.example", 1)
		if a, b := credited(t, s, "a.example"), credited(t, s, "b.example"); a != 0 || b != 1 {
			t.Errorf("%s: the new file has %d sessions of the old one and %d of its own", c.name, a, b)
		}
		kept, _ := filepath.Glob(killed + ".displaced-*-wal")
		if len(kept) != 1 || strings.Count(log.String(), kept[0]) != 1 {
			t.Fatalf("%s: kept %q; log: %s", c.name, kept, log.String())
		}
		check(t, os.Rename(kept[0], moved+"-wal"))
		if got := creditedIn(t, moved, "a.example"); got != 30 {
			t.Errorf("%s: %d of 30 acknowledged sessions are in the file that was moved and its log", c.name, got)
		}
	}
}

// A backup that is put in place after kill -9, beside the log of the file before, is found corrupt
// with that, and set aside as it was put there: the log is not copied into it.
func TestBackupBesideAForeignLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{Now: stepping()})
	addSessions(t, s, "a.example", 30)
	check(t, s.EmptyLog(t.Context()))
	backup, err := os.ReadFile(path)
	check(t, err)
	for i := range 100 {
		addAll(t, s, observe(crashDomain(i), "192.0.2.1"))
	}
	check(t, s.EmptyLog(t.Context()))
	addSessions(t, s, "a.example", 30)
	killed := filepath.Join(t.TempDir(), "peerscore.db")
	check(t, errors.Join(os.WriteFile(killed, backup, 0o640), overwrite(killed+"-wal", path+"-wal")))

	s = openPath(t, killed, Options{SetAside: true})
	aside, _ := filepath.Glob(killed + ".corrupt-*Z")
	if len(aside) != 1 || s.Counters().SetAside != 1 || credited(t, s, "a.example") != 0 {
		t.Fatalf("set aside %q, %+v", aside, s.Counters())
	}
	if now, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(now, backup) {
		t.Errorf("the file that was set aside is not what was put in place: %d octets, %d before (%v)", len(now), len(backup), err)
	}
	log, err := os.ReadFile(path + "-wal")
	check(t, err)
	if now, err := os.ReadFile(aside[0] + "-wal"); err != nil || !bytes.Equal(now, log) {
		t.Errorf("the log that was set aside is not what was there: %d octets, %d before (%v)", len(now), len(log), err)
	}
}
