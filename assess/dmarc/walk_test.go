package dmarc

import (
	"context"
	"errors"
	"net"
	"peerscore/assess/dnsname"
	"slices"
	"strings"
	"testing"
)

// zone answers TXT queries: the records of each name. A name with the one record SERVFAIL
// fails temporarily.
type zone map[string][]string

const servfail = "SERVFAIL"

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch txts, ok := z[name]; {
	case !ok:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case len(txts) == 1 && txts[0] == servfail:
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	default:
		return txts, nil
	}
}

// counted notes every query.
type counted struct {
	zone
	queries []string
}

func (c *counted) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.queries = append(c.queries, name)
	return c.zone.LookupTXT(ctx, name)
}

// records is a zone with one record for each domain, at its _dmarc name.
func records(pairs ...string) zone {
	z := zone{}
	for i := 0; i < len(pairs); i += 2 {
		z["_dmarc."+pairs[i]] = append(z["_dmarc."+pairs[i]], pairs[i+1])
	}
	return z
}

func existence(yes bool) func(context.Context, string) (bool, error) {
	return func(context.Context, string) (bool, error) { return yes, nil }
}

func TestOrganisationalDomain(t *testing.T) {
	const plain, reject = "v=DMARC1; p=none", "v=DMARC1; p=reject"
	tests := []struct {
		name   string
		zone   zone
		domain string
		want   string // "" for a temporary failure
	}{
		{"no record anywhere", zone{}, "a.mail.example.com", "a.mail.example.com"},
		{"own record only", records("mail.example.com", plain), "mail.example.com", "mail.example.com"},
		{"the shortest name with a record", records("mail.example.com", plain, "example.com", plain), "a.mail.example.com", "example.com"},
		{"psd=n stops", records("mail.example.com", plain+"; psd=n", "example.com", plain), "a.mail.example.com", "mail.example.com"},
		{"psd=n at the start", records("mail.example.com", plain+"; psd=n", "example.com", plain), "mail.example.com", "mail.example.com"},
		{"psd=y at the top level", records("com", plain+"; psd=y"), "a.mail.example.com", "example.com"},
		{"psd=y over a record", records("giant.bank.example", reject, "bank.example", reject+"; psd=y"), "giant.bank.example", "giant.bank.example"},
		{"psd=y, none below", records("bank.example", reject+"; psd=y"), "mail.mega.bank.example", "mega.bank.example"},
		{"psd=y at the start is not one below", records("bank.example", reject+"; psd=y"), "bank.example", "bank.example"},
		{"psd=y hides what is above", records("bank.example", reject+"; psd=y", "example", reject), "a.b.bank.example", "b.bank.example"},
		{"psd=u decides nothing", records("mail.example.com", plain+"; psd=u", "example.com", plain), "mail.example.com", "example.com"},
		{"two records are none", records("b.example.com", plain+"; psd=n", "b.example.com", plain, "example.com", plain), "a.b.example.com", "example.com"},
		{"a record without policy still counts", records("psd.example.net", "v=DMARC1; psd=y"), "deep.sub.psd.example.net", "sub.psd.example.net"},
		{"a broken record has no psd", records("b.example.com", plain+"; psd=n; psd=n", "example.com", plain), "a.b.example.com", "example.com"},
		{"below psd=y behind the shortcut", records("c.d.e.f.g.example.com", plain+"; psd=y"), "mail.a.b.c.d.e.f.g.example.com", "b.c.d.e.f.g.example.com"},
		{"between start and shortcut nothing is seen", records("b.c.d.e.f.g.example.com", plain+"; psd=n", "example.com", plain), "mail.a.b.c.d.e.f.g.example.com", "example.com"},
		{"upper case, trailing dot", records("example.com", plain), "A.Mail.Example.COM.", "example.com"},
		{"U-labels", records("xn--bcher-kva.example", plain), "mail.Bücher.example", "xn--bcher-kva.example"},
		{"failure below", records("mail.example.com", servfail, "example.com", plain+"; psd=n"), "mail.example.com", ""},
		{"failure above", records("example.com", plain, "com", servfail), "example.com", ""},
		{"failure above psd=n is not met", records("example.com", plain+"; psd=n", "com", servfail), "example.com", "example.com"},
	}
	for _, tt := range tests {
		got, err := OrganisationalDomain(t.Context(), tt.zone, tt.domain)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %s: %q, %v; want %q", tt.name, tt.domain, got, err, tt.want)
		}
	}
}

