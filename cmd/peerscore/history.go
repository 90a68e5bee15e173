package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history DOMAIN",
		Short: "Print how scores and standards of a domain changed",
		Long: `Print how scores and standards of a domain changed, the latest change first: each standard
with the tests that came out differently, as they were and as they are.`,
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
	reader, err := a.openReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	judgements, err := reader.History(ctx, domains[0])
	if err != nil {
		return failure{exitUnavailable, err}
	}
	if len(judgements) == 0 {
		if known, err := reader.Known(ctx, domains[0]); err != nil || !known {
			return fail(exitUnknown, "%s is not known; `peerscore assess %s` probes it now", domains[0], domains[0])
		}
	}
	steps := stepsOf(judgements)
	if a.json {
		return writeJSON(a.out, historyOf(domains[0], steps))
	}
	a.writeHistory(a.out, domains[0], steps)
	return nil
}

// step is one judgement with what made it differ from the one before.
type step struct {
	store.Judgement
	before  *store.Judgement // nil at the first
	changes []change
}

// change is a standard whose support or tests came out differently.
type change struct {
	standard      assess.Standard
	from, to      assess.Support
	before, after []assess.Test // those that differ in their result
}

// stepsOf takes judgements as the store gives them, the latest first.
func stepsOf(judgements []store.Judgement) []step {
	var steps []step
	for i, j := range judgements {
		s := step{Judgement: j}
		if i+1 < len(judgements) {
			s.before = &judgements[i+1]
			s.changes = changesOf(s.before.Verdicts, j.Verdicts)
		}
		steps = append(steps, s)
	}
	return steps
}

func changesOf(before, after assess.Verdicts) []change {
	var changes []change
	for _, s := range assess.Standards {
		c := change{s, before.Support(s), after.Support(s), differing(before[s], after[s]), differing(after[s], before[s])}
		if c.from != c.to || len(c.before)+len(c.after) > 0 {
			changes = append(changes, c)
		}
	}
	return changes
}

// differing are the tests of one verdict that the other does not have with the same result.
func differing(v, other assess.Verdict) []assess.Test {
	var tests []assess.Test
	for _, t := range v.Tests {
		same := func(o assess.Test) bool {
			return o.Subject == t.Subject && o.Address == t.Address && o.Direction == t.Direction && o.Test == t.Test && o.Result == t.Result
		}
		if !slices.ContainsFunc(other.Tests, same) {
			tests = append(tests, t)
		}
	}
	return tests
}

func (c console) writeHistory(w io.Writer, d dnsname.Domain, steps []step) {
	c.writeFinding(w, c.paint(bold, titleOf(d))+" ", fmt.Sprintf("%d %s", len(steps), plural(len(steps), "judgement", "judgements")))
	for _, s := range steps {
		fmt.Fprintln(w)
		c.writeFinding(w, c.paint(bold, s.Since.Local().Format("2006-01-02 15:04"))+" ", s.headline())
		for _, change := range s.changes {
			fmt.Fprintf(w, "  %-16s %s\n", change.standard.Label(), fromTo(string(change.from), string(change.to)))
			for _, t := range advisedOnce(change.before) {
				c.writeOutcome(w, "was", t)
			}
			for _, t := range advisedOnce(change.after) {
				c.writeOutcome(w, "now", t)
			}
		}
	}
}

func (c console) writeOutcome(w io.Writer, when string, t assess.Test) {
	label := fmt.Sprintf("    %s %s %-12s", when, c.paintResult(t.Result), printable(t.Test))
	c.writeFinding(w, label, printable(t.Subject)+": "+printable(t.Detail))
}

// headline is the scores that changed, or all of them at first.
func (s step) headline() string {
	var parts []string
	if s.before == nil {
		for _, c := range assess.Categories {
			parts = append(parts, categoryNames[c]+" "+number(s.Scores[c]))
		}
		return "first judgement: " + strings.Join(parts, ", ")
	}
	if s.before.Profile != s.Profile {
		parts = append(parts, "profile "+fromTo(s.before.Profile, s.Profile))
	}
	for _, c := range assess.Categories {
		if was, is := number(s.before.Scores[c]), number(s.Scores[c]); was != is {
			parts = append(parts, categoryNames[c]+" "+fromTo(was, is))
		}
	}
	if len(parts) == 0 {
		return "the same scores"
	}
	return strings.Join(parts, ", ")
}

func fromTo(from, to string) string {
	if from == to {
		return to
	}
	return from + " → " + to
}

// historyJSON is what `history --json` prints.
type historyJSON struct {
	Schema     int             `json:"schema"`
	Domain     dnsname.Domain  `json:"domain"`
	Judgements []judgementJSON `json:"judgements"` // the latest first
}

type judgementJSON struct {
	Since   *time.Time    `json:"since"` // when it was first reached
	At      *time.Time    `json:"at"`    // and last
	Profile string        `json:"profile"`
	Status  assess.Status `json:"status"`
	Scores  scoresJSON    `json:"scores"`
	Changes []changeJSON  `json:"changes"`
}

type changeJSON struct {
	Standard assess.Standard `json:"standard"`
	From     assess.Support  `json:"from"`
	To       assess.Support  `json:"to"`
	Before   []testJSON      `json:"before"`
	After    []testJSON      `json:"after"`
}

func historyOf(d dnsname.Domain, steps []step) historyJSON {
	out := historyJSON{schemaVersion, d, []judgementJSON{}}
	for _, s := range steps {
		j := judgementJSON{timeOrNull(s.Since), timeOrNull(s.At), s.Profile, s.Status, allScores(s.Scores), []changeJSON{}}
		for _, c := range s.changes {
			j.Changes = append(j.Changes, changeJSON{c.standard, c.from, c.to, testsOf(c.before), testsOf(c.after)})
		}
		out.Judgements = append(out.Judgements, j)
	}
	return out
}
