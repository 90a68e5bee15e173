package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// AddObservation adds one observation to the sums. When it returns nil the observation is on
// disk and survives power loss. With ErrUnconfirmed, or when ctx ended first, it waits in
// memory and may still be written. Any other error means that it is lost: disk full, I/O
// error, locked by another process, overloaded (ErrOverloaded), closed (ErrClosed).
//
// It waits no longer than patience, and not at all while the writer is at a transaction that
// takes longer.
func (s *Store) AddObservation(ctx context.Context, o assess.Observation) error {
	if err := checkName(o.Domain); err != nil {
		return err
	}
	err := s.submit(ctx, job{observation: &o})
	if errors.Is(err, ErrOverloaded) || errors.Is(err, ErrClosed) {
		s.counts.lost.Add(1) // the writer, which counts the others, never saw it
	}
	return err
}

// batch sums the observations of one transaction, so that a hundred of one row are one write.
type batch struct {
	*tx
	peers map[dnsname.Domain]*peerDelta // several names lead to one peer where they fold
}

// peerDelta is what a batch adds to one domain.
type peerDelta struct {
	id          int64
	key         dnsname.Domain
	first, last time.Time
	sessions    int
	tallies     map[tallyKey]*tallyDelta
	selectors   map[assess.Selector]time.Time
	flushed     bool
}

func newBatch(t *tx) *batch { return &batch{tx: t, peers: map[dnsname.Domain]*peerDelta{}} }

// add sums one observation.
func (b *batch) add(o assess.Observation) error {
	p, err := b.peer(o)
	if err != nil {
		return err
	}
	if p.key != o.Domain {
		// The observation folds into the organisational domain, for which a failing test needs
		// more proof than this: a subdomain's holder must not vote against the organisation.
		o.StartTLS, o.SPF, o.DKIM = passOnly(o.StartTLS), passOnly(o.SPF), passOnly(o.DKIM)
	}
	row := tallyKey{o.Host.Masked(), dayOf(o.At)}
	if o.Relayed() {
		counted, err := b.countsOnce(p, row, o.Signature)
		if err != nil || !counted {
			return err
		}
	}
	p.add(row, o)
	return nil
}

func passOnly(r assess.Result) assess.Result {
	if r == assess.Pass {
		return r
	}
	return assess.Unknown
}

// peer finds or admits the domain that the observation counts for.
func (b *batch) peer(o assess.Observation) (*peerDelta, error) {
	if p := b.peers[o.Domain]; p != nil {
		return p, nil
	}
	id, key, err := b.admit(o.Domain, o.At)
	if err != nil {
		return nil, err
	}
	p := b.peers[key]
	if p == nil {
		p = &peerDelta{id: id, key: key, tallies: map[tallyKey]*tallyDelta{}, selectors: map[assess.Selector]time.Time{}}
		b.peers[key] = p
	}
	b.peers[o.Domain] = p
	return p, nil
}

// countsOnce reports whether a relayed signature is new, and notes it. Past the limit of a day
// no more are noted or counted: by then they are evidence enough.
func (b *batch) countsOnce(p *peerDelta, row tallyKey, signature assess.SignatureID) (bool, error) {
	var stored int
	err := b.get("SELECT sessions FROM tally WHERE domain_id = ? AND host = '' AND day = ?", []any{p.id, row.day}, &stored)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if d := p.tallies[row]; d != nil {
		stored += d.sessions
	}
	if stored >= b.limits.RelayedDay {
		return false, nil
	}
	n, err := b.exec("INSERT INTO signature (domain_id, id, day) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", p.id, signature[:], row.day)
	return n > 0, err
}

func (p *peerDelta) add(row tallyKey, o assess.Observation) {
	if p.sessions == 0 || o.At.Before(p.first) {
		p.first = o.At
	}
	if o.At.After(p.last) {
		p.last = o.At
	}
	p.sessions++
	d := p.tallies[row]
	if d == nil {
		d = &tallyDelta{tokens: map[string]int{}}
		p.tallies[row] = d
	}
	d.add(o)
	for _, s := range o.Selectors {
		if validSelector(s) && o.At.After(p.selectors[s]) {
			p.selectors[s] = o.At
		}
	}
}

// validSelector holds a selector to what DNS names are made of (RFC 6376, section 3.1), underscore included.
func validSelector(s assess.Selector) bool {
	return dnsname.Queryable(s.Name) && checkName(s.Domain) == nil
}

// flush writes the sums.
func (b *batch) flush() error {
	for _, p := range b.peers {
		if p.flushed || p.sessions == 0 {
			continue
		}
		p.flushed = true
		if err := b.flushPeer(p); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) flushPeer(p *peerDelta) error {
	_, err := b.exec(`UPDATE domain SET first_seen = min(coalesce(first_seen, ?1), ?1), last_seen = max(coalesce(last_seen, ?2), ?2),
		credited = credited + ?3, observed = observed + 1 WHERE id = ?4`, stamp(p.first), stamp(p.last), p.sessions, p.id)
	if err != nil {
		return err
	}
	grown := false
	for row, d := range p.tallies {
		added, err := b.addTally(p.id, hostText(row.host), row.day, d)
		if err != nil {
			return err
		}
		grown = grown || added
	}
	if grown {
		if err := b.boundHosts(p.id); err != nil {
			return err
		}
	}
	if err := b.weigh(p.id); err != nil {
		return err
	}
	return b.flushSelectors(p)
}

// selectorAge spares a write a message: a selector's last_seen is right to within it.
const selectorAge = time.Hour

func (b *batch) flushSelectors(p *peerDelta) error {
	written := int64(0)
	for s, at := range p.selectors {
		n, err := b.exec(`INSERT INTO selector (domain_id, domain, name, last_seen) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen WHERE excluded.last_seen >= last_seen + ?5`,
			p.id, string(s.Domain), s.Name, stamp(at), selectorAge.Milliseconds())
		if err != nil {
			return err
		}
		written += n
	}
	if written == 0 {
		return nil
	}
	_, err := b.exec(`DELETE FROM selector WHERE domain_id = ?1 AND (domain, name) IN (
		SELECT domain, name FROM selector WHERE domain_id = ?1
		ORDER BY last_seen DESC, domain, name LIMIT -1 OFFSET ?2)`, p.id, b.limits.Selectors)
	return err
}
