package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess/dnsname"
)

// network is the i-th of many networks.
func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{5, byte(i >> 8), byte(i), 0}), 24)
}

// track follows the dialogues that a budget admits.
type track struct {
	*budget
	mu      sync.Mutex
	starts  []time.Time
	names   []string
	running map[class]int
	all     int // at once
	wg      sync.WaitGroup
}

func newTrack(limits Limits) *track {
	return &track{budget: newBudget(limits), running: map[class]int{}}
}

// want asks for a dialogue that takes so long.
func (k *track) want(name string, c class, n netip.Prefix, takes time.Duration) {
	k.wg.Go(func() {
		done, err := k.admit(context.Background(), c, n, dnsname.Domain(n.String()))
		if err != nil {
			return
		}
		k.mu.Lock()
		k.starts, k.names = append(k.starts, time.Now()), append(k.names, name)
		k.running[c]++
		k.all = max(k.all, k.running[proven]+k.running[newcomer]+k.running[further]+k.running[failing])
		k.mu.Unlock()
		time.Sleep(takes)
		k.mu.Lock()
		k.running[c]--
		k.mu.Unlock()
		done()
	})
	synctest.Wait() // so that they come in the order of the test
}

// now is how many run, of some classes.
func (k *track) now(classes ...class) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, c := range classes {
		n += k.running[c]
	}
	return n
}

// 30 begin within a minute, also in the first one, which may not be the first of the host.
func TestBudgetOfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, began := newTrack(DefaultLimits()), time.Now()
		for i := range 100 {
			k.want("", proven, network(i), 0)
		}
		k.wg.Wait()
		for i, start := range k.starts {
			if i >= 30 && start.Sub(k.starts[i-30]) < time.Minute {
				t.Errorf("31 begin within %s", start.Sub(k.starts[i-30]))
			}
		}
		if took := time.Since(began); len(k.starts) != 100 || took < 3*time.Minute || took > 200*time.Second {
			t.Errorf("%d began within %s", len(k.starts), took)
		}
		if in := k.starts[29].Sub(began); in < 57*time.Second {
			t.Errorf("a new process begins 30 within %s", in)
		}
	})
}

// 16 at once, of which 8 are for those that answered well; those who are past their share wait
// and keep nobody else waiting.
func TestBudgetAtOnce(t *testing.T) {
	for _, tt := range []struct {
		atOnce, reserved int
		all, unproven    int // at once in the end
	}{
		{16, 8, 16, 8},
		{8, 8, 8, 4}, // or newcomers would never be asked
		{1, 8, 1, 1},
		{64, 8, 64, 56},
	} {
		t.Run(fmt.Sprint(tt.atOnce, tt.reserved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := BulkLimits()
				limits.AtOnce, limits.Reserved = tt.atOnce, tt.reserved
				k := newTrack(limits)
				time.Sleep(time.Minute)
				for i := range 100 {
					k.want("", []class{newcomer, further, failing}[i%3], network(i), 45*time.Second)
				}
				if got := k.now(newcomer, further, failing); got != tt.unproven {
					t.Errorf("%d newcomers and failing ones at once", got)
				}
				for i := range 100 {
					k.want("", proven, network(100+i), 45*time.Second)
				}
				if got := k.now(proven); got != tt.all-tt.unproven {
					t.Errorf("%d proven ones beside", got)
				}
				k.wg.Wait()
				if k.all != tt.all {
					t.Errorf("%d at once", k.all)
				}
			})
		})
	}
}

// The proven come before all others; newcomers and failing addresses by turns, further ones of a
// run after them; and of each the oldest and the newest by turns. A network that is busy is
// passed over.
func TestBudgetOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := BulkLimits()
		limits.AtOnce, limits.Reserved = 2, 0
		k := newTrack(limits)
		time.Sleep(time.Minute)
		k.want("first", newcomer, network(0), time.Second)
		k.want("second", newcomer, network(1), 10*time.Second)
		for _, w := range []struct {
			name    string
			class   class
			network int
		}{{"failing", failing, 2}, {"further", further, 7}, {"old newcomer", newcomer, 3}, {"busy", proven, 1}, {"old", proven, 4}, {"new newcomer", newcomer, 5}, {"new", proven, 6}} {
			k.want(w.name, w.class, network(w.network), time.Second)
		}
		k.wg.Wait()
		if want := []string{"first", "second", "old", "new", "failing", "old newcomer", "new newcomer", "further", "busy"}; !slices.Equal(k.names, want) {
			t.Errorf("%q, want %q", k.names, want)
		}
	})
}

