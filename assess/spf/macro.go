package spf

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DomainSpec is a domain-spec (RFC 7208, section 7.1): a domain name with macros. The zero value is an
// absent one.
type DomainSpec struct {
	Text string
	uses letters
}

// letters is a set of macro letters: bit 0 is "a".
type letters uint32

const allLetters = "slodiphcrtv"

// inExplanation are the letters that only an explanation may use (RFC 7208, section 7.2).
var inExplanation = lettersOf("crt")

func (l letters) has(letter byte) bool { return l&(1<<(letter-'a')) != 0 }

func lettersOf(s string) letters {
	var set letters
	for i := range len(s) {
		set |= 1 << (s[i] - 'a')
	}
	return set
}

// personal reports whether the expansion holds the sender's local part.
func (s DomainSpec) personal() bool { return s.uses.has('s') || s.uses.has('l') }

// macro is one macro-expand (RFC 7208, section 7.1).
type macro struct {
	literal string // what "%%", "%_" or "%-" stands for; "" for a macro with a letter
	letter  byte   // in lower case
	escape  bool   // the letter was in upper case: escape the value for a URL
	parts   int    // how many right-hand parts to keep, 0 for all
	reverse bool
	delims  string // the delimiters given; "" means ".", if anything is to be split at all
}

// readMacro reads the macro at the start of s, which begins with "%", and gives its length.
func readMacro(s string) (m macro, length int, reason string) {
	if len(s) < 2 {
		return m, 0, `"%" at the end`
	}
	switch s[1] {
	case '%':
		return macro{literal: "%"}, 2, ""
	case '_':
		return macro{literal: " "}, 2, ""
	case '-':
		return macro{literal: "%20"}, 2, ""
	case '{':
	default:
		return m, 0, `"%" not followed by "{", "%", "_" or "-"`
	}
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return m, 0, `"%{" without "}"`
	}
	m, reason = readMacroBody(s[2:end])
	return m, end + 1, reason
}

// readMacroBody reads macro-letter, transformers and delimiters.
func readMacroBody(body string) (m macro, reason string) {
	if body == "" {
		return m, "macro without a letter"
	}
	m.letter = body[0] | 0x20
	m.escape = body[0] != m.letter
	if strings.IndexByte(allLetters, m.letter) < 0 {
		return m, "unknown macro letter " + strconv.QuoteToASCII(body[:1])
	}
	rest := body[1:]
	for rest != "" && isDigit(rest[0]) {
		m.parts = min(m.parts*10+int(rest[0]-'0'), maxExpansion)
		rest = rest[1:]
	}
	if m.parts == 0 && len(rest) < len(body)-1 {
		return m, "macro that keeps zero parts"
	}
	if rest != "" && rest[0]|0x20 == 'r' {
		m.reverse = true
		rest = rest[1:]
	}
	m.delims = rest
	if strings.Trim(rest, ".-+,/_=") != "" {
		return m, "unknown macro transformer or delimiter"
	}
	return m, ""
}

// parseMacroString checks a macro-string and gives the letters it uses and where its last macro
// ends, or why it is wrong. Its characters have been checked before.
func parseMacroString(s string, forbidden letters) (uses letters, lastEnd int, reason string) {
	for {
		i := strings.IndexByte(s[lastEnd:], '%')
		if i < 0 {
			return uses, lastEnd, ""
		}
		m, length, reason := readMacro(s[lastEnd+i:])
		if reason != "" {
			return 0, 0, reason
		}
		if m.letter != 0 {
			uses |= 1 << (m.letter - 'a')
		}
		lastEnd += i + length
		if uses&forbidden != 0 {
			return 0, 0, "macro letter " + string(m.letter) + " outside an explanation"
		}
	}
}

// parseDomainSpec checks a domain-spec: it ends in a macro, or in a dot and a top-level label that
// is not all digits (RFC 7208, section 7.1).
func parseDomainSpec(s string) (DomainSpec, string) {
	if s == "" {
		return DomainSpec{}, "empty domain"
	}
	uses, lastMacro, reason := parseMacroString(s, inExplanation)
	if reason != "" {
		return DomainSpec{}, reason
	}
	if lastMacro < len(s) {
		end := strings.TrimSuffix(s[lastMacro:], ".")
		dot := strings.LastIndexByte(end, '.')
		if dot < 0 || !isTopLabel(end[dot+1:]) {
			return DomainSpec{}, "domain does not end in a top-level label"
		}
	}
	return DomainSpec{Text: s, uses: uses}, ""
}

