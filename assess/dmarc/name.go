package dmarc

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // octets of a domain name, RFC 1035, section 2.3.4
	maxLabel = 63

	// maxRawName bounds a name in either spelling before it is looked at.
	maxRawName = 4 * maxName
)

// lookupProfile is UTS #46 non-transitional, as registries and browsers use it today.
var lookupProfile = idna.New(
	idna.MapForLookup(), idna.StrictDomainName(true), idna.Transitional(false),
	idna.BidiRule(), idna.CheckHyphens(false), idna.VerifyDNSLength(true),
)

// canonical is a name as names are compared and queried here: A-labels in lower case, no
// trailing dot. What is no name in either spelling comes back as it is, or empty when it is
// too long for one; it equals no real name and is never queried.
func canonical(name string) string {
	if len(name) > maxRawName {
		return ""
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if isASCII(name) {
		return name
	}
	if ascii, err := toASCII(name); err == nil {
		return ascii
	}
	return name
}

var (
	errUTF8    = errors.New("invalid UTF-8")
	errTooLong = errors.New("name too long")
)

// toASCII is the A-label spelling of a name. The profile by itself encodes bytes that are no
// UTF-8 as if they were U+FFFD, and takes time that grows with the square of a label.
func toASCII(name string) (string, error) {
	switch {
	case !utf8.ValidString(name):
		return "", errUTF8
	case len(name) > maxName+1, longLabel(name):
		return "", errTooLong
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
		if n > maxLabel {
			return true
		}
	}
	return false
}

// lower is s in lower case where it is ASCII. Elsewhere other letters would turn into ASCII
// ones: the Kelvin sign has the lower case k.
func lower(s string) string {
	if !isASCII(s) {
		return s
	}
	return strings.ToLower(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// queryable reports whether a canonical name can exist: labels of letters, digits, hyphens and
// underscores, within the lengths of the DNS. Nothing else is ever asked for.
func queryable(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// within reports whether name is domain or lies below it.
func within(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// lastLabels is the part of name that its last n labels make up; all of it when it has fewer.
func lastLabels(name string, n int) string {
	if n == 0 {
		return ""
	}
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] != '.' {
			continue
		}
		if n--; n == 0 {
			return name[i+1:]
		}
	}
	return name
}

func countLabels(name string) int { return strings.Count(name, ".") + 1 }
