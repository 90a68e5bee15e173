package dmarc

import (
	"errors"
	"fmt"
	"strings"
)

const wsp = " \t"

// Tag is one tag of a record as published, white space around it dropped.
type Tag struct {
	Name  string // in lower case
	Value string
}

// Standing is what a receiver does with a record, RFC 9989, section 4.10.1.
type Standing string

// The standings of a record.
const (
	Applied Standing = "applied" // as it reads
	AsNone  Standing = "as-none" // as p=none: p is missing, or p, sp or np is invalid, and rua names a destination
	Ignored Standing = "ignored" // the same without a destination: no DMARC processing
	Broken  Standing = "broken"  // a tag occurs twice, which makes the whole list invalid (RFC 6376, section 3.2)
)

// Record is a DMARC policy record, RFC 9989, section 4.7. The fields hold the reading of a
// receiver: invalid and absent tags have their defaults, and under AsNone the policy is none.
// Of a Broken record only Text, Tags and Errors mean anything.
type Record struct {
	Text string // as received
	Tags []Tag  // in the order of the record, v first

	P     Policy // never empty
	SP    Policy // for existing subdomains; "" when absent
	NP    Policy // for subdomains that do not exist; "" when absent
	T     bool   // test mode: the owner expects one level less than stated
	PSD   PSD
	ADKIM Mode
	ASPF  Mode
	RUA   []ReportURI // the valid destinations of aggregate reports
	RUF   []ReportURI // the valid destinations of failure reports
	FO    string      // failure reporting options such as "1:d", in lower case

	// Tags of RFC 7489 that RFC 9989 removed; receivers of today ignore them.
	PCT int    // percentage of failing mail that the policy is for, 0 to 100
	RI  uint32 // seconds between aggregate reports
	RF  string // formats of failure reports, colon-separated

	Standing Standing
	Errors   []string // against the grammar of RFC 9989, section 4.8, in words for the owner
	Warnings []string // valid, and yet obsolete, ignored, or misread by some receivers

	hasP      bool // a valid p is there
	badSP     bool // sp is invalid
	badPolicy bool // p, sp or np is invalid
}

// Err is nil when the record is valid exactly by RFC 9989, section 4.8. A record that is not
// may still be applied: see Standing.
func (r Record) Err() error {
	if len(r.Errors) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.Errors, "; "))
}

// Select picks the policy record among the TXT records of one name, and counts the DMARC
// records there. It is nil unless there is exactly one: section 4.10, steps 2 and 6, has
// several of them discarded, and records of another kind do not count.
func Select(txts []string) (*Record, int) {
	only, n := "", 0
	for _, txt := range txts {
		if _, ok := cutVersion(txt); ok {
			only = txt
			n++
		}
	}
	if n != 1 {
		return nil, n
	}
	record, err := Parse(only)
	if err != nil {
		return nil, n
	}
	return &record, n
}

// Parse reads one TXT record, its strings joined. The error is ErrNotRecord where the record
// does not begin with v=DMARC1, and then it does not count at all, or ErrTooLarge. Everything
// else that is wrong with a record is in the Record.
func Parse(txt string) (Record, error) {
	rest, ok := cutVersion(txt)
	switch {
	case !ok:
		return Record{}, fmt.Errorf("%w: it does not begin with v=DMARC1", ErrNotRecord)
	case len(txt) > MaxRecord:
		return Record{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(txt), MaxRecord)
	case strings.Count(rest, ";") >= maxTags:
		return Record{}, fmt.Errorf("%w: more than %d tags", ErrTooLarge, maxTags)
	}
	r := Record{
		Text: txt, Tags: []Tag{{"v", "DMARC1"}}, Standing: Applied,
		P: PolicyNone, PSD: PSDUnknown, ADKIM: Relaxed, ASPF: Relaxed, FO: "0",
		PCT: 100, RI: 86400, RF: "afrf",
	}
	r.readTags(rest)
	r.settle()
	return r, nil
}

// cutVersion takes the version off, and the semicolon behind it. The version is case
// sensitive (section 4.7: it "MUST match precisely"), the name of the tag is not.
func cutVersion(txt string) (rest string, ok bool) {
	if txt == "" || txt[0]|0x20 != 'v' { // nothing may stand before it, not even a blank
		return "", false
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(txt[1:], wsp), "=")
	if !ok {
		return "", false
	}
	if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, wsp), "DMARC1"); !ok {
		return "", false
	}
	if rest = strings.TrimLeft(rest, wsp); rest == "" {
		return "", true
	}
	return strings.CutPrefix(rest, ";")
}

// settle decides how the record stands once all tags are read.
func (r *Record) settle() {
	if r.Standing == Broken {
		return
	}
	if len(r.RUF) == 0 && r.FO != "0" {
		r.warn("fo is ignored without ruf")
	}
	if r.hasP && !r.badPolicy {
		return
	}
	// "If a retrieved DMARC Policy Record does not contain a valid "p" tag, or contains an
	// "sp" or "np" tag that is not valid", section 4.10.1.
	r.P, r.SP, r.NP = PolicyNone, "", ""
	r.Standing = Ignored
	if len(r.RUA) > 0 {
		r.Standing = AsNone
	}
	switch {
	case r.badPolicy: // an error already
	case r.Standing == AsNone:
		r.warn("no p: the record is read as p=none")
	default:
		r.warn("no p, and no destination in rua: receivers ignore the record")
	}
}

// policy is what the record asks for mail of its own domain, or of a subdomain that exists
// or does not, one level less in test mode (section 4.7). It is "" where the record does not
// apply.
func (r Record) policy(subdomain, exists bool) Policy {
	if r.Standing != Applied && r.Standing != AsNone {
		return ""
	}
	p := r.P
	if subdomain {
		switch {
		case !exists && r.NP != "":
			p = r.NP
		case r.SP != "":
			p = r.SP
		}
	}
	if r.T {
		switch p {
		case PolicyReject:
			return PolicyQuarantine
		case PolicyQuarantine:
			return PolicyNone
		}
	}
	return p
}
