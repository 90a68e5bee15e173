package probe

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"

	"peerscore/assess"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// named holds the certificate's names against the MX host (RFC 9525 §6.3): DNS names of the
// SAN, and the CN only where there is no SAN at all, as the report has it.
func (c chain) named() assess.Check {
	names := presentedNames(c.certs[0])
	for _, name := range names {
		if nameMatches(name, c.host) {
			return assess.Check{Result: assess.Pass, Detail: fmt.Sprintf("%.120q", name)}
		}
	}
	switch len(names) {
	case 0:
		return assess.Check{Result: assess.Fail, Detail: "wrong name: the certificate has no host name"}
	case 1:
		return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("wrong name: the certificate is for %.120q", names[0])}
	}
	return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("wrong name: the certificate is for %.120q and %d other names", names[0], len(names)-1)}
}

// presentedNames are the names of a certificate that count.
func presentedNames(cert *x509.Certificate) []string {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oidSubjectAltName) {
			return cert.DNSNames
		}
	}
	var names []string
	for _, attribute := range cert.Subject.Names {
		if cn, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidCommonName) {
			names = append(names, cn)
		}
	}
	return names
}

// nameMatches compares without regard to case. "The wildcard character appears only as the
// complete content of the left-most label", and stands for exactly one label; as with OpenSSL
// it may not stand right below a top-level domain. A CN may hold any letters, and some of them
// would turn into ASCII ones in lower case: those match nothing.
func nameMatches(presented, host string) bool {
	if strings.ContainsFunc(presented, func(r rune) bool { return r > unicode.MaxASCII }) {
		return false
	}
	presented, host = strings.ToLower(strings.TrimSuffix(presented, ".")), strings.ToLower(strings.TrimSuffix(host, "."))
	if parent, wildcard := strings.CutPrefix(presented, "*."); wildcard {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && rest == parent && strings.Contains(parent, ".")
	}
	return presented != "" && presented == host
}
