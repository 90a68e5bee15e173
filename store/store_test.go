package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv("PEERSCORE_STORE_CHILD")]; ok {
		if err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// children are what this binary does when a test runs it as a process of its own.
var children = map[string]func(args []string) error{"write": writeUntilKilled, "read": readAsChild, "resume": resumeAsChild, "open": openAsChild}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) now() time.Time   { return *c.at.Load() }
func (c *clock) set(at time.Time) { c.at.Store(&at) }

// open opens a database in a new folder, at noon unless the options say otherwise.
func open(t *testing.T, o Options) *Store {
	t.Helper()
	return openPath(t, filepath.Join(inMemory(t), "peerscore.db"), o)
}

// inMemory is a folder of the test's own for what is about rows, not about disks. On a disk where
// there is no other.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "peerscore-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openPath(t *testing.T, path string, o Options) *Store {
	t.Helper()
	if o.Now == nil {
		o.Now = newClock(noon).now
	}
	s, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// observe is a message at noon with everything right, but for changes.
func observe(d dnsname.Domain, addr string, changes ...func(*assess.Observation)) assess.Observation {
	o := assess.Observation{
		At: noon, Domain: d, Proof: assess.ProofSPF | assess.ProofDKIM, StartTLS: assess.Pass, SPF: assess.Pass, DKIM: assess.Pass,
		TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", SPFResult: "pass", DKIMResult: "pass", DMARCResult: "pass",
	}
	if addr != "" {
		o.Host = assess.ClientHost(netip.MustParseAddr(addr))
	}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func at(when time.Time) func(*assess.Observation) {
	return func(o *assess.Observation) { o.At = when }
}

func relayed(signature string) func(*assess.Observation) {
	return func(o *assess.Observation) {
		o.Proof, o.Host, o.StartTLS, o.SPF = assess.ProofDKIM, netip.Prefix{}, assess.Unknown, assess.Unknown
		copy(o.Signature[:], signature)
	}
}

func failing(o *assess.Observation) {
	o.StartTLS, o.SPF, o.DKIM = assess.Fail, assess.Fail, assess.Fail
	o.TLSVersion, o.SPFResult, o.DKIMResult = "none", "softfail", "fail"
}

func addAll(t *testing.T, s *Store, observations ...assess.Observation) {
	t.Helper()
	for _, o := range observations {
		check(t, s.AddObservation(t.Context(), o))
	}
}

func tally(t *testing.T, s *Store, d dnsname.Domain) assess.Tally {
	t.Helper()
	e, err := s.Evidence(t.Context(), d, s.now(), s.options.Window)
	check(t, err)
	return e.Tally
}

// dump is the content of all tables but some, row by row.
func dump(t *testing.T, s *Store, except ...string) string {
	t.Helper()
	var out strings.Builder
	db := s.read.Load()
	for _, table := range []string{"domain", "tally", "signature", "selector", "unauthenticated", "facts", "assessment", "run", "mx_address", "share", "memo"} {
		if strings.Contains(strings.Join(except, " "), table) {
			continue
		}
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
		check(t, err)
		columns, err := rows.Columns()
		check(t, err)
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		check(t, scanAll(rows, func() error { _, err := fmt.Fprintln(&out, table, row); return err }, into...))
		rows.Close()
	}
	return out.String()
}

func TestOpenCreatesAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder?#%41", "peer&score.db")
	s := openPath(t, path, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	for name, want := range map[string]fs.FileMode{filepath.Dir(path): 0o750, path: 0o640, path + "-wal": 0o640, path + "-shm": 0o640} {
		info, err := os.Stat(name)
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestWritesAreDurable(t *testing.T) {
	s := open(t, Options{})
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "2000"} {
		var got string
		check(t, s.write(t.Context(), func(t *tx) error { return t.get("PRAGMA "+pragma, nil, &got) }))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("a.example", "", relayed("one")))
	s.CountUnauthenticated("a.example")
	check(t, s.SaveAssessment(t.Context(), assessed("b.example", noon)))
	check(t, s.Close())
	before := dump(t, openPath(t, path, Options{}))
	if !strings.Contains(before, "unauthenticated [1 ") {
		t.Error("the count of messages without proof was not flushed on Close")
	}
	r, err := OpenReader(t.Context(), path)
	check(t, err)
	defer r.Close()
	if after := dump(t, r); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestReaderWithoutDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	if _, err := OpenReader(t.Context(), path); !errors.Is(err, ErrNoDatabase) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the reader made a file")
	}
}

func TestReaderWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	openPath(t, path, Options{})
	r, err := OpenReader(t.Context(), path)
	check(t, err)
	defer r.Close()
	if err := r.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("error %v", err)
	}
}

func TestClosedStore(t *testing.T) {
	s := open(t, Options{})
	check(t, s.Close())
	if err := s.AddObservation(t.Context(), observe("a.example", "192.0.2.1")); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestCorruptFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"no database at all", func(t *testing.T, path string) {
			check(t, os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600))
		}},
		{"garbage inside", func(t *testing.T, path string) {
			s := openPath(t, path, Options{})
			addAll(t, s, observe("a.example", "192.0.2.1"))
			check(t, s.Close())
			check(t, scribble(path))
		}},
		{"cut off", func(t *testing.T, path string) {
			check(t, openPath(t, path, Options{}).Close())
			check(t, os.Truncate(path, 6000))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "peerscore.db")
			c.damage(t, path)
			damaged, err := os.ReadFile(path)
			check(t, err)
			if s, err := Open(t.Context(), path, Options{}); err == nil { // as a command of the operator
				if err := s.AddObservation(t.Context(), observe("b.example", "192.0.2.2")); !isCorrupt(err) {
					t.Errorf("error %v", err)
				}
				s.Close()
			} else if !isCorrupt(err) {
				t.Errorf("error %v", err)
			}
			var log bytes.Buffer
			s := openPath(t, path, Options{SetAside: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			addAll(t, s, observe("b.example", "192.0.2.2"))
			kept, err := os.ReadFile(path + ".corrupt-20261120T120000Z")
			check(t, err)
			if !bytes.Equal(kept, damaged) {
				t.Error("the corrupt file was not kept as it was")
			}
			if !strings.Contains(log.String(), "level=ERROR") || s.Counters().SetAside != 1 {
				t.Errorf("log %q, %d set aside", log.String(), s.Counters().SetAside)
			}
		})
	}
}

func TestSetAsideOverwritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	for range 3 {
		check(t, os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600))
		s, err := Open(t.Context(), path, Options{SetAside: true, Now: newClock(noon).now})
		check(t, err)
		check(t, s.Close())
	}
	for _, name := range []string{"", "-1", "-2"} {
		if text, err := os.ReadFile(path + ".corrupt-20261120T120000Z" + name); !strings.HasPrefix(string(text), "not a database") {
			t.Errorf("set aside %q: %v", name, err)
		}
	}
}

// scribble overwrites every page of the file but the first.
func scribble(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-4096), 4096)
	return errors.Join(err, f.Close())
}

// second opens a connection of another program to the file.
func second(t *testing.T, path string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(context.Background())
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// The figures of assess/probe/limits.md, section 3, as literals: who changes a limit changes a promise.
func TestLimits(t *testing.T) {
	got := open(t, Options{}).options.Limits
	want := Limits{
		Domains: 200_000, Hosts: 64, Keys: 16, Selectors: 16, RelayedDay: 256, ServerNames: 64,
		HistoryLength: 100, HistoryFacts: 1 << 20, StandingsInCache: 10_000, Log: 1 << 30,
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
