package store

import (
	"context"
	"database/sql"
	"errors"

	"peerscore/assess/dnsname"
)

// tx is the transaction that the writer has open.
type tx struct {
	conn    *sql.Conn
	limits  Limits
	domains int    // rows in table domain; -1: not counted
	grown   int    // domains that were added
	epoch   uint32 // if marked: the epoch was counted up to this
	marked  bool
	changed []dnsname.Domain // whose standing may differ from before
}

// begin takes the file for writing. The error is SQLITE_BUSY (isBusy) where another process
// had it for all of busyTimeout.
func (t *tx) begin() error {
	_, err := t.exec("BEGIN IMMEDIATE")
	return err
}

// finish commits what was written, or undoes it where that failed.
func (t *tx) finish(err error) error {
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err != nil {
		_, _ = t.exec("ROLLBACK") // SQLite may have done it already
	}
	return err
}

// nested undoes what do wrote when it fails.
func (t *tx) nested(do func(*tx) error) error {
	if _, err := t.exec("SAVEPOINT job"); err != nil {
		return fatal{err}
	}
	err := do(t)
	if err != nil {
		if _, undo := t.exec("ROLLBACK TO job"); undo != nil {
			return fatal{err}
		}
		t.domains = -1
	}
	if _, release := t.exec("RELEASE job"); release != nil {
		return fatal{release}
	}
	return err
}

// fatal is an error after which the whole transaction is void.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

func isFatal(err error) bool {
	var f fatal
	return errors.As(err, &f) || isCorrupt(err) || isReadOnly(err)
}

// exec runs one statement and tells how many rows it changed. It takes no context: a
// transaction is short, and the writer must not be left in the middle of one.
func (t *tx) exec(query string, args ...any) (int64, error) {
	r, err := t.conn.ExecContext(context.Background(), query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// get reads one row; the error is sql.ErrNoRows where there is none.
func (t *tx) get(query string, args []any, into ...any) error {
	return t.conn.QueryRowContext(context.Background(), query, args...).Scan(into...)
}

// each reads all rows, calling row after each has been scanned into its destinations.
func (t *tx) each(query string, args []any, row func() error, into ...any) error {
	rows, err := t.conn.QueryContext(context.Background(), query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return scanAll(rows, row, into...)
}

func scanAll(rows *sql.Rows, row func() error, into ...any) error {
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}
