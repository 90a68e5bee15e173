package assess

import "fmt"

// MTASTS is RFC 8461.
const MTASTS Standard = "mta-sts"

const (
	ReasonSTSRecordValid       Reason = "mta-sts-record-valid"
	ReasonSTSRecordAbsent      Reason = "mta-sts-record-absent"
	ReasonSTSRecordInvalid     Reason = "mta-sts-record-invalid"
	ReasonSTSRecordUnchecked   Reason = "mta-sts-record-unchecked"
	ReasonSTSPolicyValid       Reason = "mta-sts-policy-valid"
	ReasonSTSPolicyInvalid     Reason = "mta-sts-policy-invalid"
	ReasonSTSPolicyCertificate Reason = "mta-sts-policy-host-certificate"
	ReasonSTSPolicyUnavailable Reason = "mta-sts-policy-unavailable"
	ReasonSTSEnforced          Reason = "mta-sts-mode-enforce"
	ReasonSTSNotEnforced       Reason = "mta-sts-mode-not-enforce"
	ReasonSTSHostCovered       Reason = "mta-sts-host-covered"
	ReasonSTSHostNotListed     Reason = "mta-sts-host-not-listed"
	ReasonSTSHostInvalid       Reason = "mta-sts-host-invalid"
	ReasonSTSHostUnchecked     Reason = "mta-sts-host-unchecked"
)

const (
	stsFixPolicy Advice = "fix it: senders do as if there were no policy"
	stsFixHost   Advice = "fix the policy or the host: senders that honour MTA-STS do not deliver"
)

var mtastsReasons = []Explanation{
	{ReasonSTSRecordValid, MTASTS, in(Pass), "There is one valid record.", "", "RFC 8461, section 3.1"},
	{ReasonSTSRecordAbsent, MTASTS, in(Fail), "There is no MTA-STS record.", "publish a policy and announce it, at first in mode testing", "RFC 8461, section 3.1"},
	{ReasonSTSRecordInvalid, MTASTS, in(Fail), "The record has an error, or is not the only one.", "fix it", "RFC 8461, section 3.1"},
	{ReasonSTSRecordUnchecked, MTASTS, in(Unknown), "The record is past a limit.", "", "RFC 8461, section 3.1"},
	{ReasonSTSPolicyValid, MTASTS, in(Pass), "The policy can be fetched, and is valid.", "", "RFC 8461, section 3.2"},
	{ReasonSTSPolicyInvalid, MTASTS, in(Fail), "The policy host has no policy that a sender can use.", stsFixPolicy, "RFC 8461, section 3.2"},
	{ReasonSTSPolicyCertificate, MTASTS, in(Fail), "The certificate of the policy host is not valid.", stsFixPolicy, "RFC 8461, section 3.3"},
	{ReasonSTSPolicyUnavailable, MTASTS, in(Unknown), "The policy could not be fetched.", "", "RFC 8461, section 3.3"},
	{ReasonSTSEnforced, MTASTS, in(Pass), "The mode is enforce.", "", "RFC 8461, section 5"},
	{ReasonSTSNotEnforced, MTASTS, in(Fail), "The mode is not enforce.", "set it to enforce", "RFC 8461, section 5"},
	{ReasonSTSHostCovered, MTASTS, in(Pass), "The policy lists the host, and its certificate is valid.", "", "RFC 8461, section 4"},
	{ReasonSTSHostNotListed, MTASTS, in(Fail), "The policy does not list the host.", stsFixHost, "RFC 8461, section 4.1"},
	{ReasonSTSHostInvalid, MTASTS, in(Fail), "The host has no TLS, or no certificate that a sender accepts.", stsFixHost, "RFC 8461, section 4.2"},
	{ReasonSTSHostUnchecked, MTASTS, in(Unknown), "The certificate of the host was not seen, or could not be checked.", "", "RFC 8461, section 4.2"},
}

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
		t := Test{Subject: m.Host, Test: "mx"}
		t.came(m.Match.Result, m.Match.because(ReasonSTSHostCovered, ReasonSTSHostInvalid, ReasonSTSHostUnchecked), m.Match.or(sayMatch(m.Match.Result)))
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
		record.came(Unknown, m.Lookup.reason(), "the record is not known: "+m.Lookup.missing())
	case m.Lookup.Status != LookupFound:
		record.came(Fail, ReasonSTSRecordAbsent, "there is no MTA-STS record")
	default:
		record.came(m.Record.Result, m.Record.because(ReasonSTSRecordValid, ReasonSTSRecordInvalid, ReasonSTSRecordUnchecked), m.Record.or("id "+quoted(m.ID)))
	}
	tests := []Test{f.test(string(MTASTS), record)}
	if record.Result != Pass {
		return tests
	}
	policy := Test{Subject: "mta-sts." + string(f.Domain), Test: "policy"}
	policy.came(m.Fetched.Result, m.Fetched.because(ReasonSTSPolicyValid, ReasonSTSPolicyInvalid, ReasonSTSPolicyUnavailable),
		m.Fetched.or(fmt.Sprintf("mode %s, max_age %d s, mx %s", quoted(m.Mode), m.MaxAge, listed(m.MX))))
	tests = append(tests, f.test(string(MTASTS), policy))
	if policy.Result != Pass {
		return tests
	}
	mode := Test{Subject: policy.Subject, Test: "mode"}
	if mode.came(Fail, ReasonSTSNotEnforced, "mode "+quoted(m.Mode)+" protects nothing"); m.Mode == "enforce" {
		mode.came(Pass, ReasonSTSEnforced, "enforce")
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
