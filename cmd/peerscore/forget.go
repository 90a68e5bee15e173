package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"peerscore/store"
)

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DOMAIN...",
		Short: "Erase all that is known of domains",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				for _, d := range domains {
					if err := s.Forget(cmd.Context(), d); err != nil {
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
		Args:  cobra.NoArgs,
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
	s, err := store.Open(ctx, config.Store.Path, config.storeOptions(a.logger(config)))
	if err != nil {
		return fail(exitUnavailable, "cannot write the database: %w", err)
	}
	doErr := do(s)
	if err := s.Close(); err != nil && doErr == nil {
		return failure{exitUnavailable, fmt.Errorf("closing the database: %w", err)}
	}
	return doErr
}
