package milter

import (
	"testing"
	"time"

	"peerscore/assess/dkim"
)

// The figures of assess/probe/limits.md, section 1, as literals: who changes a limit changes a promise. What happens
// past each is for the tests of the files that hold them.
func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct{ got, want int }{
		"octets of a packet":           {maxPacket, 1 << 20},
		"sessions":                     {MaxSessions, 500},
		"octets of a header":           {maxHeader, 256 << 10},
		"fields":                       {maxFields, 1000},
		"signatures":                   {maxSignatures, 5},
		"names in h=":                  {dkim.MaxSignedNames, 100},
		"d= in U-labels":               {maxUnicodeNames, 5},
		"deletions asked of the MTA":   {maxRemovals, 100},
		"octets of a key record":       {dkim.MaxRecord, 4096},
		"bits of an RSA key, at least": {dkim.MinBits, 1024},
		"bits of an RSA key":           {maxRSABits, 4096},
		"bits of an exponent":          {dkim.MaxExponentBits, 31},
		"s of idleness":                {int(idleTimeout / time.Second), 600},
		"s for a packet":               {int(packetTimeout / time.Second), 30},
		"ms of the first backoff":      {int(acceptBackoff / time.Millisecond), 5},
		"ms of the last backoff":       {int(maxBackoff / time.Millisecond), 1000},
		"s for the answer":             {int(endBudget / time.Second), 8},
		"s for the DNS":                {int(dnsBudget / time.Second), 5},
		"DNS queries of a message":     {maxQueries, 54},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", name, tt.got, tt.want)
		}
	}
}
