package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

//go:embed report.html
var reportText string

var reportPage = template.Must(template.New("report").Parse(reportText))

func (a *app) reportCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "report -o FILE",
		Short: "Write one HTML page with charts and a table of all peers",
		Long: `Write one HTML page with charts and a table of all peers that a click on a heading sorts. It
needs nothing beside itself: no other file, no network.`,
		Example: "  peerscore report -o peers.html",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return fail(exitUsage, "name the file to write with -o, - for standard output")
			}
			reader, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer reader.Close()
			var page bytes.Buffer
			if err := reader.writePage(cmd.Context(), &page, 0); err != nil {
				return err
			}
			if path == "-" {
				_, err := page.WriteTo(a.out)
				return err
			}
			if err := replaceFile(path, page.Bytes()); err != nil {
				return fail(exitUsage, "cannot write %s: %w", path, bare(err))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write the page to `FILE`, - for standard output")
	return cmd
}

// bare is an error of a file without the name of the file.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// replaceFile leaves the old file whole until the new one is. What a link leads to is replaced,
// not the link; a device or a FIFO is not a file.
func replaceFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("not a regular file; -o - writes to standard output")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".peerscore-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no longer there once it has its name
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// pageData is what report.html shows.
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

// writePage writes report.html of all peers, or for the daemon's own server of so many that
// most sessions came from.
func (r reader) writePage(ctx context.Context, w io.Writer, served int) error {
	p, chosen := newPopulation(), store.Filter{}
	if served > 0 {
		chosen = store.Filter{Sort: "sessions", Limit: served}
	}
	data := pageData{Linked: served > 0, Profile: r.profile.Name, At: time.Now().UTC().Format("2006-01-02 15:04 MST"), Columns: []string{"Domain"}}
	for _, c := range assess.Categories {
		data.Columns = append(data.Columns, categoryNames[c])
	}
	for _, s := range assess.Standards {
		data.Columns = append(data.Columns, s.Label())
	}
	data.Columns = append(data.Columns, "Sessions", "Assessed")
	if err := r.each(ctx, chosen, func(peer report) error {
		p.add(peer)
		data.Rows = append(data.Rows, pageRowOf(peer))
		return nil
	}); err != nil {
		return err
	}
	data.Full = len(data.Rows) == served
	data.Peers, data.MinimumSet, data.Charts = len(data.Rows), percent(p.minimum.percent()), p.charts()
	return reportPage.Execute(w, data)
}

func pageRowOf(r report) pageRow {
	row := pageRow{Domain: r.Domain, Credited: r.Evidence.Tally.Credited(), Assessed: "never"}
	for _, c := range assess.Categories {
		s := r.Scores[c]
		row.Scores = append(row.Scores, pageScore{s.Level(), stars(s), number(s), fmt.Sprint(s.Stars)})
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

func (p *population) charts() []chart {
	var charts []chart
	for _, category := range assess.Categories {
		c := chart{Title: categoryNames[category]}
		for _, step := range p.steps() {
			s := assess.Score{Known: true, Stars: step}
			then := mecsaStars[category][step]
			c.add(stars(s)+" "+number(s), share{p.stars[category][step], p.scored[category]}.percent(), &then)
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
