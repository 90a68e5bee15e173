package probe

import "time"

// StageTiming is one step of a run: who waited for whom.
type StageTiming struct {
	Stage string
	After string        // the stage whose end let it begin; "" for the start of the run
	Start time.Duration // since the run began
	End   time.Duration
}

// trace tells the hook of Env, if there is one, when the stages of a run began and ended, and
// which one each waited for.
type trace struct {
	start time.Time
	hook  func(StageTiming)
}

func newTrace(hook func(StageTiming)) *trace { return &trace{time.Now(), hook} }

// begin notes that a stage begins, now that another has ended ("" for the start of the run).
// The function it returns notes the end.
func (t *trace) begin(stage, after string) (end func()) {
	if t.hook == nil {
		return func() {}
	}
	begun := time.Since(t.start)
	return func() { t.hook(StageTiming{stage, after, begun, time.Since(t.start)}) }
}
