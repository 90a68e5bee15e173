package pkix

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"unicode"
)

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// PresentedNames are the names of a certificate that count where trust comes from authorities:
// the DNS names of the SAN, and common names only where there is no SAN at all, as the report has it.
func PresentedNames(cert *x509.Certificate) []string {
	if hasSAN(cert) {
		return cert.DNSNames
	}
	return subjectValues(cert, oidCommonName)
}

// HostNames are the names of a certificate that count with DANE (RFC 7672, section 3.2.3) and for
// name constraints: the DNS names, or the common name where there are none. A common name that
// cannot be a host's is left out.
func HostNames(cert *x509.Certificate) []string {
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames
	}
	return slices.DeleteFunc(subjectValues(cert, oidCommonName), func(cn string) bool {
		return !strings.Contains(cn, ".") || strings.ContainsFunc(cn, notInHostName)
	})
}

// notInHostName is true of what the name of a host cannot hold.
func notInHostName(r rune) bool { return r > unicode.MaxASCII || strings.ContainsRune(" @/:", r) }

func hasSAN(cert *x509.Certificate) bool {
	return slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
}

func subjectValues(cert *x509.Certificate, kind asn1.ObjectIdentifier) []string {
	var values []string
	for _, attribute := range cert.Subject.Names {
		if value, ok := attribute.Value.(string); ok && attribute.Type.Equal(kind) {
			values = append(values, value)
		}
	}
	return values
}

// NameMatches reports whether a name of a certificate is that of a host (RFC 9525, section 6.3).
// Case makes no difference. "The wildcard character appears only as the complete content of the
// left-most label", and stands for exactly one label; as with OpenSSL it may not stand right below
// a top-level domain. A CN may hold any letters, and some of them would turn into ASCII ones in
// lower case: those match nothing.
func NameMatches(presented, host string) bool {
	if strings.ContainsFunc(presented, func(r rune) bool { return r > unicode.MaxASCII }) {
		return false
	}
	presented, host = normalise(presented), normalise(host)
	if parent, wildcard := strings.CutPrefix(presented, "*."); wildcard {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && rest == parent && strings.Contains(parent, ".")
	}
	return presented != "" && presented == host
}
