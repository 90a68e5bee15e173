package daemon

import (
	"os"
	"runtime/debug"
)

// The heap is small, and most of it garbage of the last messages: to collect that less often
// than by default saves a tenth of the CPU time of a message, for some 10 MiB. The limit, which
// some 60 sessions with the costliest messages reach, keeps a large heap from growing
// fourfold, past MemoryMax of the systemd unit. What lives may be larger: the collector then
// takes half of the CPU time at most (runtime/debug), and not more in all than touching
// four times the memory would.
const (
	garbagePercent = 300
	memoryLimit    = 128 << 20 // octets; from here on it is collected more often
)

// CollectLess leaves what the environment says about it.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
