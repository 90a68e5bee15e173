package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf16"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
)

// SchemaVersion is raised when a field is renamed or removed; adding one keeps it.
const SchemaVersion = 1

// DomainJSON is the object that `show --json` and `assess --json` print for one domain.
type DomainJSON struct {
	Schema         int              `json:"schema"`
	Domain         dnsname.Domain   `json:"domain"`
	Profile        string           `json:"profile"`
	Status         assess.Status    `json:"status"`
	Basis          assess.Basis     `json:"basis"`
	Scores         scoresJSON       `json:"scores"`
	MinimumSet     *bool            `json:"minimum_set"` // null where a score that is not known could decide it
	Standards      standardsJSON    `json:"standards"`
	Sessions       sessionsJSON     `json:"sessions"`
	FirstSeen      *time.Time       `json:"first_seen"`
	LastSeen       *time.Time       `json:"last_seen"`
	Assessed       *time.Time       `json:"assessed"`
	NextAssessment *time.Time       `json:"next_assessment"`
	Explanation    *explanationJSON `json:"explanation,omitempty"`
}

type scoresJSON struct {
	Confidentiality scoreJSON `json:"confidentiality"`
	Identity        scoreJSON `json:"identity"`
	Integrity       scoreJSON `json:"integrity"`
}

type scoreJSON struct {
	Stars   *float64          `json:"stars"` // null where there is no score
	Level   assess.Level      `json:"level"`
	Partial bool              `json:"partial"`
	Missing []assess.Standard `json:"missing"`
}

// standardsJSON keeps the order of assess.Standards, which a map would lose.
type standardsJSON []standardJSON

type standardJSON struct {
	name     assess.Standard
	Support  assess.Support `json:"support"`
	Passed   int            `json:"passed"`
	Failed   int            `json:"failed"`
	Unknown  int            `json:"unknown"`
	Estimate bool           `json:"estimate"`
	Tests    []testJSON     `json:"tests"`
	Notes    []string       `json:"notes,omitempty"`
}

type testJSON struct {
	Subject   string           `json:"subject"`
	Address   *string          `json:"address"` // null where the subject is no host, or was not reached
	Direction assess.Direction `json:"direction"`
	Test      string           `json:"test"`
	Result    assess.Result    `json:"result"`
	Reason    *assess.Reason   `json:"reason"` // null in judgements of before there were reasons
	Detail    string           `json:"detail"`
	Advice    *assess.Advice   `json:"advice"` // null where there is nothing to do
	At        *time.Time       `json:"at"`
}

// MarshalJSON writes an object with one key a standard.
func (s standardsJSON) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, standard := range s {
		if i > 0 {
			out.WriteByte(',')
		}
		value, err := json.Marshal(standard)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%q:%s", standard.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

type sessionsJSON struct {
	Window          string `json:"window"`
	Credited        int    `json:"credited"`
	Hosts           int    `json:"hosts"`
	Unauthenticated int    `json:"unauthenticated"`
}

// explanationJSON is what `explain --json` adds.
type explanationJSON struct {
	Confidentiality reasonJSON `json:"confidentiality"`
	Identity        reasonJSON `json:"identity"`
	Integrity       reasonJSON `json:"integrity"`
}

type reasonJSON struct {
	Row  []assess.Standard `json:"row"`  // the standards of the profile's row that matched
	Next []assess.Standard `json:"next"` // the cheapest change that gains half a star or more
}

// JSON is what programs are told of the domain, with the explanation of its scores where that is asked for.
func (r Report) JSON(explain bool) DomainJSON {
	tally := r.Evidence.Tally
	out := DomainJSON{
		Schema: SchemaVersion, Domain: r.Domain, Profile: r.Profile, Status: r.Status, Basis: r.Evidence.Basis(),
		Scores:     allScores(r.Scores),
		MinimumSet: yesOrNull(r.Scores.MinimumSet()),
		Sessions: sessionsJSON{
			Window: config.ShortDuration(tally.Window), Credited: tally.Credited(),
			Hosts: len(tally.Hosts), Unauthenticated: tally.Unauthenticated,
		},
		FirstSeen: TimeOrNull(tally.FirstSeen), LastSeen: TimeOrNull(tally.LastSeen), NextAssessment: TimeOrNull(r.Next),
	}
	if r.Evidence.Facts != nil {
		out.Assessed = TimeOrNull(r.Evidence.Facts.At)
	}
	for _, s := range assess.Standards {
		out.Standards = append(out.Standards, standardOf(s, r.Verdicts))
	}
	if explain {
		out.Explanation = &explanationJSON{
			reasonOf(r.Scores[assess.Confidentiality]), reasonOf(r.Scores[assess.Identity]), reasonOf(r.Scores[assess.Integrity]),
		}
	}
	return out
}

func yesOrNull(s assess.Support) *bool {
	if s == assess.SupportUnknown {
		return nil
	}
	yes := s == assess.SupportYes
	return &yes
}

func allScores(s assess.Scores) scoresJSON {
	return scoresJSON{scoreOf(s[assess.Confidentiality]), scoreOf(s[assess.Identity]), scoreOf(s[assess.Integrity])}
}

func scoreOf(s assess.Score) scoreJSON {
	out := scoreJSON{Level: s.Level(), Partial: s.Partial, Missing: OrEmpty(s.Missing)}
	if s.Known {
		out.Stars = &s.Stars
	}
	return out
}

func standardOf(s assess.Standard, verdicts assess.Verdicts) standardJSON {
	v := verdicts[s]
	return standardJSON{
		name: s, Support: verdicts.Support(s), Passed: v.Passed, Failed: v.Failed, Unknown: v.Unknown,
		Estimate: v.Estimate, Tests: testsOf(v.Tests), Notes: v.Notes,
	}
}

func testsOf(tests []assess.Test) []testJSON {
	out := []testJSON{}
	for _, t := range tests {
		out = append(out, testJSON{
			Subject: t.Subject, Address: textOrNull(t.Address), Direction: t.Direction, Test: t.Test, Result: t.Result,
			Reason: textOrNull(t.Reason), Detail: t.Detail, Advice: textOrNull(t.Reason.Advice()), At: TimeOrNull(t.At),
		})
	}
	return out
}

func reasonOf(s assess.Score) reasonJSON {
	return reasonJSON{Row: OrEmpty(s.Row.Met), Next: OrEmpty(s.Next)}
}

// OrEmpty makes an absent list print as [] rather than null.
func OrEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func textOrNull[T ~string](text T) *T {
	if text == "" {
		return nil
	}
	return &text
}

// TimeOrNull is a time as JSON has it: in UTC, to the second, and null for the zero time.
func TimeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// WriteJSON prints one value, indented for the reader that it will have after all.
func WriteJSON(w io.Writer, value any) error { return encodeJSON(w, value, "  ") }

// WriteJSONLine prints one value on one line.
func WriteJSONLine(w io.Writer, value any) error { return encodeJSON(w, value, "") }

// encodeJSON also escapes what the encoder leaves and a terminal may obey: DEL, the C1 control
// characters, and marks that turn the direction of writing.
func encodeJSON(w io.Writer, value any, indent string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(value); err != nil {
		return err
	}
	var out bytes.Buffer
	for _, r := range text.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		}
	}
	_, err := out.WriteTo(w)
	return err
}
