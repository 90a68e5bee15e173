package dmarc

import (
	"errors"
	"fmt"
	"net/url"
	"peerscore/assess/dnsname"
	"strconv"
	"strings"
)

// ReportURI is one destination of rua or ruf.
type ReportURI struct {
	URI     string // as published, without the size
	Address string // of a mailto URI, percent-decoded; "" when there is none that mail could reach
	MaxSize uint64 // bytes, from the obsolete "!10m" (RFC 7489, section 6.4); 0 when absent
}

var (
	errURI    = errors.New("not a URI")
	errScheme = fmt.Errorf("%w: it lacks the mailto: in front", errURI)
	errSize   = errors.New("not a size")
)

// parseReportURI reads one element of a dmarc-urilist:
//
//	dmarc-uri             = URI  ; commas and exclamation points MUST be encoded
//	obs-dmarc-uri         = dmarc-uri obs-dmarc-report-size
//	obs-dmarc-report-size = "!" 1*DIGIT [ "k" / "m" / "g" / "t" ]
func parseReportURI(s string) (ReportURI, error) {
	var u ReportURI
	uri, size, sized := strings.Cut(s, "!")
	switch {
	case validURI(uri):
	case strings.Contains(uri, "@") && !strings.Contains(uri, ":") && validURI("mailto:"+uri):
		return u, fmt.Errorf("%+.*q: %w", maxQuoted, s, errScheme)
	default:
		return u, fmt.Errorf("%+.*q: %w", maxQuoted, s, errURI)
	}
	u.URI = uri
	if sized {
		n, err := parseSize(size)
		if err != nil {
			return u, fmt.Errorf("%+.*q: %w", maxQuoted, s, err)
		}
		u.MaxSize = n
	}
	if rest, ok := cutScheme(uri, "mailto"); ok {
		u.Address = mailAddress(rest)
	}
	return u, nil
}

// parseSize reads a size such as 10m; a kilobyte is 1024 bytes.
func parseSize(s string) (uint64, error) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("kmgt", s[len(s)-1]|0x20); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n<<shift>>shift != n {
		return 0, errSize
	}
	return n << shift, nil
}

// validURI reports whether s has the form of a URI, RFC 3986: a scheme, then only characters of
// a URI, whole percent-encodings, and one fragment at most. A comma cannot occur, because the
// list is split at commas, nor an exclamation point, because it begins the size.
func validURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !validScheme(scheme) {
		return false
	}
	for i := range len(rest) {
		switch c := rest[i]; {
		case alphanumeric(c) || strings.IndexByte("-._~:/?@$&'()*+;=", c) >= 0:
		case c == '#':
			if strings.IndexByte(rest[:i], '#') >= 0 {
				return false
			}
		case c == '[' || c == ']': // only around an IPv6 address
			if !strings.HasPrefix(rest, "//") {
				return false
			}
		case c == '%':
			if _, err := strconv.ParseUint(rest[i+1:min(i+3, len(rest))], 16, 8); err != nil || i+2 >= len(rest) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func validScheme(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && (i == 0 || strings.IndexByte("+-.", c) < 0) {
			return false
		}
	}
	return s != "" && !digit(s[0])
}

func cutScheme(uri, scheme string) (rest string, ok bool) {
	s, rest, _ := strings.Cut(uri, ":")
	return rest, strings.EqualFold(s, scheme)
}

// mailAddress is the one address in the rest of a mailto URI (RFC 6068), its domain canonical;
// "" when there is none. Header fields behind a question mark are dropped.
func mailAddress(rest string) string {
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	address, err := url.PathUnescape(rest)
	if err != nil {
		return ""
	}
	at := strings.LastIndexByte(address, '@')
	if at <= 0 || strings.ContainsFunc(address[:at], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return ""
	}
	domain := canonical(address[at+1:])
	if !dnsname.Queryable(domain) {
		return ""
	}
	return address[:at+1] + domain
}
