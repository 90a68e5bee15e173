package mtasts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// disagreements are cases in which a peer departs from RFC 8461, which wins.
var disagreements = map[string]string{
	"v=STSv1; id=foo; id=bar": "section 3.2, of records too: all entries of a field except for the first are ignored",
}

// readCases reads one file of the peers' cases into cases.
func readCases(t *testing.T, name string, cases any) {
	t.Helper()
	dir := os.Getenv("PEERSCORE_CONFORMANCE")
	if dir == "" {
		t.Skip("PEERSCORE_CONFORMANCE is not set: left out mtasts/" + name)
	}
	data, err := os.ReadFile(filepath.Join(dir, "mtasts", name))
	if err == nil {
		err = json.Unmarshal(data, cases)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tally counts the cases of one file and reports those that do not count.
type tally struct {
	t            *testing.T
	agree, other int
}

// check compares one case with what we found. Peers disagree on some, and say so
// in their note.
func (c *tally) check(input, note string, want bool, err error) {
	c.t.Helper()
	reason := disagreements[input]
	if strings.Contains(note, "disagree") || strings.Contains(note, "first wins") {
		reason = note
	}
	switch {
	case reason != "" && (err == nil) != want:
		c.other++
		c.t.Logf("not counted: %.120q: peer says %v, here %v: %s", input, want, err == nil, reason)
	case (err == nil) != want:
		c.t.Errorf("%q: got %v, the peer says valid is %v (%s)", input, err, want, note)
	default:
		c.agree++
	}
}

func (c *tally) report(total int) {
	c.t.Logf("%d of %d cases agree, %d not counted", c.agree, total, c.other)
}

func TestConformanceRecords(t *testing.T) {
	var cases []struct {
		Input, Note string
		Valid       bool
	}
	readCases(t, "records.json", &cases)
	count := tally{t: t}
	for _, c := range cases {
		_, err := ParseRecord(c.Input)
		count.check(c.Input, c.Note, c.Valid, err)
	}
	count.report(len(cases))
}

func TestConformancePolicies(t *testing.T) {
	var cases []struct {
		Input, Note string
		Valid       bool
	}
	readCases(t, "policies.json", &cases)
	count := tally{t: t}
	for _, c := range cases {
		_, err := ParsePolicy(c.Input)
		count.check(c.Input, c.Note, c.Valid, err)
	}
	count.report(len(cases))
}

func TestConformanceMatch(t *testing.T) {
	var cases []struct {
		Host     string
		Patterns []string
		Match    bool
	}
	readCases(t, "mx_match.json", &cases)
	for _, c := range cases {
		if _, ok := (Policy{MX: c.Patterns}).Match(c.Host); ok != c.Match {
			t.Errorf("%q with %q: got %v", c.Host, c.Patterns, ok)
		}
	}
	t.Logf("%d cases", len(cases))
}
