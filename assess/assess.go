// Package assess is the domain of peerscore: what is known of a mail provider, what is
// thought of it, and how many stars that is worth. It does no I/O.
//
// The pipeline, one type a step, each its own file:
//
//	session ─► Observation ─► Tally ─┐
//	                                 ├─► Evidence ─► Judge ─► Verdict ─► Profile ─► Score
//	probe  ──────────────────► Facts ┘
//
// An [Observation] is what one message showed about the peer that sent it, a [Tally] the
// observations of a window, [Facts] what one probe run learned, without opinion. [Judge]
// turns both into one [Verdict] a standard by the rules of the MECSA method (report
// EUR 29674 EN, section 3), and a [Profile] turns verdicts into three scores of 0 to 5
// stars (section 4). An [Assessment] is all of it under one date. [Queue] decides when a
// domain is probed.
//
// Every answer has more than two values: what could not be measured is Unknown, the zero
// value, and is never counted, stored or shown as "no".
//
// The package leaves out how facts are obtained (assess/probe), how observations are made
// (milter) and where both are kept (store).
package assess

import (
	"time"

	"peerscore/assess/dnsname"
)

// Basis says what an assessment rests on; it is the word of the Peer-Score header.
type Basis string

const (
	BasisNone          Basis = ""
	BasisProbe         Basis = "probe"
	BasisSessions      Basis = "sessions"
	BasisProbeSessions Basis = "probe+sessions"
)

// Evidence is all that a verdict may rest on. Facts is nil while the domain has not been probed.
type Evidence struct {
	Facts *Facts
	Tally Tally
	Since time.Time // when the domain was first credited or assessed; zero: neither so far, or not told
}

// Basis tells which halves of the evidence exist.
func (e Evidence) Basis() Basis {
	probed, observed := e.Facts != nil, len(e.Tally.Hosts) > 0
	switch {
	case probed && observed:
		return BasisProbeSessions
	case probed:
		return BasisProbe
	case observed:
		return BasisSessions
	}
	return BasisNone
}

// Status is the state of a domain as JSON and headers name it.
type Status string

const (
	StatusScored  Status = "scored"  // at least one of the three scores has stars
	StatusPending Status = "pending" // known, not probed yet
	StatusUnknown Status = "unknown" // probed, and nothing could be measured
	StatusNoMail  Status = "no-mail" // there is no provider to be scored: see Evidence.NoMail
)

// Assessment is a dated judgement of one domain: the evidence, what follows from it, and the stars.
type Assessment struct {
	Domain   dnsname.Domain
	At       time.Time // when it was judged, not when it was probed: that is Evidence.Facts.At
	Profile  string
	Status   Status
	Evidence Evidence
	Verdicts Verdicts
	Scores   Scores
}

// Answered reports whether the run itself came to an answer at a mail host.
func (a Assessment) Answered() bool { return a.Evidence.Facts != nil && a.Evidence.Facts.reached() }

// Conclude judges the evidence of a domain and scores it. It is pure; now dates the result.
func Conclude(d dnsname.Domain, e Evidence, p Profile, r Rules, now time.Time) Assessment {
	verdicts := Judge(e, r)
	a := Assessment{
		Domain: d, At: now.UTC(), Profile: p.Name, Status: StatusUnknown,
		Evidence: e, Verdicts: verdicts, Scores: p.Score(verdicts),
	}
	switch {
	case e.NoMail() != "":
		a.Status, a.Scores = StatusNoMail, Scores{} // what does not exist is not scored
	case a.Scores.Known():
		a.Status = StatusScored
	case e.Facts == nil && !r.Passive:
		a.Status = StatusPending
	}
	return a
}
