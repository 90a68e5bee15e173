package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// drain lets nobody begin to read, and reports whether all who did have ended within settleMost.
// Until then SQLite shares what it knows of the log with whoever opens the same inode, and
// closing raw would release the locks of those who read.
func (f *file) drain() bool {
	_ = f.read.Close()
	for deadline := time.Now().Add(settleMost); f.read.Stats().OpenConnections > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// leave closes a displaced file that nobody reads any more. One that was overwritten does not get
// what its log holds; all others do, if complete, also while the store is closed: this is the last
// chance.
func (f *file) leave(d damage) (complete bool, err error) {
	if d.inPlace {
		return false, f.abandon()
	}
	var busy, length, copied int // SQLite itself does not do it for a file that was renamed
	err = f.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &length, &copied)
	return err == nil && busy == 0, errors.Join(err, f.close())
}

// detach takes the log of a displaced file away from the path, where it would be taken for
// that of the file there now. One that holds anything gets another name.
func (s *Store) detach(known identity) error {
	var errs []error
	for suffix, before := range map[string]inode{"-wal": known.log, "-shm": known.index} {
		now, size, err := inodeOf(s.path + suffix)
		if err != nil || now != before {
			continue
		}
		if suffix == "-shm" || size == 0 {
			errs = append(errs, os.Remove(s.path+suffix))
			continue
		}
		errs = append(errs, os.Rename(s.path+suffix, s.asideName("displaced")+suffix))
	}
	return errors.Join(errs...)
}

// settle waits until nobody writes to what is at the path.
func settle(ctx context.Context, path string) {
	before, err := os.Stat(path)
	for deadline := time.Now().Add(settleMost); err == nil && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleTime):
		}
		var now fs.FileInfo
		if now, err = os.Stat(path); err == nil && os.SameFile(now, before) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime()) {
			return
		}
		before = now
	}
}

// follow looks whether the file at the path is still the one that is open. Where it is not, it
// goes on with what is there now, or with a new file where nothing is, and says so by again:
// what was written last is to be written once more. For a command, which ends soon, it is an error.
func (w *writer) follow() (again bool, err error) {
	d := w.leaving
	if d.error == nil {
		if !errors.As(w.file.displaced(), &d) {
			return false, nil
		}
		if !w.options.SetAside {
			return false, d
		}
		w.leaving = d
		w.counts.displaced.Add(1)
		w.log.Error("the database file is not the one that was opened; going on with what is there now", "file", w.path, "cause", d.Error())
	}
	if !w.file.drain() {
		return false, fmt.Errorf("%w: it is still being read", d)
	}
	w.leaving = damage{}
	known := w.file.known
	before, _ := w.file.raw.Stat()
	complete, err := w.file.leave(d)
	if err := errors.Join(err, w.detach(known)); err != nil {
		w.log.Warn("closing the file that was there before", "file", w.path, "error", err.Error())
	}
	again = !d.logOnly || !complete
	w.reopened = w.now()
	if !d.logOnly {
		settle(w.ctx, w.path)
		_ = create(w.path, before) // if not, opening says why
	}
	f, _, err := w.openOrSetAside(context.Background(), settleMost)
	if err != nil {
		return again, fmt.Errorf("%w: %w", d, err)
	}
	w.change(f)
	return again, nil
}
