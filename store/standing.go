package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

const (
	rejudgeTick  = 500 * time.Millisecond // between two looks for marked rows
	rejudgeEvery = 5 * time.Second        // a domain is judged no more often, however busy
	rejudgeBatch = 64                     // domains judged a look: 128 a second, and one transaction
	pruneCheck   = time.Hour              // between two looks whether it was pruned today
	cacheFor     = 10 * time.Second       // another process may have changed the row
)

// Judge is how evidence is judged.
type Judge struct {
	Profile assess.Profile
	Rules   assess.Rules
	Window  time.Duration // 0: that of the store
}

// Standings answers the milter while a message waits, from a bounded cache in front of the
// rows of domains, and keeps these rows true: Run judges domains again whose evidence grew.
type Standings struct {
	store *Store
	judge Judge

	mu      sync.Mutex
	cached  map[dnsname.Domain]cachedStanding
	changes int // of the cache's domains, so that a row read before a change is not cached after it

	unreadable bool      // what the log said last of looks at rows
	said       time.Time // when

	// Owned by whoever judges: Run, or a command.
	rulesNoted bool
	unjudged   int       // domains that could not be judged since the log said so
	unjudgedAt time.Time // when it did
}

type cachedStanding struct {
	assess.Standing
	until time.Time
}

// NewStandings attaches a cache to a store; it lives as long as the store.
func NewStandings(s *Store, j Judge) *Standings {
	if j.Window == 0 {
		j.Window = s.options.Window
	}
	st := &Standings{store: s, judge: j, cached: map[dnsname.Domain]cachedStanding{}}
	s.cacheMu.Lock()
	defer s.cacheMu.Unlock()
	s.caches = append(s.caches, st)
	return st
}

// Standing tells what is known of the domain, at most a few seconds old. The caller must not
// change what it refers to. Where nothing can be read the last known answer stands, else the
// domain counts as not known. Domains that are not known are not cached: anybody can claim one.
func (st *Standings) Standing(ctx context.Context, d dnsname.Domain) assess.Standing {
	now := st.store.now()
	st.mu.Lock()
	hit, ok := st.cached[d]
	changes := st.changes
	st.mu.Unlock()
	if ok && now.Before(hit.until) {
		return hit.Standing
	}
	standing, err := st.store.standing(ctx, d)
	st.report(err)
	if err != nil {
		st.store.suspect(err)
		return hit.Standing
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.cached, d)
	if standing.Known && changes == st.changes {
		st.makeRoom()
		st.cached[d] = cachedStanding{standing, now.Add(cacheFor)}
	}
	return standing
}

// report logs when reading begins to fail, at most once in reportEvery, and when it works
// again.
func (st *Standings) report(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if fails := err != nil; fails != st.unreadable && (!fails || time.Since(st.said) >= reportEvery) {
		st.unreadable, st.said = fails, time.Now()
		st.store.log.Warn("reading scores for headers", "works", !fails, "error", err)
	}
}

// makeRoom drops any one domain when the cache is full; mu is held.
func (st *Standings) makeRoom() {
	if len(st.cached) < st.store.options.Limits.StandingsInCache {
		return
	}
	for d := range st.cached {
		delete(st.cached, d)
		return
	}
}

// changed tells all caches which domains a transaction changed.
func (s *Store) changed(domains []dnsname.Domain) {
	if len(domains) == 0 {
		return
	}
	s.cacheMu.Lock()
	defer s.cacheMu.Unlock()
	for _, st := range s.caches {
		st.mu.Lock()
		st.changes++
		for _, d := range domains {
			delete(st.cached, d)
		}
		st.mu.Unlock()
	}
}

// standing reads the row of a domain.
func (s *Store) standing(ctx context.Context, d dnsname.Domain) (assess.Standing, error) {
	standing := assess.Standing{Known: true, Status: assess.StatusPending}
	var status assess.Status
	var scores, mx []byte
	err := s.read.Load().QueryRowContext(ctx, `SELECT domain.assessed, domain.first_seen, a.status, a.profile, a.basis, a.scores, a.mx
		FROM domain LEFT JOIN assessment a ON a.id = (SELECT max(id) FROM assessment WHERE domain_id = domain.id)
		WHERE domain.name = ?`, string(d)).Scan((*stamp)(&standing.Assessed), (*stamp)(&standing.Since), (*word)(&status), (*word)(&standing.Profile), (*word)(&standing.Basis), &scores, &mx)
	if errors.Is(err, sql.ErrNoRows) {
		return assess.Standing{}, nil
	}
	if err != nil || status == "" { // not judged so far
		return standing, err
	}
	standing.Status = status
	return standing, errors.Join(json.Unmarshal(scores, &standing.Scores), json.Unmarshal(mx, &standing.MX))
}

// Run keeps scores true and the file small until ctx ends: it judges domains again whose
// evidence grew, and prunes daily. Where the rules are not those of the last Run, every
// domain is judged again.
func (st *Standings) Run(ctx context.Context) {
	var both sync.WaitGroup // pruning takes its time, in which judging goes on
	both.Go(func() { st.every(ctx, rejudgeTick, st.upkeep) })
	both.Go(func() { st.every(ctx, pruneCheck, st.store.pruneDaily) })
	both.Wait()
}

