package milter

import "slices"

// maxSharedBody is up to where all signatures have the body hashed, each for itself. In a longer
// one only the first signaturesOfLarge do (assess/probe/limits.md, section 1).
const (
	maxSharedBody     = 4 << 20
	signaturesOfLarge = 2
)

// bodyFeed gives the body to all verifications of a message, in the form that each wants. One
// canonicaliser does for all of a form.
type bodyFeed struct {
	to    []*verification  // that want more of it, the most important first
	forms [2]canonicaliser // simple and relaxed
	size  int              // octets of the body so far
	ended bool
}

func newBodyFeed(to []*verification) *bodyFeed {
	b := &bodyFeed{to: slices.Clone(to)}
	b.forms[1].relaxed = true
	for i := range b.forms {
		form := &b.forms[i]
		form.emit = func(piece []byte) {
			for _, v := range b.to {
				if v.relaxedBody == form.relaxed {
					v.feed(piece)
				}
			}
		}
	}
	return b
}

// write takes a chunk of the body.
func (b *bodyFeed) write(chunk []byte) {
	if b.ended {
		return
	}
	if b.size += len(chunk); b.size > maxSharedBody && len(b.to) > signaturesOfLarge {
		for _, v := range b.to[signaturesOfLarge:] {
			v.giveUp(bodyTooLarge)
		}
	}
	for i := range b.forms {
		if form := &b.forms[i]; b.wanted(form) {
			form.write(chunk)
			b.check(form)
		}
	}
	b.to = slices.DeleteFunc(b.to, func(v *verification) bool { return v.over })
}

// wanted reports whether a form of the body is still wanted.
func (b *bodyFeed) wanted(form *canonicaliser) bool {
	return slices.ContainsFunc(b.to, func(v *verification) bool { return v.relaxedBody == form.relaxed && !v.over })
}

// check ends the verifications that a form can no longer serve.
func (b *bodyFeed) check(form *canonicaliser) {
	for _, v := range b.to {
		if form.gaveUp && v.relaxedBody == form.relaxed {
			v.giveUp(tooManyBlankLines)
		}
	}
}

// end lets the verifications finish.
func (b *bodyFeed) end() {
	if b.ended {
		return
	}
	b.ended = true
	for i := range b.forms {
		if form := &b.forms[i]; b.wanted(form) {
			form.end()
			b.check(form)
		}
	}
	for _, v := range b.to {
		if v.watch.lap(); v.watch.budget.exceeded() {
			v.giveUp(tooDear)
		} else {
			v.end()
		}
	}
}

// giveUp ends all verifications; the body is not whole.
func (b *bodyFeed) giveUp(reason string) {
	b.ended = true
	for _, v := range b.to {
		v.giveUp(reason)
	}
}
