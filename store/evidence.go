package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// Evidence returns the latest facts, nil when there are none, and the tally of the window
// before now. Of a domain that is not known the evidence is empty.
func (s *Store) Evidence(ctx context.Context, d dnsname.Domain, now time.Time, window time.Duration) (assess.Evidence, error) {
	e, _, err := s.evidence(ctx, d, now, window)
	if errors.Is(err, ErrUnknownDomain) {
		return assess.Evidence{Tally: assess.Tally{Window: window}}, nil
	}
	return e, err
}

// evidence also returns the state of the evidence that it is (column observed).
func (s *Store) evidence(ctx context.Context, d dnsname.Domain, now time.Time, window time.Duration) (e assess.Evidence, observed int64, err error) {
	err = s.snapshot(ctx, func(q *sql.Tx) error {
		var id int64
		var first, last, judged stamp
		err := q.QueryRowContext(ctx, `SELECT id, observed, first_seen, last_seen,
			(SELECT min(since) FROM assessment WHERE domain_id = domain.id) FROM domain WHERE name = ?`, string(d)).
			Scan(&id, &observed, &first, &last, &judged)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrUnknownDomain
		}
		if err != nil {
			return err
		}
		if e.Tally, err = readTally(ctx, q, id, now, window); err != nil {
			return err
		}
		e.Tally.FirstSeen, e.Tally.LastSeen = time.Time(first), time.Time(last)
		if e.Since = time.Time(judged); e.Since.IsZero() || !e.Tally.FirstSeen.IsZero() && e.Tally.FirstSeen.Before(e.Since) {
			e.Since = e.Tally.FirstSeen
		}
		if err := readRest(ctx, q, id, now, &e.Tally); err != nil {
			return err
		}
		e.Facts, err = readFacts(ctx, q, id)
		return err
	})
	if err != nil && !errors.Is(err, ErrUnknownDomain) {
		err = fmt.Errorf("evidence on %s: %w", d, err)
	}
	return e, observed, err
}

// snapshot runs read in a transaction, so that all that it sees is of one moment.
func (s *Store) snapshot(ctx context.Context, read func(*sql.Tx) error) error {
	q, err := s.read.Load().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer q.Rollback()
	return read(q)
}

// readRest reads the parts of a tally that are not per host.
func readRest(ctx context.Context, q *sql.Tx, id int64, now time.Time, tally *assess.Tally) error {
	since := now.Add(-tally.Window)
	err := q.QueryRowContext(ctx, "SELECT coalesce(sum(messages), 0) FROM unauthenticated WHERE domain_id = ? AND day >= ?", id, dayOf(since)).
		Scan(&tally.Unauthenticated)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT domain, name FROM selector WHERE domain_id = ? AND last_seen >= ?
		ORDER BY last_seen DESC, domain, name`, id, stamp(since))
	if err != nil {
		return err
	}
	defer rows.Close()
	var selector assess.Selector
	return scanAll(rows, func() error {
		tally.Selectors = append(tally.Selectors, selector)
		return nil
	}, (*name)(&selector.Domain), (*word)(&selector.Name))
}

func readFacts(ctx context.Context, q *sql.Tx, id int64) (*assess.Facts, error) {
	var content []byte
	err := q.QueryRowContext(ctx, "SELECT content FROM facts WHERE domain_id = ? ORDER BY id DESC LIMIT 1", id).Scan(&content)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	facts := new(assess.Facts)
	return facts, json.Unmarshal(content, facts)
}
