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
	"slices"
	"strings"
	"sync"
	"time"

	"peerscore/assess"
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
	octets := 0
	for _, der := range chain {
		octets += len(der)
	}
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
	return certs, nil
}

// facts answers three of the four questions; that of revocation needs the network. The paths
// to trusted roots come with it, the shortest first.
func (c chain) facts() (assess.CertificateFacts, [][]*x509.Certificate) {
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
	var paths [][]*x509.Certificate
	facts.Trusted, paths = c.trusted()
	return facts, paths
}

// trusted looks for a path from the certificate to a trusted root (RFC 5280 §6.1), with what
// the server sent as intermediates and never as an anchor. The certificate's own dates are a
// question apart: where they have passed, the path is judged as it was on their last day.
func (c chain) trusted() (assess.Check, [][]*x509.Certificate) {
	if c.roots.Equal(x509.NewCertPool()) {
		return assess.Check{Detail: "this host has no root certificates to check with (assess.ca_file)"}, nil
	}
	intermediates := x509.NewCertPool()
	for _, cert := range c.certs {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
			return assess.Check{Detail: fmt.Sprintf("not checked: the chain has an RSA key of %d bits", key.N.BitLen())}, nil
		}
		intermediates.AddCert(cert)
	}
	leaf, at := c.certs[0], c.now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	paths, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: intermediates, CurrentTime: at})
	if err != nil {
		return assess.Check{Result: assess.Fail, Detail: c.untrusted(err, at)}, nil
	}
	slices.SortStableFunc(paths, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	root := paths[0][len(paths[0])-1]
	return assess.Check{Result: assess.Pass, Detail: "leads to " + commonName(root)}, paths
}

// untrusted names the mistake behind a failed verification, as far as the chain shows it.
func (c chain) untrusted(err error, at time.Time) string {
	leaf := c.certs[0]
	if selfSigned(leaf) {
		return "self-signed: nobody but the server vouches for it"
	}
	path := c.climb()
	top := path[len(path)-1]
	for _, cert := range path[1:] {
		if at.After(cert.NotAfter) {
			return fmt.Sprintf("the intermediate certificate %s expired on %s", commonName(cert), date(cert.NotAfter))
		}
	}
	for _, cert := range path {
		if weakSignature(cert.SignatureAlgorithm) && !selfSigned(cert) {
			return fmt.Sprintf("%s carries a weak signature (%s) that is no longer accepted", commonName(cert), cert.SignatureAlgorithm)
		}
	}
	switch {
	case selfSigned(top):
		return fmt.Sprintf("leads to %s, which is no trusted root", commonName(top))
	case errors.As(err, &x509.UnknownAuthorityError{}):
		return fmt.Sprintf("missing intermediate: the certificate of %q is neither sent nor a trusted root", issuerName(top))
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// climb follows issuers by name within what the server sent.
func (c chain) climb() []*x509.Certificate {
	path := c.certs[:1:1]
	for len(path) < maxChainCertificates {
		top := path[len(path)-1]
		i := slices.IndexFunc(c.certs, func(cert *x509.Certificate) bool {
			return bytes.Equal(cert.RawSubject, top.RawIssuer) && !slices.Contains(path, cert)
		})
		if i < 0 {
			break
		}
		path = append(path, c.certs[i])
	}
	return path
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

// warnings are what fails nothing today and is worth mending.
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

// selfSigned tells whether a certificate names itself as its issuer and is signed by its own key.
func selfSigned(cert *x509.Certificate) bool {
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
		return false
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > maxRSABits ||
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// commonName calls a certificate by its subject or, where that is empty as in many of today,
// by a name of its SAN or by its serial number.
func commonName(cert *x509.Certificate) string {
	switch {
	case cert.Subject.CommonName != "":
		return fmt.Sprintf("%.80q", cert.Subject.CommonName)
	case len(cert.Subject.Names) > 0:
		return fmt.Sprintf("%.80q", cert.Subject.String())
	case len(cert.DNSNames) > 0:
		return fmt.Sprintf("%.80q", cert.DNSNames[0])
	}
	return fmt.Sprintf("with the serial number %.40x", cert.SerialNumber)
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
