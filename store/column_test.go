package store

import (
	"slices"
	"testing"
)

// A row that another program spoilt is refused to whoever asks for it, and keeps the daemon from nothing.
func TestSpoiltRow(t *testing.T) {
	s := open(t, Options{Limits: Limits{Domains: 3}})
	st := passive(s)
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("b.example", "192.0.2.1"))
	check(t, s.write(t.Context(), func(t *tx) error {
		_, err := t.exec("UPDATE domain SET name = 'a' || char(10) || '.example', due = 0 WHERE name = 'a.example'")
		return err
	}))
	if _, err := s.Peers(t.Context(), Filter{}); err == nil {
		t.Error("it was listed")
	}
	due, err := s.Due(t.Context(), noon, 10)
	if check(t, err); !slices.Contains(due, "b.example") || len(due) != 1 {
		t.Errorf("due: %q", due)
	}
	rejudge(t, st, 2)
	addAll(t, s, observe("c.example", "192.0.2.1"), observe("d.example", "192.0.2.1"), observe("e.example", "192.0.2.1"))
	check(t, s.Prune(t.Context(), noon))
	if n := count(t, s, "domain"); n > 3 {
		t.Errorf("%d domains", n)
	}
}
