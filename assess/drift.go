package assess

import (
	"slices"
	"time"
)

// Of the last driftSize organisations that used to pass a test, driftFreeze have to fail it
// within driftSpan for a drift to freeze; it thaws when fewer than driftThaw do.
const (
	driftSize   = 20
	driftFreeze = 16
	driftThaw   = 10
	driftSpan   = 24 * time.Hour
)

// Drift tells a fault of our own from those of peers, for one test: where the whole population
// begins to fail it at once, the fault is ours, and no failure is held against anybody
// (security.md). It is not safe for concurrent use.
type Drift struct {
	recent []turn // the last result of each organisation, the newest at the end
	frozen bool
}

type turn struct {
	organisation Domain
	failed       bool
	at           time.Time
}

// Add notes the result of an organisation that passed the test before. It tells whether the
// drift froze or thawed by it.
func (d *Drift) Add(organisation Domain, failed bool, at time.Time) (changed bool) {
	d.recent = slices.DeleteFunc(d.recent, func(t turn) bool {
		return t.organisation == organisation || at.Sub(t.at) > driftSpan
	})
	d.recent = append(d.recent, turn{organisation, failed, at})
	d.recent = d.recent[max(0, len(d.recent)-driftSize):]
	n := 0
	for _, t := range d.recent {
		if t.failed {
			n++
		}
	}
	before := d.frozen
	switch {
	case n >= driftFreeze:
		d.frozen = true
	case n < driftThaw:
		d.frozen = false
	}
	return d.frozen != before
}

// Frozen tells whether failures are not to be believed at present.
func (d *Drift) Frozen() bool { return d.frozen }
