//go:build linux

package milter

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of the calling thread since it began, and which thread that is. The
// goroutine may be moved to another while it asks.
func threadTime() (thread int, cpu time.Duration) {
	for {
		thread = unix.Gettid()
		var t unix.Timespec
		if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
			return 0, 0
		}
		if thread == unix.Gettid() {
			return thread, time.Duration(t.Nano())
		}
	}
}
