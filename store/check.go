package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	checkTime    = 200 * time.Millisecond // of a check before the daemon listens; what takes longer goes on beside it
	examinations = 2                      // findings of corruption before it is believed
	openTries    = 3                      // a read that failed once may work the next time
	pageSize     = 4096
	pageReads    = 1 << 14 // of an examination, at least: a disk that fails one read in 2,000 passes two once in 10 million
)

var errCorrupt = errors.New("the file is corrupt")

func isCorrupt(err error) bool {
	var failure sqlite3.Error
	return errors.Is(err, errCorrupt) ||
		errors.As(err, &failure) && (failure.Code == sqlite3.ErrCorrupt || failure.Code == sqlite3.ErrNotADB)
}

// quickCheck reads the whole file, or what belongs to one table, and looks for corruption.
func quickCheck(ctx context.Context, q querier, table ...string) error {
	extent := "1" // one finding is enough
	if len(table) > 0 {
		extent = fmt.Sprintf("%q", table[0])
	}
	var finding string
	if err := q.QueryRowContext(ctx, "PRAGMA quick_check("+extent+")").Scan(&finding); err != nil {
		return err
	}
	if finding != "ok" {
		return fmt.Errorf("%w: %s", errCorrupt, finding)
	}
	return nil
}

// examine reports whether a file that SQLite called corrupt is: SQLite says so of a read that
// failed, too (SQLITE_IOERR_CORRUPTFS becomes SQLITE_CORRUPT in its unixRead). The error is
// isCorrupt only if all of the file and its log can be read, again and again, and SQLite still
// finds it corrupt each time on a connection of its own. It is nil where the file is sound.
//
// raw is the file, already open where SQLite has it open.
func examine(ctx context.Context, path string, raw io.ReaderAt) error {
	for n := 1; ; n++ {
		err := readThrough(ctx, raw, pageReads)
		if err == nil {
			err = readLog(ctx, path)
		}
		if err != nil {
			return fmt.Errorf("the disk fails, not the file: %w", err)
		}
		if err = checkAfresh(ctx, path); n == examinations || !isCorrupt(err) {
			return err
		}
	}
}

func checkAfresh(ctx context.Context, path string) error {
	db, err := connect(path, "ro", nil)
	if err != nil {
		return err
	}
	defer db.Close()
	return quickCheck(ctx, db)
}

// examineClosed examines a file that this process does not have open.
func examineClosed(ctx context.Context, path string) error {
	raw, err := os.Open(path)
	if err != nil {
		return err
	}
	defer raw.Close()
	return examine(ctx, path, raw)
}

func readLog(ctx context.Context, path string) error {
	raw, err := os.Open(path + "-wal") // SQLite has no locks on this one
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer raw.Close()
	return readThrough(ctx, raw, 1)
}

// readThrough reads page by page, as SQLite does, and a small file over and over until it made
// so many reads.
func readThrough(ctx context.Context, raw io.ReaderAt, least int) error {
	page := make([]byte, pageSize)
	for reads := 0; reads < least; {
		for at := int64(0); ; at += pageSize {
			_, err := raw.ReadAt(page, at)
			if reads++; err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}
