package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"peerscore/store"
)

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DOMAIN...",
		Short: "Erase all that is known of domains",
		Long: `Erase all that is known of domains: sessions, facts, scores and history. A domain that mail
comes from again becomes known again; assess.deny_domains keeps it from being probed.`,
		Example: "  peerscore forget example.org",
		Args:    takes(1, math.MaxInt, "DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				for _, d := range domains {
					err := s.Forget(cmd.Context(), d)
					if errors.Is(err, store.ErrUnknownDomain) {
						return fail(exitUnknown, "%s is not known; `peerscore list` prints who is", d)
					}
					if err != nil {
						return failure{exitUnavailable, err}
					}
				}
				return nil
			})
		},
	}
}

func (a *app) pruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Apply the retention rules now rather than at the daemon's next daily run",
		Long: `Apply the retention rules now: sessions leave with score.window, past judgements after
store.keep, and the addresses of outbound hosts become networks after 30 days.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				if err := s.Prune(cmd.Context(), time.Now()); err != nil {
					return failure{exitUnavailable, err}
				}
				return nil
			})
		},
	}
}

// withStore opens the database for writing beside a daemon that may be running.
func (a *app) withStore(ctx context.Context, do func(*store.Store) error) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, config.Store.Path, config.storeOptions(nil)) // its errors are ours to tell
	if err != nil {
		return fail(exitUnavailable, "cannot write the database: %w", err)
	}
	doErr := do(s)
	if err := s.Close(); err != nil && doErr == nil {
		return failure{exitUnavailable, fmt.Errorf("closing the database: %w", err)}
	}
	return doErr
}
