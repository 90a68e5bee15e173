package differential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"testing"
	"time"
)

// daneSituations are chains good and strange, each made afresh.
func daneSituations(t *testing.T) []daneSituation {
	type f = func(*x509.Certificate)
	m := daneMaker{t}
	none := func(*x509.Certificate) {}
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }
	names := func(cn string, dns ...string) f {
		return func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = cn, dns }
	}
	purpose := func(u ...x509.ExtKeyUsage) f { return func(c *x509.Certificate) { c.ExtKeyUsage = u } }
	keyUsage := func(u x509.KeyUsage) f { return func(c *x509.Certificate) { c.KeyUsage = u } }
	length := func(n int) f { return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true } }
	permit := func(d ...string) f { return func(c *x509.Certificate) { c.PermittedDNSDomains = d } }
	exclude := func(d ...string) f { return func(c *x509.Certificate) { c.ExcludedDNSDomains = d } }
	extension := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}
	_, lan, _ := net.ParseCIDR("192.0.2.0/24")
	address := func(last byte, third byte) f {
		return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, third, last)} }
	}
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }

	// What changes in the usual chain of root, issuer and server.
	var all []daneSituation
	for _, s := range []struct {
		name               string
		root, issuer, leaf f
	}{
		{"usual", none, none, none},
		{"server expired", none, none, expired},
		{"server not yet valid", none, none, future},
		{"issuer expired", none, expired, none},
		{"issuer not yet valid", none, future, none},
		{"root expired", expired, none, none},
		{"wrong name", none, none, names("other.example", "other.example")},
		{"other name beside", none, none, names("x", "other.example", daneHost)},
		{"common name only", none, none, names(daneHost)},
		{"common name overruled", none, none, names(daneHost, "other.example")},
		{"wildcard", none, none, names("x", "*.dane.example")},
		{"wildcard common name", none, none, names("*.dane.example")},
		{"wildcard of two labels", none, none, names("x", "*.example")},
		{"wildcard below a top-level domain", none, none, names("x", "*.mx.dane.example")},
		{"no name", none, none, names("")},
		{"issuer no authority", none, func(c *x509.Certificate) { c.IsCA = false }, none},
		{"issuer before basic constraints", none, func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }, none},
		{"root before basic constraints", func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }, none, none},
		{"root without any say", func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA, c.KeyUsage = false, false, 0 }, none, none},
		{"issuer may not sign", none, keyUsage(x509.KeyUsageCRLSign), none},
		{"issuer without key usage", none, keyUsage(0), none},
		{"server only signs", none, none, keyUsage(x509.KeyUsageCertSign)},
		{"server for clients", none, none, purpose(x509.ExtKeyUsageClientAuth)},
		{"server for anything", none, none, purpose(x509.ExtKeyUsageAny)},
		{"server says nothing", none, none, purpose()},
		{"issuer for clients", none, purpose(x509.ExtKeyUsageClientAuth), none},
		{"root for clients", purpose(x509.ExtKeyUsageClientAuth), none, none},
		{"root of servers only", length(0), none, none},
		{"issuer of servers only", none, length(0), none},
		{"server with a strange extension", none, none, extension},
		{"issuer with a strange extension", none, extension, none},
		{"name permitted", permit("dane.example"), none, none},
		{"name permitted below only", permit(".dane.example"), none, none},
		{"name not permitted", permit("other.example"), none, none},
		{"name excluded", exclude("dane.example"), none, none},
		{"common name not permitted", permit("other.example"), none, names(daneHost)},
		{"common name that is none", permit("dane.example"), none, names("Mail server", daneHost)},
		{"address permitted", func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{lan} }, none, address(1, 2)},
		{"address not permitted", func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{lan} }, none, address(1, 3)},
	} {
		root := m.issue(nil, m.authority("Root CA", s.root), m.ec())
		issuer := m.issue(root, m.authority("Issuer CA", s.issuer), m.ec())
		leaf := m.issue(issuer, m.server(s.leaf), m.ec())
		all = append(all, daneSituation{s.name, leaf, []*daneIdentity{issuer, root}, nil})
	}

	// What changes in what is sent.
	root := m.issue(nil, m.authority("Root CA"), m.ec())
	issuer := m.issue(root, m.authority("Issuer CA"), m.ec())
	leaf := m.issue(issuer, m.server(), m.ec())
	renewed := m.issue(root, m.authority("Issuer CA", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) }), issuer.key)
	old := m.issue(root, m.authority("Issuer CA", expired), issuer.key)
	stranger := m.issue(nil, m.authority("Stranger"), m.ec())
	all = append(all,
		daneSituation{"server alone", leaf, nil, []*daneIdentity{issuer, root}},
		daneSituation{"no root", leaf, []*daneIdentity{issuer}, []*daneIdentity{root}},
		daneSituation{"no issuer", leaf, []*daneIdentity{root}, []*daneIdentity{issuer}},
		daneSituation{"out of order", leaf, []*daneIdentity{root, stranger, issuer}, nil},
		daneSituation{"sent twice", leaf, []*daneIdentity{issuer, issuer, leaf, root}, nil},
		daneSituation{"expired in front of renewed", leaf, []*daneIdentity{old, renewed, root}, nil},
		daneSituation{"renewed but unsent", leaf, []*daneIdentity{old, root}, []*daneIdentity{renewed}},
		daneSituation{"self-signed", m.issue(nil, m.server(), m.ec()), nil, []*daneIdentity{stranger}},
		daneSituation{"self-signed, expired", m.issue(nil, m.server(expired, names("x")), m.ec()), []*daneIdentity{stranger}, nil},
	)

	// What changes in keys and signatures.
	rsa2048 := m.rsa(2048)
	for _, s := range []struct {
		name         string
		issuer, leaf crypto.Signer
		change       f
	}{
		{"RSA", rsa2048, rsa2048, none},
		{"Ed25519", m.ed(), m.ed(), none},
		{"RSA of 1024 bits", m.rsa(1024), m.rsa(1024), none},
		{"SHA-1", rsa2048, m.ec(), sha1},
	} {
		issuer := m.issue(root, m.authority("Issuer CA"), s.issuer)
		all = append(all, daneSituation{s.name, m.issue(issuer, m.server(s.change), s.leaf), []*daneIdentity{issuer}, []*daneIdentity{root}})
	}
	all = append(all, m.ancient()...)
	return all
}

