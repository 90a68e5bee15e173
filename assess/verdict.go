package assess

import (
	"fmt"
	"slices"
	"time"
)

// Standard names one standard, as JSON keys spell it, or a criterion that only profiles know: that
// is judged like a standard and not listed among them. Each has its file, and its row in standards.go.
type Standard string

// Result is the outcome of one test. The zero value means that nothing is known.
type Result uint8

const (
	Unknown       Result = iota // not measurable; never counted
	Pass                        // counted as passed
	Fail                        // counted as failed
	Bogus                       // DNSSEC validation failed; counted as failed, shown as itself
	NotApplicable               // the question does not arise; never counted
)

var resultTokens = []string{"unknown", "pass", "fail", "bogus", "not-applicable"}

func (r Result) String() string {
	if int(r) < len(resultTokens) {
		return resultTokens[r]
	}
	return fmt.Sprintf("Result(%d)", uint8(r))
}

// MarshalText writes the token of the result.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the token of a result.
func (r *Result) UnmarshalText(text []byte) error {
	i := slices.Index(resultTokens, string(text))
	if i < 0 {
		return fmt.Errorf("no test result is called %q", text)
	}
	*r = Result(i)
	return nil
}

// Support tells how far a domain supports a standard: yes, no, or unknown.
type Support string

const (
	SupportUnknown Support = "unknown"
	SupportYes     Support = "yes"
	SupportNo      Support = "no"
)

// Direction tells which half of a provider a test looked at (assess/methodology.md, section 1).
type Direction string

const (
	Inbound  Direction = "inbound"  // how the provider receives: the active probe
	Outbound Direction = "outbound" // how it sends: observed sessions
)

// Test is one check of one standard on one host or record, with what it rests on.
type Test struct {
	Subject   string    `json:"subject"` // the host, record or domain tested
	Address   string    `json:"address,omitempty"`
	Direction Direction `json:"direction"`
	Test      string    `json:"test"`
	Result    Result    `json:"result"`
	Reason    Reason    `json:"reason,omitempty"` // "" in verdicts of before there were reasons
	Detail    string    `json:"detail"`           // evidence, in words a postmaster can act on; may quote the peer
	At        time.Time `json:"at"`
}

// came sets what a test came to.
func (t *Test) came(result Result, reason Reason, detail string) {
	t.Result, t.Reason, t.Detail = result, reason, detail
}

// Verdict is how far a domain supports one standard, and why, test by test.
type Verdict struct {
	Standard Standard
	Support  Support
	Passed   int
	Failed   int
	Unknown  int
	Estimate bool // rests on an estimate only (DKIM before any message was seen)
	Tests    []Test
	Notes    []string // findings that decide nothing: warnings, further information
}

// Verdicts holds one verdict for each of Standards and for each criterion of a profile.
type Verdicts map[Standard]Verdict

// Support of a standard that was not judged is unknown.
func (v Verdicts) Support(s Standard) Support {
	if verdict, ok := v[s]; ok && verdict.Support != "" {
		return verdict.Support
	}
	return SupportUnknown
}

// add appends a test and counts it.
func (v *Verdict) add(t Test) {
	v.Tests = append(v.Tests, t)
	switch t.Result {
	case Pass:
		v.Passed++
	case Fail, Bogus:
		v.Failed++
	case Unknown:
		v.Unknown++
	}
}
