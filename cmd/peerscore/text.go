package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
)

var categoryNames = map[assess.Category]string{
	assess.Confidentiality: "Confidentiality", assess.Identity: "Identity", assess.Integrity: "Integrity",
}

// printable replaces control and other unprintable characters, so that a peer's text cannot
// move the cursor or recolour the terminal. It keeps no newline.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// paint colours only on a terminal.
func (c console) paint(colors colours, s string) string {
	if !c.colours {
		return s
	}
	return colors.EscapeSeq() + s + text.Reset.EscapeSeq()
}

type colours = text.Colors

var (
	bold   = colours{text.Bold}
	faint  = colours{text.Faint}
	green  = colours{text.FgGreen}
	yellow = colours{text.FgYellow}
	red    = colours{text.FgRed}
)

func (c console) paintLevel(level assess.Level, s string) string {
	switch level {
	case assess.LevelProtected:
		return c.paint(green, s)
	case assess.LevelMinimum:
		return c.paint(yellow, s)
	case assess.LevelUnprotected:
		return c.paint(red, s)
	}
	return c.paint(faint, s)
}

// stars draws a score five columns wide: "★★★★½", "★★★··", "—" where there is none.
func stars(s assess.Score) string {
	if !s.Known {
		return "—    "
	}
	full := int(s.Stars)
	out := strings.Repeat("★", full)
	if s.Stars > float64(full) {
		out += "½"
		full++
	}
	return out + strings.Repeat("·", 5-full)
}

// number writes stars as interface.md does: "4.5", "5", "-" where there is none.
func number(s assess.Score) string {
	if !s.Known {
		return "-"
	}
	return fmt.Sprintf("%g", s.Stars)
}

func names(standards []assess.Standard) string {
	var out []string
	for _, s := range standards {
		out = append(out, s.Label())
	}
	return strings.Join(out, ", ")
}

// ago is how long before now a time lies, in the one unit that matters.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0:
		return "in " + unit(-d)
	case d < time.Minute:
		return "just now"
	}
	return unit(d) + " ago"
}

