package pkix

import (
	"bytes"
	"crypto/dsa" //nolint:staticcheck // nobody signs with it here: a certificate may hold such a key, and is then called weak
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Limits on a chain; past them nothing is said about it.
const (
	MaxCertificates = 10
	MaxChainOctets  = 64 << 10
	MaxRSABits      = 8192 // of any key that a signature could be checked with
)

const (
	weakRSABits   = 2048 // below that a key is weak (NIST SP 800-57, CA/Browser Forum)
	weakCurveBits = 256
)

// Oversized says why a chain is past the limits, or "".
func Oversized(chain [][]byte) string {
	octets := 0
	for _, der := range chain {
		octets += len(der)
	}
	switch {
	case len(chain) > MaxCertificates:
		return fmt.Sprintf("a chain of %d certificates", len(chain))
	case octets > MaxChainOctets:
		return fmt.Sprintf("a chain of %d octets", octets)
	}
	return ""
}

// ParseChain reads a chain as the server sent it. An intermediate that cannot be read is left
// out, as if it had not been sent; the leaf has to be there.
func ParseChain(ders [][]byte) ([]*x509.Certificate, error) {
	if reason := Oversized(ders); reason != "" {
		return nil, fmt.Errorf("past a limit: %s", reason)
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

// WeakKey is the key of a certificate where it is weak, else "".
func WeakKey(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < weakRSABits {
			return KeyName(cert)
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < weakCurveBits {
			return KeyName(cert)
		}
	case *dsa.PublicKey:
		return KeyName(cert)
	}
	return ""
}

// KeyName is the kind and size of a certificate's key: "RSA 2048", "ECDSA P-256".
func KeyName(cert *x509.Certificate) string {
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

// WeakSignature reports whether senders no longer accept signatures of the kind.
func WeakSignature(algorithm x509.SignatureAlgorithm) bool {
	switch algorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

// SelfSigned reports whether a certificate names itself as its issuer and is signed by its own key.
func SelfSigned(cert *x509.Certificate) bool {
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
		return false
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > MaxRSABits || cert.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm || // nothing to check with
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// CommonName calls a certificate by the common name of its subject or, without one, as Name does.
func CommonName(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return fmt.Sprintf("%.80q", cert.Subject.CommonName)
	}
	return Name(cert)
}

// IssuerName calls the issuer of a certificate as commonName does, unquoted.
func IssuerName(cert *x509.Certificate) string {
	if cert.Issuer.CommonName != "" {
		return cert.Issuer.CommonName
	}
	return cert.Issuer.String()
}
