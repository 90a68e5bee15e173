package store

import (
	"context"
	"time"

	"peerscore/assess"
)

var (
	_ assess.Repository = (*Store)(nil)
	_ assess.Agenda     = (*Store)(nil)
)

// Due returns up to limit known domains whose next probe run is at or before now, the most
// overdue first. A domain is due from the moment that it becomes known.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]assess.Domain, error) {
	rows, err := s.read.Load().QueryContext(ctx, "SELECT name FROM domain WHERE due <= ? ORDER BY due, id LIMIT ?", stamp(now), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var due []assess.Domain
	var d assess.Domain
	err = scanAll(rows, func() error { due = append(due, d); return nil }, &d)
	return due, err
}

// Begin notes that a probe run of the organisation begins now, unless one began less than
// interval ago, and tells which. A begin in the future, left by a wrong clock, does not count.
func (s *Store) Begin(ctx context.Context, organisation assess.Domain, now time.Time, interval time.Duration) (bool, error) {
	var noted int64
	err := s.write(ctx, func(t *tx) (err error) {
		noted, err = t.exec(`INSERT INTO run (organisation, begun) VALUES (?1, ?2)
			ON CONFLICT DO UPDATE SET begun = excluded.begun WHERE begun <= ?3 OR begun > ?2`,
			string(organisation), stamp(now), stamp(now.Add(-interval)))
		return err
	})
	if err != nil {
		return false, err // the writer may still be at it
	}
	return noted > 0, nil
}

// Postpone sets when the domain is due next. A domain that is not known is never due.
func (s *Store) Postpone(ctx context.Context, d assess.Domain, due time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE domain SET due = ? WHERE name = ?", stamp(due), string(d))
		return err
	})
}
