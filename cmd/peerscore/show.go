package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

func (a *app) showCommand() *cobra.Command {
	var below float64
	cmd := &cobra.Command{
		Use:   "show DOMAIN...",
		Short: "Print the scores of domains, what they rest on and what is missing",
		Long: `Print the summary report of each domain: three star scores, support of each standard,
what is missing, basis and age. A domain may be written in either spelling, or as an address.

Exit status 1 means that a domain is not known, or that a score lies below --below.`,
		Example: `  peerscore show example.org
  peerscore show --json bücher.example postmaster@example.net
  peerscore show --below 3.5 example.org >/dev/null || echo "example.org is below 3.5"`,
		Args: takes(1, math.MaxInt, "DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBelow(below); err != nil {
				return err
			}
			return a.show(cmd.Context(), args, below)
		},
	}
	cmd.Flags().Float64Var(&below, "below", 0, "exit with status 1 if any score is below `STARS`")
	return cmd
}

func (a *app) show(ctx context.Context, args []string, below float64) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	reader, err := a.openReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()

	var reports []report
	var unknown []dnsname.Domain
	for _, d := range domains {
		r, err := reader.report(ctx, d)
		switch {
		case errors.Is(err, errUnknownDomain):
			unknown = append(unknown, d)
		case err != nil:
			return err
		default:
			reports = append(reports, r)
		}
	}
	if err := a.writeReports(reports, len(domains) > 1); err != nil {
		return err
	}
	for _, d := range unknown {
		fmt.Fprintf(a.err, "peerscore: %s is not known; `peerscore assess %s` probes it now\n", d, d)
	}
	if len(unknown) > 0 || anyBelow(reports, below) {
		return failure{exitUnknown, errSilent}
	}
	return nil
}

func parseDomains(args []string) ([]dnsname.Domain, error) {
	var domains []dnsname.Domain
	for _, arg := range args {
		d, err := dnsname.ParseAddressOrDomain(arg)
		if err != nil {
			return nil, failure{exitUsage, err}
		}
		domains = append(domains, d)
	}
	return domains, nil
}

// writeReports prints text, one JSON object, or an array when several domains were asked for.
func (a *app) writeReports(reports []report, several bool) error {
	if !a.json {
		for i, r := range reports {
			if i > 0 {
				fmt.Fprintln(a.out)
			}
			a.writeSummary(a.out, r, time.Now())
		}
		return nil
	}
	objects := []domainJSON{}
	for _, r := range reports {
		objects = append(objects, r.json(false))
	}
	switch {
	case several:
		return writeJSON(a.out, objects)
	case len(objects) == 1:
		return writeJSON(a.out, objects[0])
	}
	return nil
}

// anyBelow reports whether a known score lies below the line; a score that is not known does not.
func anyBelow(reports []report, line float64) bool {
	for _, r := range reports {
		for _, s := range r.Scores {
			if s.Known && s.Stars < line {
				return true
			}
		}
	}
	return false
}

var errUnknownDomain = errors.New("the domain is not known")

// reader is a database opened for reading, with the rules by which its facts are judged.
type reader struct {
	*store.Store
	rules   assess.Rules
	profile assess.Profile
	window  time.Duration
}

// openReader opens the database of the configuration. Its errors carry their exit status.
func (a *app) openReader(ctx context.Context) (reader, error) {
	cfg, err := a.config()
	if err != nil {
		return reader{}, err
	}
	profile, err := cfg.Profile()
	if err != nil {
		return reader{}, failure{exitUsage, err}
	}
	s, err := store.OpenReader(ctx, cfg.Store.Path)
	if err != nil {
		_, daemons := os.Stat(config.SystemStore)
		return reader{}, outOfReach(cfg.Store.Path, errors.Is(daemons, fs.ErrPermission), err)
	}
	return reader{s, cfg.Rules(), profile, time.Duration(cfg.Score.Window)}, nil
}

// outOfReach says why the database at path cannot be read and what to do about it. The one of
// the daemon may be there and hidden from this user.
func outOfReach(path string, hidden bool, err error) error {
	switch {
	case errors.Is(err, store.ErrNoDatabase) && hidden:
		return fail(exitUnavailable, "%s is for root and the group peerscore: become one of them, or name another database with --db", config.SystemStore)
	case errors.Is(err, store.ErrNoDatabase):
		return fail(exitUnavailable, "there is no database %s yet: `peerscore serve` makes it, or --db names another", path)
	case errors.Is(err, fs.ErrPermission):
		return fail(exitUnavailable, "you may not read the database %s: become root or a member of its group, or name another with --db", path)
	case errors.Is(err, store.ErrSchema):
		return fail(exitUnavailable, "cannot read the database: %w", err)
	}
	return fail(exitUnavailable, "cannot read the database: %w; --db names another", err)
}

// report judges what is stored of the domain by today's rules.
func (r reader) report(ctx context.Context, d dnsname.Domain) (report, error) {
	peer, err := r.Peer(ctx, d)
	if errors.Is(err, store.ErrUnknownDomain) {
		return report{}, errUnknownDomain
	}
	if err != nil {
		return report{}, failure{exitUnavailable, err}
	}
	now := time.Now()
	evidence, err := r.Evidence(ctx, d, now, r.window)
	if err != nil {
		return report{}, failure{exitUnavailable, err}
	}
	next := peer.Next
	if r.rules.Passive {
		next = time.Time{}
	}
	return report{Assessment: assess.Conclude(d, evidence, r.profile, r.rules, now), Next: next}, nil
}
