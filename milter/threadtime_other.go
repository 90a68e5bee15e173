//go:build !linux

package milter

import "time"

// threadTime is not known here: no message is found too dear.
func threadTime() (thread int, cpu time.Duration) { return 0, 0 }
