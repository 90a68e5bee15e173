package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"peerscore/store"
)

// Pruning that is interrupted says so in one line, and what to do.
func TestInterruptedPrune(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "peerscore.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := prune(ctx, s); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "run `peerscore prune` again") {
		t.Errorf("error %q", err)
	}
}
