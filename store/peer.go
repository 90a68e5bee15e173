package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// Peer is one line of `list`: the columns of a domain.
type Peer struct {
	Domain    dnsname.Domain
	Status    assess.Status
	Scores    assess.Scores // Known and Stars only
	Credited  int           // sessions in the window
	FirstSeen time.Time     // of credited sessions; zero: none so far
	LastSeen  time.Time
	Assessed  time.Time // when it was last probed; zero: never
	Next      time.Time // when the next probe run is due
}

// Filter chooses and orders peers. The zero value is all of them by name.
type Filter struct {
	Sort  string       // one of Sorts; "" is by domain
	Below float64      // only peers with a score below; 0 is no limit
	Level assess.Level // only peers whose lowest score is at this level; "" is any
	Since time.Time    // only peers with a credited session since; zero is any
	Limit int          // at most so many; 0 is no limit
}

// Sorts are the orders that Filter knows: names ascending, all others with the most first.
var Sorts = []string{"domain", "confidentiality", "identity", "integrity", "seen", "sessions", "assessed"}

var orders = map[string]string{
	"":                "name",
	"domain":          "name",
	"confidentiality": "confidentiality DESC NULLS LAST, name",
	"identity":        "identity DESC NULLS LAST, name",
	"integrity":       "integrity DESC NULLS LAST, name",
	"seen":            "last_seen DESC NULLS LAST, name",
	"sessions":        "credited DESC, name",
	"assessed":        "assessed DESC NULLS LAST, name",
}

// levels are the bounds of assess.Level in stars of the lowest known score.
var levels = map[assess.Level]string{
	assess.LevelProtected:   "lowest >= 3.5",
	assess.LevelMinimum:     "lowest >= 2.5 AND lowest < 3.5",
	assess.LevelUnprotected: "lowest < 2.5",
	assess.LevelUnknown:     "lowest IS NULL",
}

const selectPeers = `SELECT name, status, confidentiality, identity, integrity, credited, first_seen, last_seen, assessed, due FROM (
	SELECT *, nullif(min(coalesce(confidentiality, 9), coalesce(identity, 9), coalesce(integrity, 9)), 9) AS lowest FROM domain)`

// Peer returns the columns of one domain. The error is ErrUnknownDomain where it is not known.
func (s *Store) Peer(ctx context.Context, d dnsname.Domain) (Peer, error) {
	peers, err := s.peers(ctx, selectPeers+" WHERE name = ?", string(d))
	if err == nil && len(peers) == 0 {
		err = ErrUnknownDomain
	}
	if err != nil {
		return Peer{}, err
	}
	return peers[0], nil
}

// Peers lists domains.
func (s *Store) Peers(ctx context.Context, f Filter) ([]Peer, error) {
	order, ok := orders[f.Sort]
	if !ok {
		return nil, errors.New("no such order: " + f.Sort)
	}
	conditions, args := []string{"true"}, []any{}
	if f.Below > 0 {
		conditions, args = append(conditions, "lowest < ?"), append(args, f.Below)
	}
	if f.Level != "" {
		level, ok := levels[f.Level]
		if !ok {
			return nil, errors.New("no such level: " + string(f.Level))
		}
		conditions = append(conditions, level)
	}
	if !f.Since.IsZero() {
		conditions, args = append(conditions, "last_seen >= ?"), append(args, stamp(f.Since))
	}
	limit := -1 // none
	if f.Limit > 0 {
		limit = f.Limit
	}
	return s.peers(ctx, selectPeers+" WHERE "+strings.Join(conditions, " AND ")+" ORDER BY "+order+" LIMIT ?", append(args, limit)...)
}

func (s *Store) peers(ctx context.Context, query string, args ...any) ([]Peer, error) {
	rows, err := s.read.Load().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var peers []Peer
	var p Peer
	var stars [3]sql.NullFloat64 // in the order of assess.Categories
	err = scanAll(rows, func() error {
		p.Scores = assess.Scores{}
		for i, c := range assess.Categories {
			p.Scores[c] = assess.Score{Known: stars[i].Valid, Stars: stars[i].Float64}
		}
		peers = append(peers, p)
		return nil
	}, (*name)(&p.Domain), (*word)(&p.Status), &stars[0], &stars[1], &stars[2], &p.Credited,
		(*stamp)(&p.FirstSeen), (*stamp)(&p.LastSeen), (*stamp)(&p.Assessed), (*stamp)(&p.Next))
	return peers, err
}
