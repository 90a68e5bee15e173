package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// What the daemon holds against nobody is told, since its cause is on this side.
func TestStatusTellsWhatIsFrozen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.NoteFrozen(t.Context(), []string{"DKIM of sessions"}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	a := &app{dbPath: path, Console: view.Console{Out: &out}}
	var status view.Status
	if err := a.countPeers(t.Context(), &status); err != nil || !slices.Equal(status.Frozen, []string{"DKIM of sessions"}) {
		t.Errorf("%q, %v", status.Frozen, err)
	}
	a.WriteStatus(status)
	if !strings.Contains(out.String(), "\nfrozen DKIM of sessions: everybody fails it at once, which is held against nobody") {
		t.Errorf("status says\n%s", out.String())
	}
}
