package probe

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	x509pkix "crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// pkiEntity is a certificate with its key.
type pkiEntity struct {
	*x509.Certificate
	key crypto.Signer
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// issue signs a certificate of an authority or, without any name, of the server mx.example.
func (a *pkiEntity) issue(t *testing.T, name string, key crypto.Signer, changes ...func(*x509.Certificate)) *pkiEntity {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		Subject: x509pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	if name == "" {
		template.DNSNames, template.KeyUsage, template.IsCA = []string{"mx.example"}, x509.KeyUsageDigitalSignature, false
	}
	for _, change := range changes {
		change(template)
	}
	if a == nil {
		a = &pkiEntity{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &pkiEntity{cert, key}
}

// TestTrusted changes one certificate of a sound path at a time.
func TestTrusted(t *testing.T) {
	type f = func(*x509.Certificate)
	none := func(*x509.Certificate) {}
	usage := func(u x509.KeyUsage) f { return func(c *x509.Certificate) { c.KeyUsage = u } }
	length := func(n int) f { return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true } }
	critical := func(value []byte, oid ...int) f {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, x509pkix.Extension{Id: asn1.ObjectIdentifier(oid), Critical: true, Value: value})
		}
	}
	// Permitted is the directory name CN=x.
	directory := critical([]byte{0x30, 0x14, 0xa0, 0x12, 0x30, 0x10, 0xa4, 0x0e, 0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 'x'}, 2, 5, 29, 30)
	addresses := critical([]byte{0x30, 0x00}, 1, 3, 6, 1, 5, 5, 7, 1, 7)
	registered := critical([]byte{0x30, 0x04, 0x88, 0x02, 0x2a, 0x03}, 2, 5, 29, 17) // the registered identifier 1.2.3
	mail := func(c *x509.Certificate) { c.EmailAddresses = []string{"postmaster@mx.example"} }
	permitMail := func(d string) f { return func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{d} } }
	excludeURI := func(d string) f { return func(c *x509.Certificate) { c.ExcludedURIDomains = []string{d} } }
	uri := func(raw string) f {
		return func(c *x509.Certificate) {
			u, err := url.Parse(raw)
			must(t, err)
			c.URIs = []*url.URL{u}
		}
	}
	for _, tt := range []struct {
		name               string
		root, issuer, leaf f
		suite              uint16
		want               assess.Result
		say                string
	}{
		{"sound", none, none, none, 0, assess.Pass, `leads to "Root"`},

		{"issuer constrained to directory names", none, directory, none, 0, assess.Unknown, `"CN=Issuer" has name constraints of a kind that is not evaluated here`},
		{"root constrained to directory names", directory, none, none, 0, assess.Unknown, "root has a critical extension that is not evaluated here"},
		{"issuer constrained, server for lists", none, directory, usage(x509.KeyUsageCRLSign), 0, assess.Fail, "key usage"},
		{"issuer with addresses", none, addresses, none, 0, assess.Unknown, "critical extension (1.3.6.1.5.5.7.1.7) that is not evaluated here"},
		{"extension that nobody knows", none, critical([]byte{5, 0}, 1, 2, 3), none, 0, assess.Fail, `"CN=Issuer" has a critical extension (1.2.3)`},
		{"names of another kind", none, none, func(c *x509.Certificate) { c.DNSNames = nil; registered(c) }, 0, assess.Pass, ""},

		{"signs", none, none, usage(x509.KeyUsageDigitalSignature), tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, assess.Pass, ""},
		{"signs lists", none, none, usage(x509.KeyUsageCRLSign), 0, assess.Fail, `"mx.example" is not for TLS, by its key usage: it lacks digitalSignature`},
		{"enciphers in TLS 1.3", none, none, usage(x509.KeyUsageKeyEncipherment), 0, assess.Fail, "it lacks digitalSignature"},
		{"enciphers", none, none, usage(x509.KeyUsageKeyEncipherment), tls.TLS_RSA_WITH_AES_128_GCM_SHA256, assess.Pass, ""},
		{"signs where it should encipher", none, none, usage(x509.KeyUsageDigitalSignature), tls.TLS_RSA_WITH_AES_128_GCM_SHA256, assess.Fail, "it lacks keyEncipherment"},
		{"says nothing of its use", none, none, usage(0), 0, assess.Pass, ""},

		{"issuer no authority", none, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }, none, 0, assess.Fail, `not an authority: "Issuer" may not issue "mx.example", by its basic constraints`},
		{"issuer may not sign", none, usage(x509.KeyUsageCRLSign), none, 0, assess.Fail, `not an authority: "Issuer" may not issue "mx.example", by its key usage`},
		{"issuer not yet valid", none, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, none, 0, assess.Fail, `"Issuer" is not valid before`},
		{"root allows no authority below it", length(0), none, none, 0, assess.Fail, "too many intermediates for path length constraint"},

		{"mail address at a host below", none, permitMail("example"), mail, 0, assess.Fail, "may not issue for [postmaster@mx.example]"},
		{"mail address at the host", none, permitMail("mx.example"), mail, 0, assess.Pass, ""},
		{"mail address below the domain", none, permitMail(".example"), mail, 0, assess.Pass, ""},
		{"mail address that is permitted", none, permitMail("postmaster@mx.example"), mail, 0, assess.Pass, ""},
		{"another mail address", none, permitMail("Postmaster@mx.example"), mail, 0, assess.Fail, ""},
		{"URI at the excluded host", none, excludeURI("mx.example"), uri("https://mx.example/"), 0, assess.Fail, ""},
		{"URI below the excluded host", none, excludeURI("example"), uri("https://mx.example/"), 0, assess.Pass, ""},
		{"URI below the excluded domain", none, excludeURI(".example"), uri("https://mx.example/"), 0, assess.Fail, ""},
		{"URI without a host", none, excludeURI(".example"), uri("urn:x:y"), 0, assess.Fail, ""},
		{"URI without a host, not constrained", none, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} }, uri("urn:x:y"), 0, assess.Pass, ""},
	} {
		root := (*pkiEntity)(nil).issue(t, "Root", newKey(t), tt.root)
		issuer := root.issue(t, "Issuer", newKey(t), tt.issuer)
		leaf := issuer.issue(t, "", newKey(t), tt.leaf)
		expectTrust(t, tt.name, root, tt.suite, []*pkiEntity{leaf, issuer}, tt.want, tt.say)
	}
}

