package milter

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// Limits on DKIM, all checked before any arithmetic or lookup (security.md).
const (
	maxSignatures      = 5        // evaluated in one message
	maxSignatureLength = 16 << 10 // bytes of a DKIM-Signature field
	maxSignedNames     = 100      // names in h=
	maxUnicodeNames    = 5        // d= in U-labels that are brought into the form of others
)

// signature is one DKIM-Signature field (RFC 6376, section 3.5), as far as its own text goes.
type signature struct {
	index    int            // of the field in the header
	domain   dnsname.Domain // d=
	selector string         // s=
	tags     tags
	finding  finding // what the text alone decides; zero when it decides nothing
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
		t, err := parseTags(f.value)
		s := signature{index: i, tags: t, selector: lower(t.compact("s"))}
		if len(f.value) > maxSignatureLength {
			s.finding = notEvaluated("signature too long")
		} else if err != nil {
			s.finding = invalid("permerror", err.Error())
		}
		d := t.compact("d")
		if strings.ContainsFunc(d, notASCII) {
			if unicode++; unicode > maxUnicodeNames {
				omitted++ // whether it could be aligned is not known
				continue
			}
		}
		if s.domain, err = dnsname.Parse(d); err != nil || s.domain.CheckPeer() != nil {
			continue // of no domain that could be aligned or looked up
		}
		if all || couldAlign(s.domain, author) {
			chosen = append(chosen, s)
		}
	}
	slices.SortStableFunc(chosen, func(a, b signature) int {
		return cmp.Compare(rank(a.domain, author), rank(b.domain, author))
	})
	for _, s := range chosen[min(len(chosen), maxSignatures):] {
		if couldAlign(s.domain, author) {
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

// check decides what the tags alone decide (RFC 6376, section 6.1.1, RFC 8301).
func (s *signature) check(now time.Time) {
	if s.finding != (finding{}) {
		return
	}
	if name := s.selector + "." + string(s.domain); strings.ContainsFunc(name, notASCII) {
		s.selector = strings.TrimSuffix(asciiDomain(name), "."+string(s.domain))
	}
	names := strings.Count(s.tags["h"], ":") + 1
	algorithm := s.tags.compact("a")
	expires, expiryErr := strconv.ParseInt(s.tags.compact("x"), 10, 64)
	_, hasExpiry := s.tags["x"]
	_, partial := s.tags["l"]
	switch {
	case s.tags["v"] != "1" || !s.tags.has("a", "b", "bh", "d", "h", "s"):
		s.finding = invalid("permerror", "a required tag is missing")
	case names > maxSignedNames:
		s.finding = notEvaluated("too many names in h=")
	case !slices.Contains(s.signedNames(), "from"):
		s.finding = invalid("permerror", "From is not signed")
	case algorithm != "rsa-sha256" && algorithm != "ed25519-sha256":
		s.finding = invalid("permerror", "algorithm not allowed")
	case partial:
		s.finding = invalid("policy", "l= leaves part of the body unsigned")
	case hasExpiry && (expiryErr != nil || now.Unix() > expires):
		s.finding = invalid("fail", "expired")
	case !validKeyName(s.keyName()):
		s.finding = invalid("permerror", "s= is no name")
	case !s.ownsIdentity(string(s.domain)):
		s.finding = invalid("permerror", "i= is not within d=")
	}
}

// keyName is where the key stands.
func (s *signature) keyName() string { return s.selector + "._domainkey." + string(s.domain) }

// signedNames are the names of h= in lower case.
func (s *signature) signedNames() []string {
	return strings.Split(strings.ToLower(s.tags.compact("h")), ":")
}

// identityHost is the domain of i=, in lower case and as A-labels; "" for none, as without an at sign.
func (s *signature) identityHost() string {
	_, host, _ := cutLast(s.tags.compact("i"), "@")
	return asciiDomain(strings.ToLower(host))
}

// ownsIdentity reports whether i= lies within the domain, in whatever case it is written.
func (s *signature) ownsIdentity(domain string) bool {
	if _, given := s.tags["i"]; !given {
		return true
	}
	host := s.identityHost()
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// id tells signatures apart, so that the replay of a message counts once. b= is not signed,
// and base64 has several spellings of the same bytes.
func (s *signature) id() assess.SignatureID {
	b, err := base64.StdEncoding.DecodeString(s.tags.compact("b"))
	if err != nil { // which no valid signature has
		b = nil
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(s.domain), s.selector, s.tags.compact("bh"), string(b)}, "\x00")))
	return assess.SignatureID(sum[:len(assess.SignatureID{})])
}

// accept judges a signature that is mathematically right by what its key says.
func (s *signature) accept(k key) finding {
	host := s.identityHost()
	switch {
	case k.strictly && host != "" && host != string(s.domain):
		return invalid("permerror", "t=s and i= below d=")
	case k.testing:
		return finding{assess.Unknown, "policy", "the key is in test mode"}
	}
	return finding{assess.Pass, "pass", ""}
}

// misread reports whether go-msgauth may refuse the signature although it is valid: it cuts
// every "b=", also inside another value, and compares i= with regard to case.
func (s *signature) misread() bool {
	cuts := 0
	for name, value := range s.tags {
		cuts += countCuts(name+"=") + countCuts(value)
	}
	identity, d := s.tags.compact("i"), s.tags.compact("d")
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

// validKeyName holds key names to letters, digits, hyphens and underscores before any query.
func validKeyName(name string) bool {
	if len(name) > dnsname.MaxLength {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
