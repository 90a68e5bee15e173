package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

// Step is one judgement with what made it differ from the one before.
type Step struct {
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

// StepsOf takes judgements as the store gives them, the latest first.
func StepsOf(judgements []store.Judgement) []Step {
	var steps []Step
	for i, j := range judgements {
		s := Step{Judgement: j}
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

// WriteHistory is the text of `history`.
func (c Console) WriteHistory(d dnsname.Domain, steps []Step) {
	c.WriteFinding(c.Paint(Bold, titleOf(d))+" ", fmt.Sprintf("%d %s", len(steps), Plural(len(steps), "judgement", "judgements")))
	for _, s := range steps {
		fmt.Fprintln(c.Out)
		c.WriteFinding(c.Paint(Bold, s.Since.Local().Format("2006-01-02 15:04"))+" ", s.headline())
		for _, change := range s.changes {
			fmt.Fprintf(c.Out, "  %-16s %s\n", change.standard.Label(), fromTo(string(change.from), string(change.to)))
			c.writeOutcomes("was", change.before)
			c.writeOutcomes("now", change.after)
		}
	}
}

func (c Console) writeOutcomes(when string, tests []assess.Test) {
	given := advised{}
	for _, t := range tests {
		label := fmt.Sprintf("    %s %s %-12s", when, c.paintResult(t.Result), Printable(t.Test))
		c.WriteFinding(label, Printable(t.Subject)+": "+Printable(given.finding(t)))
	}
}

// headline is the scores that changed, or all of them at first.
func (s Step) headline() string {
	var parts []string
	if s.before == nil {
		for _, c := range assess.Categories {
			parts = append(parts, categoryNames[c]+" "+Number(s.Scores[c]))
		}
		return "first judgement: " + strings.Join(parts, ", ")
	}
	if s.before.Profile != s.Profile {
		parts = append(parts, "profile "+fromTo(s.before.Profile, s.Profile))
	}
	for _, c := range assess.Categories {
		if was, is := Number(s.before.Scores[c]), Number(s.Scores[c]); was != is {
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

// HistoryJSON is what `history --json` prints.
type HistoryJSON struct {
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

// HistoryOf is what `history --json` prints.
func HistoryOf(d dnsname.Domain, steps []Step) HistoryJSON {
	out := HistoryJSON{SchemaVersion, d, []judgementJSON{}}
	for _, s := range steps {
		j := judgementJSON{TimeOrNull(s.Since), TimeOrNull(s.At), s.Profile, s.Status, allScores(s.Scores), []changeJSON{}}
		for _, c := range s.changes {
			j.Changes = append(j.Changes, changeJSON{c.standard, c.from, c.to, testsOf(c.before), testsOf(c.after)})
		}
		out.Judgements = append(out.Judgements, j)
	}
	return out
}
