package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Mechanism is the name of a mechanism (RFC 7208, section 5), in lower case.
type Mechanism string

const (
	All     Mechanism = "all"
	Include Mechanism = "include"
	A       Mechanism = "a"
	MX      Mechanism = "mx"
	PTR     Mechanism = "ptr"
	IP4     Mechanism = "ip4"
	IP6     Mechanism = "ip6"
	Exists  Mechanism = "exists"
)

// Record is one SPF record, syntactically valid.
type Record struct {
	Text       string // as published
	Directives []Directive
	Redirect   DomainSpec // zero when absent
	Exp        DomainSpec // zero when absent
	Unknown    []Modifier // modifiers that RFC 7208 does not define, in order
}

// Directive is a qualifier with a mechanism.
type Directive struct {
	Text      string // as published
	Qualifier byte   // '+', '-', '~' or '?'
	Mechanism Mechanism
	Domain    DomainSpec   // zero where the term names none
	Network   netip.Prefix // of ip4 and ip6, masked
	Bits4     uint8        // prefix length for IPv4, of a and mx
	Bits6     uint8        // prefix length for IPv6, of a and mx
}

// Modifier is a name with a macro-string.
type Modifier struct{ Name, Value string }

// Result is what a match of the directive means.
func (d *Directive) Result() Result {
	switch d.Qualifier {
	case '-':
		return Fail
	case '~':
		return SoftFail
	case '?':
		return Neutral
	}
	return Pass
}

// Lookup reports whether the directive counts as a DNS lookup (RFC 7208, section 4.6.4).
func (d *Directive) Lookup() bool {
	return d.Mechanism != All && d.Mechanism != IP4 && d.Mechanism != IP6
}

// SyntaxError says what is wrong with a record and where.
type SyntaxError struct {
	Offset int    // of the term, or of the octet that is wrong, from the start of the record
	Term   string // in which it was found; "" when the record as a whole is wrong
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Term == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s in %s (octet %d)", e.Reason, strconv.QuoteToASCII(clip(e.Term)), e.Offset)
}

// maxQuoted is how many octets of a record are repeated where something is wrong with it: the log
// has that for each message.
const maxQuoted = 200

func clip(text string) string {
	if len(text) > maxQuoted {
		return text[:maxQuoted] + "..."
	}
	return text
}

const version = "v=spf1"

