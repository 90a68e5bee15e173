package assess

import "fmt"

const (
	SPF       Standard = "spf"        // RFC 7208
	SPFPolicy Standard = "spf-policy" // the record ends in -all or ~all after redirects
)

const (
	ReasonSPFValid             Reason = "spf-record-valid"
	ReasonSPFAbsent            Reason = "spf-record-absent"
	ReasonSPFMultiple          Reason = "spf-multiple-records"
	ReasonSPFLookupLimit       Reason = "spf-lookup-limit"
	ReasonSPFVoidLimit         Reason = "spf-void-lookup-limit"
	ReasonSPFInvalid           Reason = "spf-record-invalid"
	ReasonSPFUnchecked         Reason = "spf-record-unchecked"
	ReasonSessionsAuthorised   Reason = "sessions-authorised"
	ReasonSessionsUnauthorised Reason = "sessions-not-authorised"
	ReasonSPFPolicyStrict      Reason = "spf-policy-strict"
	ReasonSPFPolicyOpen        Reason = "spf-policy-open"
	ReasonSPFPolicyAbsent      Reason = "spf-policy-absent"
)

var spfReasons = []Explanation{
	{ReasonSPFValid, SPF, in(Pass), "There is one valid record, within the limits.", "", "RFC 7208, section 4.5"},
	{ReasonSPFAbsent, SPF, in(Fail), "There is no SPF record.", "list the hosts that send for it", "RFC 7208, section 4.5"},
	{ReasonSPFMultiple, SPF, in(Fail), "There is more than one SPF record, which is an error.", "join them into one", "RFC 7208, section 4.5"},
	{ReasonSPFLookupLimit, SPF, in(Fail), "Evaluation takes more than ten DNS lookups, which is an error.", "take out the includes that nobody needs, or list networks by ip4: and ip6:, which cost nothing", "RFC 7208, section 4.6.4"},
	{ReasonSPFVoidLimit, SPF, in(Fail), "Evaluation takes more than two lookups that find nothing, which is an error.", "take out the terms that find nothing", "RFC 7208, section 4.6.4"},
	{ReasonSPFInvalid, SPF, in(Fail), "The record, or one that it includes, has an error.", "fix it: receivers treat the domain as if it had no record", "RFC 7208, section 4.6"},
	{ReasonSPFUnchecked, SPF, in(Unknown), "Something that the record refers to could not be looked up.", "", "RFC 7208, section 2.6.6"},
	{ReasonSessionsAuthorised, SPF, in(Pass), "The record authorised the host in all its sessions.", "", "RFC 7208, section 2.6.3"},
	{ReasonSessionsUnauthorised, SPF, in(Pass, Fail), "The record did not authorise the host in some of its sessions; few enough, where it passes.", "list it in the record, or send through hosts that are", "RFC 7208, section 2.6.4"},
}

const endInAll Advice = "end it in ~all or -all"

var spfPolicyReasons = []Explanation{
	{ReasonSPFPolicyStrict, SPFPolicy, in(Pass), "The record ends in -all or ~all.", "", "RFC 7208, section 5.1"},
	{ReasonSPFPolicyOpen, SPFPolicy, in(Fail), "The record ends in +all or ?all.", endInAll, "RFC 7208, section 5.1"},
	{ReasonSPFPolicyAbsent, SPFPolicy, in(Fail), "The record says nothing of other hosts.", endInAll, "RFC 7208, section 4.7"},
}

// SPFFacts is the static audit of the domain's SPF record (RFC 7208), without a sender.
type SPFFacts struct {
	Lookup      Lookup   `json:"lookup"`
	Count       int      `json:"count"` // records that begin with v=spf1
	Record      string   `json:"record,omitempty"`
	Valid       Check    `json:"valid"` // one record, valid syntax everywhere in it, within the limits
	Lookups     int      `json:"lookups,omitempty"`
	VoidLookups int      `json:"void_lookups,omitempty"`
	Policy      string   `json:"policy,omitempty"` // the qualifier of "all" after redirects: "-all", "~all", "?all", "+all", "" for none
	Chain       []string `json:"chain,omitempty"`  // "include:a.example -> v=spf1 ...", indented by depth
	Warnings    []string `json:"warnings,omitempty"`
}

