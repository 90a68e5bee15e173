package assess

import "strings"

// TLSRPT is RFC 8460.
const TLSRPT Standard = "tls-rpt"

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
		t.Detail = "the record is not known: " + rpt.Lookup.missing()
	case rpt.Lookup.Status != LookupFound:
		t.Result, t.Detail = Fail, `there is no TLS-RPT record; publish "v=TLSRPTv1; rua=mailto:..." to hear of mail that TLS kept away`
	default:
		t.Result, t.Detail = rpt.Valid.Result, rpt.Valid.or("reports go to "+quoted(strings.Join(rpt.Reports, ", ")))
		if t.Result == Fail {
			t.Detail += "; fix it"
		}
	}
	return f.test(string(TLSRPT), t)
}

func tlsrptLookups(f *Facts) []*Lookup { return []*Lookup{&f.TLSRPT.Lookup} }
