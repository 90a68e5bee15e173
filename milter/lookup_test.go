package milter

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess/spf"
)

// forgetful is a resolver that has nothing in memory but what is named.
type forgetful struct {
	zone
	but string
}

func (f forgetful) remembers(ctx context.Context, name string) error {
	if strings.EqualFold(name, f.but) {
		return nil
	}
	return ctx.Err()
}

func (f forgetful) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := f.remembers(ctx, name); err != nil {
		return nil, err
	}
	return f.zone.LookupTXT(ctx, name)
}

func (f forgetful) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := f.remembers(ctx, addr); err != nil {
		return nil, err
	}
	return f.zone.LookupAddr(ctx, addr)
}

// A lookup is made once where memory has all of it, else once more with the resolver.
func TestLookUp(t *testing.T) {
	ask := func(r spf.Resolver) {
		_, _ = r.LookupTXT(t.Context(), "example.org")
		_, _ = r.LookupTXT(t.Context(), "absent.example")
	}
	for _, tt := range []struct {
		name     string
		resolver spf.Resolver
		look     func(spf.Resolver)
		times    int
	}{
		{"all in memory, absence too", world, ask, 1},
		{"nothing in memory", forgetful{world, ""}, ask, 2},
		{"half of it", forgetful{world, "example.org"}, ask, 2},
		{"a failure in memory", zone{"TXT example.org": {"SERVFAIL"}}, ask, 2},
		{"a panic", world, func(spf.Resolver) { panic("a bug") }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &evaluation{
				watch: &stopwatch{budget: &budget{}}, contain: newLab(t, world).server.contain, resolver: newNotes(unlimited{tt.resolver}),
			}
			times := 0
			<-e.lookUp(func(r spf.Resolver) {
				times++
				tt.look(r)
			})
			if times != tt.times {
				t.Errorf("looked %d times, want %d", times, tt.times)
			}
		})
	}
}

// asking counts what it is asked for, and waits as long as it is told to.
type asking struct {
	zone
	asked map[string]int
}

func (a asking) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a.asked[name]++
	if err := ctx.Err(); err != nil && name == "late.example" {
		return nil, err
	}
	return a.zone.LookupTXT(ctx, name)
}

// A message asks nothing twice, be the answer that there is none or that it cannot be had; but
// what its own haste cut short is asked again, and so is what is too long to be kept.
func TestNotes(t *testing.T) {
	long := strings.Repeat("x", maxTold+1)
	a := asking{zone{
		"TXT here.example": {"text"}, "TXT broken.example": {"SERVFAIL"}, "TXT late.example": {"late"}, "TXT long.example": {long},
	}, map[string]int{}}
	n := newNotes(unlimited{a})
	for _, tt := range []struct {
		name, want string
		times      int
	}{
		{"here.example", "text", 1},
		{"absent.example", "", 1},
		{"broken.example", "", 2}, // the first failure may be one of the time, which was over
		{"late.example", "late", 2},
		{"long.example", long, 4},
	} {
		_, _ = n.cached().LookupTXT(t.Context(), tt.name)
		for range 3 {
			texts, err := n.LookupTXT(t.Context(), tt.name)
			if strings.Join(texts, "") != tt.want || (err == nil) != (tt.want != "") || err != nil && isNotFound(err) != (tt.name == "absent.example") {
				t.Errorf("%s: %.20q, %v", tt.name, texts, err)
			}
		}
		if a.asked[tt.name] != tt.times {
			t.Errorf("%s was asked for %d times, want %d", tt.name, a.asked[tt.name], tt.times)
		}
	}
}

// SPF passes over a "ptr" that it cannot look up (RFC 7208, section 5.5): what is not in memory
// must not be taken for that.
func TestLookUpNeverDecidesOnAGap(t *testing.T) {
	z := zone{
		"TXT example.org":               {"v=spf1 ptr -all"},
		"PTR " + outbound.Addr.String(): {"mx.example.org."}, "ip4 mx.example.org": {outbound.Addr.String()},
	}
	l := newLab(t, z, func(c *Config) {
		c.Resolver, c.Policy.AuthenticationResults = always(forgetful{z, "example.org"}), true
	})
	delivered := l.send(t, outbound, fromExample(t))
	if got := values(delivered, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "spf=pass") {
		t.Errorf("%q", got)
	}
}

// countedAsks counts the questions that reach a resolver.
type countedAsks struct {
	spf.Resolver
	asked *atomic.Int64
}

func (c countedAsks) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.asked.Add(1)
	return c.Resolver.LookupTXT(ctx, name)
}

// Goroutines of one message that want to know the same at once ask it once. Who cannot wait is
// not kept, and an answer that was cut short is nobody's.
func TestSameQuestionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		n := newNotes(unlimited{countedAsks{slow{world, time.Second}, &asked}})
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		first := make(chan error)
		go func() { _, err := n.LookupTXT(short, "example.org"); first <- err }()
		synctest.Wait()
		if _, err := n.cached().LookupTXT(t.Context(), "example.org"); !errors.Is(err, errUnderWay) {
			t.Errorf("from memory: %v", err)
		}
		var others sync.WaitGroup
		for range 5 {
			others.Go(func() {
				if texts, err := n.LookupTXT(t.Context(), "example.org"); len(texts) != 1 || err != nil {
					t.Errorf("%q, %v", texts, err)
				}
			})
		}
		if err := <-first; err == nil {
			t.Error("the first waited longer than it could")
		}
		others.Wait()
		if got := asked.Load(); got != 2 { // the first, which was cut short, and one of the others
			t.Errorf("asked %d times", got)
		}
	})
}
