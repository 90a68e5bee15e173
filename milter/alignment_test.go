package milter

import (
	"strings"
	"testing"

	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// tenants is the DNS of names that share a suffix or a parent. Each may send from outbound and
// has the same key.
func tenants() zone {
	z := zone{
		"TXT _dmarc.gov.uk":            {"v=DMARC1; p=reject"}, // psd=y is missing
		"TXT _dmarc.github.io":         {"v=DMARC1; p=reject"},
		"TXT _dmarc.strict.example":    {"v=DMARC1; p=none; adkim=s; aspf=s"},
		"TXT _dmarc.keystrict.example": {"v=DMARC1; p=none; adkim=s"},
		"TXT _dmarc.flaky.example":     {"SERVFAIL"},
		"TXT _dmarc.dept.uni.example":  {"v=DMARC1; p=none; psd=n"},
	}
	for _, d := range []string{
		"hmrc.gov.uk", "mail.hmrc.gov.uk", "parish.gov.uk", "victim.github.io", "attacker.github.io", "strict.example", "evil.strict.example",
		"keystrict.example", "sub.keystrict.example", "flaky.example", "sub.flaky.example", "relaxed.example", "sub.relaxed.example",
		"uni.example", "dept.uni.example", "xn--bcher-kva.example",
	} {
		z["TXT "+d] = []string{"v=spf1 ip4:192.0.2.1 -all"}
		z["TXT ed._domainkey."+d] = []string{keyRecord(keys["ed"])}
	}
	return z
}

// A proof needs alignment in the mode of the author's record, and within one organisation by
// the tree walk and by the public suffix list. The verdict of DMARC is that of RFC 9989.
func TestAlignmentForProofs(t *testing.T) {
	tests := []struct {
		name, author, mailFrom, signer string
		want                           string // DMARC, then the status or the proof
	}{
		{"a tenant signs for another", "hmrc.gov.uk", "x@else.example", "parish.gov.uk", "pass; status=unauthenticated"},
		{"a tenant sends for another", "hmrc.gov.uk", "x@parish.gov.uk", "", "pass; status=unauthenticated"},
		{"a tenant does both", "hmrc.gov.uk", "x@parish.gov.uk", "parish.gov.uk", "pass; status=unauthenticated"},
		{"of a host of sites", "victim.github.io", "x@attacker.github.io", "attacker.github.io", "pass; status=unauthenticated"},
		{"a tenant for itself", "parish.gov.uk", "x@parish.gov.uk", "parish.gov.uk", "pass; dkim+spf"},
		{"a tenant's own subdomain", "hmrc.gov.uk", "x@mail.hmrc.gov.uk", "mail.hmrc.gov.uk", "pass; dkim+spf"},

		{"strict: a subdomain signs", "strict.example", "x@else.example", "evil.strict.example", "fail; status=unauthenticated"},
		{"strict: a subdomain sends", "strict.example", "x@evil.strict.example", "evil.strict.example", "fail; status=unauthenticated"},
		{"strict: the domain itself", "strict.example", "x@strict.example", "strict.example", "pass; dkim+spf"},
		{"strict for DKIM alone", "keystrict.example", "x@sub.keystrict.example", "sub.keystrict.example", "pass; spf"},
		{"strict at the parent, for a child", "evil.strict.example", "x@strict.example", "strict.example", "fail; status=unauthenticated"},

		{"relaxed, no record", "relaxed.example", "x@else.example", "sub.relaxed.example", "none; status=unauthenticated"},
		{"relaxed, no record, itself", "relaxed.example", "x@relaxed.example", "sub.relaxed.example", "none; spf"},
		{"the mode is not known", "flaky.example", "x@sub.flaky.example", "sub.flaky.example", "temperror; status=unknown"},
		{"the mode does not matter", "flaky.example", "x@else.example", "flaky.example", "temperror; dkim"},
		{"psd=n parts the organisation", "dept.uni.example", "x@uni.example", "uni.example", "fail; status=unauthenticated"},
		{"an IDN", "xn--bcher-kva.example", "x@XN--Bcher-KVA.EXAMPLE", "", "none; spf"},
		{"an IDN, in Unicode", "bücher.example", "x@bücher.example", "", "none; spf"},
		{"an IDN, in upper case", "bücher.example", "ü@BÜCHER。example", "", "none; spf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tenants())
			author, _ := dnsname.Parse(tt.author)
			l.ledger.standings[author] = fiveStars
			text := letter("a@" + tt.author)
			if tt.signer != "" {
				text = signed(t, text, tt.signer, "ed")
			}
			shown := strings.Join(l.answer(t, outbound, miltertest.Message{From: tt.mailFrom, Data: []byte(text)}).Inserted(), "\n")
			verdict, status, _ := strings.Cut(tt.want, "; ")
			if !strings.HasPrefix(status, "status=") {
				status = "proof=" + status
			}
			if !strings.Contains(shown, "; "+status+";") && !strings.HasSuffix(shown, "; "+status) {
				t.Errorf("%q, want %s", shown, status)
			}
			if strings.HasPrefix(status, "status=") && strings.Contains(shown, "*") {
				t.Errorf("stars: %q", shown)
			}
			if !strings.Contains(l.logged.String(), " dmarc="+verdict+" ") {
				t.Errorf("DMARC is not %s: %s", verdict, l.logged)
			}
		})
	}
}
