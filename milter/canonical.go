package milter

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"strings"
)

// canonicalisation is how a signature reads a header or a body (RFC 6376 section 3.4).
type canonicalisation string

const (
	simpleForm  canonicalisation = "simple"
	relaxedForm canonicalisation = "relaxed"
)

// canonicalisations reads c=; ok is false where it names one that is not known.
func (t tags) canonicalisations() (header, body canonicalisation, ok bool) {
	first, second, both := strings.Cut(t.compact("c"), "/")
	header, body = canonicalisation(first), canonicalisation(second)
	if first == "" {
		header = simpleForm
	}
	if !both {
		body = simpleForm
	}
	return header, body, header.known() && body.known()
}

func (c canonicalisation) known() bool { return c == simpleForm || c == relaxedForm }

// canonical is the field as it is hashed, without the CR LF at its end.
func (f field) canonical(c canonicalisation) string {
	if c == simpleForm {
		return strings.TrimSuffix(f.raw(), "\r\n")
	}
	words := strings.FieldsFunc(f.value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' })
	return lower(strings.TrimSpace(f.name)) + ":" + strings.Join(words, " ")
}

// bodyHash is the hash of a body that streams by. It keeps nothing of the body, and takes the
// same time for each octet whatever they are. A line that ends in LF alone counts as ended by
// CR LF; a CR alone is an octet like any other.
type bodyHash struct {
	canonicalisation
	sum   hash.Hash
	out   []byte // what is hashed next: a hash likes large pieces
	ends  int    // line ends that count if more text follows
	blank bool   // blanks that count, as one, if more text follows on the line
	cr    bool   // a CR that may be half of a line end
	text  bool   // there is any
}

// hashPiece is how much is hashed at once.
const hashPiece = 4 << 10

var crlf = []byte("\r\n")

func newBodyHash(c canonicalisation) *bodyHash {
	return &bodyHash{canonicalisation: c, sum: sha256.New(), out: make([]byte, 0, hashPiece)}
}

// write takes the next octets.
func (b *bodyHash) write(chunk []byte) {
	for len(chunk) > 0 {
		line, rest, ended := bytes.Cut(chunk, crlf[1:])
		chunk = rest
		if b.cr && (len(line) > 0 || !ended) {
			b.add(crlf[:1])
		}
		if b.cr = len(line) > 0 && line[len(line)-1] == '\r'; b.cr {
			line = line[:len(line)-1]
		}
		b.add(line)
		if ended {
			b.ends++
			b.blank, b.cr = false, false
		}
	}
}

// finish is the hash of the whole.
func (b *bodyHash) finish() []byte {
	if b.cr {
		b.add(crlf[:1])
	}
	if b.text || b.canonicalisation == simpleForm {
		b.append(crlf)
	}
	b.sum.Write(b.out)
	return b.sum.Sum(nil)
}

// add takes a piece of a line.
func (b *bodyHash) add(piece []byte) {
	if b.canonicalisation == relaxedForm {
		for len(piece) > 0 && isBlank(piece[0]) {
			piece, b.blank = piece[1:], true
		}
	}
	if len(piece) == 0 {
		return
	}
	for ; b.ends > 0; b.ends-- {
		b.append(crlf)
	}
	b.text = true
	if b.canonicalisation == simpleForm {
		b.append(piece)
	} else {
		b.addRelaxed(piece)
	}
}

// addRelaxed takes text that does not begin with a blank. Runs of blanks become one; the last
// has to wait for what follows.
func (b *bodyHash) addRelaxed(text []byte) {
	if b.blank {
		b.append([]byte{' '})
		b.blank = false
	}
	for begin, i := 0, 0; ; {
		for i < len(text) && !isBlank(text[i]) {
			i++
		}
		end := i
		for i < len(text) && isBlank(text[i]) {
			i++
		}
		switch {
		case i == len(text):
			b.append(text[begin:end])
			b.blank = end < i
			return
		case i == end+1 && text[end] == ' ': // as most are
		default:
			b.append(text[begin:end])
			b.append([]byte{' '})
			begin = i
		}
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func (b *bodyHash) append(p []byte) {
	if len(b.out)+len(p) > cap(b.out) {
		b.sum.Write(b.out)
		b.out = b.out[:0]
		if len(p) > cap(b.out) {
			b.sum.Write(p)
			return
		}
	}
	b.out = append(b.out, p...)
}
