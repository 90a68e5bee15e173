package view

import (
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"peerscore/assess"
)

// WritePopulation is the text of `stats`.
func (c Console) WritePopulation(p *Population) {
	fmt.Fprintf(c.Out, "%d %s, in per cent, beside MECSA's 4,606 providers of December 2018\n\n", p.peers, Plural(p.peers, "peer", "peers"))
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
	fmt.Fprintf(c.Out, "%s\n\n", t.Render())
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
	fmt.Fprintln(c.Out, t.Render())
	if len(p.labels) == 0 {
		return
	}
	fmt.Fprintln(c.Out)
	t = figuresTable()
	t.AppendHeader(table.Row{"Protected", "Confidentiality", "Identity", "Integrity"})
	for _, label := range slices.Sorted(maps.Keys(p.labels)) {
		row := table.Row{label}
		for _, category := range assess.Categories {
			row = append(row, percent(p.labels[label][category].percent()))
		}
		t.AppendRow(row)
	}
	fmt.Fprintln(c.Out, t.Render())
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
