package dnsname

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxLength is the longest domain name in octets, without the trailing dot, and MaxLabel the
// longest of its labels (RFC 1035, section 2.3.4).
const (
	MaxLength = 253
	MaxLabel  = 63
)

var (
	errUTF8    = errors.New("invalid UTF-8")
	errTooLong = errors.New("name too long")
)

// lookupProfile is UTS #46 non-transitional, as registries and browsers use it today.
var lookupProfile = idna.New(
	idna.MapForLookup(), idna.StrictDomainName(true), idna.Transitional(false),
	idna.BidiRule(), idna.CheckHyphens(false), idna.VerifyDNSLength(true),
)

// ToASCII is the A-label spelling of a name. The profile by itself encodes octets that are not
// UTF-8 as if they were U+FFFD, and takes time that grows with the square of a label.
func ToASCII(name string) (string, error) {
	switch {
	case len(name) > MaxLength+1, longLabel(name):
		return "", errTooLong
	case !utf8.ValidString(name):
		return "", errUTF8
	}
	return lookupProfile.ToASCII(name)
}

// longLabel reports whether a label has more than 63 characters. No A-label has fewer octets than
// its U-label has characters.
func longLabel(name string) bool {
	n := 0
	for _, r := range name {
		if n++; strings.ContainsRune(".。．｡", r) {
			n = 0
		}
		if n > MaxLabel {
			return true
		}
	}
	return false
}

// reservedTLDs never belong to a mail provider (RFC 6761, RFC 6762, RFC 7686). "test" and
// "example" are ordinary here: laboratories live under them.
var reservedTLDs = []string{"localhost", "invalid", "local", "onion", "arpa"}

// Reserved reports whether no mail provider can lie under a top-level domain.
func Reserved(tld string) bool { return slices.Contains(reservedTLDs, tld) }

// Queryable reports whether a name in A-labels, without the trailing dot, can exist: labels of
// letters, digits, hyphens and underscores, within the lengths of the DNS.
func Queryable(name string) bool {
	return everyLabel(name, func(label string) bool {
		return label != "" && len(label) <= MaxLabel && !strings.ContainsFunc(label, func(r rune) bool {
			return !letter(r) && !digit(r) && r != '-' && r != '_'
		})
	})
}

// IsHost reports whether a name in A-labels, in lower case and without the trailing dot, can be a
// host's (RFC 952, RFC 1123, section 2.1): letters, digits and hyphens, none of these at either
// end of a label.
func IsHost(name string) bool { return everyLabel(name, hostLabel) }

func everyLabel(name string, holds func(label string) bool) bool {
	if len(name) > MaxLength {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !holds(label) {
			return false
		}
	}
	return true
}

func hostLabel(label string) bool {
	return label != "" && len(label) <= MaxLabel && label[0] != '-' && label[len(label)-1] != '-' &&
		!strings.ContainsFunc(label, func(r rune) bool { return (r < 'a' || r > 'z') && !digit(r) && r != '-' })
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func digit(r rune) bool { return r >= '0' && r <= '9' }
