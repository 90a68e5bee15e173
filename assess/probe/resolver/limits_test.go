package resolver

import (
	"testing"
	"time"
)

// The figures of assess/probe/limits.md, as literals: who changes a limit changes a promise.
func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct{ got, want int }{
		"s for a question":        {int(defaultTimeout / time.Second), 2},
		"octets over UDP":         {maxUDP, 1232},
		"records of a set":        {maxSet, 100},
		"aliases":                 {maxAliases, 8},
		"questions under way":     {maxInFlight, 512},
		"of one organisation":     {maxOfOrganisation, 32},
		"s in the cache at least": {int(minTTL / time.Second), 30},
		"s for a failure":         {int(failureTTL / time.Second), 5},
		"s for failures in a row": {int(maxFailureTTL / time.Second), 60},
		"timeouts of the breaker": {breakerTimeouts, 5},
		"s in which they count":   {int(breakerWindow / time.Second), 10},
		"s that it stays open":    {int(breakerPause / time.Second), 30},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", name, tt.got, tt.want)
		}
	}
}
