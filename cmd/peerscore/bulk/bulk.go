// Package bulk assesses domains for the operator, be it a few or a list of millions.
package bulk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// Options are what the operator may choose.
type Options struct {
	Jobs      int  // domains at once
	JSON      bool // print objects rather than lines
	NoStore   bool
	SkipFresh bool // leave out domains assessed within assess.max_age
}

// Bulk assesses domains for the operator.
type Bulk struct {
	view.Console
	options  Options
	config   config.Config
	store    *store.Store // nil with --no-store
	assessor *assess.Assessor
}

// New opens what the configuration names. After an error nothing is left open.
func New(ctx context.Context, cfg config.Config, console view.Console, around daemon.Surroundings, o Options) (*Bulk, error) {
	logger := daemon.CommandLogger(console.Err, cfg.Log)
	b := &Bulk{Console: console, options: o, config: cfg}
	r, err := daemon.NewResolver(cfg, logger, 0)
	if err != nil {
		return nil, err
	}
	r.SelfTest(ctx) // without it no answer is known to be insecure
	if !o.NoStore {
		if b.store, err = store.Open(ctx, cfg.Store.Path, cfg.StoreOptions(logger)); err != nil {
			return nil, fmt.Errorf("cannot write the database: %w; --no-store probes without one", err)
		}
	}
	// The operator's command, be it for one domain or a list, has budgets of its own.
	b.assessor, err = daemon.NewAssessor(cfg, logger, b.store, r, around, probe.BulkLimits())
	if err != nil {
		b.Close()
		return nil, err
	}
	b.assessor.Bulk = true
	if b.store == nil {
		b.assessor.Repository = Forgetful{}
	}
	return b, nil
}

func (b *Bulk) Close() {
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			b.complain("closing the database: %v", err)
		}
	}
}

// run assesses one domain. A run that measured nothing still has what is known. What was measured
// is stored and returned, whenever the context ends.
func (b *Bulk) run(ctx context.Context, d dnsname.Domain) (r view.Report, err error) {
	if b.store == nil {
		r.Assessment, err = b.assessor.Measure(ctx, d)
		return r, absent(r, err)
	}
	r.Assessment, err = b.assessor.Assess(ctx, d)
	if err == nil || errors.Is(err, assess.ErrNothingMeasured) {
		// The daemon need not do it again before it is due.
		r.Next = b.config.Schedule().Next(r.Assessment, err, time.Now(), 0.5)
		if due := b.store.Postpone(context.WithoutCancel(ctx), d, r.Next); due != nil {
			b.complain("%s: it cannot be noted when it is due: %v", d, due)
		}
	}
	return r, absent(r, err)
}

// absent is ErrNoSuchDomain of a domain that was measured and does not exist, be it known or not.
func absent(r view.Report, err error) error {
	if err == nil && !r.Evidence.Facts.Exists() {
		return assess.ErrNoSuchDomain
	}
	return err
}

// complain says a line on standard error, above the progress bar where there is one.
func (b *Bulk) complain(format string, args ...any) {
	fmt.Fprintf(b.Err, "peerscore: %s\n", view.Printable(fmt.Sprintf(format, args...)))
}

// Eligible reports whether all domains may be probed; the error names the first that may not.
func (b *Bulk) Eligible(domains []dnsname.Domain) error {
	for _, d := range domains {
		if err := b.assessor.Eligible(d); err != nil {
			return err
		}
	}
	return nil
}

// Few assesses a few domains, one after the other. The error is that of one of them, and
// assess.ErrNoSuchDomain where none other is worse.
func (b *Bulk) Few(ctx context.Context, domains []dnsname.Domain) (reports []view.Report, failed error) {
	for _, d := range domains {
		result, err := b.run(ctx, d)
		switch {
		case errors.Is(err, assess.ErrNothingMeasured):
			b.complain("%s: %v", d, err)
		case errors.Is(err, assess.ErrNoSuchDomain):
			b.complain("%s: %v", d, assess.ErrNoSuchDomain)
			if failed == nil {
				failed = err
			}
			continue
		case err != nil:
			failed = fmt.Errorf("%s: %w", d, err)
			continue
		}
		reports = append(reports, result)
	}
	return reports, failed
}

// Forgetful is the repository of --no-store: it knows nothing and keeps nothing.
type Forgetful struct{}

func (Forgetful) Evidence(_ context.Context, _ dnsname.Domain, _ time.Time, window time.Duration) (assess.Evidence, error) {
	return assess.Evidence{Tally: assess.Tally{Window: window}}, nil
}

func (Forgetful) SaveAssessment(context.Context, assess.Assessment) error { return nil }
