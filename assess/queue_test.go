package assess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess/dnsname"
)

// course is a queue at work, with a record of its runs.
type course struct {
	*Queue
	*ledger
	mu      sync.Mutex
	started map[dnsname.Domain][]time.Duration // since the course began, run by run
	running map[dnsname.Domain]bool
	atOnce  int
	began   time.Time
	stop    func()
}

// runQueue starts a queue in a bubble. Work is what the prober does of a domain.
func runQueue(t *testing.T, s Schedule, work proberFunc, prepare func(*course)) *course {
	t.Helper()
	c := &course{ledger: newLedger(), started: map[dnsname.Domain][]time.Duration{}, running: map[dnsname.Domain]bool{}, began: time.Now()}
	a := testAssessor(t, c.ledger, func(ctx context.Context, d dnsname.Domain, selectors []Selector) (Facts, error) {
		if !c.enter(d) {
			t.Errorf("%s runs twice at once", d)
		}
		defer c.leave(d)
		return work(ctx, d, selectors)
	})
	a.Now = nil
	c.Queue = &Queue{Assessor: a, Agenda: c.ledger, Schedule: s}
	if prepare != nil {
		prepare(c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	c.stop = func() { cancel(); <-done }
	return c
}

func (c *course) enter(d dnsname.Domain) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started[d] = append(c.started[d], time.Since(c.began))
	alone := !c.running[d]
	c.running[d] = true
	c.atOnce = max(c.atOnce, len(c.running))
	return alone
}

func (c *course) leave(d dnsname.Domain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, d)
}

func (c *course) starts(d dnsname.Domain) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.started[d])
}

func (c *course) dueAt(d dnsname.Domain) time.Time {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return c.due[d]
}

// takes is a prober that needs that long to find everything, or nothing once its time is up.
func takes(d time.Duration) proberFunc {
	return func(ctx context.Context, domain dnsname.Domain, s []Selector) (Facts, error) {
		select {
		case <-time.After(d):
			return finds(measuredFacts().with(func(f *Facts) { f.At = time.Now() }))(ctx, domain, s)
		case <-ctx.Done():
			return finds(blackout(failed()))(ctx, domain, s)
		}
	}
}

// tarpit answers nothing for the 45 s that a dialogue may take.
func tarpit(ctx context.Context, domain dnsname.Domain, s []Selector) (Facts, error) {
	select {
	case <-time.After(45 * time.Second):
	case <-ctx.Done():
	}
	return finds(factsOf(mxHost("mx1.example.org", dialogue("192.0.2.1", dead))).with(func(f *Facts) { f.At = time.Now() }))(ctx, domain, s)
}

func TestQueueRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, DefaultSchedule(), takes(10*time.Millisecond), nil)
		defer c.stop()
		for i := range 500 {
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.example", i)))
		}
		time.Sleep(10 * time.Minute)
		first, last := time.Hour, time.Duration(0)
		for i := range 500 {
			d := dnsname.Domain(fmt.Sprintf("d%d.example", i))
			starts := c.starts(d)
			if len(starts) != 1 {
				t.Fatalf("%s ran %d times", d, len(starts))
			}
			first, last = min(first, starts[0]), max(last, starts[0])
			due := c.dueAt(d).Sub(c.began.Add(starts[0]))
			if week := 7 * 24 * time.Hour; due < week*8/10 || due > week*12/10+time.Minute {
				t.Errorf("%s is due after %s", d, due)
			}
		}
		if first < 5*time.Second || last < 50*time.Second {
			t.Errorf("runs started from %s to %s after they were offered", first, last)
		}
		synctest.Wait()
		if c.atOnce > 16 {
			t.Errorf("%d runs at once", c.atOnce)
		}
		if s := c.Stats(); s.Runs != 500 || s.Offered != 500 || s.Waiting != 0 || s.Running != 0 || s.Dropped+s.Duplicates+s.Failed+s.OverBudget+s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Without delays, as in the demonstration, a run begins when it is offered.
func TestQueueWithoutDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, Schedule{MaxAge: time.Hour, Concurrency: 2}, takes(0), nil)
		defer c.stop()
		for range 3 {
			c.Offer("example.org")
			synctest.Wait()
		}
		if starts := c.starts("example.org"); len(starts) != 3 || starts[2] != 0 {
			t.Errorf("started at %v", starts)
		}
	})
}

func TestQueueDropsDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, Schedule{MinDelay: time.Second, MaxDelay: time.Second, MaxAge: time.Hour, Concurrency: 2}, takes(time.Minute), nil)
		defer c.stop()
		c.Offer("example.org")
		c.Offer("example.org") // waits
		time.Sleep(2 * time.Second)
		c.Offer("example.org") // runs
		time.Sleep(2 * time.Minute)
		c.Offer("example.org") // anew
		time.Sleep(2 * time.Minute)
		if s := c.Stats(); s.Duplicates != 2 || s.Runs != 2 || len(c.starts("example.org")) != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// Offer never blocks: past the room of a source the newest is dropped, whether or not anybody
// works, and the others keep theirs.
func TestQueueCapacity(t *testing.T) {
	q := &Queue{Assessor: testAssessor(t, newLedger(), tarpit), Schedule: DefaultSchedule()}
	for i := range room[fromSender] + 10 {
		q.Offer(dnsname.Domain(fmt.Sprintf("d%d.example", i)))
	}
	q.Offer("d0.example")
	q.Offer("co.uk")
	if s := q.Stats(); s.Waiting != room[fromSender] || s.Dropped != 10 || s.Duplicates != 1 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	if q.has("d2001.example") || !q.has("d1999.example") {
		t.Error("not the newest were dropped")
	}
	for i := range room[fromRecipient] + 10 {
		q.OfferRecipient(dnsname.Domain(fmt.Sprintf("r%d.example", i)))
	}
	if s := q.Stats(); s.Waiting != room[fromSender]+room[fromRecipient] || s.Dropped != 20 {
		t.Errorf("%+v", s)
	}
	if room[fromSender]+room[fromRecipient]+room[fromAgenda] != QueueCapacity {
		t.Errorf("room %v", room)
	}
}

// One run a day within one organisation, and one place, whichever of its domains is offered.
func TestQueueHoldsOrganisationBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, DefaultSchedule(), takes(time.Second), nil)
		defer c.stop()
		for i := range 100 {
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.evil.example", i)))
		}
		c.Offer("other.example")
		if s := c.Stats(); s.Waiting != 2 || s.Duplicates != 99 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Minute)
		for i := range 100 { // each has a turn, and no budget
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.evil.example", i)))
			time.Sleep(2 * time.Minute)
		}
		time.Sleep(19 * time.Hour)
		if s := c.Stats(); s.Runs != 2 || s.OverBudget < 99 {
			t.Errorf("after 23 h: %+v", s)
		}
		time.Sleep(24 * time.Hour)
		if s := c.Stats(); s.Runs != 3 {
			t.Errorf("after 47 h: %+v", s)
		}
	})
}

// 150 messages a second from ever new subdomains of one organisation take one place, and not the
// runs of the organisation's own domain; whoever else comes has their run.
func TestQueueSurvivesSubdomains(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, DefaultSchedule(), takes(time.Second), func(c *course) { c.due["evil.example"] = c.began.Add(30 * time.Hour) })
		defer c.stop()
		waiting := 0
		for i := range 150 * 600 {
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.evil.example", i)))
			if i%15000 == 0 {
				c.Offer(dnsname.Domain(fmt.Sprintf("honest%d.example", i/15000)))
			}
			waiting = max(waiting, c.Stats().Waiting)
			time.Sleep(time.Second / 150)
		}
		time.Sleep(2 * time.Minute)
		for i := range 6 {
			if len(c.starts(dnsname.Domain(fmt.Sprintf("honest%d.example", i)))) != 1 {
				t.Errorf("honest domain %d had no run", i)
			}
		}
		if s := c.Stats(); waiting > 7 || s.Dropped != 0 {
			t.Errorf("%d wait, %+v", waiting, s)
		}
		for range 3 * 24 * 60 { // a minute each
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.evil.example", time.Since(c.began)/time.Minute)))
			time.Sleep(time.Minute)
		}
		if starts := c.starts("evil.example"); len(starts) != 1 || starts[0] > 50*time.Hour {
			t.Errorf("the organisational domain, due after 30 h, ran after %v", starts)
		}
	})
}