// every does the work at once and then at an interval. It logs when that begins to fail.
func (st *Standings) every(ctx context.Context, interval time.Duration, work func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for failing := false; ctx.Err() == nil; {
		err := work(ctx)
		st.store.suspect(err)
		if err != nil && ctx.Err() == nil && !failing {
			st.store.log.WarnContext(ctx, "upkeep of the database fails; it is tried until it works", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (st *Standings) upkeep(ctx context.Context) error {
	if !st.rulesNoted {
		if err := st.noteRules(ctx); err != nil {
			return err
		}
		st.rulesNoted = true
	}
	_, err := st.rejudge(ctx, st.store.now().Add(-rejudgeEvery), rejudgeBatch)
	return err
}

// noteRules marks every domain unless its scores were judged by the present rules.
func (st *Standings) noteRules(ctx context.Context) error {
	text, err := json.Marshal([]any{assess.Edition, st.judge})
	if err != nil {
		return err
	}
	rules := fmt.Sprintf("%x", sha256.Sum256(text))
	return st.store.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO memo (name, value) VALUES ('rules', ?)
			ON CONFLICT DO UPDATE SET value = excluded.value WHERE value <> excluded.value`, rules)
		if err == nil && n > 0 {
			_, err = t.exec("UPDATE domain SET observed = observed + 1")
		}
		return err
	})
}

// Rejudge judges all domains whose evidence grew since they were judged last, without the
// delay that Run has, and tells how many that were.
func (st *Standings) Rejudge(ctx context.Context) (int, error) {
	total, start := 0, st.store.now()
	for {
		n, err := st.rejudge(ctx, start, rejudgeBatch)
		total += n
		if err != nil || n < rejudgeBatch {
			return total, err
		}
	}
}

// Rescore judges every domain by the present rules, whatever it was judged by last, and tells
// how many that were.
func (st *Standings) Rescore(ctx context.Context) (int, error) {
	if err := st.noteRules(ctx); err != nil {
		return 0, err
	}
	if err := st.store.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE domain SET observed = observed + 1")
		return err
	}); err != nil {
		return 0, err
	}
	return st.Rejudge(ctx)
}

// rejudged is an assessment of a stated evidence.
type rejudged struct {
	assess.Assessment
	row      assessmentRow
	observed int64
}

// rejudge takes up to limit marked domains that were last judged at or before a moment, those
// that wait longest first.
func (st *Standings) rejudge(ctx context.Context, before time.Time, limit int) (int, error) {
	s := st.store
	marked, err := s.marked(ctx, before, limit)
	if err != nil || len(marked) == 0 {
		return 0, err
	}
	now := s.now()
	var judgements []rejudged
	for _, d := range marked {
		j, err := st.conclude(ctx, d, now)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			// Its turn comes again with the next change: one bad row must not hold up the others.
			st.reportUnjudged(d, err)
		}
		judgements = append(judgements, j)
	}
	return len(marked), s.write(ctx, func(t *tx) error {
		for _, j := range judgements {
			if err := t.saveJudgement(j, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// reportUnjudged logs one domain that cannot be judged, at most once in reportEvery, and how
// many there were since.
func (st *Standings) reportUnjudged(d dnsname.Domain, err error) {
	st.unjudged++
	if time.Since(st.unjudgedAt) >= reportEvery {
		st.store.log.Warn("a domain cannot be judged", "domain", d, "failures", st.unjudged, "error", err)
		st.unjudged, st.unjudgedAt = 0, time.Now()
	}
}

func (s *Store) marked(ctx context.Context, before time.Time, limit int) ([]dnsname.Domain, error) {
	rows, err := s.read.Load().QueryContext(ctx, `SELECT name FROM domain INDEXED BY domain_unjudged
		WHERE observed <> judged AND judged_at NOT BETWEEN ? AND ? ORDER BY judged_at LIMIT ?`,
		before.UnixMilli()+1, stamp(s.now()), limit) // a time to come is that of a wrong clock
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var marked []dnsname.Domain
	var d dnsname.Domain
	err = scanAll(rows, func() error { marked = append(marked, d); return nil }, &d)
	return marked, err
}

func (st *Standings) conclude(ctx context.Context, d dnsname.Domain, now time.Time) (j rejudged, err error) {
	j.Domain = d
	evidence, observed, err := st.store.evidence(ctx, d, now, st.judge.Window)
	j.observed = observed
	if err != nil {
		return j, err
	}
	a := assess.Conclude(d, evidence, st.judge.Profile, st.judge.Rules, now)
	j.row, err = newAssessmentRow(a)
	if err == nil {
		j.Assessment = a
	}
	return j, err
}

// saveJudgement writes a judgement, and unmarks the row as far as that evidence goes.
func (t *tx) saveJudgement(j rejudged, now time.Time) error {
	id, err := t.find(j.Domain)
	if errors.Is(err, ErrUnknownDomain) {
		return nil // forgotten meanwhile
	}
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE domain SET judged = ?, judged_at = ? WHERE id = ?", j.observed, stamp(now), id); err != nil {
		return err
	}
	if j.row.digest == nil {
		return nil // it could not be judged
	}
	if _, err := t.exec("UPDATE domain SET credited = ? WHERE id = ?", j.Evidence.Tally.Credited(), id); err != nil {
		return err
	}
	return t.saveAssessment(id, j.Assessment, j.row)
}
