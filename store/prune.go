package store

import (
	"context"
	"time"
)

const (
	hostAge     = 30 * day // hosts are kept by address so long, then by network until the window ends
	coarseIPv4  = 24
	coarseIPv6  = 48
	dialogueAge = 30 * day // dialogues with MX addresses; their results serve for 7 days
	runAge      = 7 * day  // runs of organisations; the budget asks for one day

	clockLeap = 7   // days between now and the last pruning from which the clock may be wrong
	clockSkew = day // how far ahead of now a row may be dated; beyond it a clock that was ahead wrote it
)

// What one transaction goes over at most, so that observations do not wait long for it.
const (
	pruneWork    = 500  // rows, counted as workUnits; a single domain may have more
	pruneDomains = 1000 // ids
	pruneRows    = 500  // of other tables
)

// Prune applies the retention rules as of now: sessions, selectors and counts of messages
// without proof leave with the window, outbound hosts lose their address after 30 days, past
// judgements leave after Keep. The current judgement of a domain stays. What is dated later
// than tomorrow was written by a clock that was ahead, and counts as of now.
//
// It goes in many small transactions, and pauses after each for as long as it took: writers of
// this and of other processes come in between.
func (s *Store) Prune(ctx context.Context, now time.Time) error {
	r := retention{now: now, window: s.options.Window, keep: s.options.Keep, maxAge: s.options.MaxAge}
	if err := s.pruneDomains(ctx, r); err != nil {
		return err
	}
	if err := s.pruneAddresses(ctx, r); err != nil {
		return err
	}
	for more := true; more; {
		err := s.slice(ctx, func(t *tx) (err error) {
			if more, err = t.pruneRest(r); err != nil || more {
				return err
			}
			t.domains, t.grown = -1, t.grown+1 // another process may have added some
			return t.note("pruned", dayOf(now))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// slice runs one transaction of many. Where another process leaves no room for it for long it
// tries again: there is no hurry.
func (s *Store) slice(ctx context.Context, do func(*tx) error) error {
	const tries = 30 // of busyTimeout each
	began := time.Now()
	err := s.write(ctx, do)
	for n := 1; isBusy(err) && n < tries; n++ {
		began = time.Now()
		err = s.write(ctx, do)
	}
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Since(began)):
		return nil
	}
}

// pruneDomains goes over all domains, some ids at a time.
func (s *Store) pruneDomains(ctx context.Context, r retention) error {
	var last int64
	if err := s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM domain").Scan(&last); err != nil {
		return err
	}
	for from := int64(0); from <= last; {
		to, err := s.workload(ctx, from)
		if err != nil {
			return err
		}
		if err := s.slice(ctx, func(t *tx) error { return t.prune(from, to, r) }); err != nil {
			return err
		}
		from = to + 1
	}
	return nil
}

// workUnits are the rows that pruning looks at, by domain, and how many ordinary ones each is
// as good as: verdicts are read and written anew, facts are erased page by page.
const workUnits = `
	SELECT domain_id, 1 AS units FROM tally WHERE domain_id >= ?1 UNION ALL
	SELECT domain_id, 1 FROM signature WHERE domain_id >= ?1 UNION ALL
	SELECT domain_id, 1 FROM selector WHERE domain_id >= ?1 UNION ALL
	SELECT domain_id, 1 FROM unauthenticated WHERE domain_id >= ?1 UNION ALL
	SELECT domain_id, 10 FROM assessment WHERE domain_id >= ?1 UNION ALL
	SELECT domain_id, 1 + size / 4096 FROM facts WHERE domain_id >= ?1 ORDER BY domain_id`

// workload is the last id of a range that makes pruneWork at most, or else is one domain. It
// reads beside the writer, and no more rows than that.
func (s *Store) workload(ctx context.Context, from int64) (to int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which ends the query
	rows, err := s.read.Load().QueryContext(ctx, workUnits, from)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	to = from + pruneDomains - 1
	for work := 0; rows.Next(); {
		var id int64
		var units int
		if err := rows.Scan(&id, &units); err != nil {
			return 0, err
		}
		if work += units; work > pruneWork {
			return max(from, min(to, id-1)), nil
		}
		if id > to {
			return to, nil
		}
	}
	return to, rows.Err()
}

// retention is what Prune goes by.
type retention struct {
	now                  time.Time
	window, keep, maxAge time.Duration
}

// ahead is the time from which a row is dated too late.
func (r retention) ahead() time.Time { return r.now.Add(clockSkew) }

// prune goes over the domains whose ids lie between two.
func (t *tx) prune(from, to int64, r retention) error {
	if err := t.move(from, to, r); err != nil {
		return err
	}
	if err := t.forgetOutbound(from, to, r.now.Add(-min(hostAge, r.window))); err != nil {
		return err
	}
	now, ahead, today := stamp(r.now), stamp(r.ahead()), dayOf(r.now)
	since, kept := r.now.Add(-r.window), stamp(r.now.Add(-r.keep))
	for _, step := range []struct {
		query string
		args  []any
	}{
		{"UPDATE domain SET observed = observed + 1 WHERE id IN (SELECT domain_id FROM tally WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3)", []any{dayOf(since)}},
		{"DELETE FROM tally WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3", []any{dayOf(since)}},
		{"UPDATE signature SET day = ?3 WHERE domain_id BETWEEN ?1 AND ?2 AND day > ?4", []any{today, dayOf(r.ahead())}},
		{"DELETE FROM signature WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3", []any{dayOf(since)}},
		{"DELETE FROM unauthenticated WHERE domain_id BETWEEN ?1 AND ?2 AND day NOT BETWEEN ?3 AND ?4", []any{dayOf(since), dayOf(r.ahead())}},
		{"UPDATE selector SET last_seen = ?3 WHERE domain_id BETWEEN ?1 AND ?2 AND last_seen > ?4", []any{now, ahead}},
		{"DELETE FROM selector WHERE domain_id BETWEEN ?1 AND ?2 AND last_seen < ?3", []any{stamp(since)}},
		{"UPDATE domain SET first_seen = min(first_seen, ?3), last_seen = ?3 WHERE id BETWEEN ?1 AND ?2 AND last_seen > ?4", []any{now, ahead}},
		// A clock that was ahead put the next run off for as long.
		{"UPDATE domain SET due = ?3 WHERE id BETWEEN ?1 AND ?2 AND (assessed > ?3 AND due > assessed OR due > ?4)", []any{now, stamp(r.ahead().Add(2 * r.maxAge))}},
		{"UPDATE domain SET worth = " + worthOf + " WHERE id BETWEEN ?1 AND ?2 AND worth <> " + worthOf, nil},
		{"UPDATE assessment SET at = min(at, ?3), since = min(since, ?3) WHERE domain_id BETWEEN ?1 AND ?2 AND at > ?4", []any{now, ahead}},
		{`DELETE FROM assessment WHERE domain_id BETWEEN ?1 AND ?2 AND at < ?3
			AND id < (SELECT max(id) FROM assessment later WHERE later.domain_id = assessment.domain_id)`, []any{kept}},
		{`DELETE FROM facts WHERE domain_id BETWEEN ?1 AND ?2 AND at < ?3 AND NOT EXISTS (SELECT 1 FROM assessment WHERE facts_id = facts.id)
			AND id < (SELECT max(id) FROM facts later WHERE later.domain_id = facts.domain_id)`, []any{kept}},
	} {
		if _, err := t.exec(step.query, append([]any{from, to}, step.args...)...); err != nil {
			return err
		}
	}
	return nil
}

// pruneAddresses goes over the dialogues with MX addresses.
func (s *Store) pruneAddresses(ctx context.Context, r retention) error {
	var last int64
	if err := s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM mx_address").Scan(&last); err != nil {
		return err
	}
	for from := int64(1); from <= last; from += pruneRows {
		if err := s.slice(ctx, func(t *tx) error {
			_, err := t.exec("DELETE FROM mx_address WHERE rowid BETWEEN ? AND ? AND at NOT BETWEEN ? AND ?",
				from, from+pruneRows-1, stamp(r.now.Add(-dialogueAge)), stamp(r.ahead()))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// pruneRest removes some of what budgets no longer ask for, and reports whether there may be more.
func (t *tx) pruneRest(r retention) (more bool, err error) {
	date := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	for _, step := range []struct {
		query        string
		since, until any
	}{
		{`DELETE FROM run WHERE organisation IN (SELECT organisation FROM run WHERE begun NOT BETWEEN ? AND ? LIMIT ?)`,
			stamp(r.now.Add(-runAge)), stamp(r.ahead())},
		{`DELETE FROM share WHERE (network, part, day) IN (SELECT network, part, day FROM share WHERE day NOT BETWEEN ? AND ? LIMIT ?)`,
			date(r.now.Add(-2 * day)), date(r.ahead().Add(day))}, // the day may be a local one
	} {
		n, err := t.exec(step.query, step.since, step.until, pruneRows)
		if err != nil {
			return false, err
		}
		more = more || n == pruneRows
	}
	return more, nil
}

// pruneDaily prunes unless that was done today. Where the last time is more than a week ago, or
// to come, the clock may have leapt, and what is pruned does not come back: that waits for
// another day.
func (s *Store) pruneDaily(ctx context.Context) error {
	now := s.now()
	pruned, err := s.memoDay(ctx, "pruned")
	if err != nil || pruned == dayOf(now) {
		return err
	}
	if gone := dayOf(now) - pruned; pruned > 0 && max(gone, -gone) > clockLeap {
		leapt, err := s.memoDay(ctx, "leapt")
		if err != nil || leapt == dayOf(now) {
			return err
		}
		if since := dayOf(now) - leapt; since < 0 || since > clockLeap {
			s.log.Warn("nothing was pruned for long, or the clock is wrong; unless it is set right that is done tomorrow", "days", gone, "clock", now)
			return s.write(ctx, func(t *tx) error { return t.note("leapt", dayOf(now)) })
		}
	}
	return s.Prune(ctx, now)
}

// memoDay is a day that was noted, 0 where none was.
func (s *Store) memoDay(ctx context.Context, name string) (noted int64, err error) {
	err = s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(value), 0) FROM memo WHERE name = ?", name).Scan(&noted)
	return noted, err
}

func (t *tx) note(name string, value int64) error {
	_, err := t.exec("INSERT INTO memo (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)
	return err
}
