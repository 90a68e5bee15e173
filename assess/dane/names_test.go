package dane

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
)

func TestRecordName(t *testing.T) {
	if got := RecordName("mx.example"); got != "_25._tcp.mx.example" {
		t.Error(got)
	}
}

func TestBaseDomains(t *testing.T) {
	tests := []struct {
		host, expanded string
		secure         bool
		want           string
	}{
		{"mx.example", "mx.example", true, "mx.example"},
		{"mx.example", "mx.example", false, "mx.example"},
		{"mx.example", "", true, "mx.example"},
		{"MX.example.", "mx.example", true, "mx.example"},
		{"mx.example", "host.example.net.", true, "host.example.net mx.example"},
		{"mx.example", "host.example.net", false, "mx.example"},
	}
	for _, tt := range tests {
		if got := strings.Join(BaseDomains(tt.host, tt.expanded, tt.secure), " "); got != tt.want {
			t.Errorf("BaseDomains(%q, %q, %v) = %q, want %q", tt.host, tt.expanded, tt.secure, got, tt.want)
		}
	}
}

func TestReferenceIdentifiers(t *testing.T) {
	got := ReferenceIdentifiers("Host.example.net.", "mx.example", "example", "", "host.example.net")
	if want := []string{"host.example.net", "mx.example", "example"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestVerifyNames: RFC 7672, section 3.2.3.
func TestVerifyNames(t *testing.T) {
	issuer := issue(t, nil, ca("Issuer CA"))
	tests := []struct {
		cn, dns    string // of the certificate
		references string
		ok         bool
	}{
		{"", "mx.example", "mx.example", true},
		{"", "MX.Example", "mx.EXAMPLE.", true},
		{"", "a.example mx.example", "mx.example", true},
		{"", "example", "mx.example example", true}, // the next-hop domain
		{"", "a.example", "mx.example example", false},
		{"", "mx.example", "", false},
		{"mx.example", "", "mx.example", true},       // the common name where there is no other
		{"m\u212a.example", "", "mk.example", false}, // a Kelvin sign
		{"mx.example", "a.example", "mx.example", false},
		{"*.b.example", "", "mx.b.example", true},
		{"mx.example extra", "", "mx.example", false},
		{"Mail server", "", "mx.example", false},
		{"", "*.b.example", "mx.b.example", true},
		{"", "*.b.example", "b.example", false},
		{"", "*.b.example", "a.mx.b.example", false},
		{"", "*.example", "mx.example", false}, // right below a top-level domain
		{"", "m*.b.example", "mx.b.example", false},
		{"", "*x.b.example", "mx.b.example", false},
		{"", "mx.*.example", "mx.b.example", false},
		{"", "*.*.example", "mx.b.example", false},
		{"", "*", "mx", false},
		{"", "*.xn--mnchen-3ya.example", "mx.xn--mnchen-3ya.example", true},
		{"", "mx.b.example", "*.b.example", false},
		{"", "b.example", "mx.b.example", false},
		{"", "mx.b.example", "b.example", false},
		{"", "", "mx.example", false},
	}
	for _, tt := range tests {
		leaf := issue(t, issuer, server(tt.cn, func(c *x509.Certificate) { c.DNSNames = strings.Fields(tt.dns) }))
		got := Verify([]TLSA{tlsa(t, "2 0 1", issuer)}, chain(leaf, issuer), Config{Names: strings.Fields(tt.references), Now: now})
		if (got.Status == Match) != tt.ok {
			t.Errorf("%q, %q for %q: got %q: %s", tt.cn, tt.dns, tt.references, got.Status, got.Reason)
		}
	}
}

func TestReasonsStayShort(t *testing.T) {
	issuer := issue(t, nil, ca("Issuer CA"))
	leaf := issue(t, issuer, server("x", func(c *x509.Certificate) {
		c.DNSNames = slices.Repeat([]string{strings.Repeat("a", 200) + ".example"}, 200)
	}))
	got := Verify([]TLSA{tlsa(t, "2 0 1", issuer)}, chain(leaf, issuer), Config{Names: []string{"mx.example"}, Now: now})
	if got.Status != Mismatch || len(got.Reason) > 1000 {
		t.Errorf("got %q with a reason of %d bytes", got.Status, len(got.Reason))
	}
}
