// Package dnsname holds what is true of names wherever they come from: which are domains, which
// can be hosts, which may be asked for, which belong to nobody. Domain is the type of a name that
// was found to be a provider's.
package dnsname

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
// case, of letters, digits and hyphens, without the trailing dot (RFC 5890, section 2.3.2.3). Only
// ParseDomain makes one from foreign text.
type Domain string

var errNotDomain = errors.New("not a domain name")

// Parse normalises a domain in either spelling, U-label or A-label. It refuses IP
// addresses and literals, single labels, and everything that is not letters-digits-hyphen.
func Parse(s string) (Domain, error) {
	ascii, err := ToASCII(s)
	if err == nil && ascii != s { // idna looks for right-to-left labels before the mapping makes them: "ℵ" becomes "א"
		_, err = ToASCII(ascii)
	}
	switch {
	case errors.Is(err, errTooLong):
		return "", fmt.Errorf("%w: longer than %d octets", errNotDomain, MaxLength)
	case err != nil:
		return "", fmt.Errorf("%w: %q", errNotDomain, s)
	}
	ascii = strings.TrimSuffix(ascii, ".") // after the mapping, which knows other full stops
	if len(ascii) > MaxLength {
		return "", fmt.Errorf("%w: longer than %d octets", errNotDomain, MaxLength)
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", fmt.Errorf("%w: %q is an IP address", errNotDomain, s)
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", fmt.Errorf("%w: %q is a single label", errNotDomain, s)
	}
	for _, label := range labels {
		if !hostLabel(label) {
			return "", fmt.Errorf("%w: label %q", errNotDomain, label)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%w: %q ends in a number", errNotDomain, s)
	}
	return Domain(ascii), nil
}

// ALabels is a domain with A-labels for U-labels, the form in which mail is told of it (RFC 8616,
// section 4). What is no domain stays as it is.
func ALabels(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if d, err := Parse(name); err == nil {
			return string(d)
		}
	}
	return name
}

// ParseAddressOrDomain reduces an address to its domain (the part after the last @) and
// normalises it, as every command that takes a DOMAIN does.
func ParseAddressOrDomain(s string) (Domain, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
	return Parse(s[strings.LastIndexByte(s, '@')+1:])
}

// CheckPeer reports whether the domain may be a peer at all: it is no public suffix, be it of a
// registry ("co.uk") or of a host of other people's sites ("github.io"), and lies under no
// reserved name. Nothing else is credited or probed.
func (d Domain) CheckPeer() error {
	if tld := string(d[strings.LastIndexByte(string(d), '.')+1:]); Reserved(tld) {
		return fmt.Errorf("%s lies under the reserved name %q", d, tld)
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