// Of what has not answered before, an organisation has one dialogue at a time; what has is not
// kept waiting by it, nor is an operator who chose the domains.
func TestBudgetOfOrganisation(t *testing.T) {
	for _, tt := range []struct {
		class   class
		foreign bool
		want    int // at once
	}{{newcomer, true, 1}, {failing, true, 1}, {further, true, 1}, {proven, true, 3}, {newcomer, false, 3}} {
		synctest.Test(t, func(t *testing.T) {
			limits := BulkLimits()
			limits.Foreign = tt.foreign
			b := newBudget(limits)
			var running atomic.Int32
			time.Sleep(time.Minute)
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() {
					done, err := b.admit(t.Context(), tt.class, network(i), "one.example")
					must(t, err)
					running.Add(1)
					time.Sleep(time.Second)
					running.Add(-1)
					done()
				})
			}
			synctest.Wait()
			if got := int(running.Load()); got != tt.want {
				t.Errorf("class %d, foreign %v: %d at once", tt.class, tt.foreign, got)
			}
			all.Wait()
			if len(b.unproven) != 0 || b.slow != 0 {
				t.Errorf("left: %+v", b)
			}
		})
	}
}

// One more newcomer that takes all the time there is, twice a second for ten minutes, keeps
// neither the older ones waiting for ever nor those that come last.
func TestBudgetStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := BulkLimits()
		limits.AtOnce, limits.Reserved = 16, 8
		k := newTrack(limits)
		for i := range 1200 {
			k.want(fmt.Sprint(i), newcomer, network(i), 45*time.Second)
			time.Sleep(time.Second / 2)
		}
		k.mu.Lock()
		began := slices.Clone(k.names)
		k.mu.Unlock()
		// Half of what began was the oldest there was.
		for i := range len(began) / 2 {
			if !slices.Contains(began, fmt.Sprint(i)) {
				t.Errorf("number %d of 1200 still waits; %d began", i, len(began))
			}
		}
		if !slices.ContainsFunc(began, func(name string) bool { i, _ := strconv.Atoi(name); return i > 1000 }) {
			t.Error("none that came of late has begun")
		}
		k.wg.Wait()
	})
}

// Who waits in vain holds nothing.
func TestBudgetGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := BulkLimits()
		limits.AtOnce = 1
		b := newBudget(limits)
		done, err := b.admit(t.Context(), newcomer, network(0), "a.example")
		must(t, err)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.admit(short, newcomer, network(1), "b.example"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		done()
		done, err = b.admit(t.Context(), newcomer, network(1), "b.example")
		must(t, err)
		done()
		if b.running != 0 || b.slow != 0 || len(b.unproven) != 0 || len(b.busy) != 0 || len(b.waiting[newcomer]) != 0 {
			t.Errorf("left: %+v", b)
		}
	})
}

// 50 queries in any second over all runs, in the order of their asking.
func TestQueryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newQueryLimit(DefaultLimits().QueriesPerSecond)
		var mu sync.Mutex
		var sent []time.Time
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				for range 50 {
					if l.Wait(t.Context()) == nil {
						mu.Lock()
						sent = append(sent, time.Now())
						mu.Unlock()
					}
				}
			})
		}
		runs.Wait()
		for i := 50; i < len(sent); i++ {
			if within := sent[i].Sub(sent[i-50]); within < time.Second {
				t.Errorf("51 queries within %s", within)
			}
		}
		if took := sent[len(sent)-1].Sub(sent[0]); len(sent) != 200 || took != 3*time.Second {
			t.Errorf("%d queries in %s", len(sent), took)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		began := time.Now()
		if err := l.Wait(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 0 {
			t.Errorf("past its deadline: %v after %s", err, time.Since(began))
		}
		canceled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/4, cancel)
		if err := l.Wait(canceled); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second/4 {
			t.Errorf("canceled: %v after %s", err, time.Since(began))
		}
	})
}