func unit(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{config.Day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int(d / u.size); n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return "a moment"
}

// writeSummary is the text of `show`: three scores, support by standard, basis and age.
func (c console) writeSummary(w io.Writer, r report, now time.Time) {
	c.writeTitle(w, r)
	for _, category := range assess.Categories {
		c.writeScore(w, category, r.Scores[category], r.Verdicts)
	}
	fmt.Fprintln(w)
	for _, s := range assess.Standards {
		c.writeStandard(w, s, r.Verdicts)
	}
	fmt.Fprintln(w)
	c.writeBasis(w, r, now)
}

// titleOf is a domain in both spellings.
func titleOf(d dnsname.Domain) string {
	if u := d.Unicode(); u != string(d) {
		return string(d) + " (" + printable(u) + ")"
	}
	return string(d)
}

func (c console) writeTitle(w io.Writer, r report) {
	c.writeFinding(w, c.paint(bold, titleOf(r.Domain))+" ", statusSentence(r))
	fmt.Fprintln(w)
}

func statusSentence(r report) string {
	switch r.Status {
	case assess.StatusPending:
		return "known, not assessed yet"
	case assess.StatusNoMail:
		return r.Evidence.NoMail()
	case assess.StatusUnknown:
		return "nothing could be measured"
	}
	switch r.Scores.MinimumSet() {
	case assess.SupportYes:
		return "adopts the minimum set: all three scores at 3.5 or more"
	case assess.SupportNo:
		return "below the minimum set: not all three scores at 3.5 or more"
	}
	return "not known to adopt the minimum set: a score could not be measured in full"
}

func (c console) writeScore(w io.Writer, category assess.Category, s assess.Score, verdicts assess.Verdicts) {
	label := fmt.Sprintf("  %-16s %s  %-4s %-12s", categoryNames[category], stars(s), number(s), s.Level())
	var notes []string
	if s.Known && s.Partial {
		notes = append(notes, "partial")
	}
	var missing, unmeasured []assess.Standard // what could not be measured is not called missing
	for _, standard := range s.Missing {
		if verdicts.Support(standard) == assess.SupportUnknown {
			unmeasured = append(unmeasured, standard)
		} else {
			missing = append(missing, standard)
		}
	}
	if len(missing) > 0 {
		notes = append(notes, "missing: "+names(missing))
	}
	if len(unmeasured) > 0 {
		notes = append(notes, "not measured: "+names(unmeasured))
	}
	c.writeFinding(w, c.paintLevel(s.Level(), label), strings.Join(notes, "; "))
}

func (c console) writeStandard(w io.Writer, s assess.Standard, verdicts assess.Verdicts) {
	v, support := verdicts[s], verdicts.Support(s)
	colors := map[assess.Support]colours{assess.SupportYes: green, assess.SupportNo: red, assess.SupportUnknown: faint}[support]
	c.writeFinding(w, fmt.Sprintf("  %-16s %s", s.Label(), c.paint(colors, fmt.Sprintf("%-8s", support))), tests(v))
}

// tests counts in words: "3 of 4 tests pass, 1 not measurable".
func tests(v assess.Verdict) string {
	var parts []string
	if known := v.Passed + v.Failed; known > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d %s", v.Passed, known, plural(known, "test passes", "tests pass")))
	}
	if v.Unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d not measurable", v.Unknown))
	}
	if v.Estimate {
		parts = append(parts, "an estimate until a message is seen")
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (c console) writeBasis(w io.Writer, r report, now time.Time) {
	tally := r.Evidence.Tally
	probed := "not probed yet"
	if r.Evidence.Facts != nil {
		probed = "probed " + ago(r.Evidence.Facts.At, now)
	}
	line := fmt.Sprintf("Basis: %s; %d credited %s from %d %s in %s", probed,
		tally.Credited(), plural(tally.Credited(), "session", "sessions"),
		len(tally.Hosts), plural(len(tally.Hosts), "host", "hosts"), unit(tally.Window))
	if tally.Unauthenticated > 0 {
		line += fmt.Sprintf("; %d unauthenticated, not counted", tally.Unauthenticated)
	}
	fmt.Fprintf(w, "  %s\n", c.hang(2, line+". Profile "+r.Profile+"."))
}

// writeExplanation is the text of `explain`: every test behind every star.
func (c console) writeExplanation(w io.Writer, r report, now time.Time) {
	c.writeTitle(w, r)
	for _, category := range assess.Categories {
		s := r.Scores[category]
		c.writeScore(w, category, s, r.Verdicts)
		if len(s.Row.Met) > 0 {
			c.writeFinding(w, "     ", c.paint(faint, fmt.Sprintf("row of %s: %s", r.Profile, names(s.Row.Met))))
		}
		if s.Known && len(s.Next) > 0 {
			c.writeFinding(w, "     ", c.paint(faint, "cheapest gain: "+names(s.Next)))
		}
	}
	for _, s := range assess.Standards {
		fmt.Fprintln(w)
		c.writeStandard(w, s, r.Verdicts)
		for _, t := range advisedOnce(r.Verdicts[s].Tests) {
			c.writeTest(w, t, now)
		}
		for _, note := range r.Verdicts[s].Notes {
			c.writeFinding(w, "    "+c.paint(yellow, fmt.Sprintf("%-8s", "note")), printable(note))
		}
	}
	fmt.Fprintln(w)
	c.writeBasis(w, r, now)
}

// advisedOnce drops advice that an earlier test gave: what follows the first semicolon of a
// failure says what to do, and six tests of one zone would say it six times.
func advisedOnce(tests []assess.Test) []assess.Test {
	given := map[string]bool{}
	var out []assess.Test
	for _, t := range tests {
		finding, advice, _ := strings.Cut(t.Detail, "; ")
		if t.Result != assess.Pass && given[advice] {
			t.Detail = finding
		}
		given[advice] = advice != ""
		out = append(out, t)
	}
	return out
}

// paintResult is a result eight columns wide.
func (c console) paintResult(r assess.Result) string {
	colors := map[assess.Result]colours{assess.Pass: green, assess.Fail: red, assess.Bogus: red}[r]
	if colors == nil {
		colors = faint
	}
	token := r.String()
	if r == assess.NotApplicable {
		token = "n/a" // the token is too wide for the column
	}
	return c.paint(colors, fmt.Sprintf("%-8s", token))
}

func (c console) writeTest(w io.Writer, t assess.Test, now time.Time) {
	subject := printable(t.Subject)
	if t.Address != "" && t.Address != t.Subject {
		subject += " [" + printable(t.Address) + "]"
	}
	label := fmt.Sprintf("    %s %-12s", c.paintResult(t.Result), printable(t.Test))
	source := strings.ReplaceAll(fmt.Sprintf("(%s, %s)", t.Direction, ago(t.At, now)), " ", unbroken)
	c.writeFinding(w, label, subject+": "+printable(t.Detail)+" "+c.paint(faint, source))
}

// writeFinding prints a finding behind its label.
func (c console) writeFinding(w io.Writer, label, finding string) {
	indent := text.StringWidthWithoutEscSequences(label) + 1
	fmt.Fprintln(w, strings.TrimRight(label+" "+c.hang(indent, finding), " "))
}

// unbroken is a blank at which hang does not break a line. No peer's text that went through
// printable has one.
const unbroken = "\u00a0"

// hang breaks a text on a terminal into lines that stand below each other, the first of them
// behind indent columns; all of them below it where little room is left there. Into a pipe
// everything goes on one line.
func (c console) hang(indent int, s string) string {
	const enough, below = 30, 8
	room := c.width - indent
	if room < enough && text.StringWidthWithoutEscSequences(s) > room && c.width >= enough {
		s, indent, room = "\n"+s, below, c.width-below
	}
	if room >= enough-below {
		s = strings.ReplaceAll(wrap(s, room), "\n", "\n"+strings.Repeat(" ", indent))
	}
	return strings.ReplaceAll(s, unbroken, " ")
}

// wrap breaks lines between words, and nowhere else, so that what is copied stays whole.
func wrap(s string, width int) string {
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
