package assess

import (
	"slices"
	"time"
)

// SecondLook is how long after DNSSEC validation failed a later run may find that it fails still.
// By then the resolver has forgotten what it lacked: Unbound a bogus answer after a minute and a
// name server that was silent after a quarter of an hour, others before.
const SecondLook = 15 * time.Minute

// maxSuspicions bounds those that are carried on from run to run, of names that are no longer asked
// for among others: a domain may name other hosts each time. One run has fewer.
const maxSuspicions = 100

// Suspicion is a question whose answer a validating resolver refused. Whether the zone or the
// network lost keys or signatures looks the same then: a later run decides.
type Suspicion struct {
	Name  string    `json:"name"`
	Type  string    `json:"type"`
	Since time.Time `json:"since"` // when the first of the runs began that met with it, no answer in between
}

// lookAgain holds the answers of a run that the resolver refused against the run before. Those that
// it refused then as well are bogus, at least SecondLook after the first time, and provided that
// no question of this run that is scored timed out: where packets are lost, two runs prove no more than one.
// What was bogus before and is refused still stays so. The rest is left to a later run.
func (f *Facts) lookAgain(old *Facts) {
	f.DKIM.Keys = slices.Clone(f.DKIM.Keys)
	f.Hosts.Hosts = slices.Clone(f.Hosts.Hosts)
	lookups := f.lookups()
	calm := !slices.ContainsFunc(f.scoredLookups(), func(l *Lookup) bool {
		return l.Status == LookupFailed && l.Timeout
	})
	f.Suspicions = nil
	for _, l := range lookups {
		if l.Security != SuspectAnswer {
			continue
		}
		since, was := old.refused(l, f.At)
		if was == BogusAnswer || was == SuspectAnswer && calm && f.At.Sub(since) >= SecondLook {
			l.Security = BogusAnswer
		} else {
			f.suspect(Suspicion{l.Name, l.Type, since})
		}
	}
	if old == nil {
		return
	}
	for _, s := range old.Suspicions { // what this run could not ask, the latest first
		if len(f.Suspicions) >= maxSuspicions {
			return
		}
		asked := func(l *Lookup) bool { return s.is(l) && (l.Status.Answered() || l.Security != Indeterminate) }
		if !slices.ContainsFunc(lookups, asked) && f.At.Sub(s.Since).Abs() <= KeepFor {
			f.suspect(s)
		}
	}
}

func (s Suspicion) is(l *Lookup) bool { return s.Name == l.Name && s.Type == l.Type }

func (f *Facts) suspect(s Suspicion) {
	if !slices.ContainsFunc(f.Suspicions, func(o Suspicion) bool { return o.Name == s.Name && o.Type == s.Type }) {
		f.Suspicions = append(f.Suspicions, s)
	}
}

// refused is how an earlier run stood to a question that is refused now, and since when; nothing
// is older than KeepFor. Without an earlier run it is now.
func (f *Facts) refused(l *Lookup, now time.Time) (since time.Time, was Security) {
	if f == nil || now.Sub(f.At).Abs() > KeepFor {
		return now, Indeterminate
	}
	for _, known := range f.lookups() {
		if known.Name == l.Name && known.Type == l.Type && known.Security == BogusAnswer {
			return f.At, BogusAnswer
		}
	}
	for _, s := range f.Suspicions {
		if s.is(l) && now.Sub(s.Since).Abs() <= KeepFor {
			return s.Since, SuspectAnswer
		}
	}
	return now, Indeterminate
}
