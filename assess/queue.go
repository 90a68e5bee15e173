package assess

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Prober obtains the facts of one domain. Selectors are the DKIM keys seen in use. The peer's
// faults are in the facts; an error means that nothing could be done at all.
type Prober interface {
	Probe(ctx context.Context, d Domain, selectors []Selector) (Facts, error)
}

// Repository keeps what assessments rest on.
type Repository interface {
	// Evidence returns the latest facts, nil when there are none, and the tally of the window before now.
	Evidence(ctx context.Context, d Domain, now time.Time, window time.Duration) (Evidence, error)
	// SaveAssessment keeps facts, verdicts and scores in one transaction and makes the domain known.
	SaveAssessment(ctx context.Context, a Assessment) error
}

// Agenda remembers on disk which domains are due, so that a restart forgets no budget.
type Agenda interface {
	// Due returns up to limit known domains whose next run is at or before now, most overdue first.
	Due(ctx context.Context, now time.Time, limit int) ([]Domain, error)
	// Begin notes that a run of the organisation begins now, unless one began less than
	// interval ago; it tells whether the run may go on.
	Begin(ctx context.Context, organisation Domain, now time.Time, interval time.Duration) (bool, error)
	// Postpone sets when the domain is due next.
	Postpone(ctx context.Context, d Domain, due time.Time) error
}

// QueueCapacity is how many domains wait at most; past it the newest is dropped, because the
// agenda remembers it anyway.
const QueueCapacity = 5000

// OutageRuns is how many domains in a row that answered before and do not now make an outage of
// our own likelier than one of theirs.
const OutageRuns = 20

// jitter is how far a due time moves at random, either way, as a share of the interval.
const jitter = 0.2

// Schedule holds the figures of the queue. Zero delays and intervals mean at once and always.
type Schedule struct {
	MinDelay, MaxDelay time.Duration // a run starts at random between the two after it was asked for
	MaxAge             time.Duration // between runs of one domain
	Retry              time.Duration // the same, after a run that came to little
	PerOrganisation    time.Duration // least time between two runs within one organisation
	Poll               time.Duration // between two looks at the agenda, at least a second
	Concurrency        int           // runs at once, at least 2
}

// DefaultSchedule holds the figures of security.md.
func DefaultSchedule() Schedule {
	const day = 24 * time.Hour
	return Schedule{
		MinDelay: 5 * time.Second, MaxDelay: time.Minute,
		MaxAge: 7 * day, Retry: 6 * time.Hour, PerOrganisation: day,
		Poll: time.Minute, Concurrency: 16,
	}
}

// Next is when a domain is due again after a run that ended at now with a result or an error.
// Random is in [0, 1).
func (s Schedule) Next(a Assessment, err error, now time.Time, random float64) time.Time {
	return now.Add(jittered(s.after(a, err), random))
}

func (s Schedule) after(a Assessment, err error) time.Duration {
	facts := a.Evidence.Facts
	if err != nil || a.Status == StatusUnknown || facts != nil && (len(facts.Kept) > 0 || facts.suspects() || facts.unasked()) {
		return s.Retry
	}
	return s.MaxAge
}

func jittered(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*random))
}

// QueueStats counts since the start, but for the last three, which are of this moment.
type QueueStats struct {
	Offered    int // calls of Offer
	Duplicates int // of them: waiting or running already
	Dropped    int // of them: past QueueCapacity
	Refused    int // of them: may not be probed

	Runs       int // ended
	Failed     int // of them: ended in an error
	OverBudget int // not begun, because the organisation had one

	Unanswered int // domains in a row whose mail hosts answered in the run before, and did not in this
	Waiting    int
	Running    int
}

// Outage tells whether it looks as if our own port 25 were blocked or our network down.
func (s QueueStats) Outage() bool { return s.Unanswered >= OutageRuns }

// Queue assesses domains in the background: those that are offered, and those that the agenda
// says are due. Each runs once at a time.
//
// Half of the runs are for domains whose mail hosts answered in the run before, the other half
// for all others. Of these the newest comes first. So however many tarpits are offered, a
// provider that is known to answer does not wait for them, and one that is not waits for the
// first of those that run to end.
//
// The fields are not changed once Run or Offer was called. A command of the operator bypasses
// the queue: it calls the Assessor.
type Queue struct {
	Assessor *Assessor
	Agenda   Agenda
	Schedule Schedule
	Random   func() float64 // in [0, 1); nil means math/rand/v2

	mu      sync.Mutex
	known   map[Domain]bool // waiting or running
	waiting delayed
	lanes   [2]lane
	stats   QueueStats
	wake    chan struct{}
}

// The lanes of the queue.
const (
	unproven = iota
	proven
)

// lane holds the domains of one kind whose delay is over.
type lane struct {
	ready   []Domain
	running int
}

// Offer asks for a run of the domain. It never blocks; what is known already, may not be
// probed or does not fit is dropped and counted.
func (q *Queue) Offer(d Domain) {
	err := q.Assessor.Eligible(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Offered++
	switch {
	case err != nil:
		q.stats.Refused++
	case q.known[d]:
		q.stats.Duplicates++
	case !q.push(d):
		q.stats.Dropped++
	}
}

// push lets a domain wait for its start. It tells whether there was room; mu is held.
func (q *Queue) push(d Domain) bool {
	if q.backlog() >= QueueCapacity {
		return false
	}
	q.init()
	q.known[d] = true
	delay := q.Schedule.MinDelay + time.Duration(q.random()*float64(q.Schedule.MaxDelay-q.Schedule.MinDelay))
	heap.Push(&q.waiting, start{d, time.Now().Add(delay)})
	q.signal()
	return true
}

func (q *Queue) backlog() int {
	return len(q.waiting) + len(q.lanes[unproven].ready) + len(q.lanes[proven].ready)
}

// init makes what the zero Queue lacks; mu is held.
func (q *Queue) init() {
	if q.known == nil {
		q.known, q.wake = map[Domain]bool{}, make(chan struct{}, 1)
	}
}

// signal wakes Run; mu is held.
func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
}

// Stats returns the counters.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	stats := q.stats
	stats.Waiting = q.backlog()
	stats.Running = q.lanes[unproven].running + q.lanes[proven].running
	return stats
}

func (q *Queue) random() float64 {
	if q.Random == nil {
		return rand.Float64()
	}
	return q.Random()
}

// start is a domain that waits for its moment.
type start struct {
	domain Domain
	at     time.Time
}

// delayed is a heap of starts, the earliest first.
type delayed []start

func (h delayed) Len() int           { return len(h) }
func (h delayed) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h delayed) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *delayed) Push(x any)        { *h = append(*h, x.(start)) }
func (h *delayed) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
