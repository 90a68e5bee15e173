// Package view is what people and programs see: text on a terminal, JSON, and the page of all peers.
// It takes what is known and asks nobody.
package view

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"peerscore/assess"
)

// Console is where a command reads and writes.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
	Colours  bool // out is a terminal that wants them
	Width    int  // of the terminal that out is; 0 where it is none
	Progress bool // err is a terminal: a progress bar is welcome
}

// StandardConsole is the one that the process was started on. NO_COLOR is no-color.org's.
func StandardConsole() Console {
	c := Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Progress: term.IsTerminal(int(os.Stderr.Fd()))}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		c.Width = width
		c.Colours = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return c
}

// Paint colours only on a terminal.
func (c Console) Paint(colors Colours, s string) string {
	if !c.Colours {
		return s
	}
	return colors.EscapeSeq() + s + text.Reset.EscapeSeq()
}

// Colours are how a text is painted on a terminal that wants them.
type Colours = text.Colors

var (
	Bold   = Colours{text.Bold}
	Faint  = Colours{text.Faint}
	Green  = Colours{text.FgGreen}
	yellow = Colours{text.FgYellow}
	Red    = Colours{text.FgRed}
)

func (c Console) paintLevel(level assess.Level, s string) string {
	switch level {
	case assess.LevelProtected:
		return c.Paint(Green, s)
	case assess.LevelMinimum:
		return c.Paint(yellow, s)
	case assess.LevelUnprotected:
		return c.Paint(Red, s)
	}
	return c.Paint(Faint, s)
}

// WriteFinding prints a finding behind its label.
func (c Console) WriteFinding(label, finding string) {
	indent := text.StringWidthWithoutEscSequences(label) + 1
	fmt.Fprintln(c.Out, strings.TrimRight(label+" "+c.hang(indent, finding), " "))
}

// unbroken is a blank at which hang does not break a line. No peer's text that went through
// printable has one.
const unbroken = "\u00a0"

// hang breaks a text on a terminal into lines that stand below each other, the first of them
// behind indent columns; all of them below it where little room is left there. Into a pipe
// everything goes on one line.
func (c Console) hang(indent int, s string) string {
	const enough, below = 30, 8
	room := c.Width - indent
	if room < enough && text.StringWidthWithoutEscSequences(s) > room && c.Width >= enough {
		s, indent, room = "\n"+s, below, c.Width-below
	}
	if room >= enough-below {
		s = strings.ReplaceAll(Wrap(s, room), "\n", "\n"+strings.Repeat(" ", indent))
	}
	return strings.ReplaceAll(s, unbroken, " ")
}

// Wrap breaks lines between words, and nowhere else, so that what is copied stays whole.
func Wrap(s string, width int) string {
	var out strings.Builder
	column := 0
	for i, word := range strings.Split(s, " ") {
		n := text.StringWidthWithoutEscSequences(word)
		switch {
		case i == 0:
		case column+1+n > width:
			out.WriteByte('\n')
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += n
	}
	return out.String()
}
