package probe

import (
	"slices"
	"sync"
	"time"

	"peerscore/assess"
)

// trace writes down when the stages of a run began and ended, and which one each waited for.
type trace struct {
	start time.Time

	mu     sync.Mutex
	stages []assess.StageTiming
}

func newTrace() *trace { return &trace{start: time.Now()} }

// begin notes that a stage begins, now that another has ended ("" for the start of the run).
// The function it returns notes the end.
func (t *trace) begin(stage, after string) (end func()) {
	begun := time.Since(t.start)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stages = append(t.stages, assess.StageTiming{Stage: stage, After: after, Start: begun, End: time.Since(t.start)})
	}
}

// timing is all stages so far, in the order in which they began.
func (t *trace) timing() []assess.StageTiming {
	t.mu.Lock()
	defer t.mu.Unlock()
	sorted := slices.Clone(t.stages)
	slices.SortStableFunc(sorted, func(a, b assess.StageTiming) int { return int(a.Start - b.Start) })
	return sorted
}
