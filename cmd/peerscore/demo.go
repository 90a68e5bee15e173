package main

import (
	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole of peerscore on an embedded internet on loopback",
		Long: `Start a name server, the mail servers of a dozen providers of different quality and the
daemon, all on loopback and without root; play a few hundred sessions through the milter;
then print what peerscore made of them. The database is kept for your own queries.`,
		Example: "  peerscore demo --dir /tmp/demo",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := demo.Run(cmd.Context(), a.Console, keep); err != nil {
				return failure{exitUnavailable, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "dir", "", "keep database and log in `FOLDER` (default: a new temporary one)")
	return cmd
}
