package assess

const (
	DMARC       Standard = "dmarc"        // RFC 9989
	DMARCPolicy Standard = "dmarc-policy" // quarantine or reject, and a report address
)

const (
	ReasonDMARCValid         Reason = "dmarc-record-valid"
	ReasonDMARCAbsent        Reason = "dmarc-record-absent"
	ReasonDMARCMultiple      Reason = "dmarc-multiple-records"
	ReasonDMARCInvalid       Reason = "dmarc-record-invalid"
	ReasonDMARCUnchecked     Reason = "dmarc-record-unchecked"
	ReasonDMARCEnforced      Reason = "dmarc-policy-enforced"
	ReasonDMARCPolicyNone    Reason = "dmarc-policy-none"
	ReasonDMARCReportsAbsent Reason = "dmarc-reports-absent"
)

var dmarcReasons = []Explanation{
	{ReasonDMARCValid, DMARC, in(Pass), "There is one valid record, at the domain or at its organisational domain.", "", "RFC 9989, section 4.7"},
	{ReasonDMARCAbsent, DMARC, in(Fail), "There is no DMARC record, at the domain or at a parent.", `publish one, at first "v=DMARC1; p=none; rua=mailto:..."`, "RFC 9989, section 4.10"},
	{ReasonDMARCMultiple, DMARC, in(Fail), "There is more than one DMARC record in one place, and none of them counts.", "fix it", "RFC 9989, section 4.10.1"},
	{ReasonDMARCInvalid, DMARC, in(Fail), "The record has an error, or says nothing that receivers act on.", "fix it", "RFC 9989, section 4.7"},
	{ReasonDMARCUnchecked, DMARC, in(Unknown), "The record could not be looked up, or is past a limit.", "", "RFC 9989, section 4.10"},
}

var dmarcPolicyReasons = []Explanation{
	{ReasonDMARCEnforced, DMARCPolicy, in(Pass), "The policy is quarantine or reject, and reports are asked for.", "", "RFC 9989, section 4.7"},
	{ReasonDMARCPolicyNone, DMARCPolicy, in(Fail), "The policy asks receivers to do nothing about what fails.", "set p=quarantine or p=reject", "RFC 9989, section 4.7"},
	{ReasonDMARCReportsAbsent, DMARCPolicy, in(Fail), "The record has no address for reports.", "add rua=", "RFC 9989, section 4.7"},
}

// DMARCFacts is the record that applies to the domain itself, after the tree walk of RFC 9989.
type DMARCFacts struct {
	Lookup         Lookup   `json:"lookup"`          // at _dmarc.<domain>
	Found          string   `json:"found,omitempty"` // the name whose record applies; "" when there is none
	Record         string   `json:"record,omitempty"`
	Valid          Check    `json:"valid"`            // exactly one record, valid syntax
	Policy         string   `json:"policy,omitempty"` // effective for the very domain: none, quarantine, reject
	Organisational string   `json:"organisational,omitempty"`
	Reports        []string `json:"reports,omitempty"` // rua and ruf addresses as URIs
	Walk           []Lookup `json:"walk,omitempty"`
	Warnings       []string `json:"warnings,omitempty"`
}

// judgeDMARC asks for one valid record, at the domain or at its organisational domain.
func judgeDMARC(v *Verdict, e Evidence, r Rules) {
	if e.Facts == nil {
		return
	}
	v.add(e.Facts.dmarcRecord())
	v.Support = v.support(r)
	f := e.Facts.DMARC
	if f.Policy != "" && f.Found != "_dmarc."+string(e.Facts.Domain) {
		v.note("the record at %s applies to this domain, with the policy %s", hostName(f.Found), told(f.Policy))
	}
	if f.Policy == "none" {
		v.note("the policy is none: receivers report, and deliver what fails")
	}
	if f.Found != "" && len(f.Reports) == 0 {
		v.note("no report address (rua=): the owner does not learn who sends in the domain's name")
	}
	for _, w := range f.Warnings {
		v.note("%s", told(w))
	}
}

// dmarcRecord is the test of the record alone.
func (f *Facts) dmarcRecord() Test {
	t := Test{Subject: "_dmarc." + string(f.Domain), Test: "record"}
	d := f.DMARC
	if d.Found != "" {
		t.Subject = d.Found
	}
	switch {
	case d.Valid.Result == Pass:
		t.came(Pass, ReasonDMARCValid, quoted(d.Record))
	case d.Valid.Result != Unknown:
		t.came(d.Valid.Result, d.Valid.because(ReasonDMARCValid, ReasonDMARCInvalid, ReasonDMARCUnchecked), d.Valid.or("the record is not valid"))
		if d.Record != "" {
			t.Detail += ": " + quoted(d.Record)
		}
	case d.unanswered() != nil:
		t.came(Unknown, d.unanswered().reason(), "the record is not known: "+d.unanswered().missing())
	case d.Valid.Detail != "":
		t.came(Unknown, ReasonDMARCUnchecked, "the record could not be checked: "+told(d.Valid.Detail))
	case d.Found == "":
		t.came(Fail, ReasonDMARCAbsent, "there is no DMARC record, here or at a parent")
	default:
		t.came(Unknown, ReasonDMARCUnchecked, "the record could not be checked")
	}
	return f.test(string(DMARC), t)
}

// unanswered is the first lookup without which it is not known whether there is a record.
func (d DMARCFacts) unanswered() *Lookup {
	for _, l := range append([]Lookup{d.Lookup}, d.Walk...) {
		if !l.Status.Answered() {
			return &l
		}
	}
	return nil
}

// judgeDMARCPolicy asks whether the record has receivers act on what fails, and report it.
func judgeDMARCPolicy(v *Verdict, e Evidence, r Rules) {
	if e.Facts == nil {
		return
	}
	t := e.Facts.dmarcRecord()
	t.Test = "policy"
	if f := e.Facts.DMARC; t.Result == Pass {
		switch {
		case f.Policy != "quarantine" && f.Policy != "reject":
			t.came(Fail, ReasonDMARCPolicyNone, "the policy is "+quoted(f.Policy))
		case len(f.Reports) == 0:
			t.came(Fail, ReasonDMARCReportsAbsent, "the policy is "+f.Policy+", with no address for reports")
		default:
			t.came(Pass, ReasonDMARCEnforced, "the policy is "+f.Policy+", and reports are asked for")
		}
	}
	v.add(t)
	v.Support = v.support(r)
}

func dmarcLookups(f *Facts) []*Lookup { return []*Lookup{&f.DMARC.Lookup} }
