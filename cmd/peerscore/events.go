package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) eventsCommand() *cobra.Command {
	var since string
	var all bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print recent regressions, with their reasons",
		Long: `Print the changes of all peers, one line each, latest first: scores that fell and standards
that are no longer supported; with --all, improvements too. The reason is a test whose result
changed; "peerscore history" lists all of them.`,
		Example: "  peerscore events --since 1d\n  peerscore events --all --json",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			return a.events(cmd.Context(), from, all)
		},
	}
	cmd.Flags().StringVar(&since, "since", "7d", "only changes since `TIME`: a date (2026-11-20) or how long ago (7d)")
	cmd.Flags().BoolVar(&all, "all", false, "include changes that are not regressions")
	return cmd
}

func (a *app) events(ctx context.Context, since time.Time, all bool) error {
	events := []view.Event{}
	err := a.reading(ctx, func(r reader.Reader) error {
		peers, err := r.Peers(ctx, store.Filter{})
		if err != nil {
			return err
		}
		for _, p := range peers {
			judgements, err := r.History(ctx, p.Domain)
			if err != nil {
				return err
			}
			events = append(events, view.EventsOf(judgements, since, all)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(events, func(x, y view.Event) int { return y.At.Compare(*x.At) })
	if a.json {
		return view.WriteJSON(a.Out, events)
	}
	switch {
	case len(events) > 0:
	case all:
		fmt.Fprintln(a.Err, "peerscore: no changes; try an earlier --since")
	default:
		fmt.Fprintln(a.Err, "peerscore: no regressions; try --all, or an earlier --since")
	}
	a.WriteEvents(events)
	return nil
}
