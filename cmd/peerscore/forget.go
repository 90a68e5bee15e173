package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess/dnsname"
	"peerscore/store"
)

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DOMAIN...",
		Short: "Erase everything known about domains",
		Long: `Erase everything known about domains, on disk too: sessions, facts, scores, history, labels,
and the dialogues with MX hosts of their names. What others say remains: a domain whose mail
is received by the hosts of a forgotten one still names them. A domain that mail comes from again becomes known
again; assess.deny_domains keeps it from being probed.

Copies are yours to erase: backups, and the files *.corrupt-* and *.displaced-* beside the
database.`,
		Example: "  peerscore forget example.org",
		Args:    takes(1, math.MaxInt, "DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err != nil {
				return err
			}
			return a.writing(cmd.Context(), func(s *store.Store) error { return a.forget(cmd.Context(), s, domains) })
		},
	}
}

// forget erases each domain that is known, whatever becomes of the others.
func (a *app) forget(ctx context.Context, s *store.Store, domains []dnsname.Domain) error {
	var inUse, unknown error
	for _, d := range domains {
		err := s.Forget(ctx, d)
		switch {
		case errors.Is(err, store.ErrUnknownDomain):
			fmt.Fprintf(a.Err, "peerscore: %s is not known; `peerscore list` prints who is\n", d)
			unknown = failure{exitUnknown, errSilent}
		case errors.Is(err, store.ErrLogInUse):
			inUse = fail(exitUnavailable, "%w; then run `peerscore prune`", err)
		case err != nil:
			return fail(exitUnavailable, "%s: %w", d, err)
		}
	}
	if inUse != nil {
		return inUse
	}
	return unknown
}

func (a *app) pruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Apply the retention rules now rather than at the daemon's next daily run",
		Long: `Apply the retention rules now: sessions expire with score.window, past judgements after
store.keep, and the addresses of outbound hosts become networks after 30 days. Deleted data
leaves the disk.

The file keeps its size; free space in it is reused. To shrink it, stop the daemon and
run ` + "`sqlite3 FILE VACUUM`" + `.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.writing(cmd.Context(), func(s *store.Store) error { return prune(cmd.Context(), s) })
		},
	}
}

func prune(ctx context.Context, s *store.Store) error {
	err := s.Prune(ctx, time.Now())
	if err == nil {
		err = s.EmptyLog(ctx)
	}
	switch {
	case errors.Is(err, store.ErrLogInUse):
		return fail(exitUnavailable, "%w; then run `peerscore prune` again", err)
	case err != nil:
		return fail(exitUnavailable, "pruning was cut short: %w; run `peerscore prune` again", err)
	}
	return nil
}
