package main

import (
	"time"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
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
			return a.reading(cmd.Context(), func(r reader.Reader) error {
				report, err := r.Report(cmd.Context(), domains[0])
				switch {
				case err != nil:
					return known(domains[0], err)
				case a.json:
					return view.WriteJSON(a.Out, report.JSON(true))
				}
				a.WriteExplanation(report, time.Now())
				return nil
			})
		},
	}
}