// isRecord reports whether a TXT record is an SPF record: the version, and then a space or the end
// (RFC 7208, section 4.5).
func isRecord(txt string) bool {
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// isLookalike reports whether a TXT record that is no SPF record was surely meant to be one.
func isLookalike(txt string) bool {
	start := strings.ToLower(strings.TrimLeft(txt[:min(len(txt), 40)], " \t\""))
	return strings.HasPrefix(strings.ReplaceAll(start, " ", ""), version)
}

// Parse reads a record in full (RFC 7208, sections 4.6 and 12). The error is a *SyntaxError about the
// first mistake.
func Parse(text string) (Record, error) {
	r := Record{Text: text}
	switch {
	case !isRecord(text):
		return r, &SyntaxError{Reason: `record does not begin with "v=spf1"`}
	case len(text) > MaxRecordLength:
		return r, &SyntaxError{Reason: "record too long: " + strconv.Itoa(len(text)) + " octets"}
	}
	r.Directives = make([]Directive, 0, min(strings.Count(text, " "), 32))
	end := len(version)
	for end < len(text) {
		start := end + 1 // behind a space
		end = start
		for end < len(text) && text[end] != ' ' {
			if text[end] < ' ' || text[end] > '~' {
				return r, &SyntaxError{end, text[start : end+1], "octet that is not printable ASCII"}
			}
			end++
		}
		if start == end {
			continue
		}
		if reason := r.addTerm(text[start:end]); reason != "" {
			return r, &SyntaxError{start, text[start:end], reason}
		}
	}
	return r, nil
}

// addTerm reads a modifier, when "=" follows the name at once, or else a directive.
func (r *Record) addTerm(term string) (reason string) {
	n := 0
	for n < len(term) && (isAlpha(term[n]) || n > 0 && (isDigit(term[n]) || strings.IndexByte("-_.", term[n]) >= 0)) {
		n++
	}
	if n > 0 && n < len(term) && term[n] == '=' {
		return r.addModifier(term[:n], term[n+1:])
	}
	return r.addDirective(term)
}

func (r *Record) addModifier(name, value string) (reason string) {
	switch strings.ToLower(name) {
	case "redirect":
		return setOnce(&r.Redirect, value)
	case "exp":
		return setOnce(&r.Exp, value)
	}
	r.Unknown = append(r.Unknown, Modifier{name, value})
	_, _, reason = parseMacroString(value, inExplanation)
	return reason
}

// setOnce reads the domain-spec of redirect or exp, neither of which may be repeated (RFC 7208, section 6).
func setOnce(spec *DomainSpec, value string) (reason string) {
	if spec.Text != "" {
		return "repeated modifier"
	}
	*spec, reason = parseDomainSpec(value)
	return reason
}

func (r *Record) addDirective(term string) (reason string) {
	d := Directive{Text: term, Qualifier: '+'}
	name := term
	if strings.IndexByte("+-~?", term[0]) >= 0 {
		d.Qualifier, name = term[0], term[1:]
	}
	argument := ""
	if i := strings.IndexAny(name, ":/"); i >= 0 {
		name, argument = name[:i], name[i:]
	}
	d.Mechanism = Mechanism(strings.ToLower(name))
	switch d.Mechanism {
	case All:
		if argument != "" {
			reason = "all takes no argument"
		}
	case Include, Exists:
		if argument == "" {
			return "domain missing"
		}
		d.Domain, reason = parseArgument(argument)
	case PTR:
		d.Domain, reason = parseArgument(argument)
	case A, MX:
		if argument, reason = d.cutPrefixLengths(argument); reason == "" {
			d.Domain, reason = parseArgument(argument)
		}
	case IP4, IP6:
		d.Network, reason = parseNetwork(d.Mechanism, argument)
	default:
		reason = unknownMechanism(string(d.Mechanism))
	}
	r.Directives = append(r.Directives, d)
	return reason
}

// parseArgument reads [ ":" domain-spec ].
func parseArgument(s string) (DomainSpec, string) {
	if s == "" {
		return DomainSpec{}, ""
	}
	if s[0] != ':' {
		return DomainSpec{}, "prefix length that is not allowed here"
	}
	spec, reason := parseDomainSpec(s[1:])
	if reason != "" {
		if addr, err := netip.ParseAddr(s[1:]); err == nil && addr.Is4() {
			reason = "address where a domain belongs (meant ip4?)"
		}
	}
	return spec, reason
}

// cutPrefixLengths takes the dual-cidr-length off the end of an argument. A slash may also belong
// to the domain-spec, which never ends in a slash and digits.
func (d *Directive) cutPrefixLengths(s string) (rest, reason string) {
	d.Bits4, d.Bits6 = 32, 128
	if i := strings.LastIndex(s, "//"); i >= 0 && allDigits(s[i+2:]) {
		var ok bool
		if d.Bits6, ok = prefixLength(s[i+2:], 128); !ok {
			return "", "bad IPv6 prefix length"
		}
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '/'); i >= 0 && allDigits(s[i+1:]) {
		var ok bool
		if d.Bits4, ok = prefixLength(s[i+1:], 32); !ok {
			return "", "bad IPv4 prefix length"
		}
		s = s[:i]
	}
	return s, ""
}

// parseNetwork reads the argument of ip4 or ip6.
func parseNetwork(m Mechanism, argument string) (netip.Prefix, string) {
	if argument == "" || argument[0] != ':' {
		return netip.Prefix{}, "address missing"
	}
	text, length, cut := strings.Cut(argument[1:], "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Is4() != (m == IP4) || addr.Zone() != "" {
		return netip.Prefix{}, "not an address for " + string(m)
	}
	bits := uint8(addr.BitLen())
	if cut {
		var ok bool
		if bits, ok = prefixLength(length, bits); !ok {
			return netip.Prefix{}, "bad prefix length"
		}
	}
	return netip.PrefixFrom(addr, int(bits)).Masked(), ""
}

// prefixLength reads a number up to limit without leading zeros.
func prefixLength(s string, limit uint8) (uint8, bool) {
	if !allDigits(s) || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil && uint8(n) <= limit
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// unknownMechanism names the usual mistakes.
func unknownMechanism(name string) string {
	switch name {
	case "ip", "ipv4", "ip4=", "ip-4":
		return "unknown mechanism (meant ip4?)"
	case "ipv6", "ip-6":
		return "unknown mechanism (meant ip6?)"
	case "prt":
		return "unknown mechanism (meant ptr?)"
	case "redirect", "exp":
		return "modifier without \"=\""
	}
	return "unknown mechanism"
}
