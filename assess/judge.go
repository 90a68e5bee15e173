package assess

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Edition is that of the rules by which evidence is judged and scored. Raise it with every change
// that may change a score: the store then has every domain judged again.
const Edition = 2

// Judge holds the evidence against the rules of assess/methodology.md, section 2. It returns a verdict
// for each of Standards and for each criterion that only a profile asks for. It is pure: the
// same evidence has the same verdicts whenever it is judged.
//
// While a domain has not been probed, its sessions stand among the tests and decide nothing,
// because they show half of a provider; with Passive rules that half has to do.
func Judge(e Evidence, r Rules) Verdicts {
	verdicts := Verdicts{}
	for _, s := range standards() {
		v := Verdict{Standard: s.name}
		s.judge(&v, e, r)
		if e.Facts == nil && !r.Passive {
			v.Support = SupportUnknown
		}
		verdicts[s.name] = v
	}
	return verdicts
}

// eachHost adds the inbound tests of each MX host. Hosts that are not known are one unknown
// test; a domain that receives no mail (RFC 7505) has none.
func (v *Verdict) eachHost(f *Facts, judge func(MXHost) []Test) {
	if f == nil || f.Hosts.Null {
		return
	}
	if len(f.Hosts.Hosts) == 0 {
		v.add(f.test(partMX, Test{Subject: string(f.Domain), Test: "mx", Reason: f.Hosts.Lookup.reason(), Detail: "its mail hosts are not known: " + f.Hosts.Lookup.missing()}))
		return
	}
	for _, host := range f.Hosts.Hosts {
		for _, t := range judge(host) {
			t.Subject = host.Name
			v.add(f.test(partMX, t))
		}
	}
	if f.Hosts.Omitted > 0 {
		v.note("%d more MX hosts were not tested", f.Hosts.Omitted)
	}
}

// perAddress judges each dialogue with a host and lets one of them decide.
func perAddress(f *Facts, h MXHost, name string, judge func(SMTPFacts) Check) Test {
	if len(h.Sessions) == 0 {
		reason, detail := h.unreached()
		return Test{Test: name, Reason: reason, Detail: detail}
	}
	var tests []Test
	for _, s := range h.Sessions {
		c := judge(s)
		if s.TLS != nil && s.ServerName != "" && s.ServerName != h.Name {
			c.Detail += fmt.Sprintf(" (as it answered under the name %s)", hostName(s.ServerName))
		}
		tests = append(tests, Test{Test: name, Address: s.Address.String(), Result: c.Result, Reason: c.Reason, Detail: c.Detail, At: s.At})
	}
	return f.marked(partSMTP(h.Name), decisive(tests))
}

// decisive is the test that speaks for the host of several addresses: one that fails if any
// fails, else one that passes, else one that is unknown.
func decisive(tests []Test) Test {
	for _, results := range [][]Result{{Fail, Bogus}, {Pass}, {Unknown}} {
		for _, t := range tests {
			if slices.Contains(results, t.Result) {
				return t
			}
		}
	}
	return tests[0]
}

// unreached says why there was no dialogue with the host.
func (h MXHost) unreached() (Reason, string) {
	switch {
	case h.Refusal != "":
		return ReasonAddressForbidden, "its address " + told(h.Refusal)
	case len(h.Refused) > 0: // facts of before that was kept
		return ReasonAddressForbidden, fmt.Sprintf("its address %s is never dialled: it is no public one", h.Refused[0])
	case len(h.Addresses()) > 0:
		return ReasonAddressUntested, "none of its addresses was tested"
	case h.A.Status == LookupFailed:
		return h.A.reason(), "its addresses are not known: " + h.A.missing()
	case h.AAAA.Status == LookupFailed:
		return h.AAAA.reason(), "its addresses are not known: " + h.AAAA.missing()
	case h.A.Status.Answered():
		return ReasonAddressAbsent, "it has no address"
	}
	return ReasonAddressUntested, "it was not tested"
}

// problems says why no dialogue with the host gave an answer.
func (h MXHost) problems() (Reason, string) {
	if len(h.Sessions) == 0 {
		return h.unreached()
	}
	return h.Sessions[0].reason(), told(h.Sessions[0].Problem)
}

// eachSender adds one outbound test for each outbound host: it passes when enough of its
// sessions do. The pseudo-host "relayed" is one where sessions were credited to it.
func (v *Verdict) eachSender(t Tally, r Rules, question sessionTest) {
	for _, h := range t.Hosts {
		c := question.count(h)
		test := Test{Subject: h.Subject(), Direction: Outbound, Test: question.name, Result: r.result(c), At: h.LastSeen}
		switch {
		case test.Result != Unknown && c.Failed > 0:
			test.Reason, test.Detail = question.some, question.say(h, c)
		case test.Result != Unknown:
			test.Reason, test.Detail = question.all, question.say(h, c)
		case !h.Host.IsValid():
			continue
		default:
			test.Reason, test.Detail = ReasonSessionsUndecided, fmt.Sprintf("inconclusive in all %d sessions", h.Sessions)
		}
		v.add(test)
	}
}

// sessionTest is what the sessions of an outbound host are asked.
type sessionTest struct {
	name  string
	count func(HostTally) Count
	all   Reason // where all of them pass
	some  Reason // where some do not, be they few
	say   func(HostTally, Count) string
}

// versions lists the TLS versions of a host's sessions, the most frequent first.
func (h HostTally) versions() string {
	names := slices.SortedFunc(maps.Keys(h.TLSVersions), func(a, b string) int {
		if n := h.TLSVersions[b] - h.TLSVersions[a]; n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	var words []string
	for _, name := range names {
		words = append(words, fmt.Sprintf("%s: %d", told(name), h.TLSVersions[name]))
	}
	return strings.Join(words, ", ")
}

// support of a standard that rests on one result.
func (r Result) support() Support {
	switch r {
	case Pass:
		return SupportYes
	case Fail, Bogus:
		return SupportNo
	}
	return SupportUnknown
}

// and is yes where both are, no where either is, and else unknown.
func (s Support) and(other Support) Support {
	switch {
	case s == SupportNo || other == SupportNo:
		return SupportNo
	case s == SupportYes && other == SupportYes:
		return SupportYes
	}
	return SupportUnknown
}

// note adds a finding that decides nothing.
func (v *Verdict) note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}

// warn adds what the prober remarked on a subject.
func (v *Verdict) warn(subject string, warnings []string) {
	for _, w := range warnings {
		v.note("%s: %s", subject, told(w))
	}
}
