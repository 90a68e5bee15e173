package milter

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"peerscore/assess"
)

// freezer tells a fault of our own from those of peers: a filter that breaks signatures before
// they come here, or a certificate of ours that ran out, makes the whole population fail at
// once (milter/attribution.md, "It is us"). While it does, no failure is held against anybody.
type freezer struct {
	log *throttle
	now func() time.Time

	tests assess.Freezer
	held  atomic.Int64 // failures that were not held against anybody
}

// freezeTests are the tests that faults of our own can fail for everybody.
var freezeTests = []struct {
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

// settle takes the failures of frozen tests out of an observation about a domain of the
// standing, which is as it was before.
func (z *freezer) settle(o *assess.Observation, s assess.Standing) {
	for _, test := range freezeTests {
		result, frozen, changed := test.result(o), z.tests.Frozen(test.name), false
		if met(s, test.standards) && (*result == assess.Pass || *result == assess.Fail) {
			frozen, changed = z.tests.Vote(test.name, false, assess.Vote{
				Organisation: o.Domain.Organisational(), Since: s.Since, Host: o.Host, Failed: *result == assess.Fail, At: z.now(),
			})
		}
		if frozen && *result == assess.Fail {
			*result = assess.Unknown
			z.held.Add(1)
		}
		switch {
		case changed && frozen:
			z.log.log(slog.LevelError, "failures are not held against peers", "test", test.name, "reason", test.fault)
		case changed:
			z.log.log(slog.LevelInfo, "failures count again", "test", test.name)
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

// frozen are the names of the frozen tests.
func (z *freezer) frozen() (names []string) {
	for _, test := range freezeTests {
		if z.tests.Frozen(test.name) {
			names = append(names, test.name)
		}
	}
	return names
}
