package resolver

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

func TestBreaker(t *testing.T) {
	tests := []struct {
		name   string
		events string // one a second: t a timeout of one more organisation, s of the first once more, o of a question from before, a an answer, . nothing
		asks   bool   // for the control question
	}{
		{"four timeouts", "tttt", false},
		{"five timeouts", "ttttt", true},
		{"nine of four organisations", "tsstssttss", false},
		{"five of five organisations, one of them twice", "tsttstt", true},
		{"five within ten seconds", "tt....tt.t", true},
		{"five within eleven seconds", "tt....tt..t", false},
		{"one each three seconds", strings.Repeat("t..", 20), false},
		{"an answer in between", "ttttattttatttt", false},
		{"answers, then five timeouts", "aaatatttt", false},
		{"answers, then five timeouts in a row", "aaataattttt", true},
		{"five of questions that began before the answer", "aooooo", false},
	}
	for _, tt := range tests {
		var b breaker
		now, asked := time.Unix(0, 0), 0
		for i, event := range tt.events {
			organisation := "first.example"
			switch event {
			case 't':
				organisation = fmt.Sprintf("n%d.example", i)
				if i == 0 {
					organisation = "first.example"
				}
				fallthrough
			case 's', 'o':
				began := now
				if event == 'o' {
					began, organisation = time.Unix(-1, 0), fmt.Sprint(i)
				}
				if b.timedOut(organisation, began, now) {
					asked++
				}
			case 'a':
				b.answered(now)
			}
			now = now.Add(time.Second)
		}
		if want := map[bool]int{true: 1}[tt.asks]; asked != want {
			t.Errorf("%s: the control question was asked %d times, want %d", tt.name, asked, want)
		}
		if closed, _ := b.closed(now); !closed {
			t.Errorf("%s: open before the control question decides", tt.name)
		}
	}
}

// The control question decides, any other reply stands in for its own, and after the pause it
// is asked again, once.
func TestBreakerSettles(t *testing.T) {
	begin := time.Unix(0, 0)
	suspected := func() *breaker {
		b := &breaker{}
		for i := range breakerTimeouts {
			if b.timedOut(fmt.Sprint(i), begin, begin) != (i == breakerTimeouts-1) {
				t.Fatal("the control question was asked at another timeout than the last")
			}
		}
		return b
	}
	if b := suspected(); b.settle(false, begin) {
		t.Error("opened by a control question that was answered")
	}
	b := suspected()
	b.answered(begin)
	if b.settle(true, begin) {
		t.Error("opened although another question was answered meanwhile")
	}
	b = suspected()
	if !b.settle(true, begin) {
		t.Fatal("not opened")
	}
	for _, tt := range []struct {
		after           time.Duration
		closed, control bool
	}{{0, false, false}, {breakerPause - 1, false, false}, {breakerPause, true, true}, {breakerPause, true, false}} {
		if closed, control := b.closed(begin.Add(tt.after)); closed != tt.closed || control != tt.control {
			t.Errorf("%v after it opened: closed %v, control %v", tt.after, closed, control)
		}
	}
	if !b.settle(true, begin.Add(breakerPause)) {
		t.Error("not opened again while nobody answers")
	}
	b.answered(begin)
	if closed, control := b.closed(begin.Add(breakerPause)); !closed || control {
		t.Error("open although a question was answered")
	}
}

// labs is a resolver and its server, with names that time out.
type labs struct {
	*testing.T
	server   *probetest.DNS
	resolver *Resolver
	asked    int
}

func newLabs(t *testing.T, now func() time.Time) *labs {
	l := &labs{T: t, server: serve(t, probetest.DNSConfig{})}
	l.resolver = newResolver(t, Config{Timeout: 500 * time.Millisecond, Now: now}, l.server.Addr())
	return l
}

// timeOut asks for n names at once that time out, each of a domain of its own or below one.
func (l *labs) timeOut(n int, below string) {
	l.Helper()
	var wg sync.WaitGroup
	for range n {
		l.asked++
		name := fmt.Sprintf("slow%d%s", l.asked, below)
		l.server.Fail(name+" A", probetest.Timeout)
		wg.Go(func() {
			if got := l.resolver.Query(ctx, name, A); got.Reason != ReasonTimeout {
				l.Errorf("%s: %+v", name, got)
			}
		})
	}
	wg.Wait()
}

// settled waits until no control question is under way.
func (l *labs) settled() {
	for asking := true; asking; {
		l.resolver.breaker.mu.Lock()
		asking = l.resolver.breaker.asking
		l.resolver.breaker.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// One message may name any number of domains whose name servers are silent: everybody else's
// questions go on, and the control question is asked once a burst.
func TestSilentNamesDecideNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newLabs(t, time.Now)
	l.timeOut(4*breakerTimeouts, ".example")
	l.settled()
	if got := l.resolver.Query(ctx, "honest.example", A); got.Status != NXDomain {
		t.Errorf("after a burst of silent names: %+v", got)
	}
	if n := l.server.Queries()[". NS"]; n != 1 {
		t.Errorf("the control question was asked %d times, want once", n)
	}
	l.timeOut(2*breakerTimeouts, ".one.example")
	l.settled()
	if n := l.server.Queries()[". NS"]; n != 1 {
		t.Error("names of one organisation had the control question asked")
	}
}

func TestBreakerOfResolver(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	var c clock
	l := newLabs(t, c.now)
	l.server.Fail(". NS", probetest.Timeout)
	l.timeOut(breakerTimeouts-1, ".example")
	l.resolver.Query(ctx, "answered.example", A)
	l.timeOut(1, ".example")
	l.settled()
	if got := l.resolver.Query(ctx, "closed.example", A); got.Status != NXDomain {
		t.Errorf("after an answer in between: %+v", got)
	}
	l.timeOut(breakerTimeouts, ".example")
	l.settled()
	if got := l.resolver.Query(ctx, "open.example", A); got.Reason != ReasonBreaker || got.TTL != 0 {
		t.Errorf("while open: %+v", got)
	}
	if got := l.resolver.Query(ctx, "closed.example", A); got.Status != NXDomain {
		t.Errorf("from the cache while open: %+v", got)
	}
	c.advance(breakerPause)
	l.timeOut(1, ".example") // and the control question beside it
	l.settled()
	if got := l.resolver.Query(ctx, "open.example", A); got.Reason != ReasonBreaker {
		t.Errorf("after a pause, while nobody answers: %+v", got)
	}
	l.server.Fail(". NS", "")
	c.advance(breakerPause)
	if got := l.resolver.Query(ctx, "open.example", A); got.Status != NXDomain {
		t.Errorf("after the pause: %+v", got)
	}
	if n := l.server.Queries()["open.example A"]; n != 1 {
		t.Errorf("%d questions were sent, want one after the pause", n)
	}
}

func TestOrganisation(t *testing.T) {
	for name, want := range map[string]string{
		"a.b.example.org":                     "example.org",
		"_dmarc.example.co.uk":                "example.co.uk",
		"co.uk":                               "co.uk",
		"org":                                 "org",
		".":                                   ".",
		"1.2.0.192.in-addr.arpa":              "2.0.192.in-addr.arpa",
		"192.in-addr.arpa":                    "192.in-addr.arpa",
		strings.Repeat("a.", 32) + "ip6.arpa": strings.Repeat("a.", 12) + "ip6.arpa",
	} {
		if got := organisation(name); got != want {
			t.Errorf("%s is of %s, want %s", name, got, want)
		}
	}
}
