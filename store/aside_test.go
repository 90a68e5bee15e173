package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openings is how often a file is opened while reads fail.
const openings = 12

// openAsChild opens a store as the daemon does and writes to it, again and again, and prints what came of it.
func openAsChild(args []string) error {
	for range openings {
		s, err := Open(context.Background(), args[0], Options{SetAside: true, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
		if err != nil {
			fmt.Println("open:", err)
			continue
		}
		for i := range 20 {
			if err := s.AddObservation(context.Background(), observe("a.example", fmt.Sprintf("192.0.2.%d", i))); err != nil {
				fmt.Println("add:", err)
				continue
			}
			fmt.Println("acknowledged")
		}
		s.writer.checkOn()
		time.Sleep(10 * time.Millisecond) // the writer may examine
		if err := s.Close(); err != nil {
			fmt.Println("close:", err)
		}
		fmt.Println("committed:", s.Counters().Committed)
	}
	return nil
}

// TestReadErrorsAreNoCorruption lets one read in 2,000 of each thread fail, which SQLite
// reports as corruption: a sound file stays where it is, and nothing acknowledged is lost.
func TestReadErrorsAreNoCorruption(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	check(t, s.Learn(t.Context(), "large.example"))
	check(t, s.write(t.Context(), func(t *tx) error { // 3,000 pages
		_, err := t.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
			INSERT INTO facts (domain_id, at, size, content) SELECT 1, i, 3000, printf('%.3000c', 'x') FROM n`)
		return err
	}))
	check(t, s.Close())
	cmd := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=2000+2000", os.Args[0], path)
	cmd.Env = append(os.Environ(), "PEERSCORE_STORE_CHILD=open")
	out, err := cmd.CombinedOutput()
	check(t, err)
	text := string(out)
	aside, _ := filepath.Glob(path + ".corrupt-*")
	acknowledged, failed := strings.Count(text, "acknowledged\n"), strings.Count(text, "corrupt")
	if len(aside) > 0 || failed == 0 {
		t.Errorf("set aside %v, %d reports of corruption:\n%s", aside, failed, text)
	}
	s = openPath(t, path, Options{})
	committed := 0 // what waited in memory as well
	for line := range strings.Lines(text) {
		n := 0
		_, _ = fmt.Sscanf(line, "committed: %d", &n)
		committed += n
	}
	waiting := strings.Count(text, ErrUnconfirmed.Error()+"\n")
	if got := tally(t, s, "a.example").Credited(); got != committed || got < acknowledged || got > acknowledged+waiting {
		t.Errorf("%d sessions stored, %d committed, %d acknowledged, %d waiting\n%s", got, committed, acknowledged, waiting, text)
	}
	t.Logf("%d openings, %d reports of corruption, %d acknowledged", openings, failed, acknowledged)
}

// corruptInUse damages the file under an open store, beyond what its log has.
func corruptInUse(t *testing.T, s *Store) {
	t.Helper()
	for i := range 200 {
		addAll(t, s, observe(crashDomain(i), "192.0.2.1"))
	}
	foreign(t, s.path, "PRAGMA wal_checkpoint(TRUNCATE)")
	check(t, s.write(t.Context(), func(t *tx) error { _, err := t.exec("PRAGMA shrink_memory"); return err }))
	check(t, scribble(s.path))
}

// TestNoNewFileCanBeBegun keeps a new file from being made: what is acknowledged all the same must not go into a
// file that no restart reads.
func TestNoNewFileCanBeBegun(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{SetAside: true, Now: now.now})
	corruptInUse(t, s)
	check(t, os.MkdirAll(filepath.Join(s.path+".new", "in the way"), 0o700))
	acknowledged := 0
	for i := range 50 {
		now.set(now.now().Add(time.Second / 10))
		if err := s.AddObservation(t.Context(), observe(crashDomain(i), "192.0.2.2")); err == nil {
			acknowledged++
		}
	}
	aside, _ := filepath.Glob(s.path + ".corrupt-*")
	if acknowledged > 0 || len(aside) > 0 {
		t.Errorf("%d acknowledged, %d files set aside", acknowledged, len(aside))
	}
	check(t, os.RemoveAll(s.path+".new"))
	now.set(now.now().Add(examineEvery))
	_ = s.AddObservation(t.Context(), observe("new.example", "192.0.2.1"))
	addAll(t, s, observe("new.example", "192.0.2.1"))
	if aside, _ := filepath.Glob(s.path + ".corrupt-*Z"); len(aside) != 1 || s.Counters().SetAside != 1 {
		t.Errorf("afterwards %v are set aside, %+v", aside, s.Counters())
	}
}

// A machine that corrupts each file that it writes fills no disk with them.
func TestSetAsideIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	now := newClock(noon)
	for n := range maxSetAside + 2 {
		now.set(now.now().Add(time.Hour))
		check(t, os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600))
		s, err := Open(t.Context(), path, Options{SetAside: true, Now: now.now})
		if (err == nil) != (n < maxSetAside) {
			t.Errorf("file %d: error %v", n, err)
		}
		if err == nil {
			check(t, s.Close())
		}
	}
	now.set(now.now().Add(setAsideSpan))
	s, err := Open(t.Context(), path, Options{SetAside: true, Now: now.now})
	check(t, errors.Join(err, s.Close()))
}

// A file that is begun anew may be read by those who might read the one before.
func TestNewFileKeepsTheMode(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	group := os.Getgid()
	if os.Geteuid() == 0 {
		group = 12345
	}
	for _, c := range []struct{ old, want os.FileMode }{{0o600, 0o600}, {0o664, 0o664}, {0o444, 0o644}} {
		now := newClock(noon)
		s := open(t, Options{SetAside: true, Now: now.now})
		compare := func(after string) {
			t.Helper()
			for _, suffix := range suffixes {
				info, err := os.Stat(s.path + suffix)
				check(t, err)
				if gid := int(info.Sys().(*syscall.Stat_t).Gid); info.Mode() != c.want || gid != group {
					t.Errorf("%v: the new file%s after the old was %s has %v, group %d, want group %d", c.old, suffix, after, info.Mode(), gid, group)
				}
			}
		}
		check(t, errors.Join(os.Chown(s.path, -1, group), os.Chmod(s.path, c.old)))
		corruptInUse(t, s)
		check(t, os.Chmod(s.path, c.old))
		_ = s.AddObservation(t.Context(), observe("a.example", "192.0.2.1"))
		addAll(t, s, observe("a.example", "192.0.2.1"))
		compare("set aside")

		check(t, os.Remove(s.path))
		addAll(t, s, observe("a.example", "192.0.2.1"))
		compare("deleted")
		if n := s.Counters(); n.SetAside != 1 || n.Displaced != 1 {
			t.Errorf("%+v", n)
		}
	}
}

// A file that takes long to check is open at once, and found corrupt all the same.
func TestCheckGoesOnBesideTheDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	for i := range 200 {
		addAll(t, s, observe(crashDomain(i), "192.0.2.1"))
	}
	check(t, s.Close())
	content, err := os.ReadFile(path)
	check(t, err)
	const half = 20 * pageSize // the schema is before, and stays
	check(t, os.WriteFile(path, append(content[:half:half], bytes.Repeat([]byte{0xa5}, len(content)-half)...), 0o600))

	s, err = newStore(path, Options{SetAside: true})
	check(t, err)
	f, checked, err := s.openOrSetAside(t.Context(), 0) // no time at all
	if check(t, err); checked {
		t.Fatal("it was checked first")
	}
	s.read.Store(f.read)
	s.writer = newWriter(s, f)
	go s.writer.run(checked)
	defer s.Close()
	for deadline := time.Now().Add(30 * time.Second); s.Counters().SetAside == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not found corrupt")
		}
	}
	addAll(t, s, observe("a.example", "192.0.2.1"))
}
