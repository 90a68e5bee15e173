package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

// PeerJSON is one line of `list --json`.
type PeerJSON struct {
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

// PeersOf is what `list --json` prints.
func PeersOf(peers []store.Peer) []PeerJSON {
	rows := []PeerJSON{}
	for _, p := range peers {
		rows = append(rows, PeerJSON{
			SchemaVersion, p.Domain, p.Status,
			scoreOf(p.Scores[assess.Confidentiality]).Stars, scoreOf(p.Scores[assess.Identity]).Stars, scoreOf(p.Scores[assess.Integrity]).Stars,
			p.Credited, TimeOrNull(p.FirstSeen), TimeOrNull(p.LastSeen), TimeOrNull(p.Assessed), TimeOrNull(p.Next),
		})
	}
	return rows
}

// WritePeerTable draws the same table on a terminal and into a pipe, where it has no colours.
// Where a terminal is too narrow for it there are numbers only.
func (c Console) WritePeerTable(peers []store.Peer, now time.Time) {
	drawn := c.peerTable(peers, now, table.Row{"Domain", "Confidentiality", "Identity", "Integrity", "Sessions", "Seen"}, c.cell)
	if c.Width > 0 && text.LongestLineLen(drawn) > c.Width {
		drawn = c.peerTable(peers, now, table.Row{"Domain", "Conf", "Iden", "Inte", "Sess", "Seen"}, c.narrowCell)
	}
	fmt.Fprintln(c.Out, drawn)
}

func (c Console) peerTable(peers []store.Peer, now time.Time, head table.Row, cell func(store.Peer, assess.Category) string) string {
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
func (c Console) cell(p store.Peer, category assess.Category) string {
	s := p.Scores[category]
	drawn := strings.TrimRight(stars(s), " ")
	switch {
	case s.Known:
		drawn += " " + Number(s)
	case !p.Scores.Known() && category == assess.Confidentiality:
		drawn += " " + string(p.Status)
	}
	return c.paintLevel(s.Level(), drawn)
}

func (c Console) narrowCell(p store.Peer, category assess.Category) string {
	s := p.Scores[category]
	return c.paintLevel(s.Level(), Number(s))
}