// ancient are chains with certificates from before version 3.
func (m daneMaker) ancient() []daneSituation {
	root := m.issue(nil, m.authority("Root CA"), m.ec())
	root = m.version1(root, root)
	issuer := m.version1(root, m.issue(root, m.authority("Issuer CA"), m.ec()))
	plain := m.version1(root, m.issue(root, m.server(func(c *x509.Certificate) { c.Subject.CommonName = daneHost }), m.ec()))
	return []daneSituation{
		{"version 1 root", m.issue(root, m.server(), m.ec()), []*daneIdentity{root}, nil},
		{"version 1 issuer", m.issue(issuer, m.server(), m.ec()), []*daneIdentity{issuer, root}, nil},
		{"version 1 server", plain, []*daneIdentity{root}, nil},
	}
}

// daneMaker makes certificates for one test.
type daneMaker struct{ t *testing.T }

func (m daneMaker) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m daneMaker) ec() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.check(err)
	return key
}

func (m daneMaker) rsa(bits int) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	m.check(err)
	return key
}

func (m daneMaker) ed() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	m.check(err)
	return key
}

func (m daneMaker) authority(cn string, changes ...func(*x509.Certificate)) *x509.Certificate {
	return m.template(cn, append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}}, changes...))
}

func (m daneMaker) server(changes ...func(*x509.Certificate)) *x509.Certificate {
	return m.template("Server", append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{daneHost}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}}, changes...))
}

func (m daneMaker) template(cn string, changes []func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: cn},
		NotBefore:    time.Now().AddDate(-1, 0, 0),
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

// issue signs a certificate, by itself where there is no issuer.
func (m daneMaker) issue(issuer *daneIdentity, template *x509.Certificate, key crypto.Signer) *daneIdentity {
	m.t.Helper()
	if issuer == nil {
		issuer = &daneIdentity{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.key)
	m.check(err)
	cert, err := x509.ParseCertificate(der)
	m.check(err)
	return &daneIdentity{cert, key}
}

// version1 is the certificate without its extensions.
func (m daneMaker) version1(issuer, id *daneIdentity) *daneIdentity {
	m.t.Helper()
	var tbs struct {
		Version                                   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial                                    *big.Int
		Algorithm, Issuer, Validity, Subject, Key asn1.RawValue
		Extensions                                []asn1.RawValue `asn1:"optional,omitempty,explicit,tag:3"`
	}
	_, err := asn1.Unmarshal(id.RawTBSCertificate, &tbs)
	m.check(err)
	tbs.Version, tbs.Extensions = 0, nil
	der, err := asn1.Marshal(tbs)
	m.check(err)
	digest := sha256.Sum256(der)
	signature, err := issuer.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	m.check(err)
	der, err = asn1.Marshal(struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}{asn1.RawValue{FullBytes: der}, tbs.Algorithm, asn1.BitString{Bytes: signature, BitLength: len(signature) * 8}})
	m.check(err)
	cert, err := x509.ParseCertificate(der)
	m.check(err)
	return &daneIdentity{cert, id.key}
}