// judgeSPF asks two things, and both must hold: the record is right, and it authorises enough
// of the outbound hosts, where any was observed. The evaluation of a Passive domain's messages
// has read its record.
func judgeSPF(v *Verdict, e Evidence, r Rules) {
	var senders Verdict
	senders.eachSender(e.Tally, r, sessionTest{
		"authorised", func(h HostTally) Count { return h.SPF }, ReasonSessionsAuthorised, ReasonSessionsUnauthorised,
		func(_ HostTally, c Count) string {
			return fmt.Sprintf("the record authorises it for MAIL FROM in %d of %d sessions", c.Passed, c.Passed+c.Failed)
		},
	})
	v.Support = senders.support(r)
	if f := e.Facts; f != nil {
		record := f.spfRecord()
		v.add(record)
		if v.Support == SupportUnknown {
			v.Support = SupportYes
		}
		v.Support = record.Result.support().and(v.Support)
		v.noteSPF(f.SPF)
	}
	for _, t := range senders.Tests {
		v.add(t)
	}
}

// spfRecord is the test of the record alone.
func (f *Facts) spfRecord() Test {
	t := Test{Subject: string(f.Domain), Test: "record"}
	switch spf := f.SPF; {
	case !spf.Lookup.Status.Answered():
		t.came(Unknown, spf.Lookup.reason(), "the record is not known: "+spf.Lookup.missing())
	case spf.Valid.Result == Unknown && spf.Valid.Detail != "":
		t.came(Unknown, ReasonSPFUnchecked, "the record could not be checked: "+told(spf.Valid.Detail))
	case spf.Count == 0:
		t.came(Fail, ReasonSPFAbsent, "publishes no SPF record")
	case spf.Count > 1:
		t.came(Fail, ReasonSPFMultiple, fmt.Sprintf("publishes %d SPF records, which is an error (RFC 7208, section 4.5)", spf.Count))
	case spf.Valid.Result == Pass:
		t.came(Pass, ReasonSPFValid, fmt.Sprintf("%s, %d DNS lookups of 10, %d void of 2", quoted(spf.Record), spf.Lookups, spf.VoidLookups))
		if spf.Policy != "" {
			t.Detail += ", ends in " + told(spf.Policy)
		}
	default:
		t.came(spf.Valid.Result, spf.Valid.because(ReasonSPFValid, ReasonSPFInvalid, ReasonSPFUnchecked), spf.Valid.or("the record is not valid")+": "+quoted(spf.Record))
	}
	return f.test(string(SPF), t)
}

func (v *Verdict) noteSPF(f SPFFacts) {
	switch f.Policy {
	case "+all":
		v.note("the record ends in +all: everybody may send for the domain")
	case "?all":
		v.note("the record ends in ?all: hosts that it does not list are neither allowed nor refused")
	}
	if len(f.Chain) > 1 { // else it is the record alone
		for i, line := range f.Chain {
			v.note("chain, %d of %d: %s", i+1, len(f.Chain), told(line))
		}
	}
	for _, w := range f.Warnings {
		v.note("%s", told(w))
	}
}

// judgeSPFPolicy asks whether the record, after redirects, ends in -all or ~all.
func judgeSPFPolicy(v *Verdict, e Evidence, r Rules) {
	f := e.Facts
	if f == nil {
		return
	}
	t := f.spfRecord()
	t.Test = "policy"
	switch policy := f.SPF.Policy; {
	case f.SPF.Count != 1:
		// one record, or there is no policy: the test of the record says which
	case policy == "-all" || policy == "~all":
		t.came(Pass, ReasonSPFPolicyStrict, "the record ends in "+policy)
	case policy != "":
		t.came(Fail, ReasonSPFPolicyOpen, "the record ends in "+quoted(policy))
	case t.Result != Unknown:
		t.came(Fail, ReasonSPFPolicyAbsent, "the record says nothing of other hosts")
	}
	v.add(t)
	v.Support = v.support(r)
}

func spfLookups(f *Facts) []*Lookup { return []*Lookup{&f.SPF.Lookup} }
