package dane

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"
)

// every kind of record that a usage can have.
func kinds(usage string) []string {
	var all []string
	for _, selector := range []string{" 0", " 1"} {
		for _, matching := range []string{" 0", " 1", " 2"} {
			all = append(all, usage+selector+matching)
		}
	}
	return all
}

// wrong is a record of a kind that stands for another certificate of that name.
func wrong(t testing.TB, kind string) TLSA {
	return tlsa(t, kind, issue(t, nil, ca("Issuer CA")))
}

func TestVerifyEveryKind(t *testing.T) {
	p := newPKI(t)
	full := chain(p.leaf, p.issuer, p.root)
	tests := []struct {
		usage  string
		of     *identity
		chain  []*x509.Certificate
		depth  int
		except []string // kinds that match otherwise
	}{
		{"3", p.leaf, full, 0, nil},
		{"3", p.leaf, full[:1], 0, nil},
		{"3", p.issuer, full, -1, nil},
		{"2", p.issuer, full, 1, nil},
		{"2", p.issuer, full[:2], 1, nil},
		{"2", p.issuer, chain(p.leaf, p.root, p.issuer), 1, nil}, // out of order
		{"2", p.root, full, 2, nil},
		{"2", p.leaf, full, -1, nil},
		{"2", p.issuer, full[:1], -1, []string{"2 0 0", "2 1 0"}}, // "from DNS": below
		{"2", p.root, full[:2], -1, []string{"2 0 0", "2 1 0"}},
		{"2", p.root, chain(p.leaf, p.root), -1, nil}, // the issuer is missing
	}
	for _, tt := range tests {
		for _, kind := range kinds(tt.usage) {
			if slices.Contains(tt.except, kind) {
				continue
			}
			want := Match
			if tt.depth < 0 {
				want = Mismatch
			}
			expect(t, kind+" of "+tt.of.Subject.CommonName, []TLSA{tlsa(t, kind, tt.of)}, tt.chain, want, tt.depth)
			expect(t, "wrong "+kind, []TLSA{wrong(t, kind)}, tt.chain, Mismatch, -1)
		}
	}
}

// expect verifies for mx.example and compares status and depth of the best match.
func expect(t *testing.T, what string, records []TLSA, chain []*x509.Certificate, want Status, depth int) Result {
	t.Helper()
	got := Verify(records, chain, Config{Names: []string{"mx.example"}, Now: now})
	gotDepth := -1
	if best, ok := got.Best(); ok {
		gotDepth = best.Depth
	}
	if got.Status != want || gotDepth != depth {
		t.Errorf("%s: got %q at %d (%s), want %q at %d", what, got.Status, gotDepth, got.Reason, want, depth)
	}
	if (got.Reason == "") != (want == Match) {
		t.Errorf("%s: %q with reason %q", what, got.Status, got.Reason)
	}
	for _, r := range got.Records {
		if (r.Reason == "") != (r.Status == Match) {
			t.Errorf("%s: %s: %q with reason %q", what, r.TLSA, r.Status, r.Reason)
		}
	}
	return got
}

func TestVerifyTrustAnchorFromDNS(t *testing.T) {
	p := newPKI(t)
	self := issue(t, nil, server("mx.example"))
	tests := []struct {
		kind  string
		of    *identity
		chain []*x509.Certificate
		depth int
	}{
		{"2 0 0", p.root, chain(p.leaf, p.issuer), 2},
		{"2 0 0", p.issuer, chain(p.leaf), 1},
		{"2 0 0", p.root, chain(p.leaf), -1},
		{"2 1 0", p.issuer, chain(p.leaf), 0}, // the key signed the server's certificate
		{"2 1 0", p.root, chain(p.leaf, p.issuer), 1},
		{"2 1 0", p.root, chain(p.leaf), -1},
		{"2 1 0", p.leaf, chain(p.leaf), -1},
		{"2 1 0", self, chain(self), 0}, // it signed itself
		{"2 0 0", self, chain(self), -1},
		{"2 0 1", self, chain(self), -1},
	}
	for _, tt := range tests {
		want := Match
		if tt.depth < 0 {
			want = Mismatch
		}
		expect(t, tt.kind+" of "+tt.of.Subject.CommonName, []TLSA{tlsa(t, tt.kind, tt.of)}, tt.chain, want, tt.depth)
	}
}

