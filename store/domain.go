package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"peerscore/assess/dnsname"
)

// Known reports whether the store has a row for the domain.
func (s *Store) Known(ctx context.Context, d dnsname.Domain) (bool, error) {
	var one int
	err := s.read.Load().QueryRowContext(ctx, "SELECT 1 FROM domain WHERE name = ?", string(d)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Learn makes a domain known that mail is sent to, and due at once. A domain whose
// organisation has no room folds into the organisational domain.
func (s *Store) Learn(ctx context.Context, d dnsname.Domain) error {
	if err := checkName(d); err != nil {
		return err
	}
	var learned bool
	err := s.read.Load().QueryRowContext(ctx, "SELECT learned FROM domain WHERE name = ?", string(d)).Scan(&learned)
	if learned || err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	now := s.now()
	return s.write(ctx, func(t *tx) error {
		id, _, err := t.admit(d, now)
		if err != nil {
			return err
		}
		if _, err := t.exec("UPDATE domain SET learned = 1 WHERE id = ?", id); err != nil {
			return err
		}
		return t.weigh(id)
	})
}

// Forget erases all that is known of a domain, from the disk too. The error is
// ErrUnknownDomain where that is nothing, ErrLogInUse where only the second could not be done.
func (s *Store) Forget(ctx context.Context, d dnsname.Domain) error {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec("DELETE FROM domain WHERE name = ?", string(d)) // what refers to it goes along
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrUnknownDomain
		}
		t.left(d)
		return t.forgetTraces(d)
	})
	if err != nil {
		return err
	}
	return s.EmptyLog(ctx)
}

// forgetTraces removes what no row of the domain refers to: its organisation's last run and
// share of networks, and dialogues with MX hosts that bear its name.
func (t *tx) forgetTraces(d dnsname.Domain) error {
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
func (t *tx) find(d dnsname.Domain) (id int64, err error) {
	err = t.get("SELECT id FROM domain WHERE name = ?", []any{string(d)}, &id)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrUnknownDomain
	}
	return id, err
}

// admit finds the key that a domain counts under, making it known and due as needed: the
// domain itself, or the organisational domain where the organisation has no room for more.
func (t *tx) admit(d dnsname.Domain, due time.Time) (id int64, key dnsname.Domain, err error) {
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

// room reports whether the organisation may have d as one more key. One place is kept for the
// organisational domain.
func (t *tx) room(d dnsname.Domain) (bool, error) {
	org := d.Organisational()
	if d == org {
		return true, nil
	}
	var others int
	err := t.get("SELECT count(*) FROM domain WHERE organisation = ?1 AND name <> ?1", []any{string(org)}, &others)
	return others < t.limits.Keys-1, err
}

func (t *tx) insert(d dnsname.Domain, due time.Time) (id int64, err error) {
	err = t.get("INSERT INTO domain (name, organisation, due, observed) VALUES (?, ?, ?, 1) RETURNING id",
		[]any{string(d), string(d.Organisational()), stamp(due)}, &id)
	t.grown++
	if t.domains >= 0 {
		t.domains++
	}
	return id, err
}

// worthOf is what a row of table domain is worth keeping, for column worth. What is harder to
// come by outweighs all that is easier: the operator's label; that our own users write to it;
// the days that it is known for; facts; sessions. A stranger who floods the table with domains
// therefore displaces his own.
const worthOf = `(4096 * EXISTS (SELECT 1 FROM label WHERE domain_id = domain.id)
	+ 512 * learned + 8 * min(31, coalesce(last_seen / 86400000 - first_seen / 86400000, 0))
	+ 4 * (assessed IS NOT NULL) + min(credited, 3))`

// worthLabel is the worth from which a domain stays in any case.
const worthLabel = 4096

// weigh brings column worth up to date. Most changes of a row leave it as it is.
func (t *tx) weigh(id int64) error {
	_, err := t.exec("UPDATE domain SET worth = "+worthOf+" WHERE id = ? AND worth <> "+worthOf, id)
	return err
}

// evictMore is how many domains a transaction removes beyond those that it adds, where another
// process has added too many.
const evictMore = 64

// newcomers is the share of the limit, one in so many, that is for those that became known
// last: each has as long to show what it is worth as it takes that many others to come.
const newcomers = 100

// boundDomains removes as many domains as are too many: but for newcomers those that are worth
// least, of these the ones that became known first.
func (t *tx) boundDomains() error {
	if t.domains < 0 {
		if t.grown == 0 {
			return nil
		}
		if err := t.get("SELECT count(*) FROM domain", nil, &t.domains); err != nil {
			return err
		}
	}
	excess := min(t.domains-t.limits.Domains, t.grown+evictMore)
	if excess <= 0 {
		return nil
	}
	var gone dnsname.Domain
	return t.each("DELETE FROM domain WHERE id IN ("+leastWorth+") RETURNING name", []any{worthLabel, t.limits.Domains / newcomers, excess}, func() error {
		t.left(gone)
		return nil
	}, &gone)
}

// leastWorth reads from the index what it returns and, at most, the newcomers.
const leastWorth = `SELECT id FROM domain INDEXED BY domain_worth
	WHERE worth < ? AND id <= (SELECT max(id) FROM domain) - ? ORDER BY worth, id LIMIT ?`

// left notes that a domain is no longer known.
func (t *tx) left(d dnsname.Domain) {
	if t.domains > 0 {
		t.domains--
	}
	t.changed = append(t.changed, d)
}
