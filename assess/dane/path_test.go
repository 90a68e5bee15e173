package dane

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
)

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// TestVerifyPath changes one certificate of a path at a time.
func TestVerifyPath(t *testing.T) {
	type f = func(*x509.Certificate)
	usage := func(u ...x509.ExtKeyUsage) f { return func(c *x509.Certificate) { c.ExtKeyUsage = u } }
	keyUsage := func(u x509.KeyUsage) f { return func(c *x509.Certificate) { c.KeyUsage = u } }
	length := func(n int) f { return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true } }
	extension := func(critical bool) f {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: critical, Value: []byte{5, 0}}}
		}
	}
	noBasic := func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }
	none := func(*x509.Certificate) {}
	tests := []struct {
		name               string
		root, issuer, leaf f
		atIssuer, atRoot   string // part of the reason with the issuer or the root as trust anchor, "" for a match
	}{
		{"usual", none, none, none, "", ""},

		// Dates: not of a trust anchor that somebody else issued.
		{"server expired", none, none, expired, "expired on 2026-11-19", "expired"},
		{"server not yet valid", none, none, future, "not valid before 2026-11-21", "not valid before"},
		{"issuer expired", none, expired, none, "", "expired"},
		{"issuer not yet valid", none, future, none, "", "not valid before"},
		{"root expired", expired, none, none, "", "expired"},
		{"root not yet valid", future, none, none, "", "not valid before"},

		// Basic constraints and key usage.
		{"issuer no authority", none, notCA, none, "basic constraints", "basic constraints"},
		{"root no authority", notCA, none, none, "", "basic constraints"},
		{"issuer before basic constraints", none, noBasic, none, "", "basic constraints"},
		{"root before basic constraints", noBasic, none, none, "", ""},
		{"issuer may not sign", none, keyUsage(x509.KeyUsageCRLSign), none, "key usage", "key usage"},
		{"root may not sign", keyUsage(x509.KeyUsageCRLSign), none, none, "", "key usage"},
		{"issuer without key usage", none, keyUsage(0), none, "", ""},
		{"server only signs", none, none, keyUsage(x509.KeyUsageCertSign), "not for TLS, by its key usage", "not for TLS"},
		{"server signs digitally", none, none, keyUsage(x509.KeyUsageDigitalSignature), "", ""},

		// Extended key usage.
		{"server for clients", none, none, usage(x509.ExtKeyUsageClientAuth), "extended key usage", "extended key usage"},
		{"server for anything", none, none, usage(x509.ExtKeyUsageAny), "extended key usage", "extended key usage"},
		{"server for both", none, none, usage(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth), "", ""},
		{"server for the unheard of", none, none, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		}, "extended key usage", "extended key usage"},
		{"server says nothing", none, none, usage(), "", ""},
		{"issuer for clients", none, usage(x509.ExtKeyUsageClientAuth), none, "extended key usage", "extended key usage"},
		{"root for clients", usage(x509.ExtKeyUsageClientAuth), none, none, "", "extended key usage"},

		// Path length and critical extensions.
		{"issuer of servers only", none, length(0), none, "", ""},
		{"root of servers only", length(0), none, none, "", "allows 0 authorities below it, and there are 1"},
		{"root of one authority", length(1), none, none, "", ""},
		{"server with a strange extension", none, none, extension(true), "critical extension (1.2.3)", "critical"},
		{"server with a harmless one", none, none, extension(false), "", ""},
		{"issuer with a strange extension", none, extension(true), none, "critical", "critical"},
		{"server with a critical name of another kind", none, none, func(c *x509.Certificate) {
			registered := []byte{0x30, 0x04, 0x88, 0x02, 0x2a, 0x03} // the registered identifier 1.2.3
			c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: registered}}
		}, "", ""},
	}
	for _, tt := range tests {
		root := issue(t, nil, ca("Root CA", tt.root))
		issuer := issue(t, root, ca("Issuer CA", tt.issuer))
		leaf := issue(t, issuer, server("mx.example", tt.leaf))
		full := chain(leaf, issuer, root)
		for depth, reason := range map[int]string{1: tt.atIssuer, 2: tt.atRoot} {
			anchor := []*identity{leaf, issuer, root}[depth]
			want, wantDepth := Match, depth
			if reason != "" {
				want, wantDepth = Mismatch, -1
			}
			what := fmt.Sprintf("%s, trust anchor at %d", tt.name, depth)
			got := expect(t, what, []TLSA{tlsa(t, "2 0 1", anchor)}, full, want, wantDepth)
			if !strings.Contains(got.Reason, reason) || got.Records[0].Depth != depth {
				t.Errorf("%s: at %d: %s; want %q", what, got.Records[0].Depth, got.Reason, reason)
			}
			// Of all that, usage 3 sees nothing.
			expect(t, tt.name, []TLSA{tlsa(t, "3 0 1", leaf)}, full, Match, 0)
		}
	}
}

