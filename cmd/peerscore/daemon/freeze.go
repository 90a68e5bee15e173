package daemon

import (
	"context"
	"slices"
	"time"
)

// frozen is what is not held against peers at present, because everybody fails it at once, in
// words for `status`.
func (d *Daemon) frozen() []string {
	var names []string
	for _, test := range d.milter.Stats().Frozen {
		names = append(names, test+" of sessions")
	}
	for _, part := range d.assessor.Frozen() {
		names = append(names, part+" of probes")
	}
	if d.queue.Stats().Frozen() {
		names = append(names, "port 25 of probes")
	}
	return names
}

// noteFrozen keeps the note in the database that `status` reads true, at each tick until ctx ends.
func (d *Daemon) noteFrozen(ctx context.Context, tick <-chan time.Time) {
	noted, known := []string(nil), false // what an earlier process noted
	for {
		if names := d.frozen(); !known || !slices.Equal(names, noted) {
			if err := d.Store.NoteFrozen(ctx, names); err == nil { // else the next tick tries again
				noted, known = names, true
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}