// isTopLabel reports whether s is a toplabel: letters, digits and inner hyphens, not digits alone.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	onlyDigits := true
	for i := range len(s) {
		if !isAlpha(s[i]) && !isDigit(s[i]) && s[i] != '-' {
			return false
		}
		onlyDigits = onlyDigits && isDigit(s[i])
	}
	return !onlyDigits
}

// expand replaces the macros of s, which has been checked; domain is the <domain> of check_host().
// It gives up, with "", when the text grows past maxExpansion.
func (e *evaluation) expand(s, domain string) string {
	next := strings.IndexByte(s, '%')
	if next < 0 {
		return s
	}
	out := make([]byte, 0, 2*len(s)+64)
	for next >= 0 {
		out = append(out, s[:next]...)
		m, length, _ := readMacro(s[next:])
		if m.letter == 0 {
			out = append(out, m.literal...)
		} else {
			out = m.append(out, e.value(m.letter, domain))
		}
		if len(out) > maxExpansion {
			return ""
		}
		s = s[next+length:]
		next = strings.IndexByte(s, '%')
	}
	return string(append(out, s...))
}

// value is what a macro letter stands for, before its transformers (RFC 7208, section 7.2).
func (e *evaluation) value(letter byte, domain string) string {
	switch letter {
	case 's':
		return e.sender
	case 'l':
		return e.local
	case 'o':
		return e.senderDomain
	case 'd':
		return domain
	case 'i':
		return dotted(e.ip)
	case 'p':
		return e.validatedName(domain)
	case 'v':
		if e.ip.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return e.helo
	case 'c':
		return e.ip.String()
	case 'r':
		return e.receiver
	default: // t
		return strconv.FormatInt(e.now.Unix(), 10)
	}
}

// append adds value, split, reversed, cut and joined as the macro says (RFC 7208, section 7.3). Consecutive
// delimiters get no special treatment, so that parts may be empty.
func (m macro) append(out []byte, value string) []byte {
	if m.parts > 0 || m.reverse || m.delims != "" {
		value = m.transform(value)
	}
	if !m.escape {
		return append(out, value...)
	}
	for i := range len(value) {
		if c := value[i]; isAlpha(c) || isDigit(c) || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return out
}

// transform costs no more than what it returns is long, however long the value is.
func (m macro) transform(value string) string {
	delims := m.delims
	if delims == "" {
		delims = "."
	}
	value = m.keep(value, delims)
	parts := make([]string, 0, 34) // the nibbles of an IPv6 address, and two
	start := 0
	for i := range len(value) {
		if strings.IndexByte(delims, value[i]) >= 0 {
			parts = append(parts, value[start:i])
			start = i + 1
		}
	}
	parts = append(parts, value[start:])
	if m.reverse {
		slices.Reverse(parts)
	}
	return strings.Join(parts, ".")
}

// keep cuts off what is not of the parts to keep: the last ones, which are the first ones where
// the order is to be reversed.
func (m macro) keep(value, delims string) string {
	if m.parts == 0 {
		return value
	}
	left := m.parts
	for n := range len(value) {
		i := len(value) - 1 - n
		if m.reverse {
			i = n
		}
		if strings.IndexByte(delims, value[i]) < 0 {
			continue
		}
		if left--; left > 0 {
			continue
		}
		if m.reverse {
			return value[:i]
		}
		return value[i+1:]
	}
	return value
}

// dotted is the value of the macro i: IPv4 as usual, IPv6 as 32 nibbles.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	nibbles := make([]byte, 0, 64)
	for _, octet := range ip.As16() {
		nibbles = append(nibbles, upperHex[octet>>4], '.', upperHex[octet&15], '.')
	}
	return string(nibbles[:63])
}

const upperHex = "0123456789ABCDEF"

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > '~' }) < 0
}

// isPrintable keeps line ends and other control characters, which a local part or a HELO name may
// bring along, out of SMTP replies and logs.
func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