func TestQueuePollsTheAgenda(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, DefaultSchedule(), takes(time.Second), func(c *course) {
			c.Assessor.Deny = []dnsname.Domain{"denied.example"}
			c.due["due.example"] = c.began.Add(-time.Hour)
			c.due["later.example"] = c.began.Add(10 * time.Minute)
			c.due["denied.example"] = c.began.Add(-time.Hour)
		})
		defer c.stop()
		time.Sleep(2 * time.Minute)
		if len(c.starts("due.example")) != 1 || len(c.starts("later.example")) != 0 {
			t.Errorf("after 2 min: due %v, later %v", c.starts("due.example"), c.starts("later.example"))
		}
		time.Sleep(10 * time.Minute)
		if len(c.starts("later.example")) != 1 || len(c.starts("denied.example")) != 0 {
			t.Errorf("after 12 min: later %v, denied %v", c.starts("later.example"), c.starts("denied.example"))
		}
		if due := c.dueAt("denied.example"); due.Before(c.began.Add(5 * 24 * time.Hour)) {
			t.Errorf("a domain that is never probed is due at %s", due)
		}
		time.Sleep(9 * 24 * time.Hour)
		if n := len(c.starts("due.example")); n != 2 {
			t.Errorf("ran %d times in 9 days", n)
		}
	})
}

func TestQueueRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := func(ctx context.Context, d dnsname.Domain, s []Selector) (Facts, error) {
			if d == "fails.example" {
				return Facts{}, errors.New("ours")
			}
			return finds(blackout(failed()))(ctx, d, s)
		}
		c := runQueue(t, DefaultSchedule(), work, nil)
		defer c.stop()
		c.Offer("fails.example")
		c.Offer("dark.example")
		time.Sleep(2 * time.Minute)
		for _, d := range []dnsname.Domain{"fails.example", "dark.example"} {
			if in := time.Until(c.dueAt(d)); in < 4*time.Hour || in > 8*time.Hour {
				t.Errorf("%s is due in %s", d, in)
			}
		}
		if s := c.Stats(); s.Runs != 2 || s.Failed != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// 1,000 tarpits wait; a provider that has answered before starts at once, a new one after the
// first tarpit that ends, and every tarpit has its run in the end.
func TestQueueSurvivesTarpits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := DefaultSchedule()
		work := func(ctx context.Context, d dnsname.Domain, selectors []Selector) (Facts, error) {
			if strings.HasPrefix(string(d), "tarpit") {
				return tarpit(ctx, d, selectors)
			}
			return takes(time.Second)(ctx, d, selectors)
		}
		c := runQueue(t, s, work, func(c *course) {
			c.evidence["known.example"] = Evidence{Facts: measuredFacts()}
		})
		defer c.stop()
		for i := range 1000 {
			c.Offer(dnsname.Domain(fmt.Sprintf("tarpit%d.example", i)))
		}
		time.Sleep(5 * time.Minute)
		offered := time.Since(c.began)
		c.Offer("known.example")
		c.Offer("new.example")
		time.Sleep(5 * time.Minute)
		for _, tt := range []struct {
			domain dnsname.Domain
			within time.Duration
		}{{"known.example", s.MaxDelay}, {"new.example", s.MaxDelay + 45*time.Second}} {
			if starts := c.starts(tt.domain); len(starts) != 1 || starts[0]-offered > tt.within {
				t.Errorf("%s started at %v, offered at %s", tt.domain, starts, offered)
			}
		}
		time.Sleep(2 * time.Hour)
		if stats := c.Stats(); stats.Runs != 1002 || stats.Waiting != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// stuckFor answers nothing for as long as it may.
func stuckFor(d time.Duration) proberFunc {
	return func(ctx context.Context, domain dnsname.Domain, s []Selector) (Facts, error) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return finds(factsOf(mxHost("mx1.example.org", dialogue("192.0.2.1", dead))).with(func(f *Facts) { f.At = time.Now() }))(ctx, domain, s)
	}
}

