package assess

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Domain is the name of a provider: a DNS name of two or more labels as A-labels, in lower
// case, of letters, digits and hyphens, without the trailing dot (RFC 5890 §2.3.2.3). Only
// ParseDomain makes one from foreign text.
type Domain string

// MaxDomainLength is the longest domain name in octets, without the trailing dot (RFC 1035 §2.3.4).
const MaxDomainLength = 253

var errNotDomain = errors.New("not a domain name")

// lookupProfile is UTS #46 non-transitional, as registries and browsers use it today.
var lookupProfile = idna.New(
	idna.MapForLookup(), idna.StrictDomainName(true), idna.Transitional(false),
	idna.BidiRule(), idna.CheckHyphens(false), idna.VerifyDNSLength(true),
)

// ParseDomain normalises a domain in either spelling, U-label or A-label. It refuses IP
// addresses and literals, single labels, and everything that is not letters-digits-hyphen.
func ParseDomain(s string) (Domain, error) {
	if len(s) > MaxDomainLength+1 || longLabel(s) { // in U-labels too: idna takes time that grows with the square
		return "", fmt.Errorf("%w: longer than %d octets", errNotDomain, MaxDomainLength)
	}
	if !utf8.ValidString(s) { // idna would encode the replacement character
		return "", fmt.Errorf("%w: %q", errNotDomain, s)
	}
	ascii, err := lookupProfile.ToASCII(s)
	if err == nil && ascii != s { // idna looks for right-to-left labels before the mapping makes them: "ℵ" becomes "א"
		_, err = lookupProfile.ToASCII(ascii)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q", errNotDomain, s)
	}
	ascii = strings.TrimSuffix(ascii, ".") // after the mapping, which knows other full stops
	if len(ascii) > MaxDomainLength {
		return "", fmt.Errorf("%w: longer than %d octets", errNotDomain, MaxDomainLength)
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", fmt.Errorf("%w: %q is an IP address", errNotDomain, s)
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", fmt.Errorf("%w: %q is a single label", errNotDomain, s)
	}
	for _, label := range labels {
		if !validLabel(label) {
			return "", fmt.Errorf("%w: label %q", errNotDomain, label)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%w: %q ends in a number", errNotDomain, s)
	}
	return Domain(ascii), nil
}

// longLabel reports whether a label has more than 63 characters. No A-label has fewer octets than
// its U-label has characters.
func longLabel(name string) bool {
	n := 0
	for _, r := range name {
		if n++; strings.ContainsRune(".。．｡", r) {
			n = 0
		}
		if n > 63 {
			return true
		}
	}
	return false
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ParseAddressOrDomain reduces an address to its domain (the part after the last @) and
// normalises it, as every command that takes a DOMAIN does.
func ParseAddressOrDomain(s string) (Domain, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
	return ParseDomain(s[strings.LastIndexByte(s, '@')+1:])
}

// reservedTLDs never belong to a mail provider (RFC 6761, RFC 6762, RFC 7686). "test" and
// "example" are ordinary here: laboratories live under them.
var reservedTLDs = []string{"localhost", "invalid", "local", "onion", "arpa"}

// CheckPeer reports whether the domain may be a peer at all: it is no public suffix, be it of a
// registry ("co.uk") or of a host of other people's sites ("github.io"), and lies under no
// reserved name. Nothing else is credited or probed.
func (d Domain) CheckPeer() error {
	tld := string(d[strings.LastIndexByte(string(d), '.')+1:])
	for _, reserved := range reservedTLDs {
		if tld == reserved {
			return fmt.Errorf("%s lies under the reserved name %q", d, reserved)
		}
	}
	if suffix, _ := publicsuffix.PublicSuffix(string(d)); suffix == string(d) {
		return fmt.Errorf("%s is a public suffix", d)
	}
	return nil
}

// Organisational is the registrable domain by the Public Suffix List. It groups score keys
// and budgets; verdicts of DMARC use the tree walk of RFC 9989 instead. A public suffix is its own group.
func (d Domain) Organisational() Domain {
	org, err := publicsuffix.EffectiveTLDPlusOne(string(d))
	if err != nil {
		return d
	}
	return Domain(org)
}

// Within reports whether d is parent or lies below it.
func (d Domain) Within(parent Domain) bool {
	return d == parent || parent != "" && strings.HasSuffix(string(d), "."+string(parent))
}

// Unicode is the domain as people write it, for text output only.
func (d Domain) Unicode() string {
	u, err := idna.Display.ToUnicode(string(d))
	if err != nil {
		return string(d)
	}
	return u
}
