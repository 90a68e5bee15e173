package milter

import "sync/atomic"

// Stats are counts since the start, for metrics. No domain is in them.
type Stats struct {
	Open      int   // sessions of MTAs at this moment
	Sessions  int64 // accepted
	Refused   int64 // closed at once, because there were too many
	TimedOut  int64 // idle too long, or stuck within a packet
	Malformed int64 // closed for a packet that is none

	Messages     map[string]int64 // by the word of their row of milter/attribution.md
	Aborted      int64            // given up before the end of the message
	NotEvaluated int64            // past a limit of size, time or CPU time
	Undressed    int64            // with more forged fields than an MTA may be asked to remove
	Exhausted    int64            // of more DNS lookups than one message may cause
	NotRecorded  int64            // answered before the Recorder had their observation safe; it may have been later
	Panics       int64            // contained

	// Limits are messages of which something was not evaluated, by the limit that it ran into:
	// "header", "time", "cpu", "blank_lines", "folds", "body" or "signature".
	Limits map[string]int64

	// Frozen are the tests, "StartTLS" and "DKIM", that everybody fails of late, so that the
	// fault is likely our own; Held counts the failures that were not held against anybody.
	Frozen []string
	Held   int64
}

// counters are Stats in the making.
type counters struct {
	sessions, refused, timedOut, malformed atomic.Int64
	aborted, notEvaluated, undressed       atomic.Int64
	notRecorded, exhausted, panics         atomic.Int64
	limits                                 [limits]atomic.Int64
	rows                                   [rows]atomic.Int64
}

// Stats returns the counts of this moment.
func (s *Server) Stats() Stats {
	c := &s.counters
	stats := Stats{
		Open: s.gate.count(), Sessions: c.sessions.Load(), Refused: c.refused.Load(),
		TimedOut: c.timedOut.Load(), Malformed: c.malformed.Load(),
		Aborted: c.aborted.Load(), NotEvaluated: c.notEvaluated.Load(),
		Undressed: c.undressed.Load(), Exhausted: c.exhausted.Load(), NotRecorded: c.notRecorded.Load(), Panics: c.panics.Load(),
		Messages: map[string]int64{}, Limits: map[string]int64{},
	}
	for r := rowSPFDKIM; r < rows; r++ {
		stats.Messages[r.String()] = c.rows[r].Load()
	}
	for i, name := range limitNames {
		stats.Limits[name] = c.limits[i].Load()
	}
	stats.Messages[rowAborted.String()] = stats.Aborted
	stats.Frozen, stats.Held = s.freezer.frozen(), s.freezer.held.Load()
	return stats
}
