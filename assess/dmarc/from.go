package dmarc

import (
	"net/netip"
	"peerscore/assess/dnsname"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// maxFrom bounds the value of a From field, in bytes. Real ones stay below 1,000.
const maxFrom = 16 << 10

// NoIdentity is the reason why a message has no author domain. It is the error of AuthorDomain.
type NoIdentity string

// The reasons. Nothing is ever credited to a message with one of them.
const (
	NoFromField       NoIdentity = "no From field"
	SeveralFromFields NoIdentity = "several From fields"
	FromTooLong       NoIdentity = "From field too long"
	ControlCharacter  NoIdentity = "control character in the From field"
	SeveralMailboxes  NoIdentity = "several mailboxes in the From field"
	GroupSyntax       NoIdentity = "group in the From field"
	RouteSyntax       NoIdentity = "route in the From field"
	NotMailbox        NoIdentity = "no mailbox in the From field"
	IPLiteral         NoIdentity = "author domain is an IP address"
	NotDomain         NoIdentity = "author domain is no domain name"
	SingleLabel       NoIdentity = "author domain is a single label"
	PublicSuffix      NoIdentity = "author domain is a public suffix"
	ReservedName      NoIdentity = "author domain lies under a reserved name"
)

func (n NoIdentity) Error() string { return string(n) }

// IsFromField reports whether a header field counts as From. White space and control characters
// in the name do not hide it: some readers take "From " for From, and others do not.
func IsFromField(name string) bool {
	visible := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	return strings.EqualFold(visible, "From")
}

// AuthorDomain is the author domain of a message: the domain of the one mailbox in the one
// From field, taken after its last at sign, as A-labels in lower case without a trailing dot.
// It takes the values of all fields that IsFromField accepts, folded or not. Where the fields
// leave room for two readings, or name nothing that could be a mail provider, the error is the
// NoIdentity that says why.
func AuthorDomain(from []string) (string, error) {
	switch {
	case len(from) == 0:
		return "", NoFromField
	case len(from) > 1:
		return "", SeveralFromFields
	case len(from[0]) > maxFrom:
		return "", FromTooLong
	}
	value := unfold(from[0])
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", ControlCharacter
	}
	domain, err := parseMailbox(value)
	if err != nil {
		return "", err
	}
	return providerDomain(domain)
}

// unfold removes the line ends that folding put before white space (RFC 5322, section 2.2.3),
// as CRLF or as the LF that a milter gets for it, and the one that ends the field.
func unfold(value string) string {
	if !strings.Contains(value, "\n") {
		return value
	}
	var b strings.Builder
	for i, line := range strings.SplitAfter(value, "\n") {
		if i > 0 && line != "" && line[0] != ' ' && line[0] != '\t' {
			return value // a line end that is no folding stays, and is found
		}
		b.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	}
	return b.String()
}

// providerDomain normalises the domain of a mailbox and refuses what cannot be a mail provider.
func providerDomain(raw string) (string, error) {
	domain, err := dnsname.ToASCII(strings.TrimSuffix(raw, "."))
	if err != nil {
		return "", NotDomain
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", IPLiteral
	}
	tld := domain[strings.LastIndexByte(domain, '.')+1:]
	switch {
	case !dnsname.IsHost(domain) || strings.Trim(tld, "0123456789") == "":
		return "", NotDomain
	case tld == domain:
		return "", SingleLabel
	case dnsname.Reserved(tld):
		return "", ReservedName
	}
	// A suffix that the list does not know is a public one only by its default rule, "*".
	suffix, icann := publicsuffix.PublicSuffix(domain)
	if suffix == domain && (icann || strings.Contains(suffix, ".")) {
		return "", PublicSuffix
	}
	return domain, nil
}
