package assess

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// Run works the queue off until the context ends. Every run has ended when it returns; what
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
	due, err := q.Agenda.Due(ctx, q.Assessor.now(), QueueCapacity)
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
		room := q.known[d] || q.push(d)
		q.mu.Unlock()
		if !room {
			return
		}
	}
}

// admit moves one domain whose delay is over into its lane. It tells whether there was one.
func (q *Queue) admit(ctx context.Context) bool {
	d, ok := q.pop()
	if !ok {
		return false
	}
	kind := unproven
	if q.Assessor.hasAnswered(ctx, d) {
		kind = proven
	}
	q.mu.Lock()
	q.lanes[kind].ready = append(q.lanes[kind].ready, d)
	q.mu.Unlock()
	return true
}

func (q *Queue) pop() (Domain, bool) {
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

// begin fills the free places of both lanes.
func (q *Queue) begin(ctx context.Context, runs *sync.WaitGroup) {
	for kind := range q.lanes {
		for d, ok := q.take(kind); ok; d, ok = q.take(kind) {
			runs.Go(func() {
				q.run(ctx, kind, d)
				q.release(kind, d)
			})
		}
	}
}

func (q *Queue) take(kind int) (Domain, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane := &q.lanes[kind]
	if len(lane.ready) == 0 || lane.running >= max(1, q.Schedule.Concurrency/2) {
		return "", false
	}
	lane.running++
	if kind == proven {
		d := lane.ready[0]
		lane.ready = lane.ready[1:]
		return d, true
	}
	last := len(lane.ready) - 1
	d := lane.ready[last]
	lane.ready = lane.ready[:last]
	return d, true
}

func (q *Queue) release(kind int, d Domain) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lanes[kind].running--
	delete(q.known, d)
	q.signal()
}

// run assesses a domain, if the budget of its organisation lets it, and notes when it is due
// next. A run that ends with the queue notes nothing: the domain stays due.
func (q *Queue) run(ctx context.Context, kind int, d Domain) {
	if ctx.Err() != nil {
		return
	}
	granted, err := q.Agenda.Begin(ctx, d.Organisational(), q.Assessor.now(), q.Schedule.PerOrganisation)
	if err != nil {
		q.complain(ctx, "the agenda cannot be written", d, err)
		return
	}
	if !granted {
		q.count(func(s *QueueStats) { s.OverBudget++ })
		q.postpone(ctx, d, q.Schedule.Retry)
		return
	}
	result, err := q.Assessor.Assess(ctx, d)
	if ctx.Err() != nil {
		return
	}
	q.tally(ctx, kind, result, err)
	if err != nil {
		q.complain(ctx, "the assessment failed", d, err)
	}
	q.postpone(ctx, d, q.Schedule.after(result, err))
}

// tally counts a run that has ended, and says when an outage of our own begins or ends.
func (q *Queue) tally(ctx context.Context, kind int, result Assessment, err error) {
	var before, after bool
	q.count(func(s *QueueStats) {
		before = s.Outage()
		s.add(kind, result, err)
		after = s.Outage()
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
	case errors.Is(err, ErrNothingMeasured), err == nil && kind == proven && !facts.Hosts.Null:
		s.Unanswered++
	}
}

func (q *Queue) count(f func(*QueueStats)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f(&q.stats)
}

// postpone sets the next due time of a domain an interval from now, jittered.
func (q *Queue) postpone(ctx context.Context, d Domain, interval time.Duration) {
	due := q.Assessor.now().Add(jittered(interval, q.random()))
	if err := q.Agenda.Postpone(ctx, d, due); err != nil {
		q.complain(ctx, "the agenda cannot be written", d, err)
	}
}

func (q *Queue) complain(ctx context.Context, message string, d Domain, err error) {
	if logger := q.Assessor.Logger; logger != nil && ctx.Err() == nil {
		logger.WarnContext(ctx, message, "domain", d, "error", err)
	}
}

// hasAnswered tells whether a mail host of the domain came to an answer in its last run.
func (a *Assessor) hasAnswered(ctx context.Context, d Domain) bool {
	evidence, err := a.evidence(ctx, d)
	return err == nil && evidence.Facts != nil && evidence.Facts.reached()
}
