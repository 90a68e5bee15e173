package milter

import (
	"strings"

	"peerscore/assess/dmarc"
)

// Limits on the header of a message (assess/probe/limits.md, section 1). Past them nothing of it is kept, and the
// message is accepted without being evaluated.
const (
	maxHeader = 256 << 10 // bytes of names and values
	maxFields = 1000
)

// ownFields are the header fields that only we may write, in the order in which they stand in
// a delivered message.
var ownFields = [...]string{"Peer-Score", "Peer-Score-Confidentiality", "Peer-Score-Identity", "Peer-Score-Integrity"}

const resultsField = "Authentication-Results"

// field is one header field.
type field struct {
	name  string
	value string // what follows the colon, blank included; folds as LF
}

// is compares names as MTAs do: without regard to case, nor to blanks before the colon.
func (f field) is(name string) bool {
	return equalFold(strings.TrimRight(f.name, " \t"), name)
}

// equalFold compares without regard to the case of ASCII letters. Those of Unicode stay apart:
// to strings.EqualFold the long s is an s, to an MTA "Peer-ſcore" is another field.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// lower is text with its ASCII letters in lower case.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// raw is the field as it was sent, with the CR LF that ends it.
func (f field) raw() string {
	return f.name + ":" + strings.ReplaceAll(f.value, "\n", "\r\n") + "\r\n"
}

// header collects the fields of a message in their order.
type header struct {
	fields   []field
	size     int    // bytes of names and values
	lines    int    // as an MTA stores them, folds included
	complete bool   // an evaluation reads the fields: they stay as they are
	flaw     string // why the fields cannot be evaluated; "" when they can

	relaxedFields []string // see relaxed

	// Counted however many there are, since each has to go.
	copies [len(ownFields)]int // fields that claim to be ours, by name
	// results are the Authentication-Results, as long as the header keeps the limits.
	results      []resultsCopy
	resultCopies int
}

// resultsCopy is one Authentication-Results field of the message.
type resultsCopy struct{ servID, value string }

func (h *header) add(name, value string) {
	f := field{name, value}
	for i, own := range ownFields {
		if f.is(own) {
			h.copies[i]++
		}
	}
	if f.is(resultsField) {
		h.resultCopies++
	}
	h.size += len(name) + len(value)
	h.lines += 1 + strings.Count(value, "\n")
	switch {
	case h.flaw != "":
	case h.complete: // from no MTA
		h.flaw = "header field after the end of the header"
	case h.size > maxHeader || len(h.fields) >= maxFields:
		h.flaw = "header too large"
		h.fields, h.results = nil, nil
	case !validFolds(value):
		h.flaw = "malformed header field"
		h.fields, h.results = nil, nil
	default:
		h.fields = append(h.fields, f)
		if f.is(resultsField) {
			h.results = append(h.results, resultsCopy{servIDOf(value), value})
		}
	}
}

// validFolds reports whether each line break is followed by white space. No MTA sends others; a
// value with one would be several fields to the DKIM verifier, or the end of the header.
func validFolds(value string) bool {
	for i := range len(value) {
		if value[i] == '\n' && (i+1 == len(value) || value[i+1] != ' ' && value[i+1] != '\t') {
			return false
		}
	}
	return true
}

// from are the values of the From fields.
func (h *header) from() []string {
	var values []string
	for _, f := range h.fields {
		if dmarc.IsFromField(f.name) {
			values = append(values, f.value)
		}
	}
	return values
}

// changedOnTheWay reports whether the message shows that somebody handed it on, who may have
// broken the author's signature: a list, a forwarder that keeps an ARC chain, a re-sender.
func (h *header) changedOnTheWay() bool {
	for _, f := range h.fields {
		for _, prefix := range []string{"List-", "ARC-", "Resent-"} {
			if len(f.name) > len(prefix) && equalFold(f.name[:len(prefix)], prefix) {
				return true
			}
		}
	}
	return false
}
