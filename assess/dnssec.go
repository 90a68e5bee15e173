package assess

import "slices"

// DNSSEC is RFC 4033.
const DNSSEC Standard = "dnssec"

const (
	ReasonZoneSigned            Reason = "zone-signed"
	ReasonZoneUnsigned          Reason = "zone-unsigned"
	ReasonRecordsUnsigned       Reason = "records-unsigned"
	ReasonValidationFailure     Reason = "dnssec-validation-failure"
	ReasonResolverWithoutDNSSEC Reason = "resolver-not-validating"
	ReasonSecurityIndeterminate Reason = "security-indeterminate"
)

var dnssecReasons = []Explanation{
	{ReasonZoneSigned, DNSSEC, in(Pass), "The zone is signed, and the signatures hold.", "", "RFC 4035, section 4.3"},
	{ReasonZoneUnsigned, DNSSEC, in(Fail), "The zone is not signed.", "have whoever runs its DNS sign the zone, and the registrar publish its DS record", "RFC 4035, section 2"},
	{ReasonRecordsUnsigned, DNSSEC, in(Fail), "The records are in a zone that is not signed.", "sign its zone", "RFC 4035, section 2"},
	{ReasonValidationFailure, DNSSEC, in(Bogus), "The answer does not validate, so that validating resolvers withhold it.", "fix its signatures or its DS record", "RFC 4035, section 4.3"},
	{ReasonResolverWithoutDNSSEC, DNSSEC, in(Unknown), "The resolver of this host does not validate, or is not known to.", "", "RFC 4035, section 4.9.3"},
	{ReasonSecurityIndeterminate, DNSSEC, in(Unknown), "The resolver does not tell whether the answer is secure.", "", "RFC 4033, section 5"},
}

// DNSSECFacts are the answers that no other standard's facts hold already.
type DNSSECFacts struct {
	Validates Result `json:"validates"` // does the resolver validate, by its self-test
	Problem   string `json:"problem,omitempty"`
	Zone      Lookup `json:"zone"` // SOA of the domain
	TXT       Lookup `json:"txt"`  // TXT of the domain
}

// judgeDNSSEC puts the report's six questions. It is supported when none fails: a chain is as
// good as its weakest link, so there is no threshold. A resolver that does not validate knows
// nothing of DNSSEC, and then nothing is known, never "no".
func judgeDNSSEC(v *Verdict, e Evidence, _ Rules) {
	f := e.Facts
	if f == nil {
		return
	}
	_, kept := f.kept(string(DNSSEC))
	blind := ""
	if f.DNSSEC.Validates != Pass {
		blind = "the resolver does not validate, or is not known to: "
		if f.DNSSEC.Problem != "" {
			blind += told(f.DNSSEC.Problem)
		} else {
			blind += "see doctor"
		}
	}
	own := blind
	if kept {
		own = ""
	}
	domain := string(f.Domain)
	v.add(f.test(string(DNSSEC), protectedZone("domain", domain, f.DNSSEC.Zone, own)))
	v.add(f.test(string(DNSSEC), protectedRecords("txt", domain, f.DNSSEC.TXT, own)))
	if f.DMARC.Lookup.Status == LookupFound || f.DMARC.Lookup.Security != Indeterminate && !f.DMARC.Lookup.Status.Answered() {
		v.add(f.test(string(DMARC), protectedRecords("dmarc", "_dmarc."+domain, f.DMARC.Lookup, blind)))
	}
	v.add(f.test(partMX, protectedRecords("mx", domain, f.Hosts.Lookup, blind)))
	for _, h := range f.Hosts.Hosts {
		v.add(f.test(partMX, protectedZone("mx-host", h.Name, h.Zone, blind)))
		v.add(f.test(partMX, protectedRecords("mx-host-txt", h.Name, h.TXT, blind)))
		v.add(f.test(partMX, protectedRecords("tlsa", h.Name, h.DANE.Lookup, blind)))
	}
	v.Support = v.support(Rules{Threshold: 1})
	v.noteOtherNames(f)
}

// protectedZone asks whether the zone of a name is signed and validates. Any answer about an
// existing name tells, be it only the denial of a record.
func protectedZone(test, subject string, l Lookup, blind string) Test {
	t := Test{Subject: subject, Test: test}
	switch {
	case blind != "":
		t.came(Unknown, ReasonResolverWithoutDNSSEC, blind)
	case l.Security == BogusAnswer:
		t.came(Bogus, ReasonValidationFailure, "does not validate, so that validating resolvers refuse it: "+l.missing())
	case !l.Status.Answered():
		t.came(Unknown, l.reason(), "not known: "+l.missing())
	case l.Status == LookupNXDomain:
		t.came(NotApplicable, ReasonNameNonexistent, "the name does not exist")
	case l.Security == Secure:
		t.came(Pass, ReasonZoneSigned, "signed, and the signatures hold")
	case l.Security == Insecure:
		t.came(Fail, ReasonZoneUnsigned, "not signed")
	default:
		t.came(Unknown, ReasonSecurityIndeterminate, "the resolver does not tell")
	}
	return t
}

// protectedRecords asks the same of records, where there are any.
func protectedRecords(test, subject string, l Lookup, blind string) Test {
	if blind == "" && l.Security != BogusAnswer && l.Status == LookupNoData {
		return Test{Subject: subject, Test: test, Result: NotApplicable, Reason: ReasonRecordsAbsent, Detail: l.missing()}
	}
	t := protectedZone(test, subject, l, blind)
	if t.Result == Fail {
		t.Reason = ReasonRecordsUnsigned
	}
	return t
}

// noteOtherNames reports the records of other standards that no test above asks for.
func (v *Verdict) noteOtherNames(f *Facts) {
	tested := append(dnssecLookups(f), daneLookups(f)...)
	tested = append(tested, &f.SPF.Lookup, &f.DKIM.Presence, &f.DMARC.Lookup) // SPF asks for the TXT of the domain
	for _, s := range standards() {
		if s.lookups == nil {
			continue
		}
		for _, l := range s.lookups(f) {
			if l.Status == LookupFound && l.Security != Indeterminate && !slices.Contains(tested, l) {
				v.note("%s: %s (not scored)", hostName(l.Name), l.Security)
			}
		}
	}
}

func dnssecLookups(f *Facts) []*Lookup {
	asked := []*Lookup{&f.DNSSEC.Zone, &f.DNSSEC.TXT}
	for i := range f.Hosts.Hosts {
		asked = append(asked, &f.Hosts.Hosts[i].Zone, &f.Hosts.Hosts[i].TXT)
	}
	return asked
}

// dnssecPart is what the resolver says of the domain's own zone.
func dnssecPart() part {
	zone := partOf(func(f *Facts) Test { return protectedZone("", "", f.DNSSEC.Zone, "") }, func(to, from *Facts) {
		to.DNSSEC.Zone, to.DNSSEC.TXT = from.DNSSEC.Zone, from.DNSSEC.TXT
	})
	known := zone.problem
	zone.problem = func(f *Facts) string {
		if _, kept := f.kept(string(DNSSEC)); !kept && f.DNSSEC.Validates != Pass {
			return "the resolver does not validate"
		}
		return known(f)
	}
	return zone
}
