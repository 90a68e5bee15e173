package store

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"peerscore/assess"
)

const (
	hostAge      = 30 * day // hosts are kept by address so long, then by network until the window ends
	coarseIPv4   = 24
	coarseIPv6   = 48
	dialogueAge  = 30 * day // dialogues with MX addresses; their results serve for 7 days
	runAge       = 7 * day  // runs of organisations; the budget asks for one day
	pruneDomains = 1000     // in one transaction, so that observations do not wait long

	clockLeap = 7 // days since the last pruning after which the clock may be wrong
)

// Prune applies the retention rules as of now: sessions, selectors and counts of messages
// without proof leave with the window, outbound hosts lose their address after 30 days, past
// judgements leave after Keep. The current judgement of a domain stays.
func (s *Store) Prune(ctx context.Context, now time.Time) error {
	var last int64
	if err := s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM domain").Scan(&last); err != nil {
		return err
	}
	for from := int64(0); from <= last; from += pruneDomains {
		err := s.write(ctx, func(t *tx) error {
			return t.prune(from, from+pruneDomains-1, now, s.options.Window, s.options.Keep)
		})
		if err != nil {
			return err
		}
	}
	return s.write(ctx, func(t *tx) error { return t.pruneRest(now) })
}

// prune goes over the domains whose ids lie between two.
func (t *tx) prune(from, to int64, now time.Time, window, keep time.Duration) error {
	if err := t.coarsen(from, to, dayOf(now.Add(-hostAge))); err != nil {
		return err
	}
	if err := t.forgetOutbound(from, to, now.Add(-min(hostAge, window))); err != nil {
		return err
	}
	since, sinceDay := stamp(now.Add(-window)), dayOf(now.Add(-window))
	for _, step := range []struct {
		query string
		limit any
	}{
		{"UPDATE domain SET observed = observed + 1 WHERE id IN (SELECT domain_id FROM tally WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3)", sinceDay},
		{"DELETE FROM tally WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3", sinceDay},
		{"DELETE FROM signature WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3", sinceDay},
		{"DELETE FROM unauthenticated WHERE domain_id BETWEEN ?1 AND ?2 AND day < ?3", sinceDay},
		{"DELETE FROM selector WHERE domain_id BETWEEN ?1 AND ?2 AND last_seen < ?3", since},
		// A clock that was ahead put the next run off for as long.
		{"UPDATE domain SET due = ?3 WHERE id BETWEEN ?1 AND ?2 AND assessed > ?3 AND due > assessed", stamp(now)},
		{`DELETE FROM assessment WHERE domain_id BETWEEN ?1 AND ?2 AND at < ?3
			AND id < (SELECT max(id) FROM assessment later WHERE later.domain_id = assessment.domain_id)`, stamp(now.Add(-keep))},
		{`DELETE FROM facts WHERE domain_id BETWEEN ?1 AND ?2 AND at < ?3 AND NOT EXISTS (SELECT 1 FROM assessment WHERE facts_id = facts.id)
			AND id < (SELECT max(id) FROM facts later WHERE later.domain_id = facts.domain_id)`, stamp(now.Add(-keep))},
	} {
		if _, err := t.exec(step.query, from, to, step.limit); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) pruneRest(now time.Time) error {
	for _, step := range []struct {
		query string
		limit any
	}{
		{"DELETE FROM mx_address WHERE at < ?", stamp(now.Add(-dialogueAge))},
		{"DELETE FROM run WHERE begun < ?", stamp(now.Add(-runAge))},
		{"DELETE FROM share WHERE day < ?", now.Add(-2 * day).UTC().Format(time.DateOnly)}, // the day may be a local one
	} {
		if _, err := t.exec(step.query, step.limit); err != nil {
			return err
		}
	}
	t.domains, t.grown = -1, t.grown+1 // another process may have added some
	return t.note("pruned", dayOf(now))
}

// pruneDaily prunes unless that was done today. Where the last time is more than a week ago
// the clock may have leapt, and what is pruned does not come back: that waits for another day.
func (s *Store) pruneDaily(ctx context.Context) error {
	now := s.now()
	pruned, err := s.memoDay(ctx, "pruned")
	if err != nil || pruned == dayOf(now) {
		return err
	}
	if pruned > 0 && dayOf(now)-pruned > clockLeap {
		leapt, err := s.memoDay(ctx, "leapt")
		if err != nil || leapt == dayOf(now) {
			return err
		}
		if since := dayOf(now) - leapt; since < 0 || since > clockLeap {
			s.log.Warn("nothing was pruned for long; unless the clock is set back that is done tomorrow", "days", dayOf(now)-pruned, "clock", now)
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

// tallyRow is one row of table tally.
type tallyRow struct {
	id   int64
	host string
	day  int64
	tallyDelta
}

// coarsen moves rows of days before one from the address of the host to its network.
func (t *tx) coarsen(from, to, before int64) error {
	rows, err := t.addressed(from, to, before)
	if err != nil {
		return err
	}
	for _, r := range rows {
		host, err := netip.ParsePrefix(r.host)
		if err != nil {
			return err
		}
		if _, err := t.addTally(r.id, coarse(host).String(), r.day, &r.tallyDelta); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM tally WHERE domain_id = ? AND host = ? AND day = ?", r.id, r.host, r.day); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE domain SET observed = observed + 1 WHERE id = ?", r.id); err != nil {
			return err
		}
	}
	return nil
}

// addressed reads rows of days before one whose host is still more than a network.
func (t *tx) addressed(from, to, before int64) ([]tallyRow, error) {
	var rows []tallyRow
	var r tallyRow
	var tokens string
	err := t.each(`SELECT domain_id, host, day, sessions, starttls_passed, starttls_failed, spf_passed, spf_failed,
			dkim_passed, dkim_failed, last_seen, tokens FROM tally
		WHERE domain_id BETWEEN ? AND ? AND day < ? AND (host LIKE '%/32' AND host NOT LIKE '%:%' OR host LIKE '%/64')`,
		[]any{from, to, before}, func() error {
			r.tokens = map[string]int{}
			addTokens(r.tokens, tokens)
			rows = append(rows, r)
			return nil
		}, &r.id, &r.host, &r.day, &r.sessions, &r.starttls.Passed, &r.starttls.Failed, &r.spf.Passed, &r.spf.Failed,
		&r.dkim.Passed, &r.dkim.Failed, (*stamp)(&r.last), &tokens)
	return rows, err
}

func coarse(host netip.Prefix) netip.Prefix {
	bits := coarseIPv6
	if host.Addr().Is4() {
		bits = coarseIPv4
	}
	network, _ := host.Addr().Prefix(bits) // the bits fit the family
	return network
}

// forgetOutbound removes the tests of outbound hosts, which name their addresses, from verdicts
// that were reached before a moment. How many passed and failed stays.
func (t *tx) forgetOutbound(from, to int64, before time.Time) error {
	verdicts := map[int64]assess.Verdicts{}
	var id int64
	var text []byte
	err := t.each("SELECT id, verdicts FROM assessment WHERE domain_id BETWEEN ? AND ? AND outbound AND at < ?",
		[]any{from, to, stamp(before)}, func() error {
			var v assess.Verdicts
			err := json.Unmarshal(text, &v)
			verdicts[id] = v
			return err
		}, &id, &text)
	if err != nil {
		return err
	}
	for id, v := range verdicts {
		for standard, verdict := range v {
			verdict.Tests = slices.DeleteFunc(verdict.Tests, isOutbound)
			v[standard] = verdict
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := t.exec("UPDATE assessment SET verdicts = ?, outbound = 0 WHERE id = ?", string(text), id); err != nil {
			return err
		}
	}
	return nil
}
