package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	maxSetAside  = 3 // corrupt files in setAsideSpan; whoever sees more has a broken disk or memory
	setAsideSpan = day
	examineEvery = time.Minute // a file that was found sound, or could not be replaced

	asideStamp = "20060102T150405Z"
)

var suffixes = []string{"-wal", "-shm", ""} // of what belongs to a file, and the file last

// openOrSetAside opens the file. Where the options say so, one that is corrupt is set aside
// and a new one begun. What takes longer than limit to check is not checked.
func (s *Store) openOrSetAside(ctx context.Context, limit time.Duration) (f *file, checked bool, err error) {
	if err := s.keepOrphan(); err != nil {
		return nil, false, err
	}
	for range openTries {
		f, err = openFile(ctx, s.path)
		if !s.options.SetAside || err != nil && !isCorrupt(err) {
			return f, false, err
		}
		var finding error
		if err == nil {
			if checked, finding = s.checkFirst(ctx, f, limit); finding == nil {
				if err := f.anchor(ctx); err != nil { // it cannot be written at present
					s.log.Debug("the epochs are not anchored", "file", s.path, "error", err.Error())
				}
				return f, checked, nil
			}
			_ = f.abandon() // the log may belong to another file, and the file be sound without it
			err = finding
		} else {
			finding = examineClosed(ctx, s.path)
		}
		if isCorrupt(finding) {
			finding = s.setAside(ctx, finding)
		}
		if finding != nil && !errors.Is(err, finding) {
			err = fmt.Errorf("%w: %w", err, finding)
		}
	}
	return nil, false, err
}

// keepOrphan gives the log another name where the file that it belongs to is not there, as after
// kill -9 of a daemon whose file was moved: SQLite would delete it. It looks at the log first,
// since another process may be about to begin a file, whose log then comes after its first page.
func (s *Store) keepOrphan() error {
	if _, size, err := inodeOf(s.path + "-wal"); err != nil || size == 0 {
		return nil
	}
	if _, size, err := inodeOf(s.path); err == nil && size > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept := s.asideName("displaced") + "-wal"
	_ = os.Remove(s.path + "-shm") // which tells what stands in that log
	if err := os.Rename(s.path+"-wal", kept); err != nil {
		return fmt.Errorf("the -wal file of a database that is not there: %w", err)
	}
	s.log.Error("the database file is gone and its -wal file is not; that is kept under another name and a new database begun", "file", s.path, "kept", kept)
	return nil
}

// checkFirst checks a file that was just opened, for a limited time. The error says that it is corrupt.
func (s *Store) checkFirst(ctx context.Context, f *file, limit time.Duration) (checked bool, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cause := quickCheck(limited, f.read)
	if limited.Err() != nil || !isCorrupt(cause) {
		return limited.Err() == nil, nil
	}
	finding := examine(ctx, s.path, f.raw)
	if isCorrupt(finding) {
		return true, finding
	}
	s.reportSound(cause, finding)
	return true, nil
}

// reportSound says that the file was examined for a cause, and stays. The finding is that the disk
// fails, or nil.
func (s *Store) reportSound(cause, finding error) {
	s.log.Warn("the database seemed corrupt and is not; it stays", "file", s.path, "cause", cause.Error(), "error", finding)
}

// setAside begins a new file, renames the present one with what SQLite keeps beside it, never
// over another, and gives the new one its name. Where no new file can be begun, or too many
// were set aside of late, nothing happens but the error.
func (s *Store) setAside(ctx context.Context, cause error) error {
	if err := s.boundSetAside(); err != nil {
		return err
	}
	before, _ := os.Stat(s.path)
	fresh := s.path + ".new"
	if err := begin(ctx, fresh, before); err != nil {
		return fmt.Errorf("no new database can be begun: %w", err)
	}
	aside := s.asideName("corrupt")
	for _, suffix := range suffixes {
		if err := os.Rename(s.path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("setting a corrupt file aside: %w", err)
		}
	}
	if err := os.Rename(fresh, s.path); err != nil { // then the next one that opens it begins one
		return fmt.Errorf("the new database: %w", err)
	}
	s.counts.setAside.Add(1)
	s.log.Error("database corrupt; it was set aside and a new one begun", "file", s.path, "aside", aside, "cause", cause.Error())
	return syncFolder(s.path)
}

