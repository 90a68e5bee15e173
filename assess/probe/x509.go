package probe

import (
	"bytes"
	"context"
	"crypto/dsa" //nolint:staticcheck // nobody signs with it here: a certificate may hold such a key, and is then called weak
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// probeX509 examines each certificate as soon as it is on the wire, while the dialogue goes on.
func probeX509(_ context.Context, t *Target, _ *assess.Facts) {
	var examined sync.WaitGroup
	for _, h := range t.Hosts() {
		examined.Go(func() {
			for _, s := range h.sessions() {
				examined.Go(func() {
					if s.Chain() != nil {
						s.certificate()
					}
				})
			}
		})
	}
	examined.Wait()
}

// Limits on a chain; past them nothing is said about it.
const (
	maxChainCertificates = 10
	maxChainOctets       = 64 << 10
	maxRSABits           = 8192 // of any key that a signature could be checked with
	maxNames             = 100  // of a certificate, that are kept
)

const (
	weakRSABits   = 2048 // below that a key is weak (NIST SP 800-57, CA/Browser Forum)
	weakCurveBits = 256
	soonExpired   = 14 * 24 * time.Hour
)

// oversized says why a chain is past the limits, or "".
func oversized(chain [][]byte) string {
	octets := size(chain)
	switch {
	case len(chain) > maxChainCertificates:
		return fmt.Sprintf("a chain of %d certificates", len(chain))
	case octets > maxChainOctets:
		return fmt.Sprintf("a chain of %d octets", octets)
	}
	return ""
}

// chain is a presented chain, parsed.
type chain struct {
	certs []*x509.Certificate // leaf first
	host  string              // the MX host that presented it
	usage x509.KeyUsage       // that the connection made of the leaf's key
	roots *x509.CertPool
	now   time.Time
}

// parseChain reads a chain as the server sent it. An intermediate that cannot be read is left
// out, as if it had not been sent; the leaf has to be there.
func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	if reason := oversized(ders); reason != "" {
		return nil, fmt.Errorf("%w: %s", errLimit, reason)
	}
	var certs []*x509.Certificate
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		switch {
		case err == nil:
			certs = append(certs, cert)
		case i == 0:
			return nil, fmt.Errorf("the certificate cannot be read: %w", err)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("the server presented no certificate")
	}
	for _, date := range []time.Time{certs[0].NotBefore, certs[0].NotAfter} {
		// crypto/x509 reads offsets from UTC, which RFC 5280, section 4.1.2.5.2, forbids. With one the
		// year may be -1 or 10000, which JSON does not hold: no run that saw it could be saved.
		if year := date.UTC().Year(); year < 0 || year > 9999 {
			return nil, errors.New("the certificate cannot be read: a date outside the years 0 to 9999")
		}
	}
	return certs, nil
}

// facts answers three of the four questions; that of revocation needs the network. The path to
// a trusted root comes with it, if there is one.
func (c chain) facts() (assess.CertificateFacts, []*x509.Certificate) {
	leaf := c.certs[0]
	facts := assess.CertificateFacts{
		Subject:   leaf.Subject.String(),
		Issuer:    leaf.Issuer.String(),
		Names:     presentedNames(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
		Key:       keyName(leaf),
		Signature: leaf.SignatureAlgorithm.String(),
		Named:     c.named(),
		Dated:     c.dated(),
		Warnings:  c.warnings(),
	}
	facts.Names = facts.Names[:min(len(facts.Names), maxNames)]
	var path []*x509.Certificate
	facts.Trusted, path = c.trusted()
	return facts, path
}

// dated holds the certificate's dates against the present.
func (c chain) dated() assess.Check {
	leaf := c.certs[0]
	switch {
	case c.now.Before(leaf.NotBefore):
		return assess.Check{Result: assess.Fail, Detail: "not yet valid: it begins on " + date(leaf.NotBefore)}
	case c.now.After(leaf.NotAfter):
		return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("expired on %s, %s ago", date(leaf.NotAfter), days(c.now.Sub(leaf.NotAfter)))}
	}
	return assess.Check{Result: assess.Pass, Detail: fmt.Sprintf("until %s, %s to go", date(leaf.NotAfter), days(leaf.NotAfter.Sub(c.now)))}
}

// warnings are what fails nothing today and is worth fixing.
func (c chain) warnings() []string {
	var warnings []string
	for _, cert := range c.certs {
		if weak := weakKey(cert); weak != "" {
			warnings = append(warnings, fmt.Sprintf("weak key: %s has %s", commonName(cert), weak))
		}
	}
	leaf := c.certs[0]
	if weakSignature(leaf.SignatureAlgorithm) {
		warnings = append(warnings, fmt.Sprintf("weak signature: %s", leaf.SignatureAlgorithm))
	}
	if left := leaf.NotAfter.Sub(c.now); left > 0 && left < soonExpired {
		warnings = append(warnings, fmt.Sprintf("expires soon: in %s", days(left)))
	}
	return warnings
}

func weakKey(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < weakRSABits {
			return keyName(cert)
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < weakCurveBits {
			return keyName(cert)
		}
	case *dsa.PublicKey:
		return keyName(cert)
	}
	return ""
}

func keyName(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *dsa.PublicKey:
		return fmt.Sprintf("DSA %d", key.P.BitLen())
	}
	return cert.PublicKeyAlgorithm.String()
}

func weakSignature(algorithm x509.SignatureAlgorithm) bool {
	switch algorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

// selfSigned reports whether a certificate names itself as its issuer and is signed by its own key.
func selfSigned(cert *x509.Certificate) bool {
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
		return false
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > maxRSABits || cert.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm || // nothing to check with
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// commonName calls a certificate by the common name of its subject or, without one, as pkix.Name does.
func commonName(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return fmt.Sprintf("%.80q", cert.Subject.CommonName)
	}
	return pkix.Name(cert)
}

func issuerName(cert *x509.Certificate) string {
	if cert.Issuer.CommonName != "" {
		return cert.Issuer.CommonName
	}
	return cert.Issuer.String()
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func days(d time.Duration) string {
	if n := int(d.Hours() / 24); n != 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "1 day"
}
