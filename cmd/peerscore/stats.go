package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"peerscore/assess"
)

// The figures of MECSA's own population: report EUR 29674 EN, figures 4, 5 and 6, December
// 2018, 4,606 providers; stars by the published data set of 14,476 assessments. In per cent.
var (
	mecsaStars = map[assess.Category]map[float64]float64{
		assess.Confidentiality: {0: 12.16, 3: 18.93, 3.5: 1.00, 4: 56.21, 4.5: 4.75, 5: 6.95},
		assess.Identity:        {0: 26.73, 2.5: 8.21, 3: 24.21, 3.5: 17.54, 4: 3.76, 4.5: 13.27, 5: 6.30},
		assess.Integrity:       {0: 9.60, 1: 13.59, 2: 28.53, 2.5: 1.26, 3: 3.56, 3.5: 25.21, 4: 0.91, 5: 17.35},
	}
	mecsaSupport = map[assess.Standard]float64{
		assess.StartTLS: 87, assess.X509: 70, assess.SPF: 63, assess.DKIM: 44, assess.DMARC: 23, assess.DANE: 9, assess.DNSSEC: 10,
	}
)

const mecsaMinimumSet = 25.66

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Print the population: scores and support of standards, beside the figures of 2018",
		Long: `Print what the whole population of known peers adopts, in per cent: for each score the share
at each number of stars and at each level, for each standard the share that supports it, and for
each category of your own (see label) the share that is protected; beside
them the figures that MECSA published for December 2018. Who has no score, or a standard that is
unknown, is left out of that share; a domain that receives no mail or does not exist is left out
of all of them.`,
		Example: "  peerscore stats --json",
		Args:    takesNone,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.stats(cmd.Context()) },
	}
}

// share counts those of whom something is known, and those among them who have it.
type share struct{ have, known int }

func (s share) percent() *float64 {
	if s.known == 0 {
		return nil
	}
	p := 100 * float64(s.have) / float64(s.known)
	return &p
}

// population is what all peers adopt.
type population struct {
	peers   int
	stars   map[assess.Category]map[float64]int
	scored  map[assess.Category]int
	levels  map[assess.Category]map[assess.Level]int
	support map[assess.Standard]share
	minimum share
	labels  map[string]map[assess.Category]share // of each category of the operator's, who is protected
}

func newPopulation() *population {
	p := &population{
		stars: map[assess.Category]map[float64]int{}, scored: map[assess.Category]int{},
		levels: map[assess.Category]map[assess.Level]int{}, support: map[assess.Standard]share{},
		labels: map[string]map[assess.Category]share{},
	}
	for _, c := range assess.Categories {
		p.stars[c], p.levels[c] = map[float64]int{}, map[assess.Level]int{}
	}
	return p
}

func (p *population) add(r report) {
	if r.Status == assess.StatusNoMail {
		return // there is no provider, neither a good nor a bad one
	}
	p.peers++
	for _, c := range assess.Categories {
		if s := r.Scores[c]; s.Known {
			p.scored[c]++
			p.stars[c][s.Stars]++
			p.levels[c][s.Level()]++
		}
	}
	for _, s := range assess.Standards {
		p.support[s] = p.support[s].with(r.Verdicts.Support(s))
	}
	p.minimum = p.minimum.with(r.Scores.MinimumSet())
	for _, label := range r.labels {
		if p.labels[label] == nil {
			p.labels[label] = map[assess.Category]share{}
		}
		for _, c := range assess.Categories {
			if level := r.Scores[c].Level(); level != assess.LevelUnknown {
				p.labels[label][c] = p.labels[label][c].with(supportIf(level == assess.LevelProtected))
			}
		}
	}
}

func supportIf(yes bool) assess.Support {
	if yes {
		return assess.SupportYes
	}
	return assess.SupportNo
}

func (s share) with(support assess.Support) share {
	switch support {
	case assess.SupportYes:
		return share{s.have + 1, s.known + 1}
	case assess.SupportNo:
		return share{s.have, s.known + 1}
	}
	return s
}

func (a *app) stats(ctx context.Context) error {
	p := newPopulation()
	if err := a.eachReport(ctx, func(r report) error { p.add(r); return nil }); err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.out, p.json())
	}
	a.writePopulation(a.out, p)
	return nil
}

// levelOf says at which level a number of stars lies.
func levelOf(stars float64) assess.Level { return assess.Score{Known: true, Stars: stars}.Level() }

var levels = []assess.Level{assess.LevelProtected, assess.LevelMinimum, assess.LevelUnprotected}

// mecsaLevel is the share of MECSA's providers at a level.
func mecsaLevel(c assess.Category, level assess.Level) float64 {
	sum := 0.0
	for stars, percent := range mecsaStars[c] {
		if levelOf(stars) == level {
			sum += percent
		}
	}
	return sum
}

// steps are the numbers of stars that occur here or in 2018, the most first.
func (p *population) steps() []float64 {
	var steps []float64
	for step := 5.0; step >= 0; step -= 0.5 {
		if slices.ContainsFunc(assess.Categories, func(c assess.Category) bool { return p.stars[c][step] > 0 || mecsaStars[c][step] > 0 }) {
			steps = append(steps, step)
		}
	}
	return steps
}

