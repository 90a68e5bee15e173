package assess

import (
	"context"
	"time"
)

// Prober obtains the facts of one domain. Selectors are the DKIM keys seen in use. The peer's
// faults are in the facts; an error means that nothing could be done at all.
type Prober interface {
	Probe(ctx context.Context, d Domain, selectors []Selector) (Facts, error)
}

// Repository keeps what assessments rest on.
type Repository interface {
	// Evidence returns the latest facts, nil when there are none, and the tally of the window before now.
	Evidence(ctx context.Context, d Domain, now time.Time, window time.Duration) (Evidence, error)
	// SaveAssessment keeps facts, verdicts and scores in one transaction and makes the domain known.
	SaveAssessment(ctx context.Context, a Assessment) error
}

// Agenda remembers on disk which domains are due, so that a restart forgets no budget.
type Agenda interface {
	// Due returns up to limit known domains whose next run is at or before now, most overdue first.
	Due(ctx context.Context, now time.Time, limit int) ([]Domain, error)
	// Begin notes that a run of the organisation begins now, unless one began less than
	// interval ago; it tells whether the run may go on.
	Begin(ctx context.Context, organisation Domain, now time.Time, interval time.Duration) (bool, error)
	// Postpone sets when the domain is due next.
	Postpone(ctx context.Context, d Domain, due time.Time) error
}
