package pkix

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// mailboxes are the mail addresses of a certificate; those of the subject count where there is
// no subject alternative name (RFC 5280, section 4.2.1.10).
func mailboxes(cert *x509.Certificate) []string {
	if hasSAN(cert) {
		return cert.EmailAddresses
	}
	return subjectValues(cert, oidEmailAddress)
}

// constrained holds the names of each certificate against the name constraints of all issuers
// above it (RFC 5280, section 4.2.1.10), the trust anchor included.
func constrained(path []*x509.Certificate) Problem {
	for i, cert := range path {
		if i > 0 && SelfIssued(cert) {
			continue
		}
		hosts := cert.DNSNames
		if i == 0 {
			hosts = HostNames(cert)
		}
		for _, issuer := range path[i+1:] {
			for _, names := range []struct {
				some any // for people
				ok   bool
			}{
				{few(hosts), permitted(hosts, issuer.PermittedDNSDomains, issuer.ExcludedDNSDomains, inDomain)},
				{few(cert.IPAddresses), permitted(cert.IPAddresses, issuer.PermittedIPRanges, issuer.ExcludedIPRanges, inRange)},
				{few(mailboxes(cert)), permitted(mailboxes(cert), issuer.PermittedEmailAddresses, issuer.ExcludedEmailAddresses, inMailDomain)},
				{few(cert.URIs), permittedURIs(cert.URIs, issuer)},
			} {
				if !names.ok {
					return refused("%s may not issue for %.100s, by its name constraints", Name(issuer), fmt.Sprint(names.some))
				}
			}
		}
	}
	return Problem{}
}

// few are the first of many: enough for people to see what is meant.
func few[T any](all []T) []T { return all[:min(len(all), 5)] }

// permitted reports whether every name is within the permitted subtrees, where there are any,
// and none within the excluded ones.
func permitted[N, S any](names []N, permit, exclude []S, within func(N, S) bool) bool {
	for _, name := range names {
		covers := func(subtree S) bool { return within(name, subtree) }
		if len(permit) > 0 && !slices.ContainsFunc(permit, covers) || slices.ContainsFunc(exclude, covers) {
			return false
		}
	}
	return true
}

// permittedURIs is permitted for URIs: where they are constrained at all, one without the name
// of a host refuses the certificate.
func permittedURIs(uris []*url.URL, issuer *x509.Certificate) bool {
	if len(issuer.PermittedURIDomains)+len(issuer.ExcludedURIDomains) == 0 {
		return true
	}
	for _, uri := range uris {
		if _, err := netip.ParseAddr(uri.Hostname()); err == nil || uri.Hostname() == "" {
			return false
		}
	}
	return permitted(uris, issuer.PermittedURIDomains, issuer.ExcludedURIDomains, func(uri *url.URL, domain string) bool {
		return atHost(uri.Hostname(), domain)
	})
}

// inDomain reports whether a DNS name is the domain or below it; one with a dot in front is met
// only by names below it, an empty one by all.
func inDomain(name, domain string) bool {
	name, domain = normalise(name), normalise(domain)
	below := strings.TrimPrefix(domain, ".")
	return domain == "" || name == domain || strings.HasSuffix(name, "."+below)
}

// inMailDomain reports whether a mail address is the one meant, at the host meant, or, with a
// dot in front, at a host below the domain meant.
func inMailDomain(address, constraint string) bool {
	local, host := cutMailbox(address)
	if wantLocal, wantHost := cutMailbox(constraint); strings.Contains(constraint, "@") {
		return local == wantLocal && normalise(host) == normalise(wantHost)
	}
	return atHost(host, constraint)
}

func cutMailbox(address string) (local, host string) {
	at := strings.LastIndexByte(address, '@')
	return address[:max(at, 0)], address[at+1:]
}

// atHost reports whether a host is the one meant or, with a dot in front, below the domain
// meant. Unlike with DNS names, a host does not stand for those below it.
func atHost(host, constraint string) bool {
	host, constraint = normalise(host), normalise(constraint)
	return constraint == "" || host == constraint || strings.HasPrefix(constraint, ".") && strings.HasSuffix(host, constraint)
}

func inRange(ip net.IP, network *net.IPNet) bool { return network.Contains(ip) }

func normalise(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