func (c console) writePopulation(w io.Writer, p *population) {
	fmt.Fprintf(w, "%d %s, in per cent, beside MECSA's 4,606 providers of December 2018\n\n", p.peers, plural(p.peers, "peer", "peers"))
	t := figuresTable()
	t.AppendHeader(table.Row{"", "Confidentiality", "2018", "Identity", "2018", "Integrity", "2018"})
	for _, step := range p.steps() {
		row := table.Row{stars(assess.Score{Known: true, Stars: step}) + fmt.Sprintf(" %g", step)}
		for _, category := range assess.Categories {
			row = append(row, percent(share{p.stars[category][step], p.scored[category]}.percent()), percentOf(mecsaStars[category][step]))
		}
		t.AppendRow(row)
	}
	for _, level := range levels {
		row := table.Row{c.paintLevel(level, string(level))}
		for _, category := range assess.Categories {
			row = append(row, percent(share{p.levels[category][level], p.scored[category]}.percent()), percentOf(mecsaLevel(category, level)))
		}
		t.AppendRow(row)
	}
	fmt.Fprintf(w, "%s\n\n", t.Render())
	t = figuresTable()
	t.AppendHeader(table.Row{"Standard", "Support", "2018"})
	for _, s := range assess.Standards {
		reference := "-"
		if published, ok := mecsaSupport[s]; ok {
			reference = percentOf(published)
		}
		t.AppendRow(table.Row{s.Label(), percent(p.support[s].percent()), reference})
	}
	t.AppendRow(table.Row{"minimum set", percent(p.minimum.percent()), percentOf(mecsaMinimumSet)})
	fmt.Fprintln(w, t.Render())
	if len(p.labels) == 0 {
		return
	}
	fmt.Fprintln(w)
	t = figuresTable()
	t.AppendHeader(table.Row{"Protected", "Confidentiality", "Identity", "Integrity"})
	for _, label := range slices.Sorted(maps.Keys(p.labels)) {
		row := table.Row{label}
		for _, category := range assess.Categories {
			row = append(row, percent(p.labels[label][category].percent()))
		}
		t.AppendRow(row)
	}
	fmt.Fprintln(w, t.Render())
}

// figuresTable has figures to the right of its first column.
func figuresTable() table.Writer {
	t := plainTable()
	var columns []table.ColumnConfig
	for n := 2; n <= 1+2*len(assess.Categories); n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return percentOf(*p)
}

func percentOf(p float64) string { return fmt.Sprintf("%.1f", p) }

// populationJSON is what `stats --json` prints; shares are in per cent, null where nothing is known.
type populationJSON struct {
	Schema     int                            `json:"schema"`
	Peers      int                            `json:"peers"`
	Scores     map[assess.Category]scoreStats `json:"scores"`
	Standards  map[assess.Standard]shareJSON  `json:"standards"`
	MinimumSet shareJSON                      `json:"minimum_set"`
	Categories map[string]protectedJSON       `json:"categories"` // the operator's
}

// protectedJSON is the share of a category's domains that is protected, score by score.
type protectedJSON map[assess.Category]shareJSON

type scoreStats struct {
	Scored int                        `json:"scored"`
	Stars  map[string]shareJSON       `json:"stars"`
	Levels map[assess.Level]shareJSON `json:"levels"`
}

type shareJSON struct {
	Count     int      `json:"count"`
	Share     *float64 `json:"share"`
	MECSA2018 *float64 `json:"mecsa_2018"` // null where the report has no figure
}

func (p *population) json() populationJSON {
	out := populationJSON{
		schemaVersion, p.peers, map[assess.Category]scoreStats{}, map[assess.Standard]shareJSON{},
		sharesOf(p.minimum, mecsaMinimumSet), map[string]protectedJSON{},
	}
	for label, shares := range p.labels {
		out.Categories[label] = protectedJSON{}
		for _, c := range assess.Categories {
			out.Categories[label][c] = shareOf(shares[c])
		}
	}
	for _, c := range assess.Categories {
		s := scoreStats{p.scored[c], map[string]shareJSON{}, map[assess.Level]shareJSON{}}
		for _, step := range p.steps() {
			s.Stars[fmt.Sprint(step)] = sharesOf(share{p.stars[c][step], p.scored[c]}, mecsaStars[c][step])
		}
		for _, level := range levels {
			s.Levels[level] = sharesOf(share{p.levels[c][level], p.scored[c]}, mecsaLevel(c, level))
		}
		out.Scores[c] = s
	}
	for _, s := range assess.Standards {
		out.Standards[s] = shareOf(p.support[s])
		if published, ok := mecsaSupport[s]; ok {
			out.Standards[s] = sharesOf(p.support[s], published)
		}
	}
	return out
}

func sharesOf(s share, published float64) shareJSON {
	out := shareOf(s)
	published = math.Round(published*100) / 100 // a sum of levels is not exact
	out.MECSA2018 = &published
	return out
}

// shareOf has two digits behind the point, as the report has.
func shareOf(s share) shareJSON {
	p := s.percent()
	if p != nil {
		*p = math.Round(*p*100) / 100
	}
	return shareJSON{Count: s.have, Share: p}
}
