// Package pkix knows certificates (RFC 5280): it reads a chain as a server presents it, says which
// names, keys and signatures it has, and holds it against revocation lists and against the rules
// that package crypto/x509 leaves out or applies more strictly than the RFC: key usage of the
// server, path length with self-issued certificates, name constraints, critical extensions, and
// the comparison of names.
//
// Left out: signatures, dates, basic constraints, extended key usage and policies, which
// crypto/x509 does, and building the path.
package pkix

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// Problem is why a path is not accepted; the zero value means that it is.
type Problem struct {
	Reason    string
	Undecided bool // it cannot be told here whether a sender of mail accepts it
	Usage     bool // it is the key usage of the server's certificate
}

// None reports whether there is no problem.
func (p Problem) None() bool { return p.Reason == "" }

func refused(format string, args ...any) Problem {
	return Problem{Reason: fmt.Sprintf(format, args...)}
}

func undecided(format string, args ...any) Problem {
	return Problem{Reason: fmt.Sprintf(format, args...), Undecided: true}
}

// Check judges a path, the server's certificate first and the trust anchor last, whose
// signatures are known to be good. usage are the bits of which the server's key usage needs one;
// see ServerUsage. What refuses the path comes before what leaves it undecided.
func Check(path []*x509.Certificate, usage x509.KeyUsage) Problem {
	problems := []Problem{serverUsage(path[0], usage), pathLength(path), constrained(path)}
	for _, cert := range path {
		problems = append(problems, critical(cert))
	}
	for _, decided := range []bool{true, false} {
		for _, p := range problems {
			if !p.None() && p.Undecided != decided {
				return p
			}
		}
	}
	return Problem{}
}

// Extensions that crypto/x509 does not process, at least in some of their forms, and that TLS
// libraries of senders do.
var processedElsewhere = []asn1.ObjectIdentifier{
	oidNameConstraints,            // names of kinds such as directoryName
	{2, 5, 29, 31},                // CRL distribution points
	{1, 3, 6, 1, 5, 5, 7, 1, 7},   // RFC 3779: addresses
	{1, 3, 6, 1, 5, 5, 7, 1, 8},   // RFC 3779: AS numbers
	{1, 3, 6, 1, 5, 5, 7, 1, 14},  // RFC 3820: proxies
	{1, 3, 6, 1, 5, 5, 7, 1, 24},  // RFC 7633: TLS features
	{2, 16, 840, 1, 113730, 1, 1}, // Netscape's certificate type
}

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// critical looks for critical extensions that have not been processed. One that nobody
// recognises refuses the certificate (RFC 5280, section 4.2); of one that others process it can
// only be said that it was not judged here.
func critical(cert *x509.Certificate) Problem {
	var open Problem
	for _, oid := range cert.UnhandledCriticalExtensions {
		switch {
		case oid.Equal(oidSubjectAltName): // one without names of hosts is no obstacle
		case oid.Equal(oidNameConstraints):
			open = undecided("%s has name constraints of a kind that is not evaluated here", Name(cert))
		case slices.ContainsFunc(processedElsewhere, oid.Equal):
			open = undecided("%s has a critical extension (%v) that is not evaluated here", Name(cert), oid)
		default:
			return refused("%s has a critical extension (%v) that senders do not understand", Name(cert), oid)
		}
	}
	return open
}

// ServerUsage is the use that a cipher suite makes of the server's key, by its IANA name: with
// static RSA it decrypts (RFC 5246, section 7.4.2), with static ECDH it agrees on a key, and
// otherwise, as always in TLS 1.3, it signs (RFC 8446, section 4.4.2.2).
func ServerUsage(suite string) x509.KeyUsage {
	switch {
	case strings.HasPrefix(suite, "TLS_RSA_"):
		return x509.KeyUsageKeyEncipherment
	case strings.HasPrefix(suite, "TLS_ECDH_"):
		return x509.KeyUsageKeyAgreement
	}
	return x509.KeyUsageDigitalSignature
}

// AnyServerUsage are the uses of a TLS server's key. OpenSSL accepts a certificate with any of them.
const AnyServerUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement

// serverUsage wants a key usage, where the certificate has one, that allows TLS (RFC 5280,
// section 4.2.1.3).
func serverUsage(leaf *x509.Certificate, usage x509.KeyUsage) Problem {
	if leaf.KeyUsage == 0 || leaf.KeyUsage&usage != 0 {
		return Problem{}
	}
	var missing []string
	for _, bit := range []struct {
		usage x509.KeyUsage
		name  string
	}{
		{x509.KeyUsageDigitalSignature, "digitalSignature"},
		{x509.KeyUsageKeyEncipherment, "keyEncipherment"},
		{x509.KeyUsageKeyAgreement, "keyAgreement"},
	} {
		if usage&bit.usage != 0 {
			missing = append(missing, bit.name)
		}
	}
	p := refused("%s is not for TLS, by its key usage: it lacks %s", Name(leaf), strings.Join(missing, ", "))
	p.Usage = true
	return p
}

// pathLength counts the authorities below each one that limits them. Self-issued certificates
// do not count (RFC 5280, section 4.2.1.9).
func pathLength(path []*x509.Certificate) Problem {
	below := 0
	for _, cert := range path[1:] {
		if cert.BasicConstraintsValid && cert.MaxPathLen >= 0 && below > cert.MaxPathLen {
			return refused("%s allows %d authorities below it, and there are %d", Name(cert), cert.MaxPathLen, below)
		}
		if !SelfIssued(cert) {
			below++
		}
	}
	return Problem{}
}

// SelfIssued reports whether a certificate names itself as its issuer.
func SelfIssued(cert *x509.Certificate) bool { return SameName(cert.RawSubject, cert.RawIssuer) }

// SameName compares two distinguished names in DER (RFC 5280, section 7.1).
func SameName(a, b []byte) bool {
	return bytes.Equal(a, b) || CanonicalName(a) == CanonicalName(b)
}

// Name calls a certificate by its subject or, where that is empty as in many of today, by a
// name of its SAN or by its serial number, for people.
func Name(cert *x509.Certificate) string {
	switch {
	case len(cert.Subject.Names) > 0:
		return fmt.Sprintf("%.80q", cert.Subject.String())
	case len(cert.DNSNames) > 0:
		return fmt.Sprintf("%.80q", cert.DNSNames[0])
	}
	return fmt.Sprintf("with the serial number %.40x", cert.SerialNumber)
}
