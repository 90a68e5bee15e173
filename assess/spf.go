package assess

import (
	"fmt"
	"strings"
)

const (
	SPF       Standard = "spf"        // RFC 7208
	SPFPolicy Standard = "spf-policy" // the record ends in -all or ~all after redirects
)

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
	senders.eachSender(e.Tally, r, "authorised", func(h HostTally) Count { return h.SPF }, func(_ HostTally, c Count) string {
		text := fmt.Sprintf("the record authorises it for MAIL FROM in %d of %d sessions", c.Passed, c.Passed+c.Failed)
		if c.Failed > 0 {
			text += "; list it in the record, or send through hosts that are"
		}
		return text
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
		t.Detail = "the record is not known: " + spf.Lookup.missing()
	case spf.Valid.Result == Unknown && spf.Valid.Detail != "":
		t.Detail = "the record could not be checked: " + told(spf.Valid.Detail)
	case spf.Count == 0:
		t.Result, t.Detail = Fail, "publishes no SPF record: list the hosts that send for it"
	case spf.Count > 1:
		t.Result, t.Detail = Fail, fmt.Sprintf("publishes %d SPF records, which is an error (RFC 7208 §4.5): join them into one", spf.Count)
	case spf.Valid.Result == Pass:
		t.Result, t.Detail = Pass, fmt.Sprintf("%s, %d DNS look-ups of 10, %d void of 2", quoted(spf.Record), spf.Lookups, spf.VoidLookups)
		if spf.Policy != "" {
			t.Detail += ", ends in " + told(spf.Policy)
		}
	default:
		t.Result, t.Detail = spf.Valid.Result, spf.Valid.or("the record is not valid")+": "+quoted(spf.Record)
		if t.Result == Fail {
			t.Detail += "; " + spf.remedy()
		}
	}
	return f.test(string(SPF), t)
}

// remedy goes by the mistake that the audit named.
func (f SPFFacts) remedy() string {
	switch detail := f.Valid.Detail; {
	case strings.Contains(detail, "too many DNS look-ups"):
		return "take out the includes that nobody needs, or list networks by ip4: and ip6:, which cost nothing"
	case strings.Contains(detail, "void look-up limit"):
		return "take out the terms that find nothing"
	}
	return "fix it: receivers treat the domain as if it had no record"
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
		t.Result, t.Detail = Pass, "the record ends in "+policy
	case policy != "":
		t.Result, t.Detail = Fail, "the record ends in "+quoted(policy)+": end it in ~all or -all"
	case t.Result != Unknown:
		t.Result, t.Detail = Fail, "the record says nothing of other hosts: end it in ~all or -all"
	}
	v.add(t)
	v.Support = v.support(r)
}

func spfLookups(f *Facts) []*Lookup { return []*Lookup{&f.SPF.Lookup} }