func TestVerifySets(t *testing.T) {
	p := newPKI(t)
	full := chain(p.leaf, p.issuer, p.root)
	of := func(kind string, id *identity) TLSA { return tlsa(t, kind, id) }
	bad := func(kind string) TLSA { return wrong(t, kind) }
	short := of("3 1 1", p.leaf)
	short.Data = short.Data[:31]
	tests := []struct {
		name     string
		records  []TLSA
		status   Status
		depth    int
		statuses string // of each record
	}{
		{"none", nil, Absent, -1, ""},
		{"roll-over", []TLSA{bad("3 1 1"), of("3 1 1", p.leaf)}, Match, 0, "mismatch match"},
		{"roll-over of the issuer", []TLSA{of("2 1 1", p.issuer), bad("2 1 1")}, Match, 1, "match mismatch"},
		{"server beats anchor", []TLSA{of("2 1 1", p.root), of("3 1 1", p.leaf)}, Match, 0, "match match"},
		{"near anchor beats far", []TLSA{of("2 0 1", p.root), of("2 1 2", p.issuer)}, Match, 1, "match match"},
		{"anchor when the server fails", []TLSA{bad("3 1 1"), of("2 1 1", p.root)}, Match, 2, "mismatch match"},
		{"only PKIX", []TLSA{of("0 0 1", p.root), of("1 1 1", p.leaf)}, Unusable, -1, "unusable unusable"},
		{"PKIX beside a match", []TLSA{of("1 1 1", p.leaf), of("3 1 1", p.leaf)}, Match, 0, "unusable match"},
		{"PKIX beside a mismatch", []TLSA{of("1 1 1", p.leaf), bad("3 1 1")}, Mismatch, -1, "unusable mismatch"},
		{"short digest", []TLSA{short}, Unusable, -1, "unusable"},
		{"unknown usage", []TLSA{{4, 1, 1, short.Data}, {255, 0, 0, p.leaf.Raw}}, Unusable, -1, "unusable unusable"},
		{"unknown selector", []TLSA{{3, 2, 1, of("3 1 1", p.leaf).Data}}, Unusable, -1, "unusable"},
		{"unknown matching type", []TLSA{{3, 1, 3, of("3 1 1", p.leaf).Data}}, Unusable, -1, "unusable"},
		{"no data", []TLSA{{3, 1, 1, nil}, {3, 0, 0, nil}, {2, 1, 0, nil}}, Unusable, -1, "unusable unusable unusable"},
		{"no certificate", []TLSA{{3, 0, 0, []byte("x")}, {2, 0, 0, p.root.Raw[1:]}}, Unusable, -1, "unusable unusable"},
		{"no key", []TLSA{{3, 1, 0, p.leaf.Raw}, {2, 1, 0, []byte("x")}}, Unusable, -1, "unusable unusable"},
		{"trailing bytes", []TLSA{{3, 0, 0, append(slices.Clone(p.leaf.Raw), 0)}}, Unusable, -1, "unusable"},

		// Digest agility.
		{"stronger digest wrong", []TLSA{of("3 1 1", p.leaf), bad("3 1 2")}, Mismatch, -1, "ignored mismatch"},
		{"stronger digest right", []TLSA{bad("3 1 1"), of("3 1 2", p.leaf)}, Match, 0, "ignored match"},
		{"each selector apart", []TLSA{of("3 1 1", p.leaf), bad("3 0 2")}, Match, 0, "match mismatch"},
		{"each usage apart", []TLSA{of("3 1 1", p.leaf), bad("2 1 2")}, Match, 0, "match mismatch"},
		{"full always counts", []TLSA{of("3 1 0", p.leaf), bad("3 1 2")}, Match, 0, "match mismatch"},
		{"full never overrules", []TLSA{of("3 1 1", p.leaf), bad("3 1 0")}, Match, 0, "match mismatch"},
		{"unusable never overrules", []TLSA{of("3 1 1", p.leaf), {3, 1, 2, []byte("x")}}, Match, 0, "match unusable"},
		{"of trust anchors too", []TLSA{of("2 1 1", p.issuer), bad("2 1 2")}, Mismatch, -1, "ignored mismatch"},
	}
	for _, tt := range tests {
		got := expect(t, tt.name, tt.records, full, tt.status, tt.depth)
		var statuses []string
		for _, r := range got.Records {
			statuses = append(statuses, string(r.Status))
		}
		if s := strings.Join(statuses, " "); s != tt.statuses {
			t.Errorf("%s: records are %q, want %q", tt.name, s, tt.statuses)
		}
	}
}

