package milter

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"peerscore/assess"
)

// drift tells a fault of our own from those of peers: a filter that breaks signatures before
// they come here, or a certificate of ours that ran out, makes the whole population fail at
// once (security.md). While it does, no failure is held against anybody.
type drift struct {
	log *throttle
	now func() time.Time

	mu    sync.Mutex
	tests [len(driftTests)]population
}

// driftTests are the tests that faults of our own can fail for everybody.
var driftTests = [...]struct {
	name      string
	result    func(*assess.Observation) *assess.Result
	standards []assess.Standard // of which the domain met one
	fault     string
}{
	{
		"StartTLS", func(o *assess.Observation) *assess.Result { return &o.StartTLS }, []assess.Standard{assess.StartTLS, assess.StartTLS12},
		"hardly any peer uses TLS any more: look at the certificate and the TLS settings of this mail server",
	},
	{
		"DKIM", func(o *assess.Observation) *assess.Result { return &o.DKIM }, []assess.Standard{assess.DKIM},
		"hardly any signature is valid any more: look for a filter that changes messages before they come here",
	},
}

// population is how everybody does of late at one test.
type population struct {
	assess.Drift
	held int64 // failures that were not held against anybody
}

// settle takes the failures of frozen tests out of an observation about a domain of the
// standing, which is as it was before.
func (d *drift) settle(o *assess.Observation, s assess.Standing) {
	for i, test := range driftTests {
		result, frozen, changed := test.result(o), false, false
		d.mu.Lock()
		p := &d.tests[i]
		if met(s, test.standards) && (*result == assess.Pass || *result == assess.Fail) {
			changed = p.Add(assess.Vote{
				Organisation: o.Domain.Organisational(), Since: s.Since, Host: o.Host, Failed: *result == assess.Fail, At: d.now(),
			})
		}
		if frozen = p.Frozen(); frozen && *result == assess.Fail {
			*result = assess.Unknown
			p.held++
		}
		d.mu.Unlock()
		switch {
		case changed && frozen:
			d.log.log(slog.LevelError, "failures are not held against peers", "test", test.name, "reason", test.fault)
		case changed:
			d.log.log(slog.LevelInfo, "failures count again", "test", test.name)
		}
	}
}

// met reports whether sessions of the domain were seen and it met one of the standards.
func met(s assess.Standing, standards []assess.Standard) bool {
	if s.Basis != assess.BasisSessions && s.Basis != assess.BasisProbeSessions {
		return false
	}
	for _, score := range s.Scores {
		if slices.ContainsFunc(standards, func(standard assess.Standard) bool { return slices.Contains(score.Row.Met, standard) }) {
			return true
		}
	}
	return false
}

// stats are the names of the frozen tests, and how many failures were not held against anybody.
func (d *drift) stats() (frozen []string, held int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.tests {
		p := &d.tests[i]
		if p.Frozen() {
			frozen = append(frozen, driftTests[i].name)
		}
		held += p.held
	}
	return frozen, held
}
