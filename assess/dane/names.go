package dane

import (
	"crypto/x509"
	"slices"
	"strings"

	"peerscore/assess/pkix"
)

// RecordName is where the TLSA records of an SMTP server are published, given a
// TLSA base domain (RFC 7672, section 2.2.3).
func RecordName(base string) string { return "_25._tcp." + base }

// BaseDomains lists the candidate TLSA base domains of an MX host, the first to be
// tried first (RFC 7672, section 2.2.2, RFC 7671, section 7). expanded is the name at
// the end of the host's CNAMEs, the host itself without any; secure says that DNSSEC
// protects every step there. A name reached by unprotected steps is no candidate.
func BaseDomains(host, expanded string, secure bool) []string {
	host, expanded = normalise(host), normalise(expanded)
	if secure && expanded != "" && expanded != host {
		return []string{expanded, host}
	}
	return []string{host}
}

// ReferenceIdentifiers lists the names of which a certificate must carry one, for
// records of usage 2 (RFC 7672, section 3.2.2): the TLSA base domain, the MX host
// that led to it, and the domains that mail was addressed to (the next-hop domain,
// before and after its own CNAMEs), as far as they are known.
func ReferenceIdentifiers(base, host string, nextHops ...string) []string {
	var names []string
	for _, name := range append([]string{base, host}, nextHops...) {
		if name = normalise(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func normalise(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// named checks the server's certificate against the reference identifiers.
func (v *verifier) named(cert *x509.Certificate) problem {
	identifiers := pkix.HostNames(cert) // the common name where there are none (RFC 7672, section 3.2.3)
	for _, reference := range v.names {
		for _, identifier := range identifiers {
			if pkix.NameMatches(identifier, reference) {
				return problem{}
			}
		}
	}
	return mismatch("the certificate is for %.100q, not for %.100q", few(identifiers), few(v.names))
}

// few are the first of many: enough for people to see what is meant.
func few[T any](all []T) []T { return all[:min(len(all), 5)] }
