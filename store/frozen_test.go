package store

import (
	"slices"
	"testing"
)

// What is frozen is read by other processes, and the last note counts.
func TestFrozen(t *testing.T) {
	s := open(t, Options{})
	stored, err := OpenReader(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	if names, err := stored.Frozen(t.Context()); len(names) > 0 || err != nil {
		t.Errorf("%q, %v before anything was noted", names, err)
	}
	for _, want := range [][]string{{"DKIM of sessions"}, {"a", "b"}, nil} {
		if err := s.NoteFrozen(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if names, err := stored.Frozen(t.Context()); !slices.Equal(names, want) || err != nil {
			t.Errorf("%q, %v; want %q", names, err, want)
		}
	}
}
