package milter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strings"

	"peerscore/assess"
	"peerscore/assess/spf"
)

// verification is one signature under way (RFC 6376 section 6.1). The key is fetched and the
// signature over the header verified while the body arrives; its hash is compared at the end.
//
// go-msgauth reads a message to its end for each signature, octet by octet, which is most of
// what a large message costs. So the hashes are our own; a test holds them to go-msgauth's.
type verification struct {
	signature signature
	body      *bodyHash // shared by signatures that read the body alike; nil where nobody hashes it
	judge     func(key) finding
	done      chan struct{}

	// Valid once done is closed.
	key     key
	finding finding // zero while all is well and the body is to be compared
}

// newVerification prepares for the signature over the fields, which must not change any more.
func newVerification(fields []field, s signature) *verification {
	v := &verification{signature: s, done: make(chan struct{})}
	v.judge = func(k key) finding { return v.signature.verify(fields, k) }
	return v
}

// run fetches the key and verifies.
func (v *verification) run(ctx context.Context, r spf.Resolver) {
	defer close(v.done)
	if v.finding = v.signature.finding; v.finding != (finding{}) {
		return
	}
	v.finding = notEvaluated("internal error") // stays after a panic
	k, found := fetchKey(ctx, r, v.signature.keyName())
	if found == (finding{}) {
		found = v.judge(k)
	}
	v.key, v.finding = k, found
}

// conclude is the finding once the body has ended and done is closed. sums are hashes of bodies.
func (v *verification) conclude(sums map[*bodyHash][]byte) finding {
	switch {
	case v.finding != (finding{}):
		return v.finding
	case !bytes.Equal(sums[v.body], v.signature.bodySum):
		return invalid("fail", "body hash did not verify")
	}
	return v.signature.accept(v.key)
}

// verify tells what is wrong with a signature over the header, if anything.
func (s *signature) verify(fields []field, k key) finding {
	algorithm, _, _ := strings.Cut(s.tags.compact("a"), "-")
	switch {
	case algorithm != k.kind:
		return invalid("permerror", "the key is of another kind")
	case !k.verify(s.headerSum(fields), s.value):
		return invalid("fail", "signature did not verify")
	}
	return finding{}
}

// headerSum is the hash that was signed (section 3.7): of the fields that h= names, those of
// one name from the bottom up, and of the signature itself with b= empty.
func (s *signature) headerSum(fields []field) []byte {
	sum := sha256.New()
	found := map[string]int{} // where the last field of a name was
	for _, name := range s.signedNames() {
		i, again := found[name]
		if !again {
			i = len(fields)
		}
		for i--; i >= 0 && (i == s.index || !equalFold(strings.TrimSpace(fields[i].name), name)); {
			i--
		}
		if found[name] = max(i, 0); i >= 0 {
			sum.Write([]byte(fields[i].canonical(s.headerForm) + "\r\n"))
		}
	}
	sum.Write([]byte(fields[s.index].withoutB().canonical(s.headerForm)))
	return sum.Sum(nil)
}

// withoutB empties b= (section 3.5), and no other tag in whose value "b=" may stand.
func (f field) withoutB() field {
	specs := strings.Split(f.value, ";")
	for i, spec := range specs {
		if name, _, found := strings.Cut(spec, "="); found && strings.TrimSpace(name) == "b" {
			specs[i] = name + "="
		}
	}
	return field{f.name, strings.Join(specs, ";")}
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
