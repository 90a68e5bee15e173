package dane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// now is the time of all tests.
var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// identity is a certificate with its key.
type identity struct {
	*x509.Certificate
	key crypto.Signer
}

// withoutID is the identity as an issuer that does not name its key in what it issues.
func (id *identity) withoutID() *identity {
	cert := *id.Certificate
	cert.SubjectKeyId = nil
	return &identity{&cert, id.key}
}

// issue signs a certificate, by itself where there is no issuer. What the template
// leaves open becomes usual: a fresh P-256 key, dates around now.
func issue(t testing.TB, issuer *identity, template x509.Certificate) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueKey(t, issuer, template, key)
}

func issueKey(t testing.TB, issuer *identity, template x509.Certificate, key crypto.Signer) *identity {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = now.AddDate(-1, 0, 0)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.AddDate(1, 0, 0)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1)
	}
	if issuer == nil {
		issuer = &identity{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.Certificate, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{parse(t, der), key}
}

// version1 is a certificate as it was made before version 3: without extensions,
// and so without anything that says what it is for.
func version1(t testing.TB, issuer, id *identity) *identity {
	t.Helper()
	var tbs struct {
		Version    int `asn1:"optional,explicit,default:0,tag:0"`
		Serial     *big.Int
		Algorithm  asn1.RawValue
		Issuer     asn1.RawValue
		Validity   asn1.RawValue
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Extensions []asn1.RawValue `asn1:"optional,omitempty,explicit,tag:3"`
	}
	must := func(der []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	must(asn1.Unmarshal(id.RawTBSCertificate, &tbs))
	tbs.Version, tbs.Extensions = 0, nil
	der := must(asn1.Marshal(tbs))
	digest := sha256.Sum256(der)
	signature := must(issuer.key.Sign(rand.Reader, digest[:], crypto.SHA256))
	der = must(asn1.Marshal(struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}{asn1.RawValue{FullBytes: der}, tbs.Algorithm, asn1.BitString{Bytes: signature, BitLength: len(signature) * 8}}))
	return &identity{parse(t, der), id.key}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// ca and server are templates of usual certificates; the changes make them unusual.
func ca(cn string, changes ...func(*x509.Certificate)) x509.Certificate {
	return change(x509.Certificate{
		Subject:               pkix.Name{CommonName: cn},
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, changes)
}

func server(host string, changes ...func(*x509.Certificate)) x509.Certificate {
	return change(x509.Certificate{
		Subject:     pkix.Name{CommonName: host},
		DNSNames:    []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, changes)
}

func change(template x509.Certificate, changes []func(*x509.Certificate)) x509.Certificate {
	for _, f := range changes {
		f(&template)
	}
	return template
}

// The usual changes.
func expired(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) }
func future(c *x509.Certificate)  { c.NotBefore = now.AddDate(0, 0, 1) }
func notCA(c *x509.Certificate)   { c.IsCA = false }

// pki is the chain that most tests start from, for the host mx.example.
type pki struct {
	root, issuer, leaf *identity
}

func newPKI(t testing.TB) pki {
	root := issue(t, nil, ca("Root CA"))
	issuer := issue(t, root, ca("Issuer CA"))
	return pki{root, issuer, issue(t, issuer, server("mx.example"))}
}

// chain is what a server sends.
func chain(ids ...*identity) []*x509.Certificate {
	certs := make([]*x509.Certificate, len(ids))
	for i, id := range ids {
		certs[i] = id.Certificate
	}
	return certs
}

// tlsa makes the record of a kind, such as "3 1 1", for a certificate.
func tlsa(t testing.TB, kind string, cert *identity) TLSA {
	t.Helper()
	record := TLSA{Data: cert.Raw}
	if _, err := fmt.Sscan(kind, &record.Usage, &record.Selector, &record.MatchingType); err != nil {
		t.Fatal(err)
	}
	if record.Selector == SPKI {
		record.Data = cert.RawSubjectPublicKeyInfo
	}
	switch record.MatchingType {
	case SHA256:
		sum := sha256.Sum256(record.Data)
		record.Data = sum[:]
	case SHA512:
		sum := sha512.Sum512(record.Data)
		record.Data = sum[:]
	}
	return record
}
