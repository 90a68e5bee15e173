package probe

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"math/big"
	"testing"

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
