package dmarc

import "strings"

// parseMailbox finds the domain of the one mailbox in an unfolded From value, RFC 5322
// section 3.4, as it is written there:
//
//	mailbox    = name-addr / addr-spec
//	name-addr  = [display-name] angle-addr
//	angle-addr = [CFWS] "<" addr-spec ">" [CFWS]
//
// What stands before the last at sign of an address decides nothing and is not judged. Four
// departures leave no second reading and are read: words without quotes before the angle
// bracket (even with an at sign among them), a colon there that no semicolon makes a group, a
// name before an address without angle brackets, and angle brackets around nothing but others.
func parseMailbox(value string) (string, error) {
	s := scanner{rest: value}
	var bare address
	colon := false
	for {
		token := s.next()
		if colon && strings.IndexByte("\x00,;", token.kind) >= 0 {
			return "", GroupSyntax
		}
		switch token.kind {
		case end:
			return bare.result()
		case '<':
			return parseAngle(&s)
		case ',':
			return "", SeveralMailboxes
		case ':':
			colon = true
		case word, quoted, literal, '.', '@':
			bare.add(token)
		default:
			return "", NotMailbox
		}
	}
}

// parseAngle reads what follows the opening angle bracket, to the end of the value.
func parseAngle(s *scanner) (string, error) {
	var a address
	for {
		token := s.next()
		switch token.kind {
		case '<':
			if a.local {
				return "", NotMailbox
			}
		case '@':
			if !a.local { // obs-route = obs-domain-list ":", RFC 5322, section 4.4
				return "", RouteSyntax
			}
			a.add(token)
		case word, quoted, literal, '.':
			a.add(token)
		case '>':
			if !a.local && s.rest != "" {
				continue
			}
			return a.close(s)
		default:
			return "", NotMailbox
		}
	}
}

// address gathers the domain of an addr-spec, token by token: what follows the last at sign.
type address struct {
	local  bool // something stands before the first at sign
	at     bool
	ip     bool // the domain is a literal
	broken bool // what follows an at sign is no domain
	domain []byte
}

func (a *address) add(t token) {
	switch {
	case t.kind == '@':
		a.broken = a.broken || !a.local || a.at && len(a.domain) == 0
		a.at, a.ip, a.domain = true, false, a.domain[:0]
	case !a.at:
		a.local = true
	case t.kind == '.':
		a.domain = append(a.domain, '.')
	case len(a.domain) > 0 && a.domain[len(a.domain)-1] != '.', t.kind == quoted:
		a.broken = true // two words with no dot between them, or a string in a domain
	default:
		a.ip = a.ip || t.kind == literal
		a.domain = append(a.domain, t.text...)
	}
}

// close reads what follows the closing angle bracket.
func (a *address) close(s *scanner) (string, error) {
	for {
		switch s.next().kind {
		case '>':
		case end:
			return a.result()
		case ',':
			return "", SeveralMailboxes
		case ';':
			return "", GroupSyntax
		default:
			return "", NotMailbox
		}
	}
}

func (a *address) result() (string, error) {
	switch {
	case !a.at || a.broken || len(a.domain) == 0:
		return "", NotMailbox
	case a.ip:
		return "", IPLiteral
	}
	return string(a.domain), nil
}

// The kinds of tokens. A special character is its own kind.
const (
	end     = 0
	word    = 'a' // an atom; bytes from 0x80 on count as letters
	quoted  = 'q' // a quoted string
	literal = 'l' // a domain literal
	invalid = 'x' // an unterminated comment, string or literal
)

type token struct {
	kind byte
	text string // of a word or literal
}

// specials end an atom (RFC 5322, section 3.2.3). Those without a meaning of their own at top
// level, such as the backslash of a stray quoted pair, come out as tokens that nobody takes.
const specials = " \t()<>[]:;@\\,.\""

// scanner takes a From value apart in one pass, skipping white space and comments.
type scanner struct{ rest string }

func (s *scanner) next() token {
	for {
		s.rest = strings.TrimLeft(s.rest, wsp)
		if s.rest == "" {
			return token{kind: end}
		}
		switch c := s.rest[0]; c {
		case '(':
			if !s.comment() {
				return token{kind: invalid}
			}
		case '"':
			return s.delimited('"', quoted)
		case '[':
			return s.delimited(']', literal)
		default:
			n := strings.IndexAny(s.rest, specials)
			switch {
			case n == 0:
				s.rest = s.rest[1:]
				return token{kind: c}
			case n < 0:
				n = len(s.rest)
			}
			t := token{word, s.rest[:n]}
			s.rest = s.rest[n:]
			return t
		}
	}
}

// comment skips a comment, which may hold others.
func (s *scanner) comment() bool {
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				s.rest = s.rest[i+1:]
				return true
			}
		}
	}
	s.rest = ""
	return false
}

// delimited takes a quoted string or a domain literal, to its closing delimiter.
func (s *scanner) delimited(closing, kind byte) token {
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case closing:
			t := token{kind, s.rest[:i+1]}
			s.rest = s.rest[i+1:]
			return t
		}
	}
	s.rest = ""
	return token{kind: invalid}
}