func TestWalkQueries(t *testing.T) {
	tests := []struct{ domain, want string }{
		{"example.com", "example.com com"},
		{"com", "com"},
		// Section 4.10.
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com " +
			"i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
		// Appendix B.4.2 and section 5.1.8.
		{"a.b.c.d.e.f.g.h.i.j.k.example.com", "a.b.c.d.e.f.g.h.i.j.k.example.com g.h.i.j.k.example.com h.i.j.k.example.com " +
			"i.j.k.example.com j.k.example.com k.example.com example.com com"},
		{"mail.a.b.c.d.e.f.g.example.com", "mail.a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com " +
			"e.f.g.example.com f.g.example.com g.example.com example.com com"},
		{"a.b.c.d.e.f.example.com", "a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com " +
			"e.f.example.com f.example.com example.com com"},
		{"a.b.c.d.e.example.com", "a.b.c.d.e.example.com b.c.d.e.example.com c.d.e.example.com d.e.example.com e.example.com example.com com"},
		// Names that cannot exist are not asked for; those above them are.
		{strings.Repeat("a", 64) + ".example.com", "example.com com"},
		{strings.Repeat("a.", 124) + "example", "a.a.a.a.a.a.example a.a.a.a.a.example a.a.a.a.example a.a.a.example a.a.example a.example example"},
		{"bad name.example.com", "example.com com"},
		{"a\x00b.example.com", "example.com com"},
		{"..example.com", "example.com com"},
		{"", ""},
		{strings.Repeat("a.", 1000) + "example.com", ""},
	}
	for _, tt := range tests {
		r := &counted{zone: zone{}}
		if _, err := OrganisationalDomain(t.Context(), r, tt.domain); err != nil {
			t.Errorf("%s: %v", tt.domain, err)
		}
		var want []string
		for name := range strings.FieldsSeq(tt.want) {
			want = append(want, "_dmarc."+name)
		}
		if !slices.Equal(r.queries, want) {
			t.Errorf("%.80q:\n got %v\nwant %v", tt.domain, r.queries, want)
		}
		if len(r.queries) > 8 {
			t.Errorf("%s: %d queries", tt.domain, len(r.queries))
		}
	}
}

