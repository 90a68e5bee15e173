package milter

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"peerscore/assess/spf"
)

// endBudget is the time that the MTA waits for a message in all (assess/probe/limits.md, section 1), so that the
// observation has time to be committed. What the MTA takes itself to send the message does not count.
const endBudget = 8 * time.Second

// The CPU time that one message may take (assess/probe/limits.md, section 1). What it does with
// memory, and how often it asks the DNS, is bounded where that is done.
const (
	cpuBudget  = 300 * time.Millisecond
	budgetSize = 10 << 20 // octets that this is for; of a longer message it is more in proportion

	// exactFrom is from when on CPU time is measured. Until then the time that passes is taken
	// for it, up to longestLap: to ask the system costs an ordinary message more than it is worth.
	// Where the header is larger than an ordinary one, CPU time is measured at once.
	exactFrom  = 2 * time.Millisecond
	exactSize  = 32 << 10              // octets of the header
	longestLap = 10 * time.Millisecond // after which the runtime of Go interrupts a goroutine
)

// budget is what one message may cost, and has cost so far. Every goroutine that works for the
// message has a stopwatch on it. It is safe for concurrent use.
type budget struct {
	limit time.Duration
	cpu   atomic.Int64 // ns
	size  atomic.Int64 // octets of the message so far
	exact bool         // CPU time is measured from the start; set before there is a second goroutine
}

// spent is the CPU time of all goroutines, but for what a running stopwatch has not told yet.
func (b *budget) spent() time.Duration { return time.Duration(b.cpu.Load()) }

// exceeded reports whether no more may be spent.
func (b *budget) exceeded() bool {
	return b.spent() > b.limit*time.Duration(max(b.size.Load(), budgetSize))/budgetSize
}

// stopwatch measures the CPU time that one goroutine works for a message. It takes that of the
// thread, so that it has to stand still wherever the goroutine waits. One that was not started
// measures nothing.
type stopwatch struct {
	budget  *budget
	running bool
	began   time.Time
	exact   bool
	thread  int
	cpu     time.Duration

	laps     int           // whose CPU time is known
	measured time.Duration // of these together
}

func (w *stopwatch) start() {
	w.running, w.began = true, time.Now()
	if w.exact = w.budget.exact || w.budget.spent() > exactFrom; w.exact {
		w.thread, w.cpu = threadTime()
	}
}

// stop charges the budget. Where the goroutine was interrupted and went on in another thread, its
// CPU time is not known, and the time that passed says more of the others that wait for a
// processor; it is charged the mean of its laps.
func (w *stopwatch) stop() {
	if !w.running {
		return
	}
	w.running = false
	used := min(time.Since(w.began), longestLap)
	if w.exact {
		if thread, cpu := threadTime(); thread == w.thread {
			w.laps, w.measured = w.laps+1, w.measured+cpu-w.cpu
			used = cpu - w.cpu
		} else if w.laps > 0 {
			used = w.measured / time.Duration(w.laps)
		}
	}
	w.budget.cpu.Add(int64(used))
}

// lap charges the budget and goes on.
func (w *stopwatch) lap() {
	if w.running {
		w.stop()
		w.start()
	}
}

// pause calls f, which may wait, and does not measure it.
func (w *stopwatch) pause(f func()) {
	running := w.running
	w.stop()
	f()
	if running {
		w.start()
	}
}

// wait waits until done is closed.
func (w *stopwatch) wait(done <-chan struct{}) {
	select {
	case <-done:
	default:
		w.pause(func() { <-done })
	}
}

// metered is a resolver for one goroutine of a message. It is not asked any more once the budget
// is exceeded; while it looks for the answer the stopwatch stands still.
type metered struct {
	resolver spf.Resolver
	watch    *stopwatch
}

// ask has look called, and wants its error back.
func (m metered) ask(name string, look func() error) (err error) {
	if m.watch.lap(); m.watch.budget.exceeded() {
		return &net.DNSError{Err: tooDear, Name: name, IsTemporary: true}
	}
	m.watch.pause(func() { err = look() })
	return err
}

func (m metered) LookupTXT(ctx context.Context, name string) (texts []string, err error) {
	err = m.ask(name, func() error { texts, err = m.resolver.LookupTXT(ctx, name); return err })
	return texts, err
}

func (m metered) LookupNetIP(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
	err = m.ask(host, func() error { addrs, err = m.resolver.LookupNetIP(ctx, network, host); return err })
	return addrs, err
}

func (m metered) LookupMX(ctx context.Context, name string) (hosts []*net.MX, err error) {
	err = m.ask(name, func() error { hosts, err = m.resolver.LookupMX(ctx, name); return err })
	return hosts, err
}

func (m metered) LookupAddr(ctx context.Context, addr string) (names []string, err error) {
	err = m.ask(addr, func() error { names, err = m.resolver.LookupAddr(ctx, addr); return err })
	return names, err
}
