// Package store remembers peers in one SQLite file: what their sessions showed, what probes
// found, how both were judged, and when to ask again. SQL stands in this package only.
//
// One goroutine writes. It commits everything that is pending in one transaction (group
// commit, WAL, synchronous=FULL), so that a call that returned nil survives kill -9 and power
// loss, and 500 sessions share one fsync. Readers have connections of their own, in this and
// in other processes, and never wait for the writer.
//
// The row of a domain carries its scores as columns. An observation only marks the row; in
// the background [Standings] judges marked rows again, each at most once in a few seconds,
// and writes the columns. The milter and `list` therefore read the same row, and a burst of
// messages costs one judgement. The mark is in the row: a restart forgets nothing.
//
// Messages are never stored, only sums by domain, host and day. Nothing here holds a local
// part, a recipient, or a word of a message.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"peerscore/assess"
)

var (
	// ErrNoDatabase says that the file is not there. It wraps fs.ErrNotExist.
	ErrNoDatabase = fmt.Errorf("there is no database: %w", fs.ErrNotExist)
	// ErrSchema says that the file was written by another version of the program.
	ErrSchema = errors.New("the database has another version")
	// ErrUnknownDomain says that nothing is known of the domain.
	ErrUnknownDomain = errors.New("the domain is not known")
	// ErrTooManyKeys says that the organisation of a new domain has as many keys as it may have.
	ErrTooManyKeys = errors.New("too many domains of one organisation")
	// ErrOverloaded says that more writes are pending than the writer can take.
	ErrOverloaded = errors.New("too many writes are pending")
	// ErrUnconfirmed says that the writer takes longer than patience: the observation waits in
	// memory, and is written if the database comes back before that is full.
	ErrUnconfirmed = errors.New("the database is slow; the observation waits in memory")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrLogInUse says that deleted rows still stand in the -wal file, because another process reads it.
	ErrLogInUse = errors.New("it is erased, but its traces stay in the -wal file until no other process reads the database")
	// ErrReadOnly says that the store was opened with OpenReader.
	ErrReadOnly = errors.New("the store is open for reading only")
)

// Options say how a store behaves. The zero value is complete.
type Options struct {
	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now

	Window time.Duration // how long sessions count; 0: assess.DefaultWindow
	Keep   time.Duration // how long past assessments are kept; 0: DefaultKeep
	MaxAge time.Duration // between two runs of a domain; one that is put off for far longer is due again; 0: DefaultMaxAge
	Limits Limits

	// SetAside renames a corrupt file and begins a new one, and goes on with what is at the path
	// where the file was moved, deleted or overwritten. It is for the daemon, whose mail must
	// flow; a command gets the error.
	SetAside bool
}

const (
	DefaultKeep   = 400 * day // how long past assessments are kept
	DefaultMaxAge = 7 * day   // between two runs of a domain
)

// Limits bound what foreign mail can make the store hold (assess/probe/limits.md, section 3). 0 is the default.
type Limits struct {
	Domains          int // 200,000; those that are worth least go first (worthOf)
	Hosts            int // 64 a domain, the most recently seen
	Keys             int // 16 domains an organisation; the rest fold into the organisational domain
	Selectors        int // 16 a domain, the most recently seen
	RelayedDay       int // 256 relayed signatures a domain and day; further ones are not counted
	ServerNames      int // 64 an MX address; those that are worth least go first (surplusRecords)
	HistoryLength    int // 100 judgements a domain, the latest
	HistoryFacts     int // 1 MiB of facts and verdicts a domain, the latest; the current ones always stay
	StandingsInCache int // 10,000
	Log              int // 1 GiB of -wal file; then nothing is written until it can be copied
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		limit *int
		value int
	}{
		{&l.Domains, 200_000}, {&l.Hosts, 64}, {&l.Keys, 16}, {&l.Selectors, 16}, {&l.RelayedDay, 256},
		{&l.ServerNames, 64}, {&l.HistoryLength, 100}, {&l.HistoryFacts, 1 << 20}, {&l.StandingsInCache, 10_000}, {&l.Log, 1 << 30},
	} {
		if *d.limit == 0 {
			*d.limit = d.value
		}
	}
	return l
}

// Store is an open database. Its methods may be called from any goroutine.
type Store struct {
	path    string
	log     *slog.Logger
	now     func() time.Time
	options Options

	read    atomic.Pointer[sql.DB]
	writer  *writer // nil when open for reading only
	spoofs  spoofs
	counts  counts
	cacheMu sync.Mutex
	caches  []*Standings // told of changes
}

// Open opens the file for writing, creating it and its folder as needed, and brings it to the
// present schema. Several processes may have it open at once.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	s, err := newStore(path, o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return nil, fmt.Errorf("folder of the database: %w", err)
	}
	file, checked, err := s.openOrSetAside(ctx, checkTime)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", s.path, err)
	}
	s.read.Store(file.read)
	s.writer = newWriter(s, file)
	go s.writer.run(checked)
	return s, nil
}

// OpenReader opens the file for reading, whether or not a daemon writes to it, with no more
// than read permission. The error is ErrNoDatabase where there is none.
func OpenReader(ctx context.Context, path string) (*Store, error) {
	s, err := newStore(path, Options{})
	if err != nil {
		return nil, err
	}
	db, err := openReadOnly(ctx, s.path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", s.path, err)
	}
	s.read.Store(db)
	return s, nil
}

func newStore(path string, o Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Window == 0 {
		o.Window = assess.DefaultWindow
	}
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	o.Limits = o.Limits.withDefaults()
	return &Store{path: path, log: o.Logger, now: o.Now, options: o}, nil
}

// Close commits what is pending and closes the file.
func (s *Store) Close() error {
	if s.writer == nil {
		return s.read.Load().Close()
	}
	return s.writer.close()
}

// Counters tells what became of observations since the store was opened. Each that was handed
// in is Committed or Lost in the end, whatever its caller was told meanwhile, and Pending
// until then.
type Counters struct {
	Commits   int64 // transactions
	Committed int64 // observations on disk
	Lost      int64 // observations that are not and will not be: disk full, locked, overloaded ...
	Pending   int   // observations and other writes that wait in memory at this moment
	Dropped   int64 // messages without proof that were counted in the sum only, not by domain
	SetAside  int64 // corrupt files
	Displaced int64 // files that were moved, deleted, cut or overwritten by others
	Log       int64 // octets of the -wal file
}

type counts struct{ commits, committed, lost, setAside, displaced, log atomic.Int64 }

// Counters of this process.
func (s *Store) Counters() Counters {
	c := Counters{
		Commits: s.counts.commits.Load(), Committed: s.counts.committed.Load(), Lost: s.counts.lost.Load(),
		Dropped: s.spoofs.dropped.Load(), SetAside: s.counts.setAside.Load(), Displaced: s.counts.displaced.Load(), Log: s.counts.log.Load(),
	}
	if s.writer != nil {
		c.Pending = len(s.writer.jobs)
	}
	return c
}

const day = 24 * time.Hour

// dayOf is the UTC day as days since 1970.
func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

// stamp is a time as the schema has it: milliseconds, and NULL for the zero time.
type stamp time.Time

func (s stamp) Value() (driver.Value, error) {
	if time.Time(s).IsZero() {
		return nil, nil
	}
	return time.Time(s).UnixMilli(), nil
}

func (s *stamp) Scan(value any) error {
	*s = stamp{}
	if ms, ok := value.(int64); ok {
		*s = stamp(time.UnixMilli(ms).UTC())
	} else if value != nil {
		return fmt.Errorf("not a time: %v", value)
	}
	return nil
}
