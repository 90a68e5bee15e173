package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) listCommand() *cobra.Command {
	var filter store.Filter
	var level, since string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print all peers, one line each",
		Long: `Print all peers, one line each: stars, credited sessions in the window, and when the
last of them was. A peer without scores shows its status instead.

With --below, the exit status is 1 if there is any such peer, for use in scheduled jobs.`,
		Example: `  peerscore list --sort integrity --limit 20
  peerscore list --level unprotected --since 7d
  peerscore list --below 3.5 --json`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if filter.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			if level != "" && !slices.Contains([]string{"protected", "minimum", "unprotected", "unknown"}, level) {
				return fail(exitUsage, "--level %q: write protected, minimum, unprotected or unknown", level)
			}
			if !slices.Contains(store.Sorts, filter.Sort) {
				return fail(exitUsage, "--sort %q: write one of %s", filter.Sort, strings.Join(store.Sorts, ", "))
			}
			if filter.Limit < 0 {
				return fail(exitUsage, "--limit must not be negative")
			}
			if err := checkBelow(filter.Below); err != nil {
				return err
			}
			filter.Level = assess.Level(level)
			return a.reading(cmd.Context(), func(r reader.Reader) error { return a.list(cmd.Context(), r, filter) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&filter.Sort, "sort", "domain", "sort by `KEY`: domain, confidentiality, identity, integrity, seen, sessions or assessed")
	flags.Float64Var(&filter.Below, "below", 0, "only peers with a score below `STARS`")
	flags.StringVar(&level, "level", "", "only peers whose lowest score is at `LEVEL`: protected, minimum, unprotected or unknown")
	flags.IntVar(&filter.Limit, "limit", 0, "print at most `N` peers")
	flags.StringVar(&since, "since", "", "only peers seen since `TIME`: a date (2026-11-20) or how long ago (7d)")
	return cmd
}

// checkBelow refuses what is no line between stars, NaN included.
func checkBelow(stars float64) error {
	if stars >= 0 && stars <= 5.5 {
		return nil
	}
	return fail(exitUsage, "--below must be between 0 and 5.5 stars")
}

func (a *app) list(ctx context.Context, r reader.Reader, f store.Filter) error {
	peers, err := r.Peers(ctx, f)
	if err != nil {
		return err
	}
	for i := range peers {
		if r.Rules.Passive {
			peers[i].Next = time.Time{}
		}
	}
	if err := a.writePeers(peers, time.Now()); err != nil {
		return err
	}
	if f.Below > 0 && len(peers) > 0 {
		return failure{exitUnknown, errSilent}
	}
	return nil
}

// parseSince reads a date or a duration before now; "" is no limit.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation("2006-01-02", s, time.Local); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, fail(exitUsage, "--since %q: write a date such as 2026-11-20, or how long ago such as 7d", s)
	}
	return now.Add(-time.Duration(d)), nil
}

func (a *app) writePeers(peers []store.Peer, now time.Time) error {
	if a.json {
		return view.WriteJSON(a.Out, view.PeersOf(peers))
	}
	if len(peers) == 0 {
		fmt.Fprintln(a.Err, "peerscore: no peer matches; domains become peers when mail is exchanged with them")
		return nil
	}
	a.WritePeerTable(peers, now)
	return nil
}
