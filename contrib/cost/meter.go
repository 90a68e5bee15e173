package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"syscall"
	"time"
)

// use is what one input cost the process, the playing of the other side included.
type use struct {
	cpu       time.Duration
	allocated uint64 // octets in all
	held      int64  // octets alive at once, above an ordinary input; 0 where it was not looked at
	queries   int
}

// limits are what an input may cost.
type limits struct {
	ratio   float64       // CPU time to that of an ordinary input of the same size
	cpu     time.Duration // CPU time of any input; 0: no limit but the ratio
	held    int64         // octets
	queries int
}

// share is how much of the limit that is nearest an attempt takes: above 1 it is broken.
func (l limits) share(a attempt) float64 {
	share := a.ratio / l.ratio
	if l.cpu > 0 {
		share = max(share, float64(a.use.cpu)/float64(l.cpu))
	}
	return max(share, float64(a.use.held)/float64(l.held), float64(a.use.queries)/float64(max(l.queries, 1)))
}

// meter runs do and says what it cost the process.
type meter func(do func() error) (use, error)

// measured is the meter of CPU time and of what is allocated.
func measured(do func() error) (use, error) {
	before, allocated := cpuTime(), allocatedOctets()
	err := do()
	return use{cpu: cpuTime() - before, allocated: allocatedOctets() - allocated}, err
}

// repeated is the meter of something too short for the clock: it is done until it has taken
// enough CPU time.
func repeated(enough time.Duration) meter {
	return func(do func() error) (use, error) {
		for times := 1; ; times *= 4 {
			u, err := measured(func() error {
				for range times {
					if err := do(); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil || u.cpu >= enough || times >= 1<<12 {
				u.cpu /= time.Duration(times)
				u.allocated /= uint64(times)
				return u, err
			}
		}
	}
}

// cpuTime is that of the process so far.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // it cannot fail for oneself
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func allocatedOctets() uint64 { return heapMetric("/gc/heap/allocs:bytes") }

func heapMetric(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// held is the meter of how much the heap grows at the most, garbage left out: it is collected all
// the time.
func held(do func() error) (u use, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	base := heapMetric("/gc/heap/live:bytes")
	most, done := base, make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
				most = max(most, heapMetric("/gc/heap/live:bytes"))
			}
		}
	})
	err = do()
	close(done)
	looking.Wait()
	u.held = int64(most) - int64(base)
	return u, err
}
