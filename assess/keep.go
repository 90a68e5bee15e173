package assess

import (
	"fmt"
	"slices"
	"time"

	"peerscore/assess/dnsname"
)

// KeepFor is how long a result stands that later runs could not repeat, counted from when it
// was measured. A failed lookup, a closed port 25 or an outage of our own then changes no
// score; after two weeks of it the result is unknown, as it is.
const KeepFor = 14 * 24 * time.Hour

// Kept says of one part of the facts that it stands from an earlier run.
type Kept struct {
	Part   string    `json:"part"`
	At     time.Time `json:"at"`     // when it was measured
	Reason string    `json:"reason"` // why the later run could not
}

// partMX are the mail hosts. A host's dialogues and its TLSA match are parts of their own.
const partMX = "mx"

func partSMTP(host string) string { return "smtp " + host }
func partDANE(host string) string { return "dane " + host }

func partOther(host string) string { return "other certificate " + host }

// part is one of the facts that stand or fall together.
type part struct {
	name    string                       // the standard's own where it is ""
	result  func(*Facts) Result          // how the domain stands there
	problem func(*Facts) string          // what the run could not measure, "" where it could; nil: that is told of each host
	take    func(to, from *Facts)        // takes it from another run
	takes   func(*Facts, *Facts, string) // takes it host by host, and notes why; nil: take does
	owner   func(*Facts) dnsname.Domain  // whose loss counts once; nil: the domain's organisation
	scored  bool                         // a profile may rest on it: else what everybody loses at once is no sign of a fault
}

// partOf is the part that one test decides.
func partOf(test func(*Facts) Test, take func(to, from *Facts)) part {
	return part{
		result:  func(f *Facts) Result { return test(f).Result },
		problem: func(f *Facts) string { return test(f).problem() },
		take:    take,
	}
}

func mxPart() part {
	return part{name: partMX, scored: true, result: (*Facts).mxResult, problem: mxProblem, take: func(to, from *Facts) { to.Hosts = from.Hosts }}
}

// keep takes the part from older facts, if it is not too old to stand.
func (p part) keep(to, from *Facts, reason string) {
	switch {
	case p.takes != nil:
		p.takes(to, from, reason)
	case to.keep(p.name, from.measuredAt(p.name), reason):
		p.take(to, from)
	}
}

// lacks says what a run could not measure of the part itself.
func (p part) lacks(f *Facts) string {
	if p.problem == nil {
		return ""
	}
	return p.problem(f)
}

func (t Test) problem() string {
	if t.Result != Unknown {
		return ""
	}
	return t.Detail
}

func mxProblem(f *Facts) string {
	if l := f.Hosts.Lookup; !l.Status.Answered() {
		return l.missing()
	}
	return ""
}

// Keeping returns the facts with every part that this run could not measure taken from an
// older run, if that one could and it is not longer than KeepFor ago. Kept names these parts:
// what stands from earlier carries its own date, in every test that rests on it.
func (f Facts) Keeping(old *Facts) Facts {
	if old == nil || old.Domain != f.Domain {
		return f
	}
	f.Kept = nil
	f.Hosts.Hosts = slices.Clone(f.Hosts.Hosts)
	for _, p := range parts() {
		if problem := p.lacks(&f); problem != "" && p.lacks(old) == "" {
			p.keep(&f, old, problem)
		}
	}
	if _, kept := f.kept(partMX); kept {
		f.keepHosts(old)
		return f
	}
	for i := range f.Hosts.Hosts {
		f.keepHost(&f.Hosts.Hosts[i], old)
	}
	return f
}

// measuredAt is when the first of the parts was measured that stands from an earlier run, else
// when the run began.
func (f *Facts) measuredAt(parts ...string) time.Time {
	for _, part := range parts {
		if k, ok := f.kept(part); ok {
			return k.At
		}
	}
	return f.At
}

// keep notes that a part stands since it was measured, unless that is too long ago, or as far
// in the future by a clock that was ahead.
func (f *Facts) keep(part string, at time.Time, problem string) bool {
	if f.At.Sub(at).Abs() > KeepFor {
		return false
	}
	f.Kept = append(f.Kept, Kept{Part: part, At: at, Reason: problem})
	return true
}

// keepHosts carries over what the older run had itself kept of its hosts.
func (f *Facts) keepHosts(old *Facts) {
	for _, h := range old.Hosts.Hosts {
		for _, part := range []string{partSMTP(h.Name), partDANE(h.Name), partOther(h.Name)} {
			if k, ok := old.kept(part); ok {
				f.Kept = append(f.Kept, k)
			}
		}
	}
}

