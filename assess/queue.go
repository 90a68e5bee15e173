package assess

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"peerscore/assess/dnsname"
)

// Prober obtains the facts of one domain. Selectors are the DKIM keys seen in use. The peer's
// faults are in the facts; an error means that nothing could be done at all.
type Prober interface {
	Probe(ctx context.Context, d dnsname.Domain, selectors []Selector) (Facts, error)
}

// Repository keeps what assessments rest on.
type Repository interface {
	// Evidence returns the latest facts, nil when there are none, and the tally of the window before now.
	Evidence(ctx context.Context, d dnsname.Domain, now time.Time, window time.Duration) (Evidence, error)
	// SaveAssessment keeps facts, verdicts and scores in one transaction and makes the domain known.
	SaveAssessment(ctx context.Context, a Assessment) error
}

// Agenda remembers on disk which domains are due, so that a restart forgets no budget.
type Agenda interface {
	// Due returns up to limit known domains whose next run is at or before now, the most overdue
	// first: at most half of them such as answered in the run before, and half all others.
	Due(ctx context.Context, now time.Time, limit int) ([]dnsname.Domain, error)
	// Begin notes that a run of the domain's organisation begins now, unless one began less than
	// interval ago. It returns whose run it is, "" for nobody's: the organisational domain's where
	// that is due, so that others within do not use up its runs, else the domain's own.
	Begin(ctx context.Context, d dnsname.Domain, now time.Time, interval time.Duration) (dnsname.Domain, error)
	// Postpone sets when the domain is due next.
	Postpone(ctx context.Context, d dnsname.Domain, due time.Time) error
}

// QueueCapacity is how many domains wait at most, or run; past it, or past what those of one
// source may have of it, the newest is dropped, because the agenda remembers it anyway.
const QueueCapacity = 5000

// The sources of the queue: who asks for a run.
const (
	fromSender    source = iota // a domain that a message was credited to
	fromRecipient               // a domain that our own users write to
	fromAgenda                  // a domain that is due
	sources
)

type source int

// room is how many places each source has. However many strangers send mail, the domains that
// our users write to and those that are due have theirs.
var room = [sources]int{2000, 1000, QueueCapacity - 3000}

// BriefRun is how long a run may take of a domain whose mail hosts have not answered before,
// while another one waits. It is enough for an answer of the slowest server that comes to one
// (see assess/probe/limits.md, section 2), and a tarpit has no more.
const BriefRun = 90 * time.Second

// freezeRuns is how many domains in a row that answered before and do not now make a fault of
// our own likelier than one of theirs.
const freezeRuns = 20

// jitter is how far a due time moves at random, either way, as a share of the interval.
const jitter = 0.2

// Schedule holds the figures of the queue. Zero delays and intervals mean at once and always.
type Schedule struct {
	MinDelay, MaxDelay time.Duration // a run starts at random between the two after it was asked for
	MaxAge             time.Duration // between runs of one domain
	Retry              time.Duration // the same, after a run that mostly failed
	PerOrganisation    time.Duration // least time between two runs within one organisation
	Poll               time.Duration // between two looks at the agenda, at least a second
	Concurrency        int           // runs at once, at least 2
}

// DefaultSchedule holds the figures of assess/probe/limits.md, section 5.
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
	if err != nil || a.Status == StatusUnknown || facts != nil && (facts.lacking() || facts.suspects() || facts.unasked()) {
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
	Duplicates int // of them: the organisation has its place
	Dropped    int // of them: past the room of their source
	Refused    int // of them: may not be probed

	Runs       int // ended
	Failed     int // of them: ended in an error
	OverBudget int // not begun, because the organisation had one

	Unanswered int // domains in a row whose mail hosts answered in the run before, and did not in this
	Waiting    int
	Running    int
}

// Frozen reports whether it looks as if our own port 25 were blocked or our network down.
func (s QueueStats) Frozen() bool { return s.Unanswered >= freezeRuns }

// Queue assesses domains in the background: those that are offered, and those that the agenda
// says are due. An organisation has one place at a time in it, for whichever of its domains, and
// each source has so much room.
//
// Half of the runs are for domains whose mail hosts answered in the run before, the other half
// for all others: in turn for those that our users write to, those that were never probed, and
// those that did not answer; and of each kind in turn for the one that has waited longest and the
// one that came last. So however many tarpits are offered, a provider that is known to answer
// does not wait for them, and any other has its run whether it came before them or after.
//
// The fields are not changed once Run or Offer was called. A command of the operator bypasses
// the queue: it calls the Assessor.
type Queue struct {
	Assessor *Assessor
	Agenda   Agenda
	Schedule Schedule
	Random   func() float64 // in [0, 1); nil means math/rand/v2

	mu      sync.Mutex
	places  map[dnsname.Domain]place // waiting or running, by organisation
	taken   [sources]int             // of places
	waiting delayed
	lanes   [lanes]lane
	turn    int // the lane after proven that comes first
	stats   QueueStats
	wake    chan struct{}
}

// place is what an organisation has in the queue.
type place struct {
	domain dnsname.Domain
	source source
}

// The lanes of the queue.
const (
	proven   = iota // answered in the run before
	wanted          // never probed, and our users write to it
	newcomer        // never probed
	failing         // did not answer in the run before
	lanes
)

// lane holds the domains of one kind whose delay is over, in the order of their coming.
type lane struct {
	ready   []dnsname.Domain
	running int
	newest  bool // it is the turn of the last one
}

// Offer asks for a run of a domain that a message was credited to. It never blocks; what is
// known already, may not be probed or does not fit is dropped and counted.
func (q *Queue) Offer(d dnsname.Domain) { q.offer(d, fromSender) }

// OfferRecipient is Offer for a domain that our own users write to.
func (q *Queue) OfferRecipient(d dnsname.Domain) { q.offer(d, fromRecipient) }

func (q *Queue) offer(d dnsname.Domain, from source) {
	err := q.Assessor.Eligible(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Offered++
	switch {
	case err != nil:
		q.stats.Refused++
	case q.has(d):
		q.stats.Duplicates++
	case !q.push(d, from):
		q.stats.Dropped++
	}
}

// has reports whether the organisation of a domain has its place; mu is held.
func (q *Queue) has(d dnsname.Domain) bool {
	_, has := q.places[d.Organisational()]
	return has
}

// push lets a domain wait for its start. It reports whether there was room; mu is held.
func (q *Queue) push(d dnsname.Domain, from source) bool {
	if q.taken[from] >= room[from] {
		return false
	}
	q.init()
	q.taken[from]++
	q.places[d.Organisational()] = place{d, from}
	delay := q.Schedule.MinDelay + time.Duration(q.random()*float64(q.Schedule.MaxDelay-q.Schedule.MinDelay))
	heap.Push(&q.waiting, start{d, time.Now().Add(delay)})
	q.signal()
	return true
}

// init makes what the zero Queue lacks; mu is held.
func (q *Queue) init() {
	if q.places == nil {
		q.places, q.wake = map[dnsname.Domain]place{}, make(chan struct{}, 1)
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
	for _, l := range q.lanes {
		stats.Running += l.running
	}
	stats.Waiting = len(q.places) - stats.Running
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
	domain dnsname.Domain
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
