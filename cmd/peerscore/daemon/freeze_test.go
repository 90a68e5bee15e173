package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/milter"
	"peerscore/store"
)

// lossy finds an SPF record at every domain, or at none.
type lossy struct {
	lost bool
	now  time.Time
}

func (f *lossy) Probe(_ context.Context, d dnsname.Domain, _ []assess.Selector) (assess.Facts, error) {
	facts := assess.Facts{Domain: d, At: f.now, SPF: assess.SPFFacts{
		Lookup: assess.Lookup{Status: assess.LookupFound}, Count: 1, Record: "v=spf1 -all", Valid: assess.Check{Result: assess.Pass},
	}}
	if f.lost {
		facts.SPF = assess.SPFFacts{Lookup: assess.Lookup{Status: assess.LookupNXDomain}}
	}
	return facts, nil
}

// What the daemon's parts freeze is in the database with the next tick, and what an earlier
// process noted is not, once this one looked.
func TestNoteFrozen(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "peerscore.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.NoteFrozen(t.Context(), []string{"of yesterday"}); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	prober := &lossy{now: now}
	d := &Daemon{Store: s, assessor: &assess.Assessor{Prober: prober, Repository: s, Bulk: true, Now: func() time.Time { return prober.now }}}
	d.queue = &assess.Queue{Assessor: d.assessor}
	d.milter = milter.New(milter.Config{Logger: slog.New(slog.DiscardHandler)})

	ctx, stop := context.WithCancel(t.Context())
	tick, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		d.noteFrozen(ctx, tick)
	}()
	defer func() { stop(); <-done }()
	noted := func(want ...string) {
		t.Helper()
		for range 2 { // the second is taken once the first is done with
			tick <- now
		}
		if names, err := s.Frozen(t.Context()); err != nil || !slices.Equal(names, want) {
			t.Errorf("noted: %q, %v; want %q", names, err, want)
		}
	}
	noted()
	for _, prober.lost = range []bool{false, true} {
		for i := range 20 {
			if _, err := d.assessor.Assess(t.Context(), dnsname.Domain(fmt.Sprintf("d%d.example", i))); err != nil {
				t.Fatal(err)
			}
		}
		prober.now = prober.now.AddDate(0, 0, 8) // who is known for a week has a vote
	}
	noted("spf of probes")
}
