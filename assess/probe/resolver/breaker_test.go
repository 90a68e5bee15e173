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
		events string // one a second: t timeout, a answer, . nothing
		opens  bool
	}{
		{"four timeouts", "tttt", false},
		{"five timeouts", "ttttt", true},
		{"five within ten seconds", "tt....tt.t", true},
		{"five within eleven seconds", "tt....tt..t", false},
		{"one each three seconds", strings.Repeat("t..", 20), false},
		{"an answer in between", "ttttattttatttt", false},
		{"answers, then five timeouts", "aaatatttt", false},
		{"answers, then five timeouts in a row", "aaataattttt", true},
	}
	for _, tt := range tests {
		var b breaker
		now, opened := time.Unix(0, 0), false
		for _, event := range tt.events {
			switch event {
			case 't':
				opened = b.timedOut(now) || opened
			case 'a':
				b.answered()
			}
			now = now.Add(time.Second)
		}
		if opened != tt.opens || b.closed(now) == tt.opens {
			t.Errorf("%s: opened %v, want %v", tt.name, opened, tt.opens)
		}
		if !b.closed(now.Add(breakerPause)) {
			t.Errorf("%s: still open %v later", tt.name, breakerPause)
		}
	}
}

func TestBreakerOfResolver(t *testing.T) {
	var c clock
	s := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{Timeout: 500 * time.Millisecond, Now: c.now}, s.Addr())
	asked := 0
	timeouts := func(n int) {
		t.Helper()
		var wg sync.WaitGroup
		for range n {
			asked++
			name := fmt.Sprintf("slow%d.example", asked)
			s.Fail(name+" A", probetest.Timeout)
			wg.Go(func() {
				if got := r.Query(ctx, name, A); got.Reason != ReasonTimeout {
					t.Errorf("%s: %+v", name, got)
				}
			})
		}
		wg.Wait()
	}
	timeouts(breakerTimeouts - 1)
	r.Query(ctx, "answered.example", A)
	timeouts(1)
	if got := r.Query(ctx, "closed.example", A); got.Status != NXDomain {
		t.Errorf("after an answer in between: %+v", got)
	}
	timeouts(breakerTimeouts)
	if got := r.Query(ctx, "open.example", A); got.Reason != ReasonBreaker || got.TTL != 0 {
		t.Errorf("while open: %+v", got)
	}
	if got := r.Query(ctx, "closed.example", A); got.Status != NXDomain {
		t.Errorf("from the cache while open: %+v", got)
	}
	c.advance(breakerPause)
	if got := r.Query(ctx, "open.example", A); got.Status != NXDomain {
		t.Errorf("after the pause: %+v", got)
	}
	if n := s.Queries()["open.example A"]; n != 1 {
		t.Errorf("%d questions were sent, want one after the pause", n)
	}
}