func TestDiscover(t *testing.T) {
	tests := []struct {
		name   string
		zone   zone
		domain string
		at     string // where the record stands; "" when none applies
		exists Policy
		absent Policy // the policy where the domain does not exist
	}{
		{"own", records("example.com", "v=DMARC1; p=reject; sp=none; np=quarantine"), "example.com", "example.com", "reject", "reject"},
		{"sp", records("example.com", "v=DMARC1; p=reject; sp=quarantine; np=none"), "a.example.com", "example.com", "quarantine", "none"},
		{"np without sp", records("example.com", "v=DMARC1; p=none; np=reject"), "a.example.com", "example.com", "none", "reject"},
		{"sp without np", records("example.com", "v=DMARC1; p=none; sp=reject"), "a.example.com", "example.com", "reject", "reject"},
		{"p for all", records("example.com", "v=DMARC1; p=quarantine"), "a.b.example.com", "example.com", "quarantine", "quarantine"},
		{"own before the organisation's", records("a.example.com", "v=DMARC1; p=none", "example.com", "v=DMARC1; p=reject"), "a.example.com", "a.example.com", "none", "none"},
		{"the organisation's, not one between", records("b.example.com", "v=DMARC1; p=none", "example.com", "v=DMARC1; p=reject"), "a.b.example.com", "example.com", "reject", "reject"},
		{"psd=n between", records("b.example.com", "v=DMARC1; p=reject; psd=n", "example.com", "v=DMARC1; p=none"), "a.b.example.com", "b.example.com", "reject", "reject"},
		{"two records: the walk goes on", records("a.example.com", "v=DMARC1; p=reject", "a.example.com", "v=DMARC1; p=reject",
			"example.com", "v=DMARC1; p=none; sp=quarantine"), "a.example.com", "example.com", "quarantine", "quarantine"},
		{"other TXT: the walk goes on", records("a.example.com", "hello", "example.com", "v=DMARC1; p=reject"), "a.example.com", "example.com", "reject", "reject"},
		{"public suffix", records("bank.example", "v=DMARC1; p=reject; sp=quarantine; psd=y"), "mail.giant.bank.example", "bank.example", "quarantine", "quarantine"},
		{"public suffix, fake registration", records("gov.example", "v=DMARC1; p=reject; sp=none; np=reject; psd=y"), "fake.gov.example", "gov.example", "none", "reject"},
		{"public suffix for itself", records("bank.example", "v=DMARC1; p=reject; sp=none; psd=y"), "bank.example", "bank.example", "reject", "reject"},
		{"the organisation's before the public suffix's", records("example", "v=DMARC1; p=reject; psd=y", "foo.example", "v=DMARC1; p=none"), "a.foo.example", "foo.example", "none", "none"},
		{"below the organisation, above the domain: not the organisation's", records("bank.example", "v=DMARC1; p=none; psd=y", "b.giant.bank.example", "v=DMARC1; p=reject"),
			"a.b.giant.bank.example", "bank.example", "none", "none"},
		{"test mode", records("example.com", "v=DMARC1; p=reject; sp=quarantine; np=none; t=y"), "example.com", "example.com", "quarantine", "quarantine"},
		{"test mode below", records("example.com", "v=DMARC1; p=reject; sp=quarantine; np=reject; t=y"), "a.example.com", "example.com", "none", "quarantine"},
		{"invalid np with rua", records("example.com", "v=DMARC1; p=reject; np=x; rua=mailto:d@example.com"), "a.example.com", "example.com", "none", "none"},
		{"invalid sp without rua ends it", records("a.example.com", "v=DMARC1; p=reject; sp=x", "example.com", "v=DMARC1; p=reject"), "a.example.com", "a.example.com", "", ""},
		{"none", zone{}, "example.com", "", "", ""},
		{"too large", records("example.com", "v=DMARC1; p=reject; x="+strings.Repeat("x", MaxRecord)), "example.com", "", "", ""},
	}
	for _, tt := range tests {
		d := Discover(t.Context(), tt.zone, tt.domain)
		if d.Err != nil || d.RecordDomain != tt.at || (d.Record != nil) != (tt.at != "") {
			t.Errorf("%s: record of %q (%v), %v; want %q", tt.name, d.RecordDomain, d.Record, d.Err, tt.at)
		}
		if got, absent := d.Policy(true), d.Policy(false); got != tt.exists || absent != tt.absent {
			t.Errorf("%s: %q, or %q if it does not exist; want %q, %q", tt.name, got, absent, tt.exists, tt.absent)
		}
		if d.DependsOnExistence() != (tt.exists != tt.absent) {
			t.Errorf("%s: DependsOnExistence is %t", tt.name, d.DependsOnExistence())
		}
	}
}