// TestVerifyVersion1: of the certificates from before version 3, only a self-signed
// trust anchor is an authority.
func TestVerifyVersion1(t *testing.T) {
	root := issue(t, nil, ca("Root CA"))
	root = version1(t, root, root)
	issuer := version1(t, root, issue(t, root, ca("Issuer CA")))
	leaf := issue(t, issuer, server("mx.example"))
	direct := version1(t, root, issue(t, root, server("mx.example")))
	expect(t, "root", []TLSA{tlsa(t, "2 0 1", root)}, chain(direct, root), Match, 1)
	expect(t, "issuer", []TLSA{tlsa(t, "2 0 1", issuer)}, chain(leaf, issuer, root), Mismatch, -1)
	expect(t, "root above such an issuer", []TLSA{tlsa(t, "2 0 1", root)}, chain(leaf, issuer, root), Mismatch, -1)
}

// TestVerifyBareKey: a key has no dates and no constraints, the path below it has.
func TestVerifyBareKey(t *testing.T) {
	root := issue(t, nil, ca("Root CA"))
	tests := []struct {
		name         string
		issuer, leaf func(*x509.Certificate)
		want         Status
	}{
		{"usual", func(*x509.Certificate) {}, func(*x509.Certificate) {}, Match},
		{"server expired", func(*x509.Certificate) {}, expired, Mismatch},
		{"issuer expired", expired, func(*x509.Certificate) {}, Mismatch},
		{"issuer no authority", notCA, func(*x509.Certificate) {}, Mismatch},
	}
	for _, tt := range tests {
		issuer := issue(t, root, ca("Issuer CA", tt.issuer))
		leaf := issue(t, issuer, server("mx.example", tt.leaf))
		depth := -1
		if tt.want == Match {
			depth = 1
		}
		expect(t, tt.name, []TLSA{tlsa(t, "2 1 0", root)}, chain(leaf, issuer), tt.want, depth)
	}
}

// TestVerifyIssuers is about which certificate becomes the issuer of another.
func TestVerifyIssuers(t *testing.T) {
	p := newPKI(t)
	serial := func(n int64) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
	}
	longGone := func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -9) }
	strangeID := func(c *x509.Certificate) { c.SubjectKeyId = []byte("x") }
	again := func(changes ...func(*x509.Certificate)) *identity {
		return issueKey(t, p.root, ca("Issuer CA", changes...), p.issuer.key)
	}
	plain := issue(t, p.issuer.withoutID(), server("mx.example")) // does not say which key signed it
	impostor := issue(t, p.root, ca("Issuer CA"))
	renewed, old, older, strange := again(serial(2)), again(serial(3), expired), again(longGone), again(strangeID)
	cross := issue(t, issue(t, nil, ca("Other root")), ca("Root CA"))
	tests := []struct {
		name   string
		anchor *identity
		chain  []*x509.Certificate
		want   Status
		depth  int
	}{
		{"same name, other key in front", p.issuer, chain(plain, impostor, p.issuer), Match, 1},
		{"the other key is no issuer", impostor, chain(plain, impostor, p.issuer), Mismatch, -1},
		{"only the other key", impostor, chain(plain, impostor), Mismatch, -1},
		{"only the other key identifier", impostor, chain(p.leaf, impostor), Mismatch, -1},
		{"expired in front of renewed", renewed, chain(p.leaf, old, renewed), Match, 1},
		{"expired and so not on the path", old, chain(p.leaf, old, renewed), Mismatch, -1},
		{"the last to expire of two", old, chain(p.leaf, older, old), Match, 1},
		{"strange key identifier", strange, chain(p.leaf, strange), Mismatch, -1},
		{"strange key identifier, none named", strange, chain(plain, strange), Match, 1},
		{"cross certificate with another key", cross, chain(p.leaf, p.issuer, cross), Mismatch, -1},
		{"sent twice", p.root, chain(p.leaf, p.issuer, p.issuer, p.root, p.leaf), Match, 2},
	}
	for _, tt := range tests {
		expect(t, tt.name, []TLSA{tlsa(t, "2 0 1", tt.anchor)}, tt.chain, tt.want, tt.depth)
	}
}

