package milter

import "strings"

const (
	// maxBlankRun is how many octets of line ends in a row are kept until something follows
	// them. What follows more is not evaluated; where the body ends with them they do not count
	// (RFC 6376, sections 3.4.3 and 3.4.4).
	maxBlankRun = 64 << 10
	// pieceSize is from how many octets on go-msgauth gets them.
	pieceSize = 32 << 10
)

// canonicaliser brings a body into a canonical form of RFC 6376, section 3.4, and hands it on in
// pieces. go-msgauth does so again, to no effect, since the relaxed form of a relaxed body is
// itself; but it would keep white space and line ends for as long as nothing follows them, and
// copy them again with each piece. No piece ends with them here, so that what each takes is in
// proportion to its length.
//
// As in go-msgauth a bare LF is a line end, and a bare CR is text in the simple form and blank
// in the relaxed one.
type canonicaliser struct {
	relaxed bool
	emit    func(piece []byte) // which is good until emit returns

	piece   []byte
	run     []byte // line ends since the last text
	tooLong bool   // more of them than are kept
	cr      bool   // a CR whose LF may follow
	space   bool   // relaxed: white space since the last text of this line
	gaveUp  bool   // the body is not evaluated
}

// write takes the next octets of the body.
func (c *canonicaliser) write(chunk []byte) {
	for len(chunk) > 0 && !c.gaveUp {
		n := 1
		switch b := chunk[0]; {
		case b == '\n':
			c.cr, c.space = false, false
			c.blank('\r', '\n')
		case b == '\r':
			c.bareCR()
			c.cr = true
		case c.isText(b):
			c.bareCR()
			n = c.asItIs(chunk)
			c.put(chunk[:n])
		default:
			c.bareCR()
			c.space = true
		}
		chunk = chunk[n:]
	}
}

// isText reports whether an octet is neither of a line end nor, in the relaxed form, white space.
func (c *canonicaliser) isText(b byte) bool {
	return b > ' ' || b != '\n' && b != '\r' && (!c.relaxed || b != ' ' && b != '\t')
}

// asItIs is how many octets of a chunk that begins with text are in canonical form already, and
// end with text. Of ordinary mail that is nearly all of it.
func (c *canonicaliser) asItIs(chunk []byte) (n int) {
	for i := 0; i < len(chunk); n = i {
		switch b := chunk[i]; {
		case c.isText(b):
			i++
		case b == ' ' && i+1 < len(chunk) && c.isText(chunk[i+1]):
			i += 2
		case b == '\r' && i+2 < len(chunk) && chunk[i+1] == '\n' && c.isText(chunk[i+2]):
			i += 3
		default:
			return n
		}
	}
	return n
}

// bareCR ends the wait for the LF behind a CR.
func (c *canonicaliser) bareCR() {
	switch {
	case !c.cr:
	case c.relaxed:
		c.space = false
		c.blank('\r')
	default:
		c.put([]byte{'\r'})
	}
	c.cr = false
}

// blank keeps line ends.
func (c *canonicaliser) blank(octets ...byte) {
	if c.tooLong = c.tooLong || len(c.run)+len(octets) > maxBlankRun; !c.tooLong {
		c.run = append(c.run, octets...)
	}
}

// put hands on text, and what was kept before it.
func (c *canonicaliser) put(text []byte) {
	if c.gaveUp {
		return
	}
	if c.tooLong {
		c.gaveUp = true
		return
	}
	c.piece = append(c.piece, c.run...)
	c.run = c.run[:0]
	if c.space {
		c.piece = append(c.piece, ' ')
		c.space = false
	}
	if c.piece = append(c.piece, text...); len(c.piece) >= pieceSize {
		c.flush()
	}
}

func (c *canonicaliser) flush() {
	c.emit(c.piece)
	c.piece = c.piece[:0]
}

// end hands on what is left. Line ends at the end of the body are not: the verifier adds the
// one that belongs there.
func (c *canonicaliser) end() {
	c.bareCR()
	if len(c.piece) > 0 {
		c.flush()
	}
}

// isBlank reports whether an octet is white space of a header field.
func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// relaxed is relaxedField of a field of the header, made once for all signatures.
func (h *header) relaxed(i int) string {
	if h.relaxedFields == nil {
		h.relaxedFields = make([]string, len(h.fields))
	}
	if h.relaxedFields[i] == "" {
		h.relaxedFields[i] = h.fields[i].relaxedField()
	}
	return h.relaxedFields[i]
}

// relaxedField is a field whose value is in the relaxed form of RFC 6376, section 3.4.2, as
// go-msgauth reads it: a CR is white space there.
func (f field) relaxedField() string {
	var b strings.Builder
	b.Grow(len(f.name) + len(f.value) + 3)
	b.WriteString(f.name + ":")
	for i, start := 0, 0; i <= len(f.value); i++ {
		if i < len(f.value) && !isBlank(f.value[i]) {
			continue
		}
		if start < i {
			if b.Len() > len(f.name)+1 {
				b.WriteByte(' ')
			}
			b.WriteString(f.value[start:i])
		}
		start = i + 1
	}
	b.WriteString("\r\n")
	return b.String()
}
