package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"time"
)

// The -wal file grows for as long as any process reads an old state of the database: what came
// since cannot be copied into the file. Nobody can end the reading of another process, but the
// log must not fill the disk that mail needs.

var errLogFull = errors.New("another process has been reading for long, and the -wal file is full; `fuser` names who has it open")

// logFull says that the log is as long as it may be and cannot be begun anew. Where it is
// eight times shorter it says so once, in our log.
func (w *writer) logFull() error {
	size, limit := w.file.logSize, int64(w.options.Limits.Log)
	w.counts.log.Store(size)
	long := size > limit/8
	if long != w.logLong {
		w.logLong = long
		if long {
			w.log.Warn("the -wal file grows: a process has been reading for long", "file", w.path+"-wal", "octets", size, "limit", limit)
		} else {
			w.log.Info("the -wal file is short again", "file", w.path+"-wal", "octets", size)
		}
	}
	if size <= limit {
		return nil
	}
	var busy, length, copied int
	err := w.file.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &length, &copied)
	if err == nil && length != copied {
		err = errLogFull
	}
	return err
}

// emptyLogPatience is how long EmptyLog waits for the readers of other processes.
const emptyLogPatience = 10 * time.Second

// EmptyLog copies the -wal file into the database and cuts it to nothing: until then it holds
// rows as they were before they were deleted. The error is ErrLogInUse where other processes
// read for longer than emptyLogPatience.
//
// It has a connection of its own and short waits, because the writer's must stay free, and
// because whoever waits here keeps all others from writing.
func (s *Store) EmptyLog(ctx context.Context) error {
	db, err := connect(s.path, "rw", url.Values{"_busy_timeout": {"100"}, "_synchronous": {"FULL"}})
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for deadline := time.Now().Add(emptyLogPatience); ; {
		done, err := emptyLog(ctx, conn)
		if done || err != nil && !isBusy(err) {
			return err
		}
		if time.Now().After(deadline) {
			return ErrLogInUse
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// emptyLog counts up the epoch first: other processes must not take what follows for damage.
func emptyLog(ctx context.Context, conn *sql.Conn) (done bool, err error) {
	t := &tx{conn: conn}
	if err := t.begin(); err != nil {
		return false, err
	}
	if err := t.finish(t.mark()); err != nil {
		return false, err
	}
	var busy, length, copied int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &length, &copied)
	return err == nil && busy == 0, err
}
