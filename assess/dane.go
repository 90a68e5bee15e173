package assess

import "slices"

// DANE is RFC 7672.
const DANE Standard = "dane"

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
// it does not protect is noted, because senders ignore it (RFC 7672 §2.2).
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
		t.Detail = "the TLSA records are not known: " + d.Lookup.missing()
	case d.Lookup.Status != LookupFound:
		t.Result, t.Detail = Fail, "publishes no TLSA records for port 25; publish one of its key (3 1 1), in a zone that DNSSEC protects"
	case d.Match.Result == Pass:
		t.Result, t.Detail = Pass, d.Match.or("matches "+quoted(d.Matched))
	case d.Match.Result != Unknown:
		t.Result, t.Detail = d.Match.Result, d.Match.or("no TLSA record matches the certificate")+"; publish one of the present certificate: senders that honour DANE do not deliver"
	case h.withoutTLS():
		t.Result, t.Detail = Fail, "publishes TLSA records and speaks no STARTTLS: senders that honour DANE do not deliver; turn on TLS, or take the records out"
	default:
		t.Detail = d.Match.or("no certificate was seen")
		if !h.answered() {
			t.Detail += ": " + h.problems()
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
