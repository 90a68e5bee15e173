package dmarc

import (
	"peerscore/assess/dnsname"
	"strings"
)

// maxRawName bounds a name in either spelling before it is looked at, in octets.
const maxRawName = 4 * dnsname.MaxLength

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
	if ascii, err := dnsname.ToASCII(name); err == nil {
		return ascii
	}
	return name
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
