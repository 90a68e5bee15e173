package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"peerscore/assess"
)

// Known tells whether the store has a row for the domain.
func (s *Store) Known(ctx context.Context, d assess.Domain) (bool, error) {
	var one int
	err := s.read.Load().QueryRowContext(ctx, "SELECT 1 FROM domain WHERE name = ?", string(d)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Learn makes a domain known that mail is sent to, and due at once. A domain whose
// organisation has no room folds into the organisational domain.
func (s *Store) Learn(ctx context.Context, d assess.Domain) error {
	if err := checkName(d); err != nil {
		return err
	}
	known, err := s.Known(ctx, d)
	if err != nil || known {
		return err
	}
	now := s.now()
	return s.write(ctx, func(t *tx) error {
		_, _, err := t.admit(d, now)
		return err
	})
}

// Forget erases all that is known of a domain, from the disk too. The error is
// ErrUnknownDomain where that is nothing, ErrLogInUse where only the second could not be done.
func (s *Store) Forget(ctx context.Context, d assess.Domain) error {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec("DELETE FROM domain WHERE name = ?", string(d)) // what refers to it goes along
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrUnknownDomain
		}
		t.domains = -1
		t.changed = append(t.changed, d)
		return t.forgetTraces(d)
	})
	if err != nil {
		return err
	}
	return s.EmptyLog(ctx)
}

// forgetTraces removes what no row of the domain refers to: its organisation's last run and
// share of networks, and dialogues with MX hosts that bear its name.
func (t *tx) forgetTraces(d assess.Domain) error {
	org := string(d.Organisational())
	for _, trace := range []string{
		"DELETE FROM run WHERE organisation = ?1", "DELETE FROM share WHERE part = ?1",
		"UPDATE mx_address SET organisation = '' WHERE organisation = ?1",
	} {
		if _, err := t.exec(trace+" AND NOT EXISTS (SELECT 1 FROM domain WHERE domain.organisation = ?1)", org); err != nil {
			return err
		}
	}
	_, err := t.exec("DELETE FROM mx_address WHERE server_name = ?1 OR server_name LIKE '%.' || ?1", string(d))
	return err
}

// find reads the id of a known domain; the error is ErrUnknownDomain for another.
func (t *tx) find(d assess.Domain) (id int64, err error) {
	err = t.get("SELECT id FROM domain WHERE name = ?", []any{string(d)}, &id)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrUnknownDomain
	}
	return id, err
}

// admit finds the key that a domain counts under, making it known and due as needed: the
// domain itself, or the organisational domain where the organisation has no room for more.
func (t *tx) admit(d assess.Domain, due time.Time) (id int64, key assess.Domain, err error) {
	if id, err = t.find(d); !errors.Is(err, ErrUnknownDomain) {
		return id, d, err
	}
	room, err := t.room(d)
	if err != nil {
		return 0, "", err
	}
	if !room {
		d = d.Organisational()
		if id, err = t.find(d); !errors.Is(err, ErrUnknownDomain) {
			return id, d, err
		}
	}
	id, err = t.insert(d, due)
	return id, d, err
}

// room tells whether the organisation may have d as one more key. One place is kept for the
// organisational domain.
func (t *tx) room(d assess.Domain) (bool, error) {
	org := d.Organisational()
	if d == org {
		return true, nil
	}
	var others int
	err := t.get("SELECT count(*) FROM domain WHERE organisation = ?1 AND name <> ?1", []any{string(org)}, &others)
	return others < t.limits.Keys-1, err
}

func (t *tx) insert(d assess.Domain, due time.Time) (id int64, err error) {
	err = t.get("INSERT INTO domain (name, organisation, due, observed) VALUES (?, ?, ?, 1) RETURNING id",
		[]any{string(d), string(d.Organisational()), stamp(due)}, &id)
	t.grown = true
	if t.domains >= 0 {
		t.domains++
	}
	return id, err
}

// evictShare of the limit goes at once, because choosing reads the whole table.
const evictShare = 100

// boundDomains removes the domains with the least evidence when there are too many: first
// those with neither sessions nor facts, then those with one of these, each by their number
// of sessions and the longest silence.
func (t *tx) boundDomains() error {
	if !t.grown {
		return nil
	}
	if t.domains < 0 {
		if err := t.get("SELECT count(*) FROM domain", nil, &t.domains); err != nil {
			return err
		}
	}
	if t.domains <= t.limits.Domains {
		return nil
	}
	excess := t.domains - t.limits.Domains + t.limits.Domains/evictShare
	var name string
	return t.each(`DELETE FROM domain WHERE id IN (
		SELECT id FROM domain ORDER BY (credited > 0) + (assessed IS NOT NULL), credited, coalesce(last_seen, due), id LIMIT ?)
		RETURNING name`, []any{excess}, func() error {
		t.domains--
		t.changed = append(t.changed, assess.Domain(name))
		return nil
	}, &name)
}
