package view

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
)

var categoryNames = map[assess.Category]string{
	assess.Confidentiality: "Confidentiality", assess.Identity: "Identity", assess.Integrity: "Integrity",
}

// Printable replaces control and other unprintable characters, so that a peer's text cannot
// move the cursor or recolour the terminal. It keeps no newline.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
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

// Number writes stars as the output of all commands has them: "4.5", "5", "-" where there is none.
func Number(s assess.Score) string {
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

// WriteSummary is the text of `show`: three scores, support by standard, basis and age.
func (c Console) WriteSummary(r Report, now time.Time) {
	c.writeTitle(r)
	for _, category := range assess.Categories {
		c.writeScore(category, r.Scores[category], r.Verdicts)
	}
	fmt.Fprintln(c.Out)
	for _, s := range assess.Standards {
		c.writeStandard(s, r.Verdicts)
	}
	fmt.Fprintln(c.Out)
	c.writeBasis(r, now)
}

// titleOf is a domain in both spellings.
func titleOf(d dnsname.Domain) string {
	if u := d.Unicode(); u != string(d) {
		return string(d) + " (" + Printable(u) + ")"
	}
	return string(d)
}

func (c Console) writeTitle(r Report) {
	c.WriteFinding(c.Paint(Bold, titleOf(r.Domain))+" ", statusSentence(r))
	fmt.Fprintln(c.Out)
}

func statusSentence(r Report) string {
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

func (c Console) writeScore(category assess.Category, s assess.Score, verdicts assess.Verdicts) {
	label := fmt.Sprintf("  %-16s %s  %-4s %-12s", categoryNames[category], stars(s), Number(s), s.Level())
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
	c.WriteFinding(c.paintLevel(s.Level(), label), strings.Join(notes, "; "))
}

func (c Console) writeStandard(s assess.Standard, verdicts assess.Verdicts) {
	v, support := verdicts[s], verdicts.Support(s)
	colors := map[assess.Support]Colours{assess.SupportYes: Green, assess.SupportNo: Red, assess.SupportUnknown: Faint}[support]
	c.WriteFinding(fmt.Sprintf("  %-16s %s", s.Label(), c.Paint(colors, fmt.Sprintf("%-8s", support))), tests(v))
}

// tests counts in words: "3 of 4 tests pass, 1 not measurable".
func tests(v assess.Verdict) string {
	var parts []string
	if known := v.Passed + v.Failed; known > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d %s", v.Passed, known, Plural(known, "test passes", "tests pass")))
	}
	if v.Unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d not measurable", v.Unknown))
	}
	if v.Estimate {
		parts = append(parts, "an estimate until a message is seen")
	}
	return strings.Join(parts, ", ")
}

// Plural chooses between the forms of a noun for n.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (c Console) writeBasis(r Report, now time.Time) {
	tally := r.Evidence.Tally
	probed := "not probed yet"
	if r.Evidence.Facts != nil {
		probed = "probed " + ago(r.Evidence.Facts.At, now)
	}
	line := fmt.Sprintf("Basis: %s; %d credited %s from %d %s in %s", probed,
		tally.Credited(), Plural(tally.Credited(), "session", "sessions"),
		len(tally.Hosts), Plural(len(tally.Hosts), "host", "hosts"), unit(tally.Window))
	if tally.Unauthenticated > 0 {
		line += fmt.Sprintf("; %d unauthenticated, not counted", tally.Unauthenticated)
	}
	fmt.Fprintf(c.Out, "  %s\n", c.hang(2, line+". Profile "+r.Profile+"."))
}

// WriteExplanation is the text of `explain`: every test behind every star.
func (c Console) WriteExplanation(r Report, now time.Time) {
	c.writeTitle(r)
	for _, category := range assess.Categories {
		s := r.Scores[category]
		c.writeScore(category, s, r.Verdicts)
		if len(s.Row.Met) > 0 {
			c.WriteFinding("     ", c.Paint(Faint, fmt.Sprintf("matched rule (%s): %s", r.Profile, names(s.Row.Met))))
		}
		if s.Known && len(s.Next) > 0 {
			c.WriteFinding("     ", c.Paint(Faint, "cheapest gain: "+names(s.Next)))
		}
	}
	for _, s := range assess.Standards {
		fmt.Fprintln(c.Out)
		c.writeStandard(s, r.Verdicts)
		given := advised{}
		for _, t := range r.Verdicts[s].Tests {
			c.writeTest(t, given.finding(t), now)
		}
		for _, note := range r.Verdicts[s].Notes {
			c.WriteFinding("    "+c.Paint(yellow, fmt.Sprintf("%-8s", "note")), Printable(note))
		}
	}
	fmt.Fprintln(c.Out)
	c.writeBasis(r, now)
}

// advised is the advice given so far: six tests of one zone would give the same six times.
type advised map[assess.Advice]bool

// finding is what a test found, and the advice of its reason where that was not given yet.
func (a advised) finding(t assess.Test) string {
	advice := t.Reason.Advice()
	if advice == "" || a[advice] {
		return t.Detail
	}
	a[advice] = true
	return t.Detail + "; " + string(advice)
}

// paintResult is a result eight columns wide.
func (c Console) paintResult(r assess.Result) string {
	colors := map[assess.Result]Colours{assess.Pass: Green, assess.Fail: Red, assess.Bogus: Red}[r]
	if colors == nil {
		colors = Faint
	}
	token := r.String()
	if r == assess.NotApplicable {
		token = "n/a" // the token is too wide for the column
	}
	return c.Paint(colors, fmt.Sprintf("%-8s", token))
}

func (c Console) writeTest(t assess.Test, finding string, now time.Time) {
	subject := Printable(t.Subject)
	if t.Address != "" && t.Address != t.Subject {
		subject += " [" + Printable(t.Address) + "]"
	}
	label := fmt.Sprintf("    %s %-12s", c.paintResult(t.Result), Printable(t.Test))
	source := strings.ReplaceAll(fmt.Sprintf("(%s, %s)", t.Direction, ago(t.At, now)), " ", unbroken)
	c.WriteFinding(label, subject+": "+Printable(finding)+" "+c.Paint(Faint, source))
}
