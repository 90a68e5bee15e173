package assess

import "fmt"

// MTASTS is RFC 8461.
const MTASTS Standard = "mta-sts"

// MTASTSFacts is the record, the policy and what it says of each MX host (RFC 8461).
type MTASTSFacts struct {
	Lookup  Lookup       `json:"lookup"` // _mta-sts.<domain>
	ID      string       `json:"id,omitempty"`
	Record  Check        `json:"record"`
	Policy  string       `json:"policy,omitempty"`  // the text as fetched
	Fetched Check        `json:"fetched"`           // HTTPS with a valid certificate, status 200, syntax
	Mode    string       `json:"mode,omitempty"`    // enforce, testing, none
	MaxAge  int          `json:"max_age,omitempty"` // seconds
	MX      []string     `json:"mx,omitempty"`
	Matches []MTASTSHost `json:"matches,omitempty"`
}

// MTASTSHost is one MX host held against the policy: its name, and its certificate.
type MTASTSHost struct {
	Host  string `json:"host"`
	Match Check  `json:"match"`
}

// judgeMTASTS asks for a record, a policy that senders can fetch, mode "enforce", and that the
// policy covers enough of the MX hosts. The first three must hold, whatever the number of hosts;
// in mode "testing" senders report and protect nothing, which is not support.
func judgeMTASTS(v *Verdict, e Evidence, r Rules) {
	if e.Facts == nil {
		return
	}
	v.Support = SupportYes
	for _, t := range e.Facts.mtastsTests() {
		v.add(t)
		v.Support = v.Support.and(t.Result.support())
	}
	var hosts Verdict
	for _, m := range e.Facts.MTASTS.Matches {
		t := Test{Subject: m.Host, Test: "mx", Result: m.Match.Result, Detail: m.Match.or(sayMatch(m.Match.Result))}
		if t.Result == Fail {
			t.Detail += "; fix the policy or the host: senders that honour MTA-STS do not deliver"
		}
		hosts.add(e.Facts.test(string(MTASTS), t))
	}
	for _, t := range hosts.Tests {
		v.add(t)
	}
	if hosts.support(r) != SupportUnknown {
		v.Support = v.Support.and(hosts.support(r))
	}
}

// mtastsTests are the tests that do not ask about a host, up to the first that does not pass.
func (f *Facts) mtastsTests() []Test {
	m := f.MTASTS
	record := Test{Subject: "_mta-sts." + string(f.Domain), Test: "record"}
	switch {
	case !m.Lookup.Status.Answered():
		record.Detail = "the record is not known: " + m.Lookup.missing()
	case m.Lookup.Status != LookupFound:
		record.Result, record.Detail = Fail, "there is no MTA-STS record; publish a policy and announce it, at first in mode testing"
	default:
		record.Result, record.Detail = m.Record.Result, m.Record.or("id "+quoted(m.ID))
		if record.Result == Fail {
			record.Detail += "; fix it"
		}
	}
	tests := []Test{f.test(string(MTASTS), record)}
	if record.Result != Pass {
		return tests
	}
	policy := Test{Subject: "mta-sts." + string(f.Domain), Test: "policy", Result: m.Fetched.Result}
	policy.Detail = m.Fetched.or(fmt.Sprintf("mode %s, max_age %d s, mx %s", quoted(m.Mode), m.MaxAge, listed(m.MX)))
	if policy.Result == Fail {
		policy.Detail += "; fix it: senders do as if there were no policy"
	}
	tests = append(tests, f.test(string(MTASTS), policy))
	if policy.Result != Pass {
		return tests
	}
	mode := Test{Subject: policy.Subject, Test: "mode", Result: Fail, Detail: "mode " + quoted(m.Mode) + " protects nothing: set it to enforce"}
	if m.Mode == "enforce" {
		mode.Result, mode.Detail = Pass, "enforce"
	}
	return append(tests, f.test(string(MTASTS), mode))
}

func sayMatch(r Result) string {
	switch r {
	case Pass:
		return "the policy covers it"
	case Fail:
		return "the policy or the certificate does not cover it"
	}
	return "could not be held against the policy"
}

// mtastsTest is the last of mtastsTests, which decides.
func (f *Facts) mtastsTest() Test {
	tests := f.mtastsTests()
	return tests[len(tests)-1]
}

func mtastsLookups(f *Facts) []*Lookup { return []*Lookup{&f.MTASTS.Lookup} }
