package probe

import (
	"slices"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dmarc"
	"peerscore/assess/mtasts"
	"peerscore/assess/pkix"
	"peerscore/assess/spf"
)

// The figures of assess/probe/limits.md, as literals: who changes a limit changes a promise. What happens
// past each is for the tests of the files that hold them.
func TestLimits(t *testing.T) {
	got := DefaultLimits()
	if want := (Limits{30, 16, 8, 40, 10, 5, 60, 50, 3 * time.Minute, true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if longest := got.Patience + dialogueTimeout; longest > assess.MaxRun {
		t.Errorf("a dialogue that waits and takes its time ends after %s, past the end of a run", longest)
	}
	// What a domain or an address meets is the same for an operator's list.
	bulk := BulkLimits()
	if bulk.Hosts != got.Hosts || bulk.Addresses != got.Addresses || bulk.Queries != got.Queries {
		t.Errorf("a bulk run takes more of a domain: %+v", bulk)
	}
	if !slices.Equal(retryAfter, []time.Duration{6 * time.Hour, 24 * time.Hour, 72 * time.Hour}) || sessionKeep != 168*time.Hour {
		t.Errorf("an address rests for %v, or %v", retryAfter, sessionKeep)
	}
	for name, tt := range map[string]struct{ got, want int }{
		"s to connect":                {int(connectTimeout / time.Second), 10},
		"s for the greeting":          {int(greetingTimeout / time.Second), 15},
		"s for a command":             {int(commandTimeout / time.Second), 10},
		"s for TLS":                   {int(handshakeTimeout / time.Second), 10},
		"s for a dialogue":            {int(dialogueTimeout / time.Second), 45},
		"octets of a line":            {maxLine, 2048},
		"lines":                       {maxLines, 128},
		"octets before TLS":           {maxOctets, 64 << 10},
		"certificates of a chain":     {pkix.MaxCertificates, 10},
		"octets of a chain":           {pkix.MaxChainOctets, 64 << 10},
		"bits of an RSA key":          {pkix.MaxRSABits, 8192},
		"octets of a policy":          {mtasts.MaxPolicy, 64 << 10},
		"octets of a response header": {maxHeader, 16 << 10},
		"s for a web server":          {int(webTimeout / time.Second), 30},
		"revocation lists":            {maxCRLs, 3},
		"octets of a revocation list": {maxCRLOctets, 10 << 20},
		"lookup terms of SPF":         {spf.MaxLookups, 10},
		"void lookups of SPF":         {spf.MaxVoidLookups, 2},
		"names of mx and ptr":         {spf.MaxNames, 10},
		"queries of SPF":              {spf.MaxQueries, 40},
		"s for SPF":                   {int(spf.MaxDuration / time.Second), 5},
		"octets of a DMARC record":    {dmarc.MaxRecord, 4096},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", name, tt.got, tt.want)
		}
	}
}
