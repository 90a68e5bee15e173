package main

import (
	"context"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history DOMAIN",
		Short: "Print how scores and standards of a domain changed",
		Long: `Print how scores and standards of a domain changed, the latest change first: each standard
with the tests whose results changed, before and after.`,
		Example: "  peerscore history example.org",
		Args:    takes(1, 1, "DOMAIN"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.history(cmd.Context(), args) },
	}
}

func (a *app) history(ctx context.Context, args []string) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	return a.reading(ctx, func(r reader.Reader) error {
		judgements, err := r.History(ctx, domains[0])
		if err == nil && len(judgements) == 0 {
			_, err = r.Peer(ctx, domains[0])
		}
		if err != nil {
			return known(domains[0], err)
		}
		steps := view.StepsOf(judgements)
		if a.json {
			return view.WriteJSON(a.Out, view.HistoryOf(domains[0], steps))
		}
		a.WriteHistory(domains[0], steps)
		return nil
	})
}
