package tlsrpt

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"

	"peerscore/assess/fields"
)

// checkURI reports whether reports can go to a URI, one of mailto or https, or why
// it is no URI in the sense of section 3.
func checkURI(s string) (usable bool, err error) {
	if err := checkCharacters(s); err != nil {
		return false, err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return false, err
	case u.Scheme == "":
		return false, errors.New("an address begins with mailto: or https:, as in mailto:tlsrpt@example.org")
	case u.Scheme == "mailto":
		return true, checkMailto(s)
	case u.Scheme == "https":
		return true, checkHost(u)
	}
	return false, nil
}

// checkCharacters holds a URI to the characters of RFC 3986 less those that
// section 3 wants encoded: "commas (ASCII 0x2C), exclamation points (ASCII 0x21),
// and semicolons (ASCII 0x3B) MUST be encoded".
func checkCharacters(s string) error {
	const allowed = "-._~:/?#[]@$&'()*+="
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case fields.Alphanumeric(c) || strings.IndexByte(allowed, c) >= 0:
		case c == '%' && i+2 < len(s) && hex(s[i+1]) && hex(s[i+2]):
			i += 2
		case c == '!':
			return errors.New("an exclamation mark is written %21")
		default:
			return fmt.Errorf("an address cannot contain %q", s[i:i+1])
		}
	}
	if strings.Count(s, "#") > 1 {
		return errors.New("an address cannot contain two #")
	}
	return nil
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f'
}

// checkMailto wants exactly one address in a mailto URI (RFC 6068), whatever
// header fields follow it.
func checkMailto(s string) error {
	to := s[len("mailto:"):]
	if end := strings.IndexAny(to, "?#"); end >= 0 {
		to = to[:end]
	}
	to, _ = url.PathUnescape(to) // checkCharacters has seen every %
	addr, err := mail.ParseAddress("<" + to + ">")
	if err != nil || addr.Address != to {
		return fmt.Errorf("%.80q is not a mail address", to)
	}
	return nil
}

func checkHost(u *url.URL) error {
	if u.Hostname() == "" {
		return errors.New("the host is missing")
	}
	return nil
}
