package milter

import (
	"errors"
	"strings"

	"peerscore/assess/dkim"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

const (
	maxResultsLength = 16 << 10 // bytes of one field
	maxMethodResults = 100      // in one field
)

// methodResult is what one method said in an Authentication-Results field (RFC 8601, section
// 2.2). Names, and the result, are in lower case.
type methodResult struct {
	method, result string
	properties     map[string]string // "header.d" and the like, and "reason"
}

var errResultsSyntax = errors.New("malformed Authentication-Results")

// servIDOf is the authserv-id of a field, in lower case, whatever follows it; "" for none.
func servIDOf(value string) string {
	p := scanner{rest: value}
	return lower(p.value(";"))
}

// parseResults reads a whole field, comments and quoting included.
func parseResults(value string) ([]methodResult, error) {
	var methods []methodResult
	p := scanner{rest: value}
	if p.value(";") == "" || len(value) > maxResultsLength {
		return nil, errResultsSyntax
	}
	if version := p.value(";"); strings.Trim(version, "0123456789") != "" {
		return nil, errResultsSyntax
	}
	for p.take(';') {
		if p.blank(); p.rest == "" {
			break // after a semicolon too many
		}
		m, ok := p.method()
		if !ok || len(methods) == maxMethodResults {
			return nil, errResultsSyntax
		}
		if m.result != "" {
			methods = append(methods, m)
		}
	}
	if p.blank(); p.rest != "" || p.failed {
		return nil, errResultsSyntax
	}
	return methods, nil
}

// scanner reads the lexical elements of RFC 5322 and RFC 2045 that the field is made of.
type scanner struct {
	rest   string
	failed bool // a quoted string or a comment did not end
}

// method reads "spf/1=pass reason="x" smtp.mailfrom=example.org", or the "none" that says that
// nothing was done, whose result is empty.
func (p *scanner) method() (m methodResult, ok bool) {
	m.method = strings.ToLower(p.value("=/;"))
	if p.take('/') {
		p.value("=;")
	}
	if !p.take('=') {
		return m, m.method == "none"
	}
	m.result = strings.ToLower(p.value(";"))
	m.properties = map[string]string{}
	for p.blank(); p.rest != "" && p.rest[0] != ';'; p.blank() {
		name := p.value("=.;")
		if p.take('.') {
			name += "." + p.value("=;")
		}
		if name == "" || !p.take('=') {
			return m, false
		}
		m.properties[strings.ToLower(name)] = p.value(";")
	}
	return m, m.method != "" && m.result != "" && !p.failed
}

// value reads a token or a quoted string that ends at white space, a comment, or one of stop.
func (p *scanner) value(stop string) string {
	p.blank()
	if strings.HasPrefix(p.rest, `"`) {
		return p.quoted()
	}
	end := strings.IndexAny(p.rest, " \t\r\n(\""+stop)
	if end < 0 {
		end = len(p.rest)
	}
	token := p.rest[:end]
	p.rest = p.rest[end:]
	return token
}

// quoted reads a quoted string, and what follows it without a gap: a domain after a local part.
func (p *scanner) quoted() string {
	var text strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest):
			i++
			text.WriteByte(p.rest[i])
		case c == '"':
			p.rest = p.rest[i+1:]
			if strings.HasPrefix(p.rest, "@") {
				text.WriteString(p.value(";"))
			}
			return text.String()
		default:
			text.WriteByte(c)
		}
	}
	p.rest, p.failed = "", true
	return ""
}

// take skips one character, and white space and comments before it.
func (p *scanner) take(c byte) bool {
	p.blank()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// blank skips white space and comments, which nest.
func (p *scanner) blank() {
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth > 0, c == ' ', c == '\t', c == '\r', c == '\n':
		default:
			p.rest = p.rest[i:]
			return
		}
	}
	p.rest, p.failed = "", p.failed || depth > 0
}

// trustedResults are those of an earlier milter: from the topmost field of each authserv-id
// that is trusted. Everything below may be the sender's.
func (h *header) trustedResults(p *Policy) trusted {
	var methods trusted
	seen := map[string]bool{}
	for _, r := range h.results {
		if !p.trusts(r.servID) || seen[r.servID] {
			continue
		}
		seen[r.servID] = true
		if found, err := parseResults(r.value); err == nil {
			methods = append(methods, found...)
		}
	}
	return methods
}

// trusted is what an earlier milter said about one message.
type trusted []methodResult

// spf is the result for the MAIL FROM domain; "" when it was not told. That of HELO may stand
// beside it.
func (t trusted) spf(domain string) spf.Result {
	for _, m := range t {
		_, mailFrom, _ := cutLast("@"+m.properties["smtp.mailfrom"], "@")
		if mailFrom == "" && m.properties["smtp.helo"] != "" {
			continue
		}
		if m.method == "spf" && (mailFrom == "" || strings.EqualFold(dnsname.ALabels(strings.TrimSuffix(mailFrom, ".")), domain)) {
			return spf.Result(m.result)
		}
	}
	return ""
}

// dmarc is the result for the author domain; "" when it was not told.
func (t trusted) dmarc(author dnsname.Domain) string {
	for _, m := range t {
		if m.method == "dmarc" && sameDomain(m.properties["header.from"], author, true) {
			return m.result
		}
	}
	return ""
}

// dkim is the finding for one signature.
func (t trusted) dkim(s *signature, k dkim.Key) finding {
	found := notEvaluated(notReported)
	for _, m := range t {
		if m.method != "dkim" || !s.matches(m.properties) {
			continue
		}
		switch m.result {
		case "pass":
			return s.accept(k)
		case "fail", "policy", "permerror":
			found = invalid(m.result, "as the earlier milter says")
		case "temperror":
			found = tempError("as the earlier milter says")
		}
	}
	return found
}

// matches reports whether the properties of a result name this signature: its domain, and as
// far as they are given its selector and the beginning of b= (RFC 6008).
func (s *signature) matches(properties map[string]string) bool {
	_, identity, _ := cutLast(properties["header.i"], "@")
	if d := properties["header.d"]; d != "" {
		identity = d
	}
	selector, b := properties["header.s"], properties["header.b"]
	return sameDomain(identity, s.Domain, false) &&
		(selector == "" || strings.EqualFold(selector, s.Selector)) &&
		strings.HasPrefix(s.Compact("b"), b)
}

func sameDomain(text string, d dnsname.Domain, orEmpty bool) bool {
	if text == "" {
		return orEmpty
	}
	parsed, err := dnsname.Parse(text)
	return err == nil && parsed == d
}
