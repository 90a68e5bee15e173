package store

import (
	"slices"
	"strings"
	"testing"

	"peerscore/assess/dnsname"
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

// What cannot be read keeps nothing else from being pruned, and goes when its time has come.
func TestSpoiltRowsDoNotHoldUpPruning(t *testing.T) {
	for _, spoil := range []string{
		"UPDATE tally SET host = 'x/32' WHERE domain_id = 1",
		"UPDATE assessment SET verdicts = 'x', outbound = 1 WHERE domain_id = 1",
		"UPDATE facts SET content = 'x' WHERE domain_id = 1",
	} {
		s := open(t, Options{Window: 60 * day, Keep: 60 * day})
		for _, d := range []dnsname.Domain{"a.example", "b.example"} {
			addAll(t, s, observe(d, "192.0.2.1"))
			check(t, s.SaveAssessment(t.Context(), assessed(d, noon)))
		}
		foreign(t, s.path, spoil)
		if err := s.Prune(t.Context(), noon.Add(40*day)); err != nil || credited(t, s, "b.example") != 1 {
			t.Errorf("%s: %v", spoil, err)
		}
		if !strings.Contains(dump(t, s), "192.0.2.0/24") {
			t.Errorf("%s: the address is still stored", spoil)
		}
		check(t, s.Prune(t.Context(), noon.Add(70*day)))
		if n := count(t, s, "tally"); n > 0 {
			t.Errorf("%s: %d tallies", spoil, n)
		}
	}
}
