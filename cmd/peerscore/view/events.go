package view

import (
	"fmt"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/store"
)

// Event is one change of a domain's judgement.
type Event struct {
	Schema int            `json:"schema"`
	At     *time.Time     `json:"at"`
	Domain dnsname.Domain `json:"domain"`
	Kind   string         `json:"kind"` // regression, improvement, change
	Scores string         `json:"scores"`
	Reason string         `json:"reason"`
}

// EventsOf are the changes of a domain since a time, regressions only or all of them. It takes
// judgements as the store gives them, the latest first.
func EventsOf(judgements []store.Judgement, since time.Time, all bool) []Event {
	var events []Event
	for _, s := range StepsOf(judgements) {
		if s.before == nil || s.Since.Before(since) {
			continue
		}
		if e := s.event(); all || e.Kind == "regression" {
			events = append(events, e)
		}
	}
	return events
}

// WriteEvents prints a line for each event.
func (c Console) WriteEvents(events []Event) {
	for _, e := range events {
		label := fmt.Sprintf("%s  %-24s", e.At.Local().Format("2006-01-02 15:04"), e.Domain)
		c.WriteFinding(c.Paint(kindColours[e.Kind], label), e.Scores+e.reason())
	}
}

var kindColours = map[string]Colours{"regression": Red, "improvement": Green, "change": Faint}

func (e Event) reason() string {
	if e.Reason == "" {
		return ""
	}
	return "; " + Printable(e.Reason)
}

func (s Step) event() Event {
	e := Event{SchemaVersion, TimeOrNull(s.Since), s.Domain, "change", s.headline(), ""}
	worse, better := false, false
	for _, c := range assess.Categories {
		was, is := s.before.Scores[c], s.Scores[c]
		worse = worse || was.Known && is.Known && is.Stars < was.Stars
		better = better || was.Known && is.Known && is.Stars > was.Stars
	}
	var reasons []string
	for _, c := range s.changes {
		worse = worse || c.from == assess.SupportYes && c.to == assess.SupportNo
		better = better || c.from == assess.SupportNo && c.to == assess.SupportYes
		if c.from != c.to {
			reasons = append(reasons, c.standard.Label()+" "+fromTo(string(c.from), string(c.to))+c.because())
		}
	}
	e.Reason = strings.Join(reasons, "; ")
	switch {
	case s.before.Profile != s.Profile: // the ruler changed, not what it measures
	case worse:
		e.Kind = "regression"
	case better:
		e.Kind = "improvement"
	}
	return e
}

// because is the first test that decided it.
func (c change) because() string {
	for _, t := range c.after {
		if (t.Result == assess.Pass) == (c.to == assess.SupportYes) {
			return " (" + t.Subject + ": " + advised{}.finding(t) + ")"
		}
	}
	return ""
}
