package bulk

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"peerscore/cmd/peerscore/view"
)

// progress draws how far a run over a list has come, on a terminal only. What goes to that
// terminal in the meantime must go through its console.
type progress struct {
	view.Console
	container *mpb.Progress // nil where nothing is drawn
	bar       *mpb.Bar
	began     time.Time
	domains   atomic.Int64
}

// newProgress measures by the octets of the list: how many domains it has is not known before
// it was read. What comes through a pipe has no end that is known.
func newProgress(c view.Console, list io.Reader) *progress {
	p := &progress{Console: c, began: time.Now()}
	if !c.Progress {
		return p
	}
	p.container = mpb.New(mpb.WithOutput(c.Err), mpb.WithWidth(40))
	p.Err = p.container
	if c.Width > 0 { // results go to the terminal too
		p.Out = p.container
	}
	count := mpb.PrependDecorators(decor.Any(p.count))
	octets := octetsOf(list)
	if octets == 0 {
		p.bar = p.container.New(0, mpb.SpinnerStyle(), count)
		return p
	}
	// One more than there are: the bar is complete when stop says so.
	p.bar = p.container.AddBar(octets+1, count,
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left")))
	return p
}

func (p *progress) count(decor.Statistics) string {
	n := p.domains.Load()
	return fmt.Sprintf("%d domains, %.0f/s ", n, float64(n)/time.Since(p.began).Seconds())
}

// advance notes octets of the list and domains that are done.
func (p *progress) advance(octets, domains int64) {
	p.domains.Add(domains)
	if p.bar != nil {
		p.bar.IncrInt64(octets)
	}
}

// stop removes the bar. All that was written to the console before is on the terminal then.
func (p *progress) stop() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.container.Wait()
	}
}

// octetsOf is how long a list is; 0 where that cannot be told.
func octetsOf(list io.Reader) int64 {
	file, ok := list.(*os.File)
	if !ok {
		return 0
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}