// begin makes a new and complete file without a log, with the mode of the one before.
func begin(ctx context.Context, path string, before fs.FileInfo) error {
	for _, suffix := range suffixes {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := create(path, before); err != nil {
		return err
	}
	f, err := openFile(ctx, path)
	if err != nil {
		return err
	}
	if err := f.close(); err != nil { // copies the log, and syncs
		return err
	}
	return errors.Join(os.Remove(path+"-wal"), os.Remove(path+"-shm"))
}

// boundSetAside counts what was set aside by the names on disk: a restart forgets nothing.
func (s *Store) boundSetAside() error {
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	recent := 0
	for _, e := range entries {
		stamp, ours := strings.CutPrefix(e.Name(), filepath.Base(s.path)+".corrupt-")
		if !ours || strings.HasSuffix(stamp, "-wal") || strings.HasSuffix(stamp, "-shm") {
			continue
		}
		at, err := time.Parse(asideStamp, stamp[:min(len(stamp), len(asideStamp))])
		if err == nil && s.now().Sub(at).Abs() < setAsideSpan {
			recent++
		}
	}
	if recent >= maxSetAside {
		return fmt.Errorf("%d corrupt files were set aside within a day; this one stays, and is not written: check the disk and the memory", recent)
	}
	return nil
}

// asideName is a name beside the file that nothing bears.
func (s *Store) asideName(why string) string {
	name := s.path + "." + why + "-" + s.now().UTC().Format(asideStamp)
	free := name
	for n := 1; ; n++ {
		taken := false
		for _, suffix := range suffixes {
			_, err := os.Lstat(free + suffix)
			taken = taken || !errors.Is(err, fs.ErrNotExist)
		}
		if !taken {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// syncFolder puts the names on disk.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// suspect has the writer examine the file if that is what the error of a reader calls for.
func (s *Store) suspect(err error) {
	if s.writer == nil || !isCorrupt(err) {
		return
	}
	select {
	case s.writer.suspicions <- err:
	default:
	}
}

// examine examines a file that turned out to be corrupt while in use, and replaces it if it is.
// Without SetAside the file stays.
func (w *writer) examine(cause error) {
	now := w.now()
	if !w.options.SetAside || w.file.raw == nil || !w.examined.IsZero() && now.Sub(w.examined).Abs() < examineEvery {
		return
	}
	w.examined = now
	finding := examine(w.ctx, w.path, w.file.raw)
	if !isCorrupt(finding) {
		w.condemned = nil
		if w.ctx.Err() == nil {
			w.reportSound(cause, finding)
		}
		return
	}
	w.condemned = finding
	if err := w.setAside(context.Background(), finding); err != nil {
		w.log.Error("the database is corrupt and cannot be replaced; nothing is written until it can", "file", w.path, "cause", finding.Error(), "error", err.Error())
		return
	}
	w.condemned, w.examined = nil, time.Time{}
	f, err := openFile(context.Background(), w.path)
	if err != nil {
		w.log.Error("the new database cannot be opened", "file", w.path, "error", err.Error())
		_ = w.file.close() // what has another name now is not written any more
		return
	}
	_ = f.anchor(w.ctx) // if not, a copy over it is noticed less surely
	w.change(f)
}

// checkOn goes on with a check that Open had no time for, table by table with pauses, so that
// no reader keeps the log from being copied for long.
func (w *writer) checkOn() {
	err := w.checkTables(w.ctx)
	if isCorrupt(err) {
		w.suspect(err)
	} else if err != nil && w.ctx.Err() == nil {
		w.log.Warn("the database could not be checked", "file", w.path, "error", err.Error())
	}
}

func (w *writer) checkTables(ctx context.Context) error {
	tables, err := tablesOf(ctx, w.read.Load())
	if err != nil {
		return err
	}
	for _, table := range tables {
		began := time.Now()
		if err := quickCheck(ctx, w.read.Load(), table); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
	return nil
}

func tablesOf(ctx context.Context, db *sql.DB) (tables []string, err error) {
	rows, err := db.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var table string
	err = scanAll(rows, func() error { tables = append(tables, table); return nil }, &table)
	return tables, err
}
