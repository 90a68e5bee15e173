// Package dkim reads the texts of DKIM Signatures, RFC 6376 with RFC 8301 and RFC 8463: key
// records, and DKIM-Signature fields as far as their own text goes.
//
//	v=1; a=rsa-sha256; d=example.org; s=k; h=from; bh=...; b=...   a signature
//	k._domainkey.example.org. TXT "v=DKIM1; k=rsa; p=..."          its key
//
// Errors are written for the postmaster who has to fix the record. They quote a record, and
// never a signature, of which the sender of a message may have written anything.
//
// Left out: lookups, the hashes, and all arithmetic.
package dkim

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"peerscore/assess/dnsname"
)

// MaxSignedNames is how many names h= may have.
const MaxSignedNames = 100

// Signature is one DKIM-Signature field (RFC 6376, section 3.5).
type Signature struct {
	Tags
	Domain   dnsname.Domain // d=
	Selector string         // s=; as A-labels once Check was called
}

// Fault is what the text of a signature alone decides, with its result of RFC 8601, section
// 2.7.1: "permerror", "policy", "fail", or "neutral" where it is not worth an evaluation. The zero
// value decides nothing.
type Fault struct{ Result, Reason string }

// Check reads the tags (RFC 6376, section 6.1.1; RFC 8301, section 3).
func (s *Signature) Check(now time.Time) Fault {
	if strings.ContainsFunc(s.Selector, notASCII) {
		s.Selector = strings.TrimSuffix(dnsname.ALabels(s.Selector+"."+string(s.Domain)), "."+string(s.Domain))
	}
	algorithm := s.Compact("a")
	expires, expiryErr := strconv.ParseInt(s.Compact("x"), 10, 64)
	switch {
	case s.Tags["v"] != "1" || !s.has("a", "b", "bh", "d", "h", "s"):
		return Fault{"permerror", "a required tag is missing"}
	case strings.Count(s.Tags["h"], ":")+1 > MaxSignedNames:
		return Fault{"neutral", "too many names in h="}
	case !slices.Contains(s.SignedNames(), "from"):
		return Fault{"permerror", "From is not signed"}
	case algorithm != "rsa-sha256" && algorithm != "ed25519-sha256":
		return Fault{"permerror", "algorithm not allowed"}
	case s.has("l"):
		return Fault{"policy", "l= leaves part of the body unsigned"}
	case s.has("x") && (expiryErr != nil || now.Unix() > expires):
		return Fault{"fail", "expired"}
	case !dnsname.Queryable(s.KeyName()):
		return Fault{"permerror", "s= is no name"}
	case !s.ownsIdentity():
		return Fault{"permerror", "i= is not within d="}
	}
	return Fault{}
}

func notASCII(r rune) bool { return r >= utf8.RuneSelf }

// KeyName is where the key stands (RFC 6376, section 3.6.2.1).
func (s *Signature) KeyName() string { return s.Selector + "._domainkey." + string(s.Domain) }

// SignedNames are the names of h= in lower case.
func (s *Signature) SignedNames() []string {
	return strings.Split(strings.ToLower(s.Compact("h")), ":")
}

// IdentityHost is the domain of i=, in lower case and as A-labels; "" for none, as without an at sign.
func (s *Signature) IdentityHost() string {
	i := s.Compact("i")
	at := strings.LastIndexByte(i, '@')
	if at < 0 {
		return ""
	}
	return dnsname.ALabels(strings.ToLower(i[at+1:]))
}

// ownsIdentity reports whether i= lies within d=, in whatever case it is written.
func (s *Signature) ownsIdentity() bool {
	host := s.IdentityHost()
	return !s.has("i") || host == string(s.Domain) || strings.HasSuffix(host, "."+string(s.Domain))
}
