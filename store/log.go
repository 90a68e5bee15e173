package store

import (
	"context"
	"net/url"
	"time"
)

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
	for deadline := time.Now().Add(emptyLogPatience); ; {
		var busy, length, copied int
		err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &length, &copied)
		if err != nil && !isBusy(err) || err == nil && busy == 0 {
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