// expectTrust judges a chain; suite 0 stands for one of TLS 1.3.
func expectTrust(t *testing.T, name string, root *pkiEntity, suite uint16, sent []*pkiEntity, want assess.Result, say string) {
	t.Helper()
	if suite == 0 {
		suite = tls.TLS_AES_128_GCM_SHA256
	}
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	c := chain{roots: roots, now: time.Now(), usage: pkix.ServerUsage(tls.CipherSuiteName(suite))}
	for _, id := range sent {
		c.certs = append(c.certs, id.Certificate)
	}
	got, path := c.trusted()
	if got.Result != want || !strings.Contains(got.Detail, say) {
		t.Errorf("%s: %v, want %v with %q: %s", name, got.Result, want, say, got.Detail)
	}
	if want == assess.Pass && (len(path) < 2 || path[0] != c.certs[0] || !path[len(path)-1].Equal(root.Certificate)) {
		t.Errorf("%s: path of %d certificates", name, len(path))
	}
}

// TestTrustedNames: names are the same in any spelling (RFC 5280, section 7.1).
func TestTrustedNames(t *testing.T) {
	spelled := func(id *pkiEntity, kind byte, name string) *pkiEntity { // as an issuer under that name
		raw, err := asn1.Marshal(x509pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: int(kind), Bytes: []byte(name)}}}})
		must(t, err)
		cert := *id.Certificate
		cert.RawSubject = raw
		return &pkiEntity{&cert, id.key}
	}
	root := (*pkiEntity)(nil).issue(t, "The Root", newKey(t), func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })
	issuer := spelled(root, asn1.TagUTF8String, "the   ROOT ").issue(t, "The Issuer", newKey(t))
	expectTrust(t, "spelled otherwise", root, 0, []*pkiEntity{spelled(issuer, asn1.TagUTF8String, "THE issuer").issue(t, "", newKey(t)), issuer}, assess.Pass, `leads to "The Root"`)
	spelt := spelled(root, asn1.TagUTF8String, "THE ROOT")
	spelt.KeyUsage, spelt.SubjectKeyId = x509.KeyUsageCRLSign, []byte{1}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, spelt.Certificate, spelt.key)
	must(t, err)
	if _, err := pkix.ParseCRL(list, root.Certificate); err != nil {
		t.Errorf("a CRL of %q: %v", "THE ROOT", err)
	}
	expectTrust(t, "another name", root, 0, []*pkiEntity{spelled(issuer, asn1.TagUTF8String, "Theissuer").issue(t, "", newKey(t)), issuer}, assess.Fail, `missing intermediate: the certificate of "Theissuer"`)
}

// TestTrustedSelfIssued: self-issued certificates, as at a change of keys, count against no path
// length (RFC 5280, section 4.2.1.9).
func TestTrustedSelfIssued(t *testing.T) {
	length := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true }
	}
	root := (*pkiEntity)(nil).issue(t, "Root", newKey(t))
	short := (*pkiEntity)(nil).issue(t, "Short root", newKey(t), length(0))
	old := root.issue(t, "Issuer", newKey(t), length(0))
	renewed := old.issue(t, "Issuer", newKey(t))
	other := old.issue(t, "Other issuer", newKey(t))
	expectTrust(t, "self-issued", root, 0, []*pkiEntity{renewed.issue(t, "", newKey(t)), renewed, old}, assess.Pass, "")
	expectTrust(t, "not self-issued", root, 0, []*pkiEntity{other.issue(t, "", newKey(t)), other, old}, assess.Fail, `"CN=Issuer" allows 0 authorities below it, and there are 1`)
	own := short.issue(t, "Short root", newKey(t))
	expectTrust(t, "below the root", short, 0, []*pkiEntity{own.issue(t, "", newKey(t)), own}, assess.Unknown, "some are self-issued")
}

// TestUntrusted: what is wrong with an issuer is said of it, and one that is wrong does not hide one that is right.
func TestUntrusted(t *testing.T) {
	root := (*pkiEntity)(nil).issue(t, "Root", newKey(t))
	issuer := root.issue(t, "Issuer", newKey(t))
	impostor := root.issue(t, "Issuer", newKey(t))
	leaf := issuer.issue(t, "", newKey(t))
	expectTrust(t, "another key", root, 0, []*pkiEntity{leaf, impostor}, assess.Fail, `bad signature: "mx.example" is not signed with the key of "Issuer", which is sent as its issuer`)
	expectTrust(t, "both keys", root, 0, []*pkiEntity{leaf, impostor, issuer}, assess.Pass, "")
	broken := *leaf.Certificate
	broken.Signature = bytes.Clone(broken.Signature)
	broken.Signature[len(broken.Signature)-1] ^= 1
	expectTrust(t, "broken", root, 0, []*pkiEntity{{&broken, nil}, issuer}, assess.Fail, "bad signature")
	namesake := (*pkiEntity)(nil).issue(t, "Root", newKey(t))
	expectTrust(t, "another root of the name", namesake, 0, []*pkiEntity{leaf, issuer}, assess.Fail, `"Issuer" was not issued by the trusted root "Root", whose name it bears`)
}
