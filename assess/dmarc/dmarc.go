// Package dmarc is DMARC, RFC 9989 (with the check of report destinations of RFC 9990):
// the policy record (section 4.8), the DNS Tree Walk that finds the record and the
// organisational domain of a name (4.10), identifier alignment (4.10.2), the result for one
// message (5.3), and the author domain of a From field.
//
// The owner of a domain publishes what receivers shall do with mail that carries the domain
// in From without proof, and where reports go:
//
//	_dmarc.example.org. TXT "v=DMARC1; p=reject; sp=quarantine; rua=mailto:dmarc@example.org"
//
// The proof is an authenticated identifier, the MAIL FROM domain that passed SPF or the d= of
// a valid DKIM signature, that is aligned with the author domain: equal to it (strict) or of
// the same organisational domain (relaxed).
//
// Records written for RFC 7489 are read too: the tags it had and RFC 9989 has not are kept
// and reported as obsolete.
//
// Left out: SPF and DKIM themselves, sending and reading reports, and any handling of mail.
// All lookups go through the Resolver of the caller, who also owns deadlines and caching.
package dmarc

import (
	"context"
	"errors"
)

// Limits on what a peer may cost. A walk makes 8 queries at most (RFC 9989, section 4.10), and
// those of one evaluation share them: mostly they meet after one or two.
const (
	MaxRecord = 4 << 10 // bytes of a TXT record, its strings joined; longer ones are never applied

	maxTags     = 64 // of a record, of which RFC 9989 knows 11; one with more is never applied
	maxQueries  = 8  // of one evaluation: the author's walk, and those of its identifiers
	maxFindings = 20 // errors, and as many warnings, kept of one record
	maxURIs     = 20 // destinations read of a rua or a ruf; two are what a receiver must serve (RFC 7489, section 6.2)
	maxQuoted   = 80 // bytes of foreign text in one finding
)

// Resolver looks up the TXT records of a name, the strings of each record joined, as
// *net.Resolver does. A *net.DNSError with IsNotFound means that there is none; every other
// error is taken as temporary. Names come without the trailing dot.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Policy is what the domain owner asks for mail that fails: the "Domain Owner Assessment
// Policy". The zero value means that none is stated, or that it is not known.
type Policy string

// The policies of section 4.7.
const (
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// Mode is how close an identifier must be to the author domain.
type Mode string

// The alignment modes of section 4.7.
const (
	Relaxed Mode = "r" // the same organisational domain
	Strict  Mode = "s" // the same domain
)

// PSD reports whether a record stands at a public suffix domain.
type PSD string

// The values of the psd tag, section 4.7.
const (
	PSDYes     PSD = "y" // a public suffix: organisational domains begin one label below
	PSDNo      PSD = "n" // an organisational domain, whatever stands above it
	PSDUnknown PSD = "u" // the default: the walk decides
)

// Answer is a yes, a no, or the zero value: not known, or not asked.
type Answer string

// The answers.
const (
	Unknown Answer = ""
	Yes     Answer = "yes"
	No      Answer = "no"
)

// Result is the result of DMARC for one message, as Authentication-Results names it (section 9.2).
type Result string

// The results.
const (
	ResultNone      Result = "none"      // no record applies
	ResultPass      Result = "pass"      // an authenticated identifier is aligned
	ResultFail      Result = "fail"      // none is
	ResultTempError Result = "temperror" // a lookup failed, and its answer would have decided
	ResultPermError Result = "permerror" // the record that applies cannot be read
)

// Why a TXT record is no DMARC record.
var (
	ErrNotRecord = errors.New("not a DMARC record")
	ErrTooLarge  = errors.New("DMARC record too large")
)

// ErrTooManyQueries is the temporary failure of what needs more than 8 queries.
var ErrTooManyQueries = errors.New("too many DMARC queries for one message")
