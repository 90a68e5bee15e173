package assess

import "slices"

// DANE is RFC 7672.
const DANE Standard = "dane"

const (
	ReasonTLSAMatch      Reason = "tlsa-match"
	ReasonTLSAAbsent     Reason = "tlsa-absent"
	ReasonTLSAMismatch   Reason = "tlsa-mismatch"
	ReasonTLSAWithoutTLS Reason = "tlsa-without-starttls"
	ReasonTLSAUnchecked  Reason = "tlsa-unchecked"
)

var daneReasons = []Explanation{
	{ReasonTLSAMatch, DANE, in(Pass), "A TLSA record matches each certificate of the host.", "", "RFC 7672, section 3.1"},
	{ReasonTLSAAbsent, DANE, in(Fail), "There are no TLSA records for port 25 of the host.", "publish one of its key (3 1 1), in a zone that DNSSEC protects", "RFC 7672, section 2.2"},
	{ReasonTLSAMismatch, DANE, in(Fail), "No usable TLSA record matches a certificate of the host.", "publish one of the present certificate: senders that honour DANE do not deliver", "RFC 7672, section 2.2"},
	{ReasonTLSAWithoutTLS, DANE, in(Fail), "There are TLSA records, and the host speaks no STARTTLS.", "turn on TLS, or take the records out", "RFC 7672, section 2.2"},
	{ReasonTLSAUnchecked, DANE, in(Unknown), "The TLSA records could not be held against the certificates of the host.", "", "RFC 7672, section 2.2"},
}

// DANEFacts is what the TLSA records of one MX host say about its certificate (RFC 7672).
type DANEFacts struct {
	Base     string   `json:"base,omitempty"` // the TLSA base domain
	Lookup   Lookup   `json:"lookup"`
	Usable   int      `json:"usable,omitempty"`  // records that SMTP may use
	Match    Check    `json:"match"`             // Unknown while no certificate was seen
	Matched  string   `json:"matched,omitempty"` // the record that matched
	Warnings []string `json:"warnings,omitempty"`
}

// judgeDANE asks whether each MX host publishes TLSA records of which one matches its
// certificate. As in the report, whether DNSSEC protects them is another question; a match that
// it does not protect is noted, because senders ignore it (RFC 7672, section 2.2).
func judgeDANE(v *Verdict, e Evidence, r Rules) {
	v.eachHost(e.Facts, func(h MXHost) []Test {
		t := h.daneTest()
		switch {
		case t.Result == Pass && h.DANE.Lookup.Security == Insecure:
			v.note("%s: matches, but DNSSEC does not protect it: senders ignore it", h.Name)
		case t.Result == Pass && e.Facts.Hosts.Lookup.Security == Insecure:
			v.note("%s: matches, but DNSSEC does not protect the MX records that lead to it: senders may ignore it", h.Name)
		}
		v.warn(h.Name, h.DANE.Warnings)
		return []Test{e.Facts.marked(partDANE(h.Name), t)}
	})
	v.Support = v.support(r)
}

func (h MXHost) daneTest() Test {
	t := Test{Test: "tlsa"}
	switch d := h.DANE; {
	case !d.Lookup.Status.Answered():
		t.came(Unknown, d.Lookup.reason(), "the TLSA records are not known: "+d.Lookup.missing())
	case d.Lookup.Status != LookupFound:
		t.came(Fail, ReasonTLSAAbsent, "publishes no TLSA records for port 25")
	case d.Match.Result == Pass:
		t.came(Pass, ReasonTLSAMatch, d.Match.or("matches "+quoted(d.Matched)))
	case d.Match.Result != Unknown:
		t.came(d.Match.Result, d.Match.because("", ReasonTLSAMismatch, ReasonTLSAUnchecked), d.Match.or("no TLSA record matches the certificate"))
	case h.withoutTLS():
		t.came(Fail, ReasonTLSAWithoutTLS, "publishes TLSA records and speaks no STARTTLS: senders that honour DANE do not deliver")
	default:
		t.came(Unknown, ReasonTLSAUnchecked, d.Match.or("no certificate was seen"))
		if !h.answered() {
			reason, problem := h.problems()
			t.came(Unknown, reason, t.Detail+": "+problem)
		}
	}
	return t
}

// withoutTLS reports whether an address of the host is known not to come to TLS.
func (h MXHost) withoutTLS() bool {
	return slices.ContainsFunc(h.Sessions, func(s SMTPFacts) bool { return s.Outcome.result() == Fail })
}

func daneLookups(f *Facts) []*Lookup {
	var asked []*Lookup
	for i := range f.Hosts.Hosts {
		asked = append(asked, &f.Hosts.Hosts[i].DANE.Lookup)
	}
	return asked
}
