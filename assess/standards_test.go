package assess

import "testing"

// Every row of the list is whole: a name and a label of its own, somebody who asks for it, and a
// part of the facts that says how the domain stands and how to take it from an older run.
func TestStandardsAreWhole(t *testing.T) {
	names, labels := map[Standard]bool{}, map[string]bool{}
	for _, s := range standards() {
		if s.name == "" || names[s.name] || s.label == "" || labels[s.label] || s.judge == nil || s.of != "" && !s.scored {
			t.Errorf("%s: %+v", s.name, s)
		}
		names[s.name], labels[s.label] = true, true
		if s.name.Label() != s.label {
			t.Errorf("%s: label %q, want %q", s.name, s.name.Label(), s.label)
		}
		if p := s.part; p.result != nil && p.take == nil && p.takes == nil {
			t.Errorf("%s: nothing takes its part from an older run", s.name)
		}
	}
	for _, p := range parts() {
		if p.name == "" || p.take != nil && p.problem == nil {
			t.Errorf("part %q: %+v", p.name, p)
		}
	}
}

// Each question of a run is looked at once: what is not in the list is never found bogus.
func TestEveryLookupIsListed(t *testing.T) {
	f := factsOf(mxHost("mx1"), mxHost("mx2")).with(func(f *Facts) { f.DKIM.Keys = make([]DKIMKey, 2) })
	all, different := f.lookups(), map[*Lookup]bool{}
	for _, l := range all {
		different[l] = true
	}
	if len(different) != len(all) {
		t.Errorf("%d questions, %d of them different", len(all), len(different))
	}
	if want := 9 + 2 + 2*5; len(all) != want {
		t.Errorf("%d questions, want %d", len(all), want)
	}
}
