package milter

import (
	"slices"
	"strings"
	"testing"

	"peerscore/milter/miltertest"
)

// Past the limits the message is accepted and not evaluated; what is forged goes all the same.
func TestHeaderLimits(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		want   string
	}{
		{"1,000 fields", manyFields(maxFields - 6), "domain=example.org; status=pending"},
		{"one more", manyFields(maxFields - 5), "status=unknown"},
		{"100,000", manyFields(100_000), "status=unknown"},
		{"256 KiB", []string{"X: " + strings.Repeat("y", maxHeader-300)}, "domain=example.org; status=pending"},
		{"more", []string{"X: " + strings.Repeat("y", maxHeader)}, "status=unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world)
			text := letter("a@example.org", append(tt.fields, "Peer-Score: forged")...)
			answer := l.answer(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(text)})
			if got := answer.Inserted(); len(got) != 1 || got[0] != "Peer-Score: mx.own.example; "+tt.want {
				t.Errorf("inserted %q", got)
			}
			if len(answer.Changes) != 2 || answer.Changes[0].Code != 'm' || answer.Changes[0].Value != "" {
				t.Errorf("changes %+v", answer.Changes)
			}
			notEvaluated := int64(0)
			if tt.want == "status=unknown" {
				notEvaluated = 1
			}
			if s := l.server.Stats(); s.NotEvaluated != notEvaluated || len(l.ledger.observations) != int(1-notEvaluated) {
				t.Errorf("stats %+v, observations %+v", s, l.ledger.observations)
			}
		})
	}
}

// A line break in a value that is no fold would be another field, or the end of the header, to
// the DKIM verifier. No MTA sends one.
func TestBrokenFolds(t *testing.T) {
	for _, value := range []string{" a\nFrom: b@victim.example", " a\n\nbody", " a\n", "\n"} {
		l := newLab(t, world)
		m := l.server.newMessage(client{addr: outbound.Addr}, "a@example.org")
		m.header.add("From", " a@example.org")
		m.header.add("X", value)
		if m.end(); m.header.flaw == "" || l.server.Stats().NotEvaluated != 1 {
			t.Errorf("%q was taken", value)
		}
	}
}

func manyFields(n int) []string { return slices.Repeat([]string{"X: y"}, n) }
