package resolver

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

// clock is a Now that tests move on.
type clock struct{ elapsed atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.elapsed.Load()))
}

func (c *clock) advance(d time.Duration) { c.elapsed.Add(int64(d)) }

func TestCacheHoldsForTTL(t *testing.T) {
	s := serve(t, probetest.DNSConfig{
		Zones:    []probetest.Zone{{Name: "example", Records: "x 60 A 192.0.2.1\nzero 0 A 192.0.2.1\n@ 900 SOA ns h 1 2 3 4 30\n"}},
		Failures: map[string]probetest.Failure{"broken.example *": probetest.ServFail},
	})
	for name, ttl := range map[string]time.Duration{
		"x.example":       time.Minute,
		"nothing.example": 30 * time.Second,
		"broken.example":  failureTTL,
		"zero.example":    minTTL,
	} {
		var c clock
		r := newResolver(t, Config{Now: c.now}, s.Addr())
		before := s.Queries()[name+" A"]
		first := r.Query(ctx, name, A)
		c.advance(ttl - time.Second)
		again := r.Query(ctx, strings.ToUpper(name)+".", A)
		if again.TTL != time.Second || summary(again) != summary(first) {
			t.Errorf("%s from the cache: %+v, at first %+v", name, again, first)
		}
		if n := s.Queries()[name+" A"] - before; n != 1 {
			t.Errorf("%s was asked for %d times within its TTL", name, n)
		}
		c.advance(time.Second)
		r.Query(ctx, name, A)
		if n := s.Queries()[name+" A"] - before; n != 2 {
			t.Errorf("%s was asked for %d times, want again after %v", name, n, ttl)
		}
	}
}

// A failure that is met again is kept twice as long, up to a minute, and a name that has answered
// since, or was left in peace for a minute, begins anew.
func TestFailuresInARow(t *testing.T) {
	var c clock
	s := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{Now: c.now}, s.Addr())
	for _, tt := range []struct {
		failure probetest.Failure
		after   time.Duration // the end of what was kept before
		want    time.Duration
	}{
		{probetest.ServFail, 0, 5 * time.Second},
		{probetest.ServFail, 0, 10 * time.Second},
		{probetest.Refused, 0, 20 * time.Second},
		{probetest.ServFail, 0, 40 * time.Second},
		{probetest.ServFail, 0, time.Minute},
		{probetest.ServFail, 59 * time.Second, time.Minute},
		{probetest.ServFail, time.Minute, 5 * time.Second},
		{probetest.ServFail, 0, 10 * time.Second},
		{"", 0, time.Minute},
		{probetest.ServFail, 0, 5 * time.Second},
	} {
		s.Fail("x.example A", tt.failure)
		c.advance(tt.after)
		got := r.Query(ctx, "x.example", A)
		if got.TTL != tt.want {
			t.Errorf("%q is kept for %v, want %v", tt.failure, got.TTL, tt.want)
		}
		c.advance(got.TTL)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const capacity = 100
	now := time.Now()
	c := newCache(capacity)
	put := func(name string, size int) {
		q := question{name, TXT}
		c.land(q, &flight{done: make(chan struct{})}, Answer{Status: Found, TTL: time.Minute, Records: []string{strings.Repeat("x", size)}}, now)
	}
	check := func() {
		t.Helper()
		weight := 0
		for _, e := range c.entries {
			weight += e.weight
		}
		if weight != c.weight || weight > capacity {
			t.Fatalf("the entries weigh %d, counted as %d, of %d", weight, c.weight, capacity)
		}
	}
	for i := range 3 * capacity {
		put(fmt.Sprintf("n%d", i), 10)
		check()
	}
	if len(c.entries) != capacity {
		t.Errorf("%d small entries, want %d", len(c.entries), capacity)
	}
	for i := range capacity {
		put(fmt.Sprintf("large%d", i), 10*weightUnit)
		check()
	}
	put("n1", 10)
	put("n1", 5*weightUnit)
	check()
	if a, _, _ := c.find(question{"n1", TXT}, now, false); len(a.Records) != 1 || len(a.Records[0]) != 5*weightUnit {
		t.Error("the last answer is not in the cache")
	}
	put("huge", 2*capacity*weightUnit)
	check()
	if a, _, _ := c.find(question{"huge", TXT}, now, false); a.Status != "" {
		t.Error("an answer larger than the cache was kept")
	}
}
