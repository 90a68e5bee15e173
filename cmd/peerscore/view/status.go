package view

import (
	"fmt"
	"time"
)

// Status is what `status --json` prints.
type Status struct {
	Schema   int                `json:"schema"`
	Alive    bool               `json:"alive"`
	Peers    int                `json:"peers"`
	Due      int                `json:"due"` // to be probed now
	LastSeen *time.Time         `json:"last_seen"`
	Frozen   []string           `json:"frozen"`   // what everybody fails at once, and is held against nobody
	Counters map[string]float64 `json:"counters"` // null where http.listen is off
	names    []string           // of the counters, in their order
}

// Count adds the counters of the daemon.
func (s *Status) Count(name string, value float64) {
	if s.Counters == nil {
		s.Counters = map[string]float64{}
	}
	s.Counters[name] = value
	s.names = append(s.names, name)
}

// WriteStatus is the text of `status`.
func (c Console) WriteStatus(s Status) {
	seen := "none so far"
	if s.LastSeen != nil {
		seen = ago(*s.LastSeen, time.Now())
	}
	fmt.Fprintf(c.Out, "%s\n%d %s, %d due to be probed; last session: %s\n", c.Paint(Green, "The daemon is alive."),
		s.Peers, Plural(s.Peers, "peer", "peers"), s.Due, seen)
	for _, name := range s.Frozen {
		c.WriteFinding(c.Paint(Red, "frozen ")+Printable(name)+":", "everybody fails it at once, which is held against nobody; look for the cause on this host")
	}
	if s.Counters == nil {
		fmt.Fprintln(c.Out, "Set http.listen to see its counters.")
		return
	}
	fmt.Fprintln(c.Out)
	for _, name := range s.names {
		fmt.Fprintf(c.Out, "  %-48s %10g\n", name, s.Counters[name])
	}
}
