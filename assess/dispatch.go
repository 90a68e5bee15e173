package assess

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"peerscore/assess/dnsname"
)

// Run drains the queue until the context ends. Every run has ended when it returns; what
// still waited is on the agenda for next time.
func (q *Queue) Run(ctx context.Context) {
	q.mu.Lock()
	q.init()
	q.mu.Unlock()
	var runs sync.WaitGroup
	defer runs.Wait()
	poll := time.NewTicker(max(q.Schedule.Poll, time.Second))
	defer poll.Stop()
	q.poll(ctx)
	for ctx.Err() == nil {
		for ctx.Err() == nil && q.admit(ctx) {
			q.begin(ctx, &runs)
		}
		q.begin(ctx, &runs)
		timer := time.NewTimer(q.untilStart())
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		case <-poll.C:
			q.poll(ctx)
		}
		timer.Stop()
	}
}

// poll takes what the agenda says is due, as far as there is room.
func (q *Queue) poll(ctx context.Context) {
	due, err := q.Agenda.Due(ctx, q.Assessor.now(), room[fromAgenda])
	if err != nil {
		q.complain(ctx, "the agenda cannot be read", "", err)
		return
	}
	for _, d := range due {
		if q.Assessor.Eligible(d) != nil { // it was when it became known
			q.postpone(ctx, d, q.Schedule.MaxAge)
			continue
		}
		q.mu.Lock()
		room := q.has(d) || q.push(d, fromAgenda)
		q.mu.Unlock()
		if !room {
			return
		}
	}
}

// admit moves one domain whose delay is over into its lane. It reports whether there was one.
func (q *Queue) admit(ctx context.Context) bool {
	d, ok := q.pop()
	if !ok {
		return false
	}
	kind := q.Assessor.laneOf(ctx, d)
	q.mu.Lock()
	defer q.mu.Unlock()
	if kind == newcomer && q.places[d.Organisational()].source == fromRecipient {
		kind = wanted
	}
	q.lanes[kind].ready = append(q.lanes[kind].ready, d)
	return true
}

func (q *Queue) pop() (dnsname.Domain, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.waiting[0].at.After(time.Now()) {
		return "", false
	}
	return heap.Pop(&q.waiting).(start).domain, true
}

// untilStart is how long until the next delay is over.
func (q *Queue) untilStart() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return time.Hour // until woken
	}
	return time.Until(q.waiting[0].at)
}

// begin fills the free places of all lanes.
func (q *Queue) begin(ctx context.Context, runs *sync.WaitGroup) {
	for d, kind, limit := q.take(); d != ""; d, kind, limit = q.take() {
		runs.Go(func() {
			q.run(ctx, kind, d, limit)
			q.release(kind, d)
		})
	}
}

// take finds a domain that may begin, and how long its run may take.
func (q *Queue) take() (d dnsname.Domain, kind int, limit time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	half := max(1, q.Schedule.Concurrency/2)
	if l := &q.lanes[proven]; len(l.ready) > 0 && l.running < half {
		return l.take(), proven, MaxRun
	}
	others := q.lanes[wanted:]
	running, ready := 0, 0
	for i := range others {
		running, ready = running+others[i].running, ready+len(others[i].ready)
	}
	if running >= half || ready == 0 {
		return "", 0, 0
	}
	for len(others[q.turn].ready) == 0 {
		q.turn = (q.turn + 1) % len(others)
	}
	l, kind, limit := &others[q.turn], wanted+q.turn, MaxRun
	if ready > 1 {
		limit = BriefRun
	}
	q.turn = (q.turn + 1) % len(others)
	return l.takeInTurn(), kind, limit
}

// take is the domain that has waited longest.
func (l *lane) take() dnsname.Domain {
	d := l.ready[0]
	l.ready = l.ready[1:]
	l.running++
	return d
}

// takeInTurn is the domain that has waited longest, or that which came last.
func (l *lane) takeInTurn() dnsname.Domain {
	l.newest = !l.newest
	if l.newest {
		return l.take()
	}
	last := len(l.ready) - 1
	d := l.ready[last]
	l.ready = l.ready[:last]
	l.running++
	return d
}

func (q *Queue) release(kind int, d dnsname.Domain) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lanes[kind].running--
	organisation := d.Organisational()
	q.taken[q.places[organisation].source]--
	delete(q.places, organisation)
	q.signal()
}

// run assesses a domain, if the budget of its organisation lets it, and notes when it is due
// next. A run that ends with the queue notes nothing: the domain stays due.
func (q *Queue) run(ctx context.Context, kind int, d dnsname.Domain, limit time.Duration) {
	if ctx.Err() != nil {
		return
	}
	first, err := q.Agenda.Begin(ctx, d, q.Assessor.now(), q.Schedule.PerOrganisation)
	if err != nil {
		q.complain(ctx, "the agenda cannot be written", d, err)
		return
	}
	if first != d {
		q.count(func(s *QueueStats) { s.OverBudget++ })
		q.postpone(ctx, d, q.Schedule.Retry)
		if first == "" {
			return
		}
		kind, d = q.Assessor.laneOf(ctx, first), first
	}
	result, err := q.Assessor.assess(ctx, d, limit)
	if ctx.Err() != nil {
		return
	}
	q.tally(ctx, kind, result, err)
	if err != nil {
		q.complain(ctx, "the assessment failed", d, err)
	}
	q.postpone(ctx, d, q.Schedule.after(result, err))
}

// tally counts a run that has ended, and says when a freeze begins or ends.
func (q *Queue) tally(ctx context.Context, kind int, result Assessment, err error) {
	var before, after bool
	q.count(func(s *QueueStats) {
		before = s.Frozen()
		s.add(kind, result, err)
		after = s.Frozen()
	})
	switch logger := q.Assessor.Logger; {
	case logger == nil || before == after:
	case after:
		logger.ErrorContext(ctx, "no mail host answers of many that did before: is port 25 blocked, or the network down? Nothing is held against peers")
	default:
		logger.InfoContext(ctx, "mail hosts answer again")
	}
}

// add counts a run that has ended.
func (s *QueueStats) add(kind int, result Assessment, err error) {
	s.Runs++
	if err != nil {
		s.Failed++
	}
	switch facts := result.Evidence.Facts; {
	case err == nil && facts.reached():
		s.Unanswered = 0
	case errors.Is(err, ErrNothingMeasured), err == nil && kind == proven && result.Status != StatusNoMail:
		s.Unanswered++
	}
}

func (q *Queue) count(f func(*QueueStats)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f(&q.stats)
}

// postpone sets the next due time of a domain an interval from now, jittered.
func (q *Queue) postpone(ctx context.Context, d dnsname.Domain, interval time.Duration) {
	due := q.Assessor.now().Add(jittered(interval, q.random()))
	if err := q.Agenda.Postpone(ctx, d, due); err != nil {
		q.complain(ctx, "the agenda cannot be written", d, err)
	}
}

func (q *Queue) complain(ctx context.Context, message string, d dnsname.Domain, err error) {
	if logger := q.Assessor.Logger; logger != nil && ctx.Err() == nil {
		logger.WarnContext(ctx, message, "domain", d, "error", err)
	}
}

// laneOf tells by its last run where a domain waits.
func (a *Assessor) laneOf(ctx context.Context, d dnsname.Domain) int {
	evidence, err := a.evidence(ctx, d)
	switch {
	case err != nil || evidence.Facts == nil:
		return newcomer
	case evidence.Facts.reached():
		return proven
	}
	return failing
}