// TestVerifyLoop: two authorities that certify each other are no endless path.
func TestVerifyLoop(t *testing.T) {
	a, b := issue(t, nil, ca("A")), issue(t, nil, ca("B"))
	aByB := issueKey(t, b, ca("A"), a.key)
	bByA := issueKey(t, a, ca("B"), b.key)
	leaf := issue(t, a, server("mx.example"))
	expect(t, "loop", []TLSA{tlsa(t, "2 0 1", bByA)}, chain(leaf, aByB, bByA), Match, 2)
	expect(t, "loop", []TLSA{wrong(t, "2 0 1")}, chain(leaf, aByB, bByA), Mismatch, -1)
}

// TestVerifyRollOverKey: a self-issued certificate, the new key signed by the old,
// has an issuer above it.
func TestVerifyRollOverKey(t *testing.T) {
	old := issue(t, nil, ca("CA"))
	rollOver := issue(t, old, ca("CA", func(c *x509.Certificate) { c.AuthorityKeyId = old.SubjectKeyId }))
	leaf := issue(t, rollOver, server("mx.example"))
	expect(t, "old key", []TLSA{tlsa(t, "2 1 1", old)}, chain(leaf, rollOver, old), Match, 2)
	expect(t, "new key", []TLSA{tlsa(t, "2 1 1", rollOver)}, chain(leaf, rollOver), Match, 1)
}

func TestVerifyKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // to make the short keys
	rsaKey := func(bits int) *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signature := func(a x509.SignatureAlgorithm) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SignatureAlgorithm = a }
	}
	usual, long := signature(0), rsaKey(2048)
	tests := []struct {
		name         string
		issuer, leaf crypto.Signer
		signature    func(*x509.Certificate)
		want         Status
		reason       string
	}{
		{"RSA", long, long, usual, Match, ""},
		{"RSA-PSS", long, ed, signature(x509.SHA256WithRSAPSS), Match, ""},
		{"Ed25519", ed, ed, usual, Match, ""},
		{"RSA of 1024 bits", rsaKey(1024), rsaKey(1024), usual, Match, ""},
		{"issuer with a short key", rsaKey(768), ed, usual, Mismatch, "an RSA key of 768 bits, which senders no longer accept"},
		{"server with a short key", ed, rsaKey(768), usual, Mismatch, "an RSA key of 768 bits, which senders no longer accept"},
		{"SHA-1", long, ed, signature(x509.SHA1WithRSA), Mismatch, "is signed with SHA1-RSA, which senders no longer accept"},
	}
	for _, tt := range tests {
		issuer := issueKey(t, nil, ca("Issuer CA"), tt.issuer)
		leaf := issueKey(t, issuer, server("mx.example", tt.signature), tt.leaf)
		depth := -1
		if tt.want == Match {
			depth = 1
		}
		for _, kind := range []string{"2 0 1", "2 0 0"} {
			got := expect(t, tt.name, []TLSA{tlsa(t, kind, issuer)}, chain(leaf, issuer), tt.want, depth)
			if !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("%s: got %s, want %q", tt.name, got.Reason, tt.reason)
			}
		}
	}
}

// TestVerifyCannotTell: what cannot be checked is Unknown, and only where it matters.
func TestVerifyCannotTell(t *testing.T) {
	p := newPKI(t)
	huge := *p.issuer.Certificate
	huge.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), MaxKeyBits), E: 65537}
	strange := *p.issuer.Certificate
	strange.PublicKey = nil // as after parsing a key of an unknown kind
	for what, issuer := range map[string]x509.Certificate{
		"an RSA key of 8193 bits, more than the limit of 8192":                      huge,
		`the signature of "CN=mx.example" is of a kind that cannot be checked here`: strange,
	} {
		presented := []*x509.Certificate{p.leaf.Certificate, &issuer}
		got := expect(t, what, []TLSA{tlsa(t, "2 0 1", p.issuer)}, presented, Unknown, -1)
		if !strings.Contains(got.Reason, what) {
			t.Errorf("got %s, want %s", got.Reason, what)
		}
		expect(t, what, []TLSA{wrong(t, "2 0 1")}, presented, Mismatch, -1)
		expect(t, what, []TLSA{tlsa(t, "2 0 1", p.issuer), tlsa(t, "3 1 1", p.leaf)}, presented, Match, 0)
	}
}

func TestVerifyCannotTellWithBareKey(t *testing.T) {
	p := newPKI(t)
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), MaxKeyBits), E: 65537}
	data, err := x509.MarshalPKIXPublicKey(huge)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "huge key", []TLSA{{DANETA, SPKI, Full, data}}, chain(p.leaf), Unknown, -1)
}

