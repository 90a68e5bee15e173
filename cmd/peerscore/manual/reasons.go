package manual

import (
	"strings"

	"peerscore/assess"
)

// reasonsPage is peerscore-reasons(7), from the table of reasons.
func reasonsPage(version string) string {
	p := newPage("PEERSCORE-REASONS", 7, version)
	p.section("NAME", "peerscore-reasons - why a test of peerscore came out as it did")
	p.section("DESCRIPTION", "Every test that `peerscore explain` prints has a reason. In JSON it is the field `reason`: "+
		"one of the tokens below, beside `detail`, which is the evidence in words, and `advice`, which says what the peer should do. "+
		"Words may change from one version to the next. A token is stable: it keeps its meaning, and tokens are only added. "+
		"Below stand for each one the results that it explains, what it means, what the peer should do, and the section of the standard.")
	standard := assess.Standard("none so far")
	for _, e := range assess.Explanations {
		if e.Standard != standard {
			standard = e.Standard
			p.section(headingOf(standard), "")
		}
		var results []string
		for _, r := range e.Results {
			results = append(results, r.String())
		}
		text := "(" + strings.Join(results, ", ") + ") " + e.Meaning
		if e.Advice != "" {
			text += " What to do: " + string(e.Advice) + "."
		}
		p.item(string(e.Reason), text+" "+e.Section+".")
	}
	p.section("SEE ALSO", "peerscore(1)")
	return p.String()
}

func headingOf(s assess.Standard) string {
	if s == "" {
		return "SEVERAL STANDARDS"
	}
	return strings.ToUpper(string(s)) // as in JSON
}
