package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
)

// TestRun lets the clock of the whole process run: sessions reach the score within a second,
// counts of messages without proof the disk within five, and past sessions leave in time.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := inMemory(t) + "/peerscore.db"
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), path, Options{Window: day})
		check(t, err)
		defer s.Close()
		st := passive(s)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { st.Run(ctx); close(ended) }()

		check(t, s.AddObservation(t.Context(), observe("a.example", "192.0.2.1", at(time.Now()))))
		s.CountUnauthenticated("a.example")
		time.Sleep(time.Second)
		if got := st.Standing(t.Context(), "a.example"); got.Status != assess.StatusScored {
			t.Errorf("after a second: %+v", got)
		}
		time.Sleep(flushEvery)
		if got := tally(t, s, "a.example").Unauthenticated; got != 1 {
			t.Errorf("after five seconds: %d messages without proof", got)
		}
		time.Sleep(2*day + 2*time.Hour)
		if got := st.Standing(t.Context(), "a.example"); got.Scores.Known() {
			t.Errorf("after the window: %+v", got)
		}
		if n := count(t, s, "tally"); n > 0 {
			t.Errorf("after the window %d rows of sessions are left", n)
		}
		cancel()
		<-ended
	})
}
