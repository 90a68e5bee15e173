package milter

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/dnsname"
)

// Limits on DKIM, all checked before any arithmetic or lookup (assess/probe/limits.md, section 1).
const (
	maxSignatures      = 5        // evaluated in one message
	maxSignatureLength = 16 << 10 // bytes of a DKIM-Signature field
	maxUnicodeNames    = 5        // d= in U-labels that are brought into the form of others
)

// signature is one DKIM-Signature field (RFC 6376, section 3.5), as far as its own text goes.
type signature struct {
	dkim.Signature
	index   int     // of the field in the header
	finding finding // what the text alone decides; zero when it decides nothing
}

// signatures are the ones worth an evaluation, those of the author first: of the very domain,
// then those that could be aligned with it, then, where all are wanted, others. It also tells
// how many that could be aligned were left out.
func (h *header) signatures(author dnsname.Domain, all bool, now time.Time) (chosen []signature, omitted int) {
	unicode := 0
	for i, f := range h.fields {
		if !f.is("DKIM-Signature") {
			continue
		}
		t, err := dkim.ParseTags(f.value)
		s := signature{index: i, Signature: dkim.Signature{Tags: t, Selector: lower(t.Compact("s"))}}
		if len(f.value) > maxSignatureLength {
			s.finding = notEvaluated("signature too long")
		} else if err != nil {
			s.finding = invalid("permerror", errors.Unwrap(err).Error()) // without the tag, which is the sender's
		}
		d := t.Compact("d")
		if strings.ContainsFunc(d, notASCII) {
			if unicode++; unicode > maxUnicodeNames {
				omitted++ // whether it could be aligned is not known
				continue
			}
		}
		if s.Domain, err = dnsname.Parse(d); err != nil || s.Domain.CheckPeer() != nil {
			continue // of no domain that could be aligned or looked up
		}
		if all || couldAlign(s.Domain, author) {
			chosen = append(chosen, s)
		}
	}
	slices.SortStableFunc(chosen, func(a, b signature) int {
		return cmp.Compare(rank(a.Domain, author), rank(b.Domain, author))
	})
	for _, s := range chosen[min(len(chosen), maxSignatures):] {
		if couldAlign(s.Domain, author) {
			omitted++
		}
	}
	chosen = chosen[:min(len(chosen), maxSignatures)]
	for i := range chosen {
		chosen[i].check(now)
	}
	return chosen, omitted
}

func notASCII(r rune) bool { return r >= utf8.RuneSelf }

// couldAlign reports whether two domains share two labels; with less they have no organisational
// domain in common (RFC 9989, section 4.10.2), which is known without a lookup.
func couldAlign(a, b dnsname.Domain) bool {
	labels := strings.Split(string(a), ".")
	return b != "" && b.Within(dnsname.Domain(strings.Join(labels[len(labels)-2:], ".")))
}

func rank(d, author dnsname.Domain) int {
	switch {
	case d == author:
		return 0
	case couldAlign(d, author):
		return 1
	}
	return 2
}

// check decides what the text alone decides.
func (s *signature) check(now time.Time) {
	if s.finding != (finding{}) {
		return
	}
	switch fault := s.Check(now); fault.Result {
	case "":
	case "neutral":
		s.finding = notEvaluated(fault.Reason)
	default:
		s.finding = invalid(fault.Result, fault.Reason)
	}
}

// id tells signatures apart, so that the replay of a message counts once. b= is not signed,
// and base64 has several spellings of the same bytes.
func (s *signature) id() assess.SignatureID {
	b, err := base64.StdEncoding.DecodeString(s.Compact("b"))
	if err != nil { // which no valid signature has
		b = nil
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(s.Domain), s.Selector, s.Compact("bh"), string(b)}, "\x00")))
	return assess.SignatureID(sum[:len(assess.SignatureID{})])
}

// accept judges a signature that is mathematically right by what its key says.
func (s *signature) accept(k dkim.Key) finding {
	host := s.IdentityHost()
	switch {
	case k.Strict && host != "" && host != string(s.Domain):
		return invalid("permerror", "t=s and i= below d=")
	case k.Testing:
		return finding{assess.Unknown, "policy", "the key is in test mode"}
	}
	return finding{assess.Pass, "pass", ""}
}

// misread reports whether go-msgauth may refuse the signature although it is valid: it cuts
// every "b=", also inside another value, and compares i= with regard to case.
func (s *signature) misread() bool {
	cuts := 0
	for name, value := range s.Tags {
		cuts += countCuts(name+"=") + countCuts(value)
	}
	identity, d := s.Compact("i"), s.Compact("d")
	return cuts > 1 || identity != "" && !strings.HasSuffix(identity, "@"+d) && !strings.HasSuffix(identity, "."+d)
}

// countCuts counts where go-msgauth finds a "b", white space, and "=", which it takes for the
// tag that it empties before it hashes the signature.
func countCuts(text string) (cuts int) {
	for {
		before, after, found := strings.Cut(text, "=")
		if !found {
			return cuts
		}
		if strings.HasSuffix(strings.TrimRight(before, " \t\r\n\f"), "b") {
			cuts++
		}
		text = after
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
