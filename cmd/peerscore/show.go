package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
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
	return a.reading(ctx, func(r reader.Reader) error {
		var reports []view.Report
		var unknown []error
		for _, d := range domains {
			report, err := r.Report(ctx, d)
			switch {
			case errors.Is(err, store.ErrUnknownDomain):
				unknown = append(unknown, known(d, err))
			case err != nil:
				return err
			default:
				reports = append(reports, report)
			}
		}
		if err := a.writeReports(reports, len(domains) > 1); err != nil {
			return err
		}
		for _, err := range unknown {
			fmt.Fprintf(a.Err, "peerscore: %v\n", err)
		}
		if len(unknown) > 0 || anyBelow(reports, below) {
			return failure{exitUnknown, errSilent}
		}
		return nil
	})
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
func (a *app) writeReports(reports []view.Report, several bool) error {
	if !a.json {
		for i, r := range reports {
			if i > 0 {
				fmt.Fprintln(a.Out)
			}
			a.WriteSummary(r, time.Now())
		}
		return nil
	}
	objects := []view.DomainJSON{}
	for _, r := range reports {
		objects = append(objects, r.JSON(false))
	}
	switch {
	case several:
		return view.WriteJSON(a.Out, objects)
	case len(objects) == 1:
		return view.WriteJSON(a.Out, objects[0])
	}
	return nil
}

// anyBelow reports whether a known score lies below the line; a score that is not known does not.
func anyBelow(reports []view.Report, line float64) bool {
	for _, r := range reports {
		for _, s := range r.Scores {
			if s.Known && s.Stars < line {
				return true
			}
		}
	}
	return false
}
