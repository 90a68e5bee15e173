package probe

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	x509pkix "crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"slices"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

func certs(c ...tls.Certificate) []tls.Certificate { return c }

// hugeKey is a certificate with an RSA key of 16384 bits, which nobody has the other half of.
func hugeKey(t *testing.T, ca *probetest.CA) []byte {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 16384)
	n.Sub(n, big.NewInt(1))
	certificate, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}, Key: publicOnly{&rsa.PublicKey{N: n, E: 65537}}})
	must(t, err)
	return certificate.Certificate[0]
}

// mesh is a certificate and n of authorities, each of which issued all others as far as anybody
// can tell: there are n! paths through them, and none leads anywhere.
func mesh(t *testing.T, n int) tls.Certificate {
	t.Helper()
	key, err := probetest.RSAKey(2048)
	must(t, err)
	chain := tls.Certificate{PrivateKey: key}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: x509pkix.Name{CommonName: "Mesh"}, SubjectKeyId: []byte{1},
		IsCA: true, BasicConstraintsValid: true, NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"mx.hostile.example"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter}
	for i, template := range slices.Insert(slices.Repeat([]*x509.Certificate{authority}, n), 0, leaf) {
		if i > 0 {
			template.SerialNumber = big.NewInt(int64(2 + i))
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), key)
		must(t, err)
		chain.Certificate = append(chain.Certificate, der)
	}
	return chain
}

// publicOnly is half of a key.
type publicOnly struct{ key crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.key }
func (publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("there is no private key")
}

// noResolver is one that nothing asks.
func noResolver() *resolver.Resolver {
	r, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1"}})
	if err != nil {
		panic(err)
	}
	return r
}
