package milter

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"peerscore/assess"
)

// A test is frozen when of the last driftSize organisations that used to pass it driftFreeze
// failed, all within driftSpan, and thaws when fewer than driftThaw of them do.
const (
	driftSize   = 20
	driftFreeze = 16
	driftThaw   = 10
	driftSpan   = 24 * time.Hour
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

// population is the last results of organisations that met the standard before, one of each.
type population struct {
	recent []turn // the newest at the end
	frozen bool
	held   int64 // failures that were not held against anybody
}

type turn struct {
	organisation assess.Domain
	failed       bool
	at           time.Time
}

// settle takes the failures of frozen tests out of an observation about a domain of the
// standing, which is as it was before.
func (d *drift) settle(o *assess.Observation, s assess.Standing) {
	for i, test := range driftTests {
		result, frozen, changed := test.result(o), false, false
		d.mu.Lock()
		p := &d.tests[i]
		if met(s, test.standards) && (*result == assess.Pass || *result == assess.Fail) {
			changed = p.add(turn{o.Domain.Organisational(), *result == assess.Fail, d.now()})
		}
		if frozen = p.frozen; frozen && *result == assess.Fail {
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

// met tells whether sessions of the domain were seen and it met one of the standards.
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

// add notes a result and tells whether the test froze or thawed by it.
func (p *population) add(t turn) bool {
	p.recent = slices.DeleteFunc(p.recent, func(old turn) bool {
		return old.organisation == t.organisation || t.at.Sub(old.at) > driftSpan
	})
	p.recent = append(p.recent, t)
	p.recent = p.recent[max(0, len(p.recent)-driftSize):]
	failed := 0
	for _, t := range p.recent {
		if t.failed {
			failed++
		}
	}
	before := p.frozen
	switch {
	case failed >= driftFreeze:
		p.frozen = true
	case failed < driftThaw:
		p.frozen = false
	}
	return p.frozen != before
}

// stats are the names of the frozen tests, and how many failures were not held against anybody.
func (d *drift) stats() (frozen []string, held int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, p := range d.tests {
		if p.frozen {
			frozen = append(frozen, driftTests[i].name)
		}
		held += p.held
	}
	return frozen, held
}