func TestVerifyReasons(t *testing.T) {
	p := newPKI(t)
	stranger := issue(t, nil, ca("Stranger"))
	full := chain(p.leaf, p.issuer, stranger)
	tests := []struct {
		record TLSA
		want   string
	}{
		{tlsa(t, "3 1 1", stranger), "3 1 1: it matches certificate 2 of the chain, an issuer, for which usage 2 is meant"},
		{wrong(t, "3 1 1"), "3 1 1: it does not match the server's certificate"},
		{tlsa(t, "2 1 1", p.leaf), "2 1 1: it matches the server's own certificate, for which usage 3 is meant"},
		{tlsa(t, "2 0 1", stranger), `2 0 1: it matches certificate 2 of the chain, which does not lead to the server's certificate: the issuer of "CN=Issuer CA" is not sent`},
		{wrong(t, "2 1 1"), "2 1 1: no issuer in the chain matches; a server has to send its trust anchor too"},
		{wrong(t, "2 1 0"), "2 1 0: neither is it the key of an issuer in the chain, nor did it sign the last certificate there"},
		{tlsa(t, "1 1 1", p.leaf), "no usable TLSA record: 1 1 1: usage 1 (PKIX-EE) is not for SMTP between servers: publish usage 3"},
		{TLSA{3, 1, 1, []byte("xy")}, "no usable TLSA record: 3 1 1: 2 bytes of data, where a digest of matching type 1 has 32"},
	}
	for _, tt := range tests {
		got := Verify([]TLSA{tt.record}, full, Config{Names: []string{"mx.example"}, Now: now})
		if got.Reason != tt.want {
			t.Errorf("got  %s\nwant %s", got.Reason, tt.want)
		}
	}
}

func TestVerifyLimits(t *testing.T) {
	p := newPKI(t)
	good := tlsa(t, "3 1 1", p.leaf)
	repeat := func(r TLSA, n int) []TLSA { return slices.Repeat([]TLSA{r}, n) }
	certs := func(n int) []*x509.Certificate { return slices.Repeat(chain(p.leaf), n) }
	large := issue(t, nil, ca("Large", func(c *x509.Certificate) {
		c.DNSNames = slices.Repeat([]string{strings.Repeat("a", 200) + ".example"}, 32<<10/212)
	}))
	tests := []struct {
		name    string
		records []TLSA
		chain   []*x509.Certificate
		want    Status
	}{
		{"most records", repeat(good, MaxRecords), chain(p.leaf), Match},
		{"too many records", repeat(good, MaxRecords+1), chain(p.leaf), Unknown},
		{"too large records", append(repeat(TLSA{3, 1, 1, make([]byte, MaxRecordBytes)}, 1), good), chain(p.leaf), Unknown},
		{"no certificate", repeat(good, 1), nil, Unknown},
		{"longest chain", repeat(good, 1), certs(MaxCertificates), Match},
		{"too long a chain", repeat(good, 1), certs(MaxCertificates + 1), Unknown},
		{"large chain", repeat(good, 1), chain(p.leaf, large), Match},
		{"too large a chain", repeat(good, 1), chain(p.leaf, large, large), Unknown},
	}
	for _, tt := range tests {
		depth := -1
		if tt.want == Match {
			depth = 0
		}
		expect(t, tt.name, tt.records, tt.chain, tt.want, depth)
	}
}

func TestVerifyUsesThePresent(t *testing.T) {
	p := newPKI(t)
	old := issue(t, p.issuer, server("mx.example", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(0, 0, -2), time.Now().AddDate(0, 0, -1)
	}))
	got := Verify([]TLSA{tlsa(t, "2 0 1", p.issuer)}, chain(old, p.issuer), Config{Names: []string{"mx.example"}})
	if got.Status != Mismatch || !strings.Contains(got.Reason, "expired on") {
		t.Errorf("got %q: %s", got.Status, got.Reason)
	}
}
