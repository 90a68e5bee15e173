package store

import (
	"context"
	"fmt"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

var (
	_ assess.Repository = (*Store)(nil)
	_ assess.Agenda     = (*Store)(nil)
)

// Due returns up to limit known domains whose next probe run is at or before now, the most
// overdue first: at most half of them such as answered in the run before, and half all others. A
// domain is due from the moment that it becomes known.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]dnsname.Domain, error) {
	const half = "SELECT name, due, id FROM domain WHERE due <= ?1 AND answered = %d ORDER BY due, id LIMIT ?2"
	rows, err := s.read.Load().QueryContext(ctx, fmt.Sprintf("SELECT name FROM (SELECT * FROM ("+half+") UNION ALL SELECT * FROM ("+half+")) ORDER BY due, id", 0, 1),
		stamp(now), limit/2)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var due []dnsname.Domain
	var d dnsname.Domain
	err = scanAll(rows, func() error {
		if checkName(d) == nil { // one bad row must not hold up the others
			due = append(due, d)
		}
		return nil
	}, &d)
	return due, err
}

// Begin notes that a probe run of the domain's organisation begins now, unless one began less
// than interval ago. It returns whose run it is, "" for nobody's: the organisational domain's
// where that is due, else the domain's own. A begin in the future, left by a wrong clock, does
// not count.
func (s *Store) Begin(ctx context.Context, d dnsname.Domain, now time.Time, interval time.Duration) (first dnsname.Domain, err error) {
	organisation := d.Organisational()
	err = s.write(ctx, func(t *tx) error {
		first = ""
		noted, err := t.exec(`INSERT INTO run (organisation, begun) VALUES (?1, ?2)
			ON CONFLICT DO UPDATE SET begun = excluded.begun WHERE begun <= ?3 OR begun > ?2`,
			string(organisation), stamp(now), stamp(now.Add(-interval)))
		if err != nil || noted == 0 {
			return err
		}
		first = d
		var due bool
		err = t.get("SELECT EXISTS (SELECT 1 FROM domain WHERE name = ? AND due <= ?)", []any{string(organisation), stamp(now)}, &due)
		if due {
			first = organisation
		}
		return err
	})
	return first, err
}

// Postpone sets when the domain is due next. A domain that is not known is never due.
func (s *Store) Postpone(ctx context.Context, d dnsname.Domain, due time.Time) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE domain SET due = ? WHERE name = ?", stamp(due), string(d))
		return err
	})
}
