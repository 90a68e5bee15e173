package milter

import (
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"peerscore/assess"
	"peerscore/assess/spf"
)

const (
	// maxBlankRun is after how many bytes of CR and LF in a row a body is no longer fed to
	// go-msgauth, whose simple canonicalisation takes quadratic time over blank lines.
	maxBlankRun = 64 << 10
	// pieceSize is how much of a body go-msgauth gets at once.
	pieceSize = 32 << 10
)

// verification is one signature on its way through go-msgauth, which sees that signature
// alone, the fields that it signs, and the body as it streams by. go-msgauth pulls what it
// reads, the MTA pushes it: the verifier is a coroutine of the session, so that no piece of the
// body is kept or changes hands.
type verification struct {
	signature signature
	head      string // what go-msgauth reads before the body
	judge     func(key) finding

	looked  <-chan struct{} // closed when the key has come, or never will
	key     key
	finding finding // valid once the coroutine has ended

	resume func() (struct{}, bool) // up to where the next piece of the body is wanted
	stop   func()
	begun  bool
	more   func() bool // waits for the next piece; false at the end of the body
	piece  []byte
	gaveUp bool // the body is not whole
}

// newVerification prepares for the signature; the rest of the header is left out, so that its
// size does not matter. A signature may sign another: those follow it.
func (e *evaluation) newVerification(s signature) *verification {
	h := &e.message.header
	var head strings.Builder
	head.WriteString(h.fields[s.index].raw())
	signed := map[string]bool{}
	for _, name := range s.signedNames() {
		signed[name] = true
	}
	for i, f := range h.fields {
		if i != s.index && signed[strings.ToLower(strings.TrimSpace(f.name))] {
			head.WriteString(f.raw())
		}
	}
	head.WriteString("\r\n")
	v := &verification{signature: s, head: head.String(), finding: s.finding, looked: nothingToLookUp}
	v.judge = v.verify
	v.resume, v.stop = iter.Pull(func(yield func(struct{}) bool) {
		v.more = func() bool { return yield(struct{}{}) }
		e.message.server.contain(v.run)
	})
	return v
}

// lookUp fetches the key, unless the text of the signature decides.
func (v *verification) lookUp(e *evaluation) {
	if v.finding != (finding{}) {
		return
	}
	v.looked = e.lookUp(func(r spf.Resolver) {
		v.finding = notEvaluated("internal error") // stays after a panic
		v.key, v.finding = fetchKey(e.ctx, r, v.signature.keyName())
	})
}

// run is the coroutine.
func (v *verification) run() {
	if <-v.looked; v.finding == (finding{}) {
		v.finding = notEvaluated("internal error") // stays after a panic
		v.finding = v.judge(v.key)
	}
}

func (v *verification) verify(k key) finding {
	results, err := dkim.VerifyWithOptions(&pieceReader{rest: []byte(v.head), more: v.next}, &dkim.VerifyOptions{
		LookupTXT:        func(string) ([]string, error) { return []string{k.record}, nil },
		MaxVerifications: 1, // ours is the first
	})
	switch {
	case v.gaveUp:
		return notEvaluated("too many blank lines")
	case len(results) != 1:
		return notEvaluated(fmt.Sprintf("no result: %v", err))
	case results[0].Err != nil && v.signature.misread():
		return notEvaluated("a form that go-msgauth misreads")
	case results[0].Err != nil:
		token := "fail"
		if dkim.IsPermFail(results[0].Err) {
			token = "permerror"
		}
		// Behind another colon go-msgauth quotes what it could not read, which is the sender's.
		reason, _, _ := strings.Cut(strings.TrimPrefix(results[0].Err.Error(), "dkim: "), ":")
		return invalid(token, reason)
	}
	return v.signature.accept(k)
}

// accept judges a signature that is mathematically right by what its key says.
func (s *signature) accept(k key) finding {
	_, host, _ := cutLast(s.tags.compact("i"), "@")
	switch {
	case k.strictly && host != "" && !strings.EqualFold(host, string(s.domain)):
		return invalid("permerror", "t=s and i= below d=")
	case k.testing:
		return finding{assess.Unknown, "policy", "the key is in test mode"}
	}
	return finding{assess.Pass, "pass", ""}
}

// bTag finds what go-msgauth empties before it hashes the signature.
var bTag = regexp.MustCompile(`b\s*=`)

// misread tells whether go-msgauth may refuse the signature although it is valid: it cuts
// every "b=", also inside another value, and compares i= with regard to case.
func (s *signature) misread() bool {
	text := ""
	for name, value := range s.tags {
		text += name + "=" + value + ";"
	}
	identity, d := s.tags.compact("i"), s.tags.compact("d")
	return len(bTag.FindAllString(text, 2)) > 1 ||
		identity != "" && !strings.HasSuffix(identity, "@"+d) && !strings.HasSuffix(identity, "."+d)
}

// feed gives the verifier a piece of the body, which it is through with when feed returns.
func (v *verification) feed(piece []byte) {
	v.begin()
	v.piece = piece
	v.resume()
}

// begin has the verifier read the head.
func (v *verification) begin() {
	if !v.begun {
		v.begun = true
		v.resume()
	}
}

// end lets the verifier finish; gaveUp says that the body was not whole.
func (v *verification) end(gaveUp bool) {
	v.gaveUp = gaveUp
	v.begin()
	v.stop()
}

// next waits for a piece; the second result is false at the end.
func (v *verification) next() ([]byte, bool) {
	if !v.more() {
		return nil, false
	}
	return v.piece, true
}

// pieceReader gives out head and body. It ends in EOF, never in an error, because go-msgauth
// leaks goroutines otherwise.
type pieceReader struct {
	rest []byte
	more func() ([]byte, bool)
}

func (r *pieceReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var ok bool
		if r.rest, ok = r.more(); !ok {
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo saves go-msgauth's canonicaliser from small buffers.
func (r *pieceReader) WriteTo(w io.Writer) (written int64, err error) {
	for ok := true; ok; r.rest, ok = r.more() {
		n, err := w.Write(r.rest)
		if written += int64(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// bodyFeed gives the body to all verifications of a message.
type bodyFeed struct {
	to    []*verification
	blank int // CR and LF in a row at the end of what has been fed
	ended bool
}

func (b *bodyFeed) write(chunk []byte) {
	for len(chunk) > 0 && !b.ended {
		piece := chunk[:min(len(chunk), pieceSize)]
		chunk = chunk[len(piece):]
		if b.tooBlank(piece) {
			b.end(true)
			return
		}
		for _, v := range b.to {
			v.feed(piece)
		}
	}
}

// tooBlank counts runs that reach the end of a piece; one within a piece is short enough.
func (b *bodyFeed) tooBlank(piece []byte) bool {
	leading := 0
	for leading < len(piece) && isLineEnd(piece[leading]) {
		leading++
	}
	if b.blank += leading; b.blank > maxBlankRun {
		return true
	}
	if leading < len(piece) {
		b.blank = 0
		for isLineEnd(piece[len(piece)-1-b.blank]) {
			b.blank++
		}
	}
	return false
}

func isLineEnd(c byte) bool { return c == '\r' || c == '\n' }

// end lets the verifications finish; gaveUp says that the body was not whole.
func (b *bodyFeed) end(gaveUp bool) {
	if b.ended {
		return
	}
	b.ended = true
	for _, v := range b.to {
		v.end(gaveUp)
	}
}
