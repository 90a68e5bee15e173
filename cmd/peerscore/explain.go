package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain DOMAIN",
		Short: "Print every test behind every star of a domain",
		Long: `Print the advanced report: every test with host, result, evidence and age, the row of
the score profile that matched, and the cheapest change that gains half a star.`,
		Example: "  peerscore explain example.org | grep fail",
		Args:    takes(1, 1, "DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err != nil {
				return err
			}
			reader, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.Close()
			r, err := reader.report(cmd.Context(), domains[0])
			if errors.Is(err, errUnknownDomain) {
				return fail(exitUnknown, "%s is not known; `peerscore assess %s` probes it now", domains[0], domains[0])
			}
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.out, r.json(true))
			}
			a.writeExplanation(a.out, r, time.Now())
			return nil
		},
	}
}
