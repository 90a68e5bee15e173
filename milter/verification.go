package milter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"peerscore/assess/dkim"
	"peerscore/assess/spf"
)

// Limits on what go-msgauth is given of one message (assess/probe/limits.md, section 1).
const (
	// maxFolding bounds what the header costs, of all signatures. go-msgauth copies a field anew
	// for each of its lines; of the relaxed form, which has no folds, it makes a list of the
	// words; in the signature itself it searches each octet for b=. The weights are as measured.
	// Of a short header with few signatures it is less, as the rest of such a message costs less.
	maxFolding    = 16 << 20
	shortFolding  = 4 << 20 // for each signature
	perHeaderByte = 512

	perFold     = 6 // for each octet of the field
	perOctet    = 128
	perWord     = 2048
	perOwnOctet = 512
)

// verification is one signature on its way through go-msgauth, which sees that signature
// alone, the fields that it signs, and the body as it streams by. go-msgauth pulls what it
// reads, the MTA pushes it: the verifier is a coroutine of the session, so that no piece of the
// body is kept or changes hands.
type verification struct {
	signature signature
	header    *header
	fields    []int // what go-msgauth reads of the header, the signature first
	judge     func(dkim.Key) finding

	relaxedHeader, relaxedBody bool // the canonicalisation that the signature asks for

	watch   *stopwatch      // of the session
	looked  <-chan struct{} // closed when the key has come, or never will
	key     dkim.Key
	finding finding // valid once the coroutine has ended

	resume func() (struct{}, bool) // up to where the next piece of the body is wanted
	stop   func()
	begun  bool
	over   bool        // no piece is wanted any more
	more   func() bool // waits for the next piece; false at the end of the body
	piece  []byte
	gaveUp string // why the body is not whole; "" when it is
}

// newVerification prepares for the signature; the rest of the header is left out, so that its
// size does not matter. A signature may sign another: those follow it.
func newVerification(s signature, h *header, watch *stopwatch, contain func(func())) *verification {
	v := &verification{signature: s, header: h, fields: h.signed(&s), finding: s.finding, looked: nothingToLookUp, watch: watch}
	header, body, _ := strings.Cut(s.Compact("c"), "/") // RFC 6376, section 3.5
	v.relaxedHeader, v.relaxedBody = header == "relaxed", body == "relaxed"
	v.judge = v.verify
	v.resume, v.stop = iter.Pull(func(yield func(struct{}) bool) {
		v.more = func() bool { return yield(struct{}{}) }
		contain(v.run)
	})
	return v
}

// signed are the fields that go-msgauth needs for a signature: its own, and of each name in h=
// as many as h= has of it, counted from the bottom (RFC 6376, section 5.4.2).
func (h *header) signed(s *signature) []int {
	wanted := map[string]int{}
	for _, name := range s.SignedNames() {
		wanted[name]++
	}
	var list []int
	for i := len(h.fields) - 1; i >= 0; i-- {
		name := strings.ToLower(strings.TrimSpace(h.fields[i].name))
		if i != s.index && wanted[name] > 0 {
			wanted[name]--
			list = append(list, i)
		}
	}
	list = append(list, s.index)
	slices.Reverse(list)
	return list
}

// foldingLimit is how much a header may cost so many signatures together.
func (h *header) foldingLimit(signatures int) int {
	return min(maxFolding, signatures*shortFolding+perHeaderByte*h.size)
}

// folding is what the form of the fields costs, in the measure of maxFolding.
func (v *verification) folding() (cost int) {
	cost = perOwnOctet * len(v.header.fields[v.signature.index].value)
	for _, i := range v.fields {
		cost += perOctet * len(v.header.fields[i].value)
		if v.relaxedHeader {
			cost += perWord * (1 + strings.Count(v.header.relaxed(i), " "))
		} else {
			value := v.simple(i).value
			cost += perFold * len(value) * strings.Count(value, "\n")
		}
	}
	return cost
}

// head is what go-msgauth reads before the body.
func (v *verification) head() []byte {
	var b bytes.Buffer
	for _, i := range v.fields {
		if v.relaxedHeader {
			b.WriteString(v.header.relaxed(i))
		} else {
			b.WriteString(v.simple(i).raw())
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// simple is a field for simple canonicalization, which keeps it as it is but for the value of b=:
// that is not hashed (RFC 6376, section 3.7), so that the white space in it can go.
func (v *verification) simple(i int) field {
	f := v.header.fields[i]
	if i != v.signature.index {
		return f
	}
	tags := strings.Split(f.value, ";")
	for n, tag := range tags {
		if name, value, _ := strings.Cut(tag, "="); strings.TrimSpace(name) == "b" {
			tags[n] = name + "=" + strings.Join(strings.Fields(value), "")
		}
	}
	f.value = strings.Join(tags, ";")
	return f
}

// fetchKey looks the key up.
func (v *verification) fetchKey(ctx context.Context, r spf.Resolver) {
	v.finding = notEvaluated(internalError) // stays after a panic
	v.key, v.finding = fetchKey(ctx, r, v.signature.KeyName())
}

// run is the coroutine.
func (v *verification) run() {
	if v.finding == (finding{}) {
		v.finding = notEvaluated(internalError) // stays after a panic
		v.finding = v.judge(v.key)
	}
}

func (v *verification) verify(k dkim.Key) finding {
	results, err := msgauth.VerifyWithOptions(&pieceReader{rest: v.head(), more: v.next}, &msgauth.VerifyOptions{
		LookupTXT:        func(string) ([]string, error) { return []string{k.Record}, nil },
		MaxVerifications: 1, // ours is the first
	})
	switch {
	case v.gaveUp != "":
		return notEvaluated(v.gaveUp)
	case len(results) != 1:
		return notEvaluated(fmt.Sprintf("no result: %v", err))
	case results[0].Err != nil && v.signature.misread():
		return notEvaluated(misreadForm)
	case results[0].Err != nil:
		token := "fail"
		if msgauth.IsPermFail(results[0].Err) {
			token = "permerror"
		}
		// Behind another colon go-msgauth quotes what it could not read, which is the sender's.
		reason, _, _ := strings.Cut(strings.TrimPrefix(results[0].Err.Error(), "dkim: "), ":")
		return invalid(token, reason)
	}
	return v.signature.accept(k)
}

// feed gives the verifier a piece of the body, which it is through with when feed returns.
func (v *verification) feed(piece []byte) {
	v.begin()
	v.piece = piece
	v.goOn()
}

// begin waits for the key and has the verifier read the head.
func (v *verification) begin() {
	if !v.begun {
		v.begun = true
		v.watch.wait(v.looked)
		v.goOn()
	}
}

func (v *verification) goOn() {
	if !v.over {
		_, wanted := v.resume()
		v.over = !wanted
	}
}

// end lets the verifier finish.
func (v *verification) end() {
	v.begin()
	v.stop()
	v.over = true
}

// giveUp ends a verification that gets no more of the body, unless it is over.
func (v *verification) giveUp(reason string) {
	if v.over {
		return
	}
	v.gaveUp = reason
	if !v.begun {
		v.begun = true
		if v.watch.wait(v.looked); v.finding == (finding{}) {
			v.finding = notEvaluated(reason)
		}
	}
	v.stop()
	v.over = true
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
