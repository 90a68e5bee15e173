package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

func (a *app) eventsCommand() *cobra.Command {
	var since string
	var all bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what became worse of late, with its reason",
		Long: `Print the changes of all peers, one line each and the latest first: scores that fell and
standards that are no longer supported; with --all those that became better too. The reason
is a test that came out differently; "peerscore history" has them all.`,
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
	cmd.Flags().BoolVar(&all, "all", false, "also changes that are no regression")
	return cmd
}

// event is one change of a domain's judgement.
type event struct {
	Schema int            `json:"schema"`
	At     *time.Time     `json:"at"`
	Domain dnsname.Domain `json:"domain"`
	Kind   string         `json:"kind"` // regression, improvement, change
	Scores string         `json:"scores"`
	Reason string         `json:"reason"`
}

func (a *app) events(ctx context.Context, since time.Time, all bool) error {
	reader, err := a.openReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	peers, err := reader.Peers(ctx, store.Filter{})
	if err != nil {
		return failure{exitUnavailable, err}
	}
	events := []event{}
	for _, p := range peers {
		judgements, err := reader.History(ctx, p.Domain)
		if err != nil {
			return failure{exitUnavailable, err}
		}
		for _, s := range stepsOf(judgements) {
			if s.before == nil || s.Since.Before(since) {
				continue
			}
			if e := s.event(); all || e.Kind == "regression" {
				events = append(events, e)
			}
		}
	}
	slices.SortStableFunc(events, func(x, y event) int { return y.At.Compare(*x.At) })
	if a.json {
		return writeJSON(a.out, events)
	}
	switch {
	case len(events) > 0:
	case all:
		fmt.Fprintln(a.err, "peerscore: no changes; try an earlier --since")
	default:
		fmt.Fprintln(a.err, "peerscore: no regressions; try --all, or an earlier --since")
	}
	for _, e := range events {
		label := fmt.Sprintf("%s  %-24s", e.At.Local().Format("2006-01-02 15:04"), e.Domain)
		a.writeFinding(a.out, a.paint(kindColours[e.Kind], label), e.Scores+e.reason())
	}
	return nil
}

var kindColours = map[string]colours{"regression": red, "improvement": green, "change": faint}

func (e event) reason() string {
	if e.Reason == "" {
		return ""
	}
	return "; " + printable(e.Reason)
}

func (s step) event() event {
	e := event{schemaVersion, timeOrNull(s.Since), s.Domain, "change", s.headline(), ""}
	worse, better := false, false
	for _, c := range assess.Categories {
		was, is := s.before.Scores[c], s.Scores[c]
		worse = worse || was.Known && is.Known && is.Stars < was.Stars
		better = better || was.Known && is.Known && is.Stars > was.Stars
	}
	var reasons []string
	for _, c := range s.changes {
		worse = worse || c.from == assess.SupportYes && c.to == assess.SupportNo
		better = better || c.from == assess.SupportNo && c.to == assess.SupportYes
		if c.from != c.to {
			reasons = append(reasons, c.standard.Label()+" "+fromTo(string(c.from), string(c.to))+c.because())
		}
	}
	e.Reason = strings.Join(reasons, "; ")
	switch {
	case s.before.Profile != s.Profile: // the ruler changed, not what it measures
	case worse:
		e.Kind = "regression"
	case better:
		e.Kind = "improvement"
	}
	return e
}

// because is the first test that decided it.
func (c change) because() string {
	for _, t := range c.after {
		if (t.Result == assess.Pass) == (c.to == assess.SupportYes) {
			return " (" + t.Subject + ": " + t.Detail + ")"
		}
	}
	return ""
}