func TestVerifySignatureLimit(t *testing.T) {
	p := newPKI(t)
	plain := issue(t, p.root.withoutID(), ca("Issuer CA"))
	leaf := issue(t, plain.withoutID(), server("mx.example"))
	impostors := func(cn string, n int) []TLSA {
		var records []TLSA
		for range n {
			records = append(records, tlsa(t, "2 0 0", issue(t, nil, ca(cn))))
		}
		return records
	}
	full, anchor := chain(leaf, plain, p.root), tlsa(t, "2 0 1", p.root)
	const half = maxSignatures / 2
	enough := append(append(impostors("Issuer CA", half), impostors("Root CA", half-2)...), anchor)
	expect(t, "as many as allowed", enough, full, Match, 2)
	expect(t, "one more", append(enough, impostors("Root CA", 1)...), full, Unknown, -1)
}

func TestConstrained(t *testing.T) {
	type f = func(*x509.Certificate)
	_, lan, _ := net.ParseCIDR("192.0.2.0/24")
	permit := func(domains ...string) f { return func(c *x509.Certificate) { c.PermittedDNSDomains = domains } }
	exclude := func(domains ...string) f { return func(c *x509.Certificate) { c.ExcludedDNSDomains = domains } }
	names := func(names ...string) f { return func(c *x509.Certificate) { c.DNSNames = names } }
	address := func(ip string) f { return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(ip)} } }
	both := func(fs ...f) f {
		return func(c *x509.Certificate) {
			for _, f := range fs {
				f(c)
			}
		}
	}
	usual := names("mx.example")
	directory := pkix.Extension{Id: oidNameConstraints, Critical: true} // permitted: the directory name CN=x
	directory.Value = []byte{0x30, 0x14, 0xa0, 0x12, 0x30, 0x10, 0xa4, 0x0e, 0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 'x'}
	tests := []struct {
		name           string
		authority, srv f
		want           Status
	}{
		{"inside", permit("example"), usual, Match},
		{"the very name", permit("MX.example"), usual, Match},
		{"below only", permit(".example"), usual, Match},
		{"not below", permit(".mx.example"), usual, Mismatch},
		{"one of several", permit("example.org", "example"), usual, Match},
		{"outside", permit("example.org"), usual, Mismatch},
		{"half a label", permit("x.example"), usual, Mismatch},
		{"everything", permit(""), usual, Match},
		{"another name outside", permit("example"), names("mx.example", "mx.example.org"), Mismatch},
		{"excluded", exclude("example"), usual, Mismatch},
		{"excluded elsewhere", exclude("example.org"), usual, Match},
		{"excluded in the permitted", both(permit("example"), exclude("mx.example")), usual, Mismatch},
		{"common name inside", permit("example"), names(), Match},
		{"common name outside", permit("example.org"), names(), Mismatch},
		{"no address allowed outside", func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{lan} }, both(usual, address("198.51.100.1")), Mismatch},
		{"address inside", func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{lan} }, both(usual, address("192.0.2.1")), Match},
		{"address excluded", func(c *x509.Certificate) { c.ExcludedIPRanges = []*net.IPNet{lan} }, both(usual, address("192.0.2.1")), Mismatch},
		{"mail address", func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"example"} },
			both(usual, func(c *x509.Certificate) { c.EmailAddresses = []string{"postmaster@example"} }), Match},
		{"mail address below the host", func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"example"} },
			both(usual, func(c *x509.Certificate) { c.EmailAddresses = []string{"postmaster@mx.example"} }), Mismatch},
		{"URI", func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"example.org"} },
			both(usual, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "example"}} }), Match},
		{"URI at the host", func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"example.org"} },
			both(usual, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "example.org"}} }), Mismatch},
		{"mail address unconstrained", permit("example"),
			both(usual, func(c *x509.Certificate) { c.EmailAddresses = []string{"postmaster@example"} }), Match},
		{"directory name", func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{directory} }, usual, Unknown},
	}
	for _, tt := range tests {
		// The constraints stand two levels up; an authority between them has no names.
		root := issue(t, nil, ca("Root CA", tt.authority))
		issuer := issue(t, root, ca("Issuer CA"))
		leaf := issue(t, issuer, server("mx.example", tt.srv))
		depth := -1
		if tt.want == Match {
			depth = 2
		}
		expect(t, tt.name, []TLSA{tlsa(t, "2 0 1", root)}, chain(leaf, issuer, root), tt.want, depth)
		expect(t, tt.name+", below the constraints", []TLSA{tlsa(t, "2 0 1", issuer)}, chain(leaf, issuer, root), Match, 1)
	}
}
