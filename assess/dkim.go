package assess

import "fmt"

// DKIM is RFC 6376.
const DKIM Standard = "dkim"

const (
	ReasonDKIMKeys         Reason = "dkim-keys-published"
	ReasonDKIMKeysAbsent   Reason = "dkim-keys-absent"
	ReasonSessionsSigned   Reason = "sessions-signed"
	ReasonSessionsUnsigned Reason = "sessions-not-signed"
)

var dkimReasons = []Explanation{
	{ReasonDKIMKeys, DKIM, in(Pass), "There are names under _domainkey: an estimate, while no message was seen.", "", "RFC 6376, section 3.6.2.1"},
	{ReasonDKIMKeysAbsent, DKIM, in(Fail), "There is no name under _domainkey, and hence no key: an estimate, while no message was seen.", "sign mail with DKIM", "RFC 8020, section 2"},
	{ReasonSessionsSigned, DKIM, in(Pass), "All messages of the host have a valid aligned signature.", "", "RFC 6376, section 3.9"},
	{ReasonSessionsUnsigned, DKIM, in(Pass, Fail), "Some messages of the host have no valid aligned signature; few enough, where it passes.", "sign all mail, with a d= of the domain", "RFC 6376, section 3.9"},
}

// DKIMFacts is the presence estimate and, once messages were seen, the keys really used.
type DKIMFacts struct {
	Presence Lookup    `json:"presence"` // _domainkey.<domain>: NOERROR against NXDOMAIN
	Keys     []DKIMKey `json:"keys,omitempty"`
}

// DKIMKey is the record of one selector that was seen in a valid signature.
type DKIMKey struct {
	Selector Selector `json:"selector"`
	Lookup   Lookup   `json:"lookup"`
	Key      string   `json:"key,omitempty"` // "RSA 2048", "Ed25519"
	Testing  bool     `json:"testing,omitempty"`
	Problem  string   `json:"problem,omitempty"`
}

// judgeDKIM asks each outbound host, and the pseudo-host "relayed", whether its messages carry
// a valid signature of an aligned domain. While no session has decided that, the presence of
// names under _domainkey stands in: an estimate, and marked as one.
func judgeDKIM(v *Verdict, e Evidence, r Rules) {
	v.eachSender(e.Tally, r, sessionTest{
		"signature", func(h HostTally) Count { return h.DKIM }, ReasonSessionsSigned, ReasonSessionsUnsigned,
		func(h HostTally, c Count) string {
			what := "sessions"
			if !h.Host.IsValid() {
				what = "messages that others passed on"
			}
			return fmt.Sprintf("a valid aligned signature in %d of %d %s", c.Passed, c.Passed+c.Failed, what)
		},
	})
	if e.Facts != nil {
		if v.Passed+v.Failed == 0 {
			v.Estimate = true
			v.add(e.Facts.dkimPresence())
		}
		v.noteKeys(e.Facts.DKIM.Keys)
	}
	v.Support = v.support(r)
}

// dkimPresence tells NOERROR from NXDOMAIN: where keys are published, _domainkey exists, although
// it has no records itself (RFC 8020).
func (f *Facts) dkimPresence() Test {
	t := Test{Subject: string(f.Domain), Test: "presence"}
	switch l := f.DKIM.Presence; l.Status {
	case LookupFound, LookupNoData:
		t.came(Pass, ReasonDKIMKeys, "estimate: there are names under _domainkey; no message was seen yet")
	case LookupNXDomain:
		t.came(Fail, ReasonDKIMKeysAbsent, "estimate: there is no name under _domainkey, hence no key; no message was seen yet")
	default:
		t.came(Unknown, l.reason(), "whether there are keys is not known: "+l.missing())
	}
	return f.test(string(DKIM), t)
}

// noteKeys describes the keys really used.
func (v *Verdict) noteKeys(keys []DKIMKey) {
	for _, k := range keys {
		name := hostName(k.Selector.Name) + "._domainkey." + string(k.Selector.Domain)
		if !k.Lookup.Status.Answered() || k.Lookup.Status != LookupFound {
			v.note("key %s: %s", name, k.Lookup.missing())
			continue
		}
		text := told(k.Key)
		if text == "" {
			text = "no usable key"
		}
		if k.Testing {
			text += ", testing (t=y): receivers treat its messages as unsigned, remove the flag"
		}
		if k.Lookup.Security != Indeterminate {
			text += ", DNSSEC " + string(k.Lookup.Security)
		}
		if k.Problem != "" {
			text += "; " + told(k.Problem)
		}
		v.note("key %s: %s", name, text)
	}
}

func dkimLookups(f *Facts) []*Lookup {
	asked := []*Lookup{&f.DKIM.Presence}
	for i := range f.DKIM.Keys {
		asked = append(asked, &f.DKIM.Keys[i].Lookup)
	}
	return asked
}