// A new tarpit of five minutes every 20 s, for a day, each of an organisation of its own: every
// newcomer has its run, within minutes.
func TestQueueSurvivesSteadyTarpits(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	synctest.Test(t, func(t *testing.T) {
		slow, quick := stuckFor(5*time.Minute), takes(2*time.Second)
		c := runQueue(t, DefaultSchedule(), func(ctx context.Context, d dnsname.Domain, s []Selector) (Facts, error) {
			if strings.HasPrefix(string(d), "tarpit") {
				return slow(ctx, d, s)
			}
			return quick(ctx, d, s)
		}, nil)
		defer c.stop()
		offered := map[dnsname.Domain]time.Duration{}
		for i := range 24 * 180 {
			c.Offer(dnsname.Domain(fmt.Sprintf("tarpit%d.example", i)))
			if d := dnsname.Domain(fmt.Sprintf("honest%d.example", i/180)); i%180 == 90 {
				offered[d] = time.Since(c.began)
				c.Offer(d)
			}
			time.Sleep(20 * time.Second)
		}
		for d, at := range offered {
			if starts := c.starts(d); len(starts) != 1 || starts[0]-at > 10*time.Minute {
				t.Errorf("%s, offered after %s, ran at %v", d, at, starts)
			}
		}
		if s := c.Stats(); s.Waiting > 100 {
			t.Errorf("they pile up: %+v", s)
		}
	})
}

// 5,000 tarpits are due, known for long, and as many come anew: a provider that has answered
// before is probed when it is due, and so is a domain that our users write to.
func TestQueueSurvivesKnownTarpits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := func(ctx context.Context, d dnsname.Domain, s []Selector) (Facts, error) {
			if strings.HasPrefix(string(d), "tarpit") {
				return tarpit(ctx, d, s)
			}
			return takes(time.Second)(ctx, d, s)
		}
		c := runQueue(t, DefaultSchedule(), work, func(c *course) {
			for i := range QueueCapacity {
				c.due[dnsname.Domain(fmt.Sprintf("tarpit%d.example", i))] = c.began.Add(-time.Hour)
			}
			c.evidence["known.example"] = Evidence{Facts: measuredFacts()}
			c.due["known.example"] = c.began
		})
		defer c.stop()
		for i := range QueueCapacity {
			c.Offer(dnsname.Domain(fmt.Sprintf("tarpit-%d.example", i)))
		}
		c.OfferRecipient("recipient.example")
		time.Sleep(10 * time.Minute)
		for d, within := range map[dnsname.Domain]time.Duration{"known.example": 2 * time.Minute, "recipient.example": 4 * time.Minute} {
			if starts := c.starts(d); len(starts) == 0 || starts[0] > within {
				t.Errorf("%s ran after %v", d, starts)
			}
		}
	})
}

// No run lasts longer than MaxRun.
func TestQueueEndsLongRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, Schedule{Concurrency: 2, MaxAge: time.Hour, Retry: time.Hour}, takes(100*time.Hour), nil)
		defer c.stop()
		c.Offer("example.org")
		time.Sleep(MaxRun + time.Second)
		if s := c.Stats(); s.Running != 0 || s.Runs != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Run returns when its runs have, and leaves what it did not do on the agenda. The bubble
// fails if a goroutine is left.
func TestQueueStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, Schedule{Concurrency: 4, MaxAge: time.Hour, Retry: time.Hour}, takes(time.Minute), nil)
		for i := range 10 {
			c.Offer(dnsname.Domain(fmt.Sprintf("d%d.example", i)))
		}
		synctest.Wait()
		c.stop()
		if len(c.running) > 0 || len(c.saved) > 0 || len(c.due) > 0 {
			t.Errorf("running %v, saved %d, postponed %v", c.running, len(c.saved), c.due)
		}
		c.Offer("later.example") // nobody works, nothing blocks
		if s := c.Stats(); s.Running != 0 || s.Waiting != 9 {
			t.Errorf("%+v", s)
		}
	})
}

// A database that is out of order stops nothing for good.
func TestQueueSurvivesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := runQueue(t, DefaultSchedule(), takes(time.Second), func(c *course) {
			c.broken = errors.New("disk full")
			c.due["due.example"] = c.began.Add(-time.Hour)
		})
		defer c.stop()
		c.Offer("example.org")
		time.Sleep(5 * time.Minute)
		if s := c.Stats(); s.Runs != 0 || s.Waiting != 0 || s.Running != 0 {
			t.Errorf("while it is out of order: %+v", s)
		}
		c.ledger.mu.Lock()
		c.broken = nil
		c.ledger.mu.Unlock()
		c.Offer("example.org")
		time.Sleep(5 * time.Minute)
		if s := c.Stats(); s.Runs != 2 || s.Failed != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// Domains that answered last time and do not now, one after the other, are our own outage;
