package main

import (
	"context"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Print the population: scores and support of standards, beside the figures of 2018",
		Long: `Print what the whole population of known peers adopts, in per cent: for each score the share
at each number of stars and at each level, for each standard the share that supports it, and for
each category of your own (see label) the share that is protected; beside
them the figures that MECSA published for December 2018. Peers without a score, or with a standard
that is unknown, are left out of that share; a domain that receives no mail or does not exist is left out
of all of them.`,
		Example: "  peerscore stats --json",
		Args:    takesNone,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.stats(cmd.Context()) },
	}
}

func (a *app) stats(ctx context.Context) error {
	p := view.NewPopulation()
	err := a.reading(ctx, func(r reader.Reader) error {
		return r.Each(ctx, store.Filter{}, func(r view.Report) error { p.Add(r); return nil })
	})
	if err != nil {
		return err
	}
	if a.json {
		return view.WriteJSON(a.Out, p.JSON())
	}
	a.WritePopulation(p)
	return nil
}
