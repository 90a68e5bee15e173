package view

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

//go:embed page.html
var reportText string

var reportPage = template.Must(template.New("report").Parse(reportText))

// pageData is what page.html shows.
type pageData struct {
	Peers       int
	Full        bool // there may be more
	At, Profile string
	MinimumSet  string
	Linked      bool // the daemon serves it, and a page for each peer
	Charts      []chart
	Columns     []string
	Rows        []pageRow
}

type pageRow struct {
	Domain   dnsname.Domain
	Scores   []pageScore
	Support  []assess.Support
	Credited int
	Assessed string
}

type pageScore struct {
	Level               assess.Level
	Stars, Number, Sort string
}

// chart is a column of pairs of bars, in pixels.
type chart struct {
	Title  string
	Height int
	Bars   []bar
}

type bar struct {
	Label              string
	Y, ThenY, TextY    int
	Here, Then, ValueX float64
	HereText, ThenText string
}

const (
	barStep  = 20  // from one pair to the next
	barRoom  = 1.9 // pixels for one per cent
	barStart = 84  // right of the labels
)

// add draws shares in per cent, nil where there is no figure.
func (c *chart) add(label string, here, then *float64) {
	y := len(c.Bars) * barStep
	b := bar{
		Label: label, Y: y + 3, ThenY: y + 10, TextY: y + 12, Here: pixels(here), Then: pixels(then),
		HereText: percent(here), ThenText: percent(then),
	}
	b.ValueX = barStart + 6 + max(b.Here, b.Then)
	c.Bars = append(c.Bars, b)
	c.Height = y + barStep
}

func pixels(share *float64) float64 {
	if share == nil {
		return 0
	}
	return math.Round(*share * barRoom)
}

// Page is page.html: charts and a table of peers.
type Page struct {
	data       pageData
	population *Population
}

// NewPage begins a page of peers whose scores are by a profile.
func NewPage(profile string) *Page {
	p := &Page{data: pageData{Profile: profile, Columns: []string{"Domain"}}, population: NewPopulation()}
	for _, c := range assess.Categories {
		p.data.Columns = append(p.data.Columns, categoryNames[c])
	}
	for _, s := range assess.Standards {
		p.data.Columns = append(p.data.Columns, s.Label())
	}
	p.data.Columns = append(p.data.Columns, "Sessions", "Assessed")
	return p
}

// Add adds the row of a peer.
func (p *Page) Add(r Report) {
	p.population.Add(r)
	p.data.Rows = append(p.data.Rows, pageRowOf(r))
}

// Write writes the page. Served is how many peers one that the daemon serves, with links to a page
// for each peer, has at the most; 0 for a file.
func (p *Page) Write(w io.Writer, served int) error {
	d := &p.data
	d.Linked, d.Full = served > 0, len(d.Rows) == served
	d.At, d.Peers = time.Now().UTC().Format("2006-01-02 15:04 MST"), len(d.Rows)
	d.MinimumSet, d.Charts = percent(p.population.minimum.percent()), p.population.charts()
	return reportPage.Execute(w, d)
}

func pageRowOf(r Report) pageRow {
	row := pageRow{Domain: r.Domain, Credited: r.Evidence.Tally.Credited(), Assessed: "never"}
	for _, c := range assess.Categories {
		s := r.Scores[c]
		row.Scores = append(row.Scores, pageScore{s.Level(), stars(s), Number(s), fmt.Sprint(s.Stars)})
		if !s.Known {
			row.Scores[len(row.Scores)-1].Sort = "-1"
		}
	}
	for _, s := range assess.Standards {
		row.Support = append(row.Support, r.Verdicts.Support(s))
	}
	if r.Evidence.Facts != nil {
		row.Assessed = r.Evidence.Facts.At.UTC().Format("2006-01-02 15:04")
	}
	return row
}

func (p *Population) charts() []chart {
	var charts []chart
	for _, category := range assess.Categories {
		c := chart{Title: categoryNames[category]}
		for _, step := range p.steps() {
			s := assess.Score{Known: true, Stars: step}
			then := mecsaStars[category][step]
			c.add(stars(s)+" "+Number(s), share{p.stars[category][step], p.scored[category]}.percent(), &then)
		}
		charts = append(charts, c)
	}
	c := chart{Title: "Support"}
	for _, s := range assess.Standards {
		var then *float64
		if published, ok := mecsaSupport[s]; ok {
			then = &published
		}
		c.add(s.Label(), p.support[s].percent(), then)
	}
	return append(charts, c)
}