// A failed lookup is never an absent record.
func TestDiscoverTemporaryFailure(t *testing.T) {
	const reject = "v=DMARC1; p=reject"
	tests := []struct {
		name   string
		zone   zone
		failed bool   // whether a record applies is not known
		org    string // "" when it is not known
	}{
		{"at the domain", records("a.example.com", servfail, "example.com", reject), true, ""},
		{"above, no own record", records("example.com", servfail), true, ""},
		{"at the top, no own record", records("example.com", reject, "com", servfail), true, ""},
		{"above an own record", records("a.example.com", reject, "com", servfail), false, ""},
		{"above an own record with psd=n", records("a.example.com", reject+"; psd=n", "com", servfail), false, "a.example.com"},
	}
	for _, tt := range tests {
		d := Discover(t.Context(), tt.zone, "a.example.com")
		if (d.Err != nil) != tt.failed || (d.Record == nil) != tt.failed || d.Organisational != tt.org {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
}

// The chain of names is evidence: what was asked, and what was there, as received.
func TestDiscoverWalk(t *testing.T) {
	d := Discover(t.Context(), records(
		"a.example.com", "v=DMARC1; p=none", "a.example.com", "v=DMARC1", "a.example.com", "hello",
		"example.com", " v=DMARC1; p=none", "com", "v=DMARC1; p=none; psd=y"), "a.example.com")
	want := []Step{
		{Domain: "a.example.com", Records: 2, TXT: []string{"v=DMARC1; p=none", "v=DMARC1", "hello"}},
		{Domain: "example.com", Records: 0, TXT: []string{" v=DMARC1; p=none"}},
		{Domain: "com", Records: 1, TXT: []string{"v=DMARC1; p=none; psd=y"}},
	}
	for i, s := range d.Walk {
		if s.Domain != want[i].Domain || s.Records != want[i].Records || !slices.Equal(s.TXT, want[i].TXT) || (s.Record != nil) != (i == 2) {
			t.Errorf("step %d: %+v; want %+v", i, s, want[i])
		}
	}
	if len(d.Walk) != len(want) || d.Organisational != "example.com" || d.RecordDomain != "com" {
		t.Errorf("%+v", d)
	}
}

func TestCanceledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := Discover(ctx, zone{}, "example.com")
	if d.Record != nil || !errors.Is(d.Err, context.Canceled) {
		t.Errorf("%+v: a canceled lookup must not end as an absent record", d)
	}
}

// FuzzDiscover walks up a foreign name in a zone of two foreign records, of which one or none
// stands at each ancestor, as bits say.
func FuzzDiscover(f *testing.F) {
	f.Add("a.b.c.example.org", "v=DMARC1; p=none", "v=DMARC1; p=reject; psd=y; np=none; t=y", uint16(0b0110))
	f.Add("a.b.c.d.e.f.g.h.i.j.k.l", "v=DMARC1; p=none; psd=n", "v=DMARC1; sp=x", uint16(0xffff))
	f.Add("a.b.c.d.e.f.g.h.i", "v=DMARC1; p=none; psd=n", "v=DMARC1; sp=x", uint16(0xffd4))
	f.Add("ex\xffample", "", "v=DMARC1", uint16(1))
	f.Add("a_b.example.", "v=DMARC1; rua=mailto:a@b.example", "v=spf1", uint16(0x5555))
	f.Fuzz(func(t *testing.T, name, first, second string, bits uint16) {
		z, domain := zone{}, canonical(name)
		if canonical(domain) != domain || domain != strings.Trim(domain, ".") || first == servfail || second == servfail {
			return // "a..", whose second dot is no part of a name, and ".a", which Aligned takes for a
		}
		for n := 1; n <= min(countLabels(domain), 16); n++ {
			if bits>>(n-1)&1 != 0 {
				z["_dmarc."+lastLabels(domain, n)] = []string{[]string{first, second}[n%2]}
			}
		}
		d := Discover(t.Context(), z, name)
		switch {
		case len(d.Walk) > 8 || d.Err != nil || d.Domain != domain:
			t.Errorf("%+v", d)
		case !within(domain, d.Organisational):
			t.Errorf("%s has the organisational domain %s", domain, d.Organisational)
		case d.Record != nil && (!within(domain, d.RecordDomain) || d.Record.Text != z["_dmarc."+d.RecordDomain][0]):
			t.Errorf("%s has the record of %s", domain, d.RecordDomain)
		case d.Record == nil && d.Policy(true) != "":
			t.Errorf("a policy without a record: %s", d.Policy(true))
		}
		for n := 1; n <= countLabels(domain); n++ {
			other := lastLabels(domain, n)
			there, err1 := aligned(t.Context(), z, domain, other, Relaxed)
			back, err2 := aligned(t.Context(), z, other, domain, Relaxed)
			if countLabels(domain) > 8 && (errors.Is(err1, ErrTooManyQueries) || errors.Is(err2, ErrTooManyQueries)) {
				continue // each walk begins with a query of its own, and eight do for both
			}
			strict, _ := aligned(t.Context(), z, domain, other, Strict)
			if err1 != nil || err2 != nil || there != back || strict && !there || strict != (other == domain && dnsname.Queryable(domain)) {
				t.Errorf("%s and %s: aligned %t, the other way %t, strictly %t", domain, other, there, back, strict)
			}
			if there && !within(other, d.Organisational) {
				t.Errorf("%s is aligned with %s, above its organisational domain %s", domain, other, d.Organisational)
			}
		}
	})
}
