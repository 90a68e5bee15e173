package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// A domain takes less than half a second, and up to 45 seconds where its mail host is a tarpit.
const (
	defaultJobs = 256
	maxJobs     = 512 // as many as the dialogues of probe.BulkLimits; the store takes the writes of both at once
)

// assessOptions are the flags of `assess`.
type assessOptions struct {
	file      string
	jobs      int
	noStore   bool
	skipFresh bool
}

func (a *app) assessCommand() *cobra.Command {
	var o assessOptions
	cmd := &cobra.Command{
		Use:   "assess DOMAIN... | assess -f FILE",
		Short: "Probe domains now, print the result and store it",
		Long: `Probe domains now, print the result and store it.

With -f, domains are read from a file or standard input, one a line; blank lines and what
follows a # are passed over. Results are printed as they come, one line each, or with --json
one object a line. --skip-fresh leaves out domains assessed within assess.max_age: a run that
was interrupted goes on where it stopped when it is started again with it, and prints the
rest. Each MX address is asked once, whatever the number of domains on it.

A name that does not exist is not stored and has no result: the exit status is 1.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (o.file == "") {
				return fail(exitUsage, "name domains, or a file of them with -f")
			}
			if o.jobs < 1 || o.jobs > maxJobs {
				return fail(exitUsage, "--jobs must be between 1 and %d", maxJobs)
			}
			if o.skipFresh && (o.file == "" || o.noStore) {
				return fail(exitUsage, "--skip-fresh is for a list (-f) whose results are stored")
			}
			return a.assess(cmd.Context(), args, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "read domains from `FILE`, - for standard input")
	flags.IntVar(&o.jobs, "jobs", defaultJobs, "assess `N` domains at once")
	flags.BoolVar(&o.noStore, "no-store", false, "do not store what was found")
	flags.BoolVar(&o.skipFresh, "skip-fresh", false, "leave out domains assessed within assess.max_age")
	return cmd
}

func (a *app) assess(ctx context.Context, args []string, o assessOptions) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	in, err := a.open(o.file)
	if err != nil {
		return failure{exitUsage, err}
	}
	defer in.Close()
	b, err := a.newBulk(ctx, o) // which begins a database where there is none
	if err != nil {
		return err
	}
	defer b.close()
	if o.file == "" {
		return b.few(ctx, domains)
	}
	return b.many(ctx, in)
}

// open opens the file of -f. Without one nothing is read of what it returns.
func (a *app) open(path string) (io.ReadCloser, error) {
	switch path {
	case "", "-":
		return io.NopCloser(a.In), nil
	}
	return os.Open(path)
}

// bulk assesses domains for the operator.
type bulk struct {
	*app
	options  assessOptions
	config   config.Config
	store    *store.Store // nil with --no-store
	assessor *assess.Assessor
}

func (a *app) newBulk(ctx context.Context, o assessOptions) (*bulk, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	logger := a.logger(cfg)
	b := &bulk{app: a, options: o, config: cfg}
	r, err := newResolver(cfg, logger, 0)
	if err != nil {
		return nil, err
	}
	r.SelfTest(ctx) // without it no answer is known to be insecure
	if !o.noStore {
		if b.store, err = store.Open(ctx, cfg.Store.Path, cfg.StoreOptions(logger)); err != nil {
			return nil, fail(exitUnavailable, "cannot write the database: %w; --no-store probes without one", err)
		}
	}
	// The operator's command, be it for one domain or a list, has budgets of its own.
	b.assessor, err = newAssessor(cfg, logger, b.store, r, a.around, probe.BulkLimits())
	if err != nil {
		b.close()
		return nil, err
	}
	b.assessor.Bulk = true
	if b.store == nil {
		b.assessor.Repository = forgetful{}
	}
	return b, nil
}

func (b *bulk) close() {
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			b.complain("closing the database: %v", err)
		}
	}
}

// run assesses one domain. A run that measured nothing still has what is known. What was measured
// is stored and returned, whenever the context ends.
func (b *bulk) run(ctx context.Context, d dnsname.Domain) (r view.Report, err error) {
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
func (b *bulk) complain(format string, args ...any) {
	fmt.Fprintf(b.Err, "peerscore: %s\n", view.Printable(fmt.Sprintf(format, args...)))
}

// few probes the domains of the command line and prints summaries.
func (b *bulk) few(ctx context.Context, domains []dnsname.Domain) error {
	for _, d := range domains {
		if err := b.assessor.Eligible(d); err != nil { // before any is probed, whose result would not be printed
			return failure{exitUsage, err}
		}
	}
	var reports []view.Report
	var failed error
	for _, d := range domains {
		result, err := b.run(ctx, d)
		switch {
		case errors.Is(err, assess.ErrNothingMeasured):
			b.complain("%s: %v", d, err)
		case errors.Is(err, assess.ErrNoSuchDomain):
			b.complain("%s: %v", d, assess.ErrNoSuchDomain)
			if failed == nil {
				failed = failure{exitUnknown, errSilent}
			}
			continue
		case err != nil:
			failed = failure{exitUnavailable, fmt.Errorf("%s: %w", d, err)}
			continue
		}
		reports = append(reports, result)
	}
	if err := b.writeReports(reports, len(domains) > 1); err != nil {
		return err
	}
	return failed
}

// forgetful is the repository of --no-store: it knows nothing and keeps nothing.
type forgetful struct{}

func (forgetful) Evidence(_ context.Context, _ dnsname.Domain, _ time.Time, window time.Duration) (assess.Evidence, error) {
	return assess.Evidence{Tally: assess.Tally{Window: window}}, nil
}

func (forgetful) SaveAssessment(context.Context, assess.Assessment) error { return nil }
