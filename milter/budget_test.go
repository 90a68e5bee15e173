package milter

import (
	"bytes"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess/dkim"
	"peerscore/milter/miltertest"
)

// A message that costs too much is accepted, and nothing is concluded from it; the log says why.
func TestBudget(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"verify": func(*Config) {},
		"trust":  func(c *Config) { c.Policy.Authentication = Trust },
		"lookups": func(c *Config) {
			c.Resolver = always(slow{world, time.Millisecond}) // which no goroutine has in memory
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, world, change)
			l.server.cpuBudget = 1
			l.ledger.standings["example.org"] = standing(5, 5, 5)
			m := fromExample(t)
			m.Data = append(m.Data, strings.Repeat("x\r\n", 100_000)...)
			got := l.answer(t, outbound, m).Inserted()
			if len(got) != 1 || !strings.HasSuffix(got[0], "status=unknown") || len(l.ledger.observations) != 0 {
				t.Errorf("inserted %q, observations %+v", got, l.ledger.observations)
			}
			if s := l.server.Stats(); s.NotEvaluated != 1 || s.Limits["cpu"] != 1 {
				t.Errorf("%+v", s)
			}
			if !strings.Contains(l.logged.String(), `row=incomplete domain=example.org`) || !strings.Contains(l.logged.String(), `problem="too much CPU time"`) {
				t.Errorf("log: %s", l.logged)
			}
		})
	}
}

// The limits are counted, each once for a message.
func TestLimitsAreCounted(t *testing.T) {
	own := string(fromExample(t).Data)
	sig := fieldOf(own)
	for name, text := range map[string]string{
		"header":      strings.Repeat("X: y\r\n", maxFields) + own,
		"blank_lines": own + strings.Repeat("\r\n", maxBlankRun) + "x\r\n",
		"folds":       edit(own, "Subject: ", "Subject: "+strings.Repeat("x\r\n ", 5_000)),
		"body":        sig + sig + own + strings.Repeat("x", maxSharedBody),
		"signature":   edit(own, "h=From", "h=From"+strings.Repeat(":x", dkim.MaxSignedNames)),
	} {
		l := newLab(t, world)
		l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(text)})
		for limit, n := range l.server.Stats().Limits {
			if want := limit == name; (n == 1) != want || n > 1 {
				t.Errorf("%s: %s counted %d times\n%s", name, limit, n, l.logged)
			}
		}
	}
}

// What could not be told for another reason is no limit.
func TestNoLimits(t *testing.T) {
	own := string(fromExample(t).Data)
	trust := func(c *Config) { c.Policy.Authentication = Trust }
	for text, change := range map[string]func(*Config){
		own: trust, edit(own, " d=example.org", " i=@Example.org; d=example.org"): func(*Config) {},
	} {
		l := newLab(t, world, change)
		l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(text)})
		for limit, n := range l.server.Stats().Limits {
			if n != 0 {
				t.Errorf("%s counted\n%s", limit, l.logged)
			}
		}
	}
}

// The log tells the whole cost of a message: what is spent in the header and in the body, not at
// the end alone. Beside it this process does nothing but feed the milter from memory.
func TestLoggedCost(t *testing.T) {
	text := letter("a@example.org") + strings.Repeat("Lorem ipsum dolor sit amet, consectetur.\r\n", 100_000)
	own := fieldOf(signed(t, text, "example.org", "rsa", relaxed))
	m := miltertest.Message{From: "a@example.org", Data: []byte(own + own + text)}
	best := 0.0
	for range 5 { // others may use this processor
		l := newLab(t, world)
		before := cpuTime(t)
		l.send(t, outbound, m)
		used := cpuTime(t) - before
		found := regexp.MustCompile(`took=(\S+) cpu=(\S+)`).FindStringSubmatch(l.logged.String())
		took, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		cpu, err := time.ParseDuration(found[2])
		if err != nil || cpu > used+used/2 || took < cpu/2 {
			t.Fatalf("%s of %v: %v", found, used, err)
		}
		best = max(best, float64(cpu)/float64(used))
	}
	if best < 0.3 { // it was nothing
		t.Errorf("the log has %.0f %% of the CPU time", 100*best)
	}
	t.Logf("%.0f %%", 100*best)
}

// A large header is measured at once: a first lap is not taken for shorter than it is.
func TestLargeHeaderIsMeasured(t *testing.T) {
	runtime.LockOSThread() // what is done in another thread is not measured
	defer runtime.UnlockOSThread()
	charged := func(size int) time.Duration {
		m := newLab(t, world).server.newMessage(client{}, "a@example.org")
		m.header.add("X", strings.Repeat("x", size))
		m.wake()
		m.begin()
		defer m.close()
		before := m.budget.spent()
		for begun := cpuTime(t); cpuTime(t)-begun < 5*longestLap; {
		}
		m.rest()
		return m.budget.spent() - before
	}
	if used := charged(exactSize / 2); used > longestLap {
		t.Errorf("an ordinary header: %v charged", used)
	}
	if used := charged(exactSize + 1); used <= longestLap {
		t.Errorf("a large header: %v charged", used)
	}
}

// A stopwatch measures what its goroutine does, and not while it waits.
func TestStopwatch(t *testing.T) {
	work := func() { slices.Sort(bytes.Repeat([]byte("zyxwv"), 1<<20)) }
	var waited, worked, twice budget
	waited.cpu.Store(1 + int64(exactFrom))
	worked.cpu.Store(1 + int64(exactFrom))
	twice.cpu.Store(1 + int64(exactFrom))
	w := stopwatch{budget: &waited}
	w.start()
	w.pause(work)
	w.stop()
	w = stopwatch{budget: &worked}
	w.start()
	work()
	w.stop()
	w.stop()
	w = stopwatch{budget: &twice}
	w.start()
	work()
	w.lap()
	work()
	w.lap()
	if worked.spent()-exactFrom < 4*(waited.spent()-exactFrom) || twice.spent() == 1+exactFrom {
		t.Errorf("waited %v, worked %v, twice %v", waited.spent(), worked.spent(), twice.spent())
	}
	done := make(chan struct{})
	go func() { work(); close(done) }()
	unstarted := stopwatch{budget: &budget{}}
	unstarted.wait(done)
	if unstarted.lap(); unstarted.budget.spent() != 0 {
		t.Errorf("one that was not started has %v", unstarted.budget.spent())
	}
}

// The budget is for 10 MB, and more in proportion.
func TestBudgetGrows(t *testing.T) {
	b := budget{limit: cpuBudget}
	b.cpu.Store(int64(cpuBudget) + 1)
	for size, want := range map[int64]bool{0: true, budgetSize: true, budgetSize + budgetSize/10: false} {
		b.size.Store(size)
		if b.exceeded() != want {
			t.Errorf("%d octets: %t", size, !want)
		}
	}
}
