package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/bulk"
)

// A domain takes less than half a second, and up to 45 seconds where its mail host is a tarpit.
const (
	defaultJobs = 256
	maxJobs     = 512 // as many as the dialogues of probe.BulkLimits; the store takes the writes of both at once
)

func (a *app) assessCommand() *cobra.Command {
	var file string
	var o bulk.Options
	cmd := &cobra.Command{
		Use:   "assess DOMAIN... | assess -f FILE",
		Short: "Probe domains now, print the result and store it",
		Long: `Probe domains now, print the result and store it.

With -f, domains are read from a file or standard input, one per line; blank lines and
anything after a # are ignored. Results are printed as they arrive, one line each, or with
--json one object per line. --skip-fresh skips domains assessed within assess.max_age, so an
interrupted run resumes where it stopped when it is started again with it. Each MX address is
contacted once, however many domains it serves.

A name that does not exist is not stored and has no result; the exit status is then 1.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (file == "") {
				return fail(exitUsage, "name domains, or a file of them with -f")
			}
			if o.Jobs < 1 || o.Jobs > maxJobs {
				return fail(exitUsage, "--jobs must be between 1 and %d", maxJobs)
			}
			if o.SkipFresh && (file == "" || o.NoStore) {
				return fail(exitUsage, "--skip-fresh is for a list (-f) whose results are stored")
			}
			return a.assess(cmd.Context(), args, file, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "read domains from `FILE`, - for standard input")
	flags.IntVar(&o.Jobs, "jobs", defaultJobs, "assess `N` domains at once")
	flags.BoolVar(&o.NoStore, "no-store", false, "do not store what was found")
	flags.BoolVar(&o.SkipFresh, "skip-fresh", false, "skip domains assessed within assess.max_age")
	return cmd
}

func (a *app) assess(ctx context.Context, args []string, file string, o bulk.Options) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	in, err := a.open(file)
	if err != nil {
		return failure{exitUsage, err}
	}
	defer in.Close()
	cfg, err := a.config()
	if err != nil {
		return err
	}
	o.JSON = a.json
	b, err := bulk.New(ctx, cfg, a.Console, a.around, o) // which begins a database where there is none
	if err != nil {
		return status(err)
	}
	defer b.Close()
	if file == "" {
		return a.assessFew(ctx, b, domains)
	}
	outcome, err := b.Many(ctx, in)
	if err != nil {
		return status(err)
	}
	return conclude(outcome)
}

// assessFew probes the domains of the command line and prints summaries.
func (a *app) assessFew(ctx context.Context, b *bulk.Bulk, domains []dnsname.Domain) error {
	if err := b.Eligible(domains); err != nil { // before any is probed, whose result would not be printed
		return failure{exitUsage, err}
	}
	reports, failed := b.Few(ctx, domains)
	if err := a.writeReports(reports, len(domains) > 1); err != nil {
		return err
	}
	if errors.Is(failed, assess.ErrNoSuchDomain) {
		return failure{exitUnknown, errSilent}
	}
	return status(failed)
}

// conclude is the exit status of a run through a list.
func conclude(o bulk.Outcome) error {
	switch {
	case o.Reading != nil:
		return failure{exitUsage, o.Reading}
	case o.Failures > 0:
		return fail(exitUnavailable, "%d of %d domains could not be assessed or stored", o.Failures, o.Failures+o.Assessed)
	case o.Invalid > 0:
		return fail(exitUsage, "%d lines are not valid domains", o.Invalid)
	case o.Absent > 0:
		return fail(exitUnknown, "%d of %d names do not exist", o.Absent, o.Absent+o.Assessed)
	}
	return nil
}

// open opens the file of -f. Without one nothing is read of what it returns.
func (a *app) open(path string) (io.ReadCloser, error) {
	switch path {
	case "", "-":
		return io.NopCloser(a.In), nil
	}
	return os.Open(path)
}
