package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) rescoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rescore",
		Short: "Judge stored facts again with today's rules and profile",
		Long: `Judge all stored facts and sessions again with the rules and the profile of the
configuration, without the network. The daemon does this by itself when it starts with other
rules than before; a running one keeps its own until it is restarted.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			profile, err := cfg.Profile()
			if err != nil {
				return failure{exitUsage, err}
			}
			return a.writing(cmd.Context(), func(s *store.Store) error {
				judge := store.Judge{Profile: profile, Rules: cfg.Rules(), Window: time.Duration(cfg.Score.Window)}
				n, err := store.NewStandings(s, judge).Rescore(cmd.Context())
				if err != nil {
					return failure{exitUnavailable, err}
				}
				if a.json {
					return view.WriteJSON(a.Out, map[string]any{"schema": view.SchemaVersion, "domains": n, "profile": profile.Name})
				}
				fmt.Fprintf(a.Out, "Judged %d %s by %s.\n", n, view.Plural(n, "domain", "domains"), profile.Name)
				return nil
			})
		},
	}
}