// keepHost keeps a host's dialogues where none of the new ones came to an answer, and its TLSA
// match where that failed with them.
func (f *Facts) keepHost(h *MXHost, old *Facts) {
	i := slices.IndexFunc(old.Hosts.Hosts, func(o MXHost) bool { return o.Name == h.Name })
	if i < 0 {
		return
	}
	before := old.Hosts.Hosts[i]
	problem := h.daneTest().problem()
	_, unanswered := h.problems()
	if known := before.stillKnown(*h); !h.answered() && len(known) > 0 && f.keep(partSMTP(h.Name), known[0].At, unanswered) {
		h.Sessions = known
	}
	h.Sessions = slices.Clone(h.Sessions)
	for i := range h.Sessions {
		f.keepOther(h.Name, &h.Sessions[i], before)
	}
	// A match is one of records and certificate: new records would need a certificate to match.
	same := !h.DANE.Lookup.Status.Answered() || slices.Equal(h.DANE.Lookup.Records, before.DANE.Lookup.Records) && !slices.Contains(before.DANE.Lookup.Records, CutMark)
	if problem != "" && same && before.daneTest().problem() == "" && f.keep(partDANE(h.Name), old.measuredAt(partDANE(h.Name), partMX), problem) {
		h.DANE = before.DANE
	}
}

// keepOther keeps what is known of a server's other certificate where the new dialogue did not tell.
func (f *Facts) keepOther(host string, s *SMTPFacts, before MXHost) {
	if s.Other == nil || s.Other.Shown.Result != Unknown {
		return
	}
	for _, o := range before.Sessions {
		if o.Address == s.Address && o.Other != nil && o.Other.Shown.Result != Unknown && f.keep(partOther(host), o.Other.At, s.Other.Shown.Detail) {
			s.Other = o.Other
			return
		}
	}
}

// answered reports whether any dialogue with the host came to an answer.
func (h MXHost) answered() bool {
	return slices.ContainsFunc(h.Sessions, func(s SMTPFacts) bool { return s.Outcome.result() != Unknown })
}

// stillKnown are the dialogues of an older run that came to an answer, with addresses that the
// host has still, as far as that is known.
func (h MXHost) stillKnown(now MXHost) []SMTPFacts {
	var known []SMTPFacts
	addrs := now.Addresses()
	for _, s := range h.Sessions {
		if s.Outcome.result() != Unknown && (len(addrs) == 0 || slices.Contains(addrs, s.Address)) {
			known = append(known, s)
		}
	}
	return known
}

// kept looks up whether a part stands from an earlier run.
func (f *Facts) kept(part string) (Kept, bool) {
	i := slices.IndexFunc(f.Kept, func(k Kept) bool { return k.Part == part })
	if i < 0 {
		return Kept{}, false
	}
	return f.Kept[i], true
}

// measured reports whether the run itself learned anything that is scored, be it a suspicion.
func (f *Facts) measured() bool {
	if slices.ContainsFunc(f.scoredLookups(), func(l *Lookup) bool { return l.Security == SuspectAnswer }) {
		return true
	}
	for _, p := range parts() {
		if _, kept := f.kept(p.name); p.scored && !kept && p.problem != nil && p.problem(f) == "" {
			return true
		}
	}
	return f.reached()
}

// lacking reports whether anything that is scored stands from an earlier run.
func (f *Facts) lacking() bool {
	return slices.ContainsFunc(f.Kept, func(k Kept) bool {
		return !slices.ContainsFunc(parts(), func(p part) bool { return p.name == k.Part && !p.scored })
	})
}

// reached reports whether the run itself came to an answer at a mail host.
func (f *Facts) reached() bool {
	if _, kept := f.kept(partMX); kept {
		return false
	}
	return slices.ContainsFunc(f.Hosts.Hosts, func(h MXHost) bool {
		_, kept := f.kept(partSMTP(h.Name))
		return !kept && h.answered()
	})
}

// unasked reports whether a budget, or its end, kept the run from asking an address.
func (f *Facts) unasked() bool {
	return slices.ContainsFunc(f.Hosts.Hosts, func(h MXHost) bool {
		return slices.ContainsFunc(h.Sessions, func(s SMTPFacts) bool {
			return s.Outcome == TLSUnknown && s.Reason.ranOut() || s.Other != nil && s.Other.Shown.Reason.ranOut()
		})
	})
}

// ranOut reports whether a dialogue was not held, or not to its end, because we had no more time for it.
func (r Reason) ranOut() bool { return r == ReasonBudgetExhausted || r == ReasonRunOver }

// test completes an inbound test that rests on a part of the facts: its direction, and when
// the part was measured.
func (f *Facts) test(part string, t Test) Test {
	t = f.marked(part, t)
	t.Direction = Inbound
	if t.At.IsZero() {
		t.At = f.At
	}
	return t
}

// marked says of a test whose facts stand from an earlier run when that was, and why.
func (f *Facts) marked(part string, t Test) Test {
	k, ok := f.kept(part)
	if !ok {
		return t
	}
	if t.At.IsZero() {
		t.At = k.At
	}
	t.Detail += fmt.Sprintf(" (measured %s; not since: %s)", day(t.At), told(k.Reason))
	return t
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
