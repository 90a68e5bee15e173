package assess

import "strings"

// TLSRPT is RFC 8460.
const TLSRPT Standard = "tls-rpt"

const (
	ReasonTLSRPTValid     Reason = "tls-rpt-record-valid"
	ReasonTLSRPTAbsent    Reason = "tls-rpt-record-absent"
	ReasonTLSRPTInvalid   Reason = "tls-rpt-record-invalid"
	ReasonTLSRPTUnchecked Reason = "tls-rpt-record-unchecked"
)

var tlsrptReasons = []Explanation{
	{ReasonTLSRPTValid, TLSRPT, in(Pass), "There is one valid record.", "", "RFC 8460, section 3"},
	{ReasonTLSRPTAbsent, TLSRPT, in(Fail), "There is no TLS-RPT record.", `publish "v=TLSRPTv1; rua=mailto:..." to hear of mail that TLS kept away`, "RFC 8460, section 3"},
	{ReasonTLSRPTInvalid, TLSRPT, in(Fail), "The record has an error, or is not the only one.", "fix it", "RFC 8460, section 3"},
	{ReasonTLSRPTUnchecked, TLSRPT, in(Unknown), "The record is past a limit.", "", "RFC 8460, section 3"},
}

// TLSRPTFacts is the record at _smtp._tls.<domain> (RFC 8460).
type TLSRPTFacts struct {
	Lookup  Lookup   `json:"lookup"`
	Valid   Check    `json:"valid"`
	Reports []string `json:"reports,omitempty"`
}

// judgeTLSRPT asks for one valid record at _smtp._tls.
func judgeTLSRPT(v *Verdict, e Evidence, r Rules) {
	if e.Facts == nil {
		return
	}
	v.add(e.Facts.tlsrptRecord())
	v.Support = v.support(r)
}

func (f *Facts) tlsrptRecord() Test {
	t := Test{Subject: "_smtp._tls." + string(f.Domain), Test: "record"}
	switch rpt := f.TLSRPT; {
	case !rpt.Lookup.Status.Answered():
		t.came(Unknown, rpt.Lookup.reason(), "the record is not known: "+rpt.Lookup.missing())
	case rpt.Lookup.Status != LookupFound:
		t.came(Fail, ReasonTLSRPTAbsent, "there is no TLS-RPT record")
	default:
		t.came(rpt.Valid.Result, rpt.Valid.because(ReasonTLSRPTValid, ReasonTLSRPTInvalid, ReasonTLSRPTUnchecked),
			rpt.Valid.or("reports go to "+quoted(strings.Join(rpt.Reports, ", "))))
	}
	return f.test(string(TLSRPT), t)
}

func tlsrptLookups(f *Facts) []*Lookup { return []*Lookup{&f.TLSRPT.Lookup} }
