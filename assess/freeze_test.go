package assess

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerscore/assess/dnsname"
)

// population is many organisations that vote at a clock of its own.
type population struct {
	t      *testing.T
	freeze Freeze
	now    time.Time

	watched bool // nothing may ever freeze
}

// voter is an organisation that has been known for a month, with a host in a network of its own.
func voter(kind string, i int) Vote {
	return Vote{
		Organisation: dnsname.Domain(fmt.Sprintf("%s%d.example", kind, i)), Since: testTime.AddDate(0, -1, 0),
		Host: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32),
	}
}

func (p *population) vote(v Vote, failed bool) {
	v.At, v.Failed = p.now, failed
	before := p.freeze.Frozen()
	if changed := p.freeze.Add(v); changed != (p.freeze.Frozen() != before) {
		p.t.Errorf("changed %t, frozen before %t, after %t", changed, before, p.freeze.Frozen())
	}
	if p.watched && p.freeze.Frozen() {
		p.t.Fatalf("frozen at %v", p.now)
	}
}

// heard lets n organisations of a kind vote, one every interval.
func (p *population) heard(kind string, n int, interval time.Duration, failed bool) {
	for i := range n {
		p.now = p.now.Add(interval)
		p.vote(voter(kind, i), failed)
	}
}

// A fault of our own is noticed within the time in which some thirty organisations are heard,
// and not before an hour; any three organisations that pass show that it is over.
func TestFreeze(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bulk     bool
		interval time.Duration // between two votes
		before   int           // votes before the fault
		within   time.Duration // of the fault
	}{
		{"a busy server", false, time.Minute, 2000, 61 * time.Minute},
		{"a quiet one", false, 20 * time.Minute, 100, 15 * time.Hour},
		{"right after the start", false, time.Minute, 0, 61 * time.Minute},
		{"a list", true, 20 * time.Millisecond, 5000, time.Second},
		{"a list from the first on", true, 20 * time.Millisecond, 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &population{t: t, freeze: Freeze{Bulk: tt.bulk}, now: testTime}
			p.heard("peer", tt.before, tt.interval, false)
			began := p.now
			for i := 0; !p.freeze.Frozen() && p.now.Sub(began) < tt.within; i++ {
				p.now = p.now.Add(tt.interval)
				p.vote(voter("peer", i), true)
			}
			if took := p.now.Sub(began); !p.freeze.Frozen() || !tt.bulk && took < 55*time.Minute {
				t.Fatalf("frozen %t after %v", p.freeze.Frozen(), took)
			}
			t.Logf("frozen after %v", p.now.Sub(began))
			p.heard("peer", 100, tt.interval, true)
			for _, i := range []int{1, 2, 1, 2} { // two organisations, however often
				p.vote(voter("peer", i), false)
			}
			if !p.freeze.Frozen() {
				t.Error("two organisations ended it")
			}
			p.vote(Vote{Organisation: "new.example", Since: p.now.AddDate(0, 0, -6)}, false)
			if !p.freeze.Frozen() {
				t.Error("a newcomer ended it")
			}
			p.vote(voter("peer", 3), false)
			if p.freeze.Frozen() {
				t.Error("three organisations that pass did not end it")
			}
		})
	}
}

// What is no freeze: what newcomers do, what happens over months, what comes in a burst while
// others pass, and what comes of one organisation or one network.
func TestNoFreeze(t *testing.T) {
	for name, play := range map[string]func(p *population){
		"twenty cheap newcomers": func(p *population) {
			for i := range 200 {
				p.now = p.now.Add(time.Minute)
				v := voter("cheap", i%20)
				v.Since = p.now.AddDate(0, 0, -7)
				p.vote(v, true)
			}
		},
		"of whom nothing is known": func(p *population) {
			for i := range 200 {
				p.now = p.now.Add(time.Minute)
				p.vote(Vote{Organisation: voter("x", i).Organisation, Host: voter("x", i).Host}, true)
			}
		},
		"slowly": func(p *population) { p.heard("peer", 200, 2*time.Hour, true) },
		"one organisation": func(p *population) {
			for range 500 {
				p.heard("peer", 1, time.Minute, true)
			}
		},
		"a third": func(p *population) {
			for i := range 600 {
				p.now = p.now.Add(time.Minute)
				p.vote(voter("peer", i), i%3 == 0)
			}
		},
		"a burst of a hundred old ones": func(p *population) {
			for range 50 {
				p.heard("honest", 20, 5*time.Minute, false)
				p.heard("patient", 100, time.Millisecond, true)
			}
		},
		"a burst right after the start": func(p *population) { p.heard("patient", 1000, time.Millisecond, true) },
		"who pass in a burst and fail in the next": func(p *population) {
			p.heard("honest", 100, 10*time.Minute, false)
			for range 50 {
				p.heard("patient", 100, time.Millisecond, false)
				p.heard("patient", 100, time.Millisecond, true)
				p.heard("honest", 3, 5*time.Minute, false)
			}
		},
		"many on few networks": func(p *population) {
			for i := range 1000 {
				v := voter("hosted", i)
				v.Host = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % (freezeNetworks - 1)), byte(i)}), 32)
				p.now = p.now.Add(time.Minute)
				p.vote(v, true)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &population{t: t, now: testTime, watched: true}
			play(p)
		})
	}
}

// A clock that was years ahead neither begins a freeze nor keeps one.
func TestFreezeClock(t *testing.T) {
	p := &population{t: t, now: testTime.AddDate(10, 0, 0)}
	p.heard("peer", 200, time.Minute, true)
	if !p.freeze.Frozen() {
		t.Fatal("not frozen")
	}
	p.now = testTime
	p.heard("peer", 1, time.Minute, true)
	if p.freeze.Frozen() {
		t.Error("still frozen once the clock is right")
	}
	p.heard("peer", 200, time.Minute, true)
	if !p.freeze.Frozen() {
		t.Error("not frozen by what happens now")
	}
}

// What is remembered is what was heard within a day.
func TestFreezeForgets(t *testing.T) {
	p := &population{t: t, now: testTime}
	p.heard("peer", 20_000, time.Minute, true)
	if n := len(p.freeze.heard); n > 26*60 || len(p.freeze.failing) > n {
		t.Errorf("%d voters and %d failures are remembered", n, len(p.freeze.failing))
	}
}
