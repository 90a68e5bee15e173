package spf

import (
	"net/netip"
	"strings"
)

// The shortest prefixes of a network that still says something about a client: the largest
// allocations that one provider sends from are IPv4 /12 and IPv6 /32.
const (
	NarrowBits4 = 12
	NarrowBits6 = 32
)

// wide reports whether a match of d says little about the client: everybody matches, or whoever
// wants to. target is d's expanded domain, network what matched.
func (e *evaluation) wide(d *Directive, target string, network netip.Prefix) bool {
	switch d.Mechanism {
	case IP4, IP6:
		return wideNetwork(network)
	case A, MX:
		return wideNetwork(network) || !d.Domain.anchored()
	case PTR:
		// Below other domains than the sender's own may be a provider's whole customer base.
		return !within(target, e.senderDomain)
	case Exists:
		return !d.Domain.anchored() || wideBits(d.Domain.addressBits(e.ip.Is4()), e.ip.Is4())
	}
	return true // all
}

func wideNetwork(network netip.Prefix) bool {
	return wideBits(network.Bits(), network.Addr().Is4())
}

func wideBits(bits int, is4 bool) bool {
	if is4 {
		return bits < NarrowBits4
	}
	return bits < NarrowBits6
}

// anchored reports whether the publisher chose the domain that s ends in, at least two labels of it.
// A HELO name, a local part or a PTR name at the end lets the client point s to a zone of its own.
func (s DomainSpec) anchored() bool {
	tail, foreign := s.Text, false
	for text := s.Text; ; {
		m, rest, found := cutMacro(text)
		if !found {
			break
		}
		text = rest
		own := (m.letter == 'd' || m.letter == 'o') && !m.reverse && m.parts != 1 && m.delims == ""
		if m.letter != 0 && !own {
			tail, foreign = rest, true
		}
	}
	if !foreign {
		return true
	}
	// What stands before the first dot only completes a label that the macro began.
	_, labels, _ := strings.Cut(strings.TrimSuffix(tail, "."), ".")
	return strings.Contains(labels, "%{") || strings.IndexByte(labels, '.') > 0
}

// addressBits is how many leading bits of the client's address the macros "i" of s reveal to the
// zone that s points to.
func (s DomainSpec) addressBits(is4 bool) int {
	parts, each := 32, 4
	if is4 {
		parts, each = 4, 8
	}
	most := 0
	for text := s.Text; ; {
		m, rest, found := cutMacro(text)
		if !found {
			return most
		}
		text = rest
		whole := m.parts == 0 || m.parts >= parts || m.delims != "" && strings.IndexByte(m.delims, '.') < 0
		switch {
		case m.letter != 'i':
		case whole:
			return parts * each
		case m.reverse:
			most = max(most, m.parts*each)
		}
	}
}

// cutMacro finds the first macro of text, which has been checked, and what follows it.
func cutMacro(text string) (m macro, rest string, found bool) {
	i := strings.IndexByte(text, '%')
	if i < 0 {
		return m, "", false
	}
	m, length, _ := readMacro(text[i:])
	return m, text[i+length:], true
}
