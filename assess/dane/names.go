package dane

import (
	"crypto/x509"
	"encoding/asn1"
	"net"
	"slices"
	"strings"
	"unicode"
)

// RecordName is where the TLSA records of an SMTP server are published, given a
// TLSA base domain (RFC 7672 section 2.2.3).
func RecordName(base string) string { return "_25._tcp." + base }

// BaseDomains lists the candidate TLSA base domains of an MX host, the first to be
// tried first (RFC 7672 section 2.2.2, RFC 7671 section 7). expanded is the name at
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
// records of usage 2 (RFC 7672 section 3.2.2): the TLSA base domain, the MX host
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
	identifiers := presented(cert)
	for _, reference := range v.names {
		for _, identifier := range identifiers {
			if identifies(identifier, normalise(reference)) {
				return problem{}
			}
		}
	}
	return mismatch("the certificate is for %.100q, not for %.100q", few(identifiers), few(v.names))
}

// few are the first of many: enough for people to see what is meant.
func few[T any](all []T) []T { return all[:min(len(all), 5)] }

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// presented are the names of a certificate that count: the DNS names, or the common
// name where there are none (RFC 7672 section 3.2.3). A common name that cannot be a
// host's is no name.
func presented(cert *x509.Certificate) []string {
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames
	}
	var names []string
	for _, attribute := range cert.Subject.Names {
		cn, ok := attribute.Value.(string)
		if ok && attribute.Type.Equal(oidCommonName) && strings.Contains(cn, ".") && !strings.ContainsFunc(cn, notInName) {
			names = append(names, cn)
		}
	}
	return names
}

// notInName is true of what the name of a host cannot hold.
func notInName(r rune) bool { return r > unicode.MaxASCII || strings.ContainsRune(" @/:", r) }

// identifies says whether a presented identifier names a host. A wildcard is the
// entire first label and stands for one label (RFC 7672 section 3.2.3); as in OpenSSL
// it may not stand right below a top-level domain.
func identifies(identifier, host string) bool {
	identifier = normalise(identifier)
	if parent, wildcard := strings.CutPrefix(identifier, "*."); wildcard {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && rest == parent && strings.Contains(parent, ".")
	}
	return identifier != "" && identifier == host
}

// constrained checks the names of each certificate against the name constraints of
// all issuers above it (RFC 5280 section 4.2.1.10), the trust anchor included. DNS
// names and addresses are evaluated; others are rare in servers of mail.
func constrained(path []*x509.Certificate) problem {
	for i, cert := range path {
		if i > 0 && selfIssued(cert) {
			continue
		}
		names := cert.DNSNames
		if i == 0 {
			names = presented(cert)
		}
		for _, issuer := range path[i+1:] {
			if !permitted(names, issuer.PermittedDNSDomains, issuer.ExcludedDNSDomains, inDomain) {
				return mismatch("%s may not issue for %.100q, by its name constraints", name(issuer), few(names))
			}
			if !permitted(cert.IPAddresses, issuer.PermittedIPRanges, issuer.ExcludedIPRanges, inRange) {
				return mismatch("%s may not issue for %v, by its name constraints", name(issuer), few(cert.IPAddresses))
			}
			if len(cert.EmailAddresses) > 0 && len(issuer.PermittedEmailAddresses)+len(issuer.ExcludedEmailAddresses) > 0 ||
				len(cert.URIs) > 0 && len(issuer.PermittedURIDomains)+len(issuer.ExcludedURIDomains) > 0 {
				return unknown("%s has name constraints of a kind that is not evaluated here", name(issuer))
			}
		}
	}
	return problem{}
}

// permitted says whether every name is within the permitted subtrees, where there
// are any, and none within the excluded ones.
func permitted[N, S any](names []N, permit, exclude []S, within func(N, S) bool) bool {
	for _, name := range names {
		covers := func(subtree S) bool { return within(name, subtree) }
		if len(permit) > 0 && !slices.ContainsFunc(permit, covers) || slices.ContainsFunc(exclude, covers) {
			return false
		}
	}
	return true
}

// inDomain says whether a name is the domain or below it; one with a dot in front
// is met only by names below it, an empty one by all.
func inDomain(name, domain string) bool {
	name, domain = normalise(name), normalise(domain)
	below := strings.TrimPrefix(domain, ".")
	return domain == "" || name == domain || strings.HasSuffix(name, "."+below)
}

func inRange(ip net.IP, network *net.IPNet) bool { return network.Contains(ip) }
