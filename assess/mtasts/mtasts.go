// Package mtasts reads SMTP MTA Strict Transport Security, RFC 8461: the TXT
// record that announces a policy (section 3.1), the policy itself (section 3.2),
// the HTTP response that carries it (section 3.3), and which MX hosts it allows
// (section 4.1).
//
// A domain announces in DNS that it has a policy, serves the policy over HTTPS,
// and lists in it the MX hosts that senders may deliver to over verified TLS:
//
//	_mta-sts.example.org. TXT "v=STSv1; id=20261120"
//
//	version: STSv1
//	mode: enforce
//	mx: mx1.example.org
//	mx: *.mail.example.org
//	max_age: 604800
//
// The grammar is applied as it stands, with the errata on line ends (6253),
// white space before a semicolon (6285) and the length of max_age (7282) as the
// text of the RFC wants them. Its errors are written for the postmaster who has
// to fix the record or the policy.
//
// Left out: everything that needs the network (lookup, HTTPS, the certificate
// of the policy host), and the cache of a sender.
package mtasts

import (
	"errors"
)

// Limits on what a peer may send.
const (
	MaxRecord = 4 << 10  // bytes of a TXT record, its strings joined
	MaxPolicy = 64 << 10 // bytes of a policy (RFC 8461, section 3.3)
)

// Why there is no policy. All but ErrNoRecord are mistakes of the domain.
var (
	ErrNoRecord        = errors.New("no MTA-STS record")
	ErrMultipleRecords = errors.New("several MTA-STS records, where senders accept only one")
	ErrRecordSyntax    = errors.New("MTA-STS record with an error")
	ErrPolicySyntax    = errors.New("MTA-STS policy with an error")
	ErrTooLarge        = errors.New("too large")
	ErrRedirect        = errors.New("policy host redirects, which senders must not follow")
	ErrStatus          = errors.New("policy host does not answer with status 200")
	ErrContentType     = errors.New("policy is not served as text/plain")
	ErrEncoding        = errors.New("policy is compressed")
)

// RecordName is where the record of a domain is published (section 3.1).
func RecordName(domain string) string { return "_mta-sts." + domain }

// PolicyHost is the host that serves the policy of a domain; the name its
// certificate must carry (section 3.3).
func PolicyHost(domain string) string { return "mta-sts." + domain }

// PolicyURL is where the policy of a domain is served (section 3.3).
func PolicyURL(domain string) string {
	return "https://" + PolicyHost(domain) + "/.well-known/mta-sts.txt"
}

// Field is a name and a value that this package does not know: an extension, to be ignored by a
// sender.
type Field struct {
	Name, Value string
}