// newcomers that never answered are not.
func TestQueueFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blocked atomic.Bool
		work := func(ctx context.Context, d dnsname.Domain, s []Selector) (Facts, error) {
			if blocked.Load() {
				return tarpit(ctx, d, s)
			}
			return takes(0)(ctx, d, s)
		}
		var logged bytes.Buffer
		c := runQueue(t, Schedule{Concurrency: 4, MaxAge: 24 * time.Hour, Retry: time.Hour, Poll: time.Minute}, work, func(c *course) {
			c.Assessor.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		offer := func(prefix string) {
			for i := range freezeRuns {
				c.Offer(dnsname.Domain(fmt.Sprintf("%s%d.example", prefix, i)))
			}
			time.Sleep(time.Hour / 2)
		}
		offer("known")
		blocked.Store(true)
		offer("new")
		if s := c.Stats(); s.Frozen() {
			t.Errorf("newcomers make an outage: %+v", s)
		}
		offer("known")
		if s := c.Stats(); !s.Frozen() {
			t.Errorf("no outage: %+v", s)
		}
		blocked.Store(false)
		offer("known")
		if s := c.Stats(); s.Frozen() {
			t.Errorf("the outage does not end: %+v", s)
		}
		c.stop()
		if began, ended := strings.Count(logged.String(), "is port 25 blocked"), strings.Count(logged.String(), "mail hosts answer again"); began != 1 || ended != 1 {
			t.Errorf("the log says %d times that it begins, %d times that it ends:\n%s", began, ended, logged.String())
		}
	})
}

func TestScheduleNext(t *testing.T) {
	s := DefaultSchedule()
	kept := Evidence{Facts: &Facts{Kept: []Kept{{Part: "spf"}}}}
	suspected, convicted := dialogue("192.0.2.1", TLSUnknown), dialogue("192.0.2.1", TLSFailed)
	suspected.Suspect, convicted.Suspect = TLSFailed, TLSFailed
	unasked := Evidence{Facts: factsOf(mxHost("mx1.example.org", SMTPFacts{Reason: ReasonBudgetExhausted, Problem: "budget: 40 dialogues with 192.0.2.0/24 in a day"}))}
	late := Evidence{Facts: factsOf(mxHost("mx1.example.org", SMTPFacts{Reason: ReasonRunOver, Problem: "ehlo: the run was over"}))}
	for _, tt := range []struct {
		name   string
		a      Assessment
		err    error
		random float64
		want   time.Duration
	}{
		{"scored", Assessment{Status: StatusScored}, nil, 0.5, s.MaxAge},
		{"the earliest", Assessment{Status: StatusScored}, nil, 0, s.MaxAge * 8 / 10},
		{"no mail", Assessment{Status: StatusNoMail}, nil, 0.5, s.MaxAge},
		{"unknown", Assessment{Status: StatusUnknown}, nil, 0.5, s.Retry},
		{"partly kept", Assessment{Status: StatusScored, Evidence: kept}, nil, 0.5, s.Retry},
		{"a suspicion", Assessment{Status: StatusScored, Evidence: Evidence{Facts: factsOf(mxHost("mx1", suspected))}}, nil, 0.5, s.Retry},
		{"a conviction", Assessment{Status: StatusScored, Evidence: Evidence{Facts: factsOf(mxHost("mx1", convicted))}}, nil, 0.5, s.MaxAge},
		{"an address was not asked", Assessment{Status: StatusScored, Evidence: unasked}, nil, 0.5, s.Retry},
		{"an address was asked too late", Assessment{Status: StatusScored, Evidence: late}, nil, 0.5, s.Retry},
		{"an error", Assessment{Status: StatusScored}, errors.New("ours"), 0.5, s.Retry},
	} {
		if got := s.Next(tt.a, tt.err, testTime, tt.random).Sub(testTime); got.Round(time.Second) != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if latest := s.Next(Assessment{}, nil, testTime, 0.999999).Sub(testTime); latest > s.MaxAge*12/10 {
		t.Errorf("the latest is %s", latest)
	}
}
