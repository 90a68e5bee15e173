package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

func (a *app) listCommand() *cobra.Command {
	var filter store.Filter
	var level, since string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print all peers, one line each",
		Long: `Print all peers, one line each: stars, sessions of the window that were credited, and when
the last of them was. A peer without scores has its status in their place.

With --below the exit status is 1 if there is such a peer, for jobs that watch over it.`,
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
			reader, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.Close()
			return a.list(cmd.Context(), reader, filter)
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

func (a *app) list(ctx context.Context, r reader, f store.Filter) error {
	peers, err := r.Peers(ctx, f)
	if err != nil {
		return failure{exitUnavailable, err}
	}
	for i := range peers {
		if r.rules.Passive {
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

// peerJSON is one line of `list --json`.
type peerJSON struct {
	Schema          int            `json:"schema"`
	Domain          dnsname.Domain `json:"domain"`
	Status          assess.Status  `json:"status"`
	Confidentiality *float64       `json:"confidentiality"`
	Identity        *float64       `json:"identity"`
	Integrity       *float64       `json:"integrity"`
	Credited        int            `json:"credited"`
	FirstSeen       *time.Time     `json:"first_seen"`
	LastSeen        *time.Time     `json:"last_seen"`
	Assessed        *time.Time     `json:"assessed"`
	NextAssessment  *time.Time     `json:"next_assessment"`
}

func (a *app) writePeers(peers []store.Peer, now time.Time) error {
	if a.json {
		rows := []peerJSON{}
		for _, p := range peers {
			rows = append(rows, peerJSON{
				schemaVersion, p.Domain, p.Status,
				scoreOf(p.Scores[assess.Confidentiality]).Stars, scoreOf(p.Scores[assess.Identity]).Stars, scoreOf(p.Scores[assess.Integrity]).Stars,
				p.Credited, timeOrNull(p.FirstSeen), timeOrNull(p.LastSeen), timeOrNull(p.Assessed), timeOrNull(p.Next),
			})
		}
		return writeJSON(a.out, rows)
	}
	if len(peers) == 0 {
		fmt.Fprintln(a.err, "peerscore: no peer matches; domains become peers when mail is exchanged with them")
		return nil
	}
	a.writePeerTable(a.out, peers, now)
	return nil
}

// writePeerTable draws the same table on a terminal and into a pipe, where it has no colours.
// Where a terminal is too narrow for it there are numbers only.
func (c console) writePeerTable(w io.Writer, peers []store.Peer, now time.Time) {
	drawn := c.peerTable(peers, now, table.Row{"Domain", "Confidentiality", "Identity", "Integrity", "Sessions", "Seen"}, c.cell)
	if c.width > 0 && text.LongestLineLen(drawn) > c.width {
		drawn = c.peerTable(peers, now, table.Row{"Domain", "Conf", "Iden", "Inte", "Sess", "Seen"}, c.narrowCell)
	}
	fmt.Fprintln(w, drawn)
}

func (c console) peerTable(peers []store.Peer, now time.Time, head table.Row, cell func(store.Peer, assess.Category) string) string {
	t := plainTable()
	t.AppendHeader(head)
	for _, p := range peers {
		row := table.Row{string(p.Domain)}
		for _, category := range assess.Categories {
			row = append(row, cell(p, category))
		}
		t.AppendRow(append(row, p.Credited, ago(p.LastSeen, now)))
	}
	return t.Render()
}

// plainTable has no lines and no colours.
func plainTable() table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	t.SuppressTrailingSpaces()
	return t
}

// cell is a score; the first of a domain without scores says why there are none.
func (c console) cell(p store.Peer, category assess.Category) string {
	s := p.Scores[category]
	drawn := strings.TrimRight(stars(s), " ")
	switch {
	case s.Known:
		drawn += " " + number(s)
	case !p.Scores.Known() && category == assess.Confidentiality:
		drawn += " " + string(p.Status)
	}
	return c.paintLevel(s.Level(), drawn)
}

func (c console) narrowCell(p store.Peer, category assess.Category) string {
	s := p.Scores[category]
	return c.paintLevel(s.Level(), number(s))
}
