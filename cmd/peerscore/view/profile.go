package view

import (
	"fmt"

	"peerscore/assess"
)

// WriteProfile is the text of `profiles show`.
func (c Console) WriteProfile(p assess.Profile) {
	c.WriteFinding(c.Paint(Bold, Printable(p.Name))+" ", Printable(p.Source+" ("+p.Date+")"))
	for _, category := range assess.Categories {
		fmt.Fprintf(c.Out, "\n%s\n", categoryNames[category])
		for _, row := range p.Tables[category].Rows {
			s := assess.Score{Known: true, Stars: row.Stars}
			c.WriteFinding(c.paintLevel(s.Level(), fmt.Sprintf("  %s %-4s", stars(s), Number(s))), names(row.Met))
		}
	}
}
