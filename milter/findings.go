package milter

import (
	"peerscore/assess"
	"peerscore/assess/spf"
)

// authentication is what SPF, DKIM and DMARC say of one message.
type authentication struct {
	spf        spf.Outcome
	spfAligned bool // a pass of MAIL FROM is aligned with the author, as a proof needs it
	signatures []signature
	dkim       assess.Result // Pass: aligned and valid. Fail: there is none. Unknown: it could not be told
	valid      []signature   // those that are aligned and valid
	dkimResult string        // the same as a token; "none" without a signature of the author's
	// Fail: the author's record asks for more than the message has. Pass: it does not, or there is
	// no such record. Unknown: it could not be told.
	dmarc       assess.Result
	dmarcResult string // as it was found, or told by an earlier milter
	exhausted   bool   // there were more DNS lookups to make than one message may cause
	host        hostName
	incomplete  bool // some lookup failed for the time being, or something was not evaluated
}

// finding is the answer for one signature, with its token of RFC 8601, section 2.7.1. Unknown
// with a token means: it could not be told, and is not to be held against anybody.
type finding struct {
	result assess.Result
	token  string
	reason string
}

// untold means that an answer may exist: it is worth another try, or another limit.
func (f finding) untold() bool {
	return f.result == assess.Unknown && (f.token == "temperror" || f.token == "neutral")
}

func invalid(token, reason string) finding { return finding{assess.Fail, token, reason} }
func notEvaluated(reason string) finding   { return finding{assess.Unknown, "neutral", reason} }
func tempError(reason string) finding      { return finding{assess.Unknown, "temperror", reason} }

// Reasons why something of a message was not evaluated, as the log and Stats.Limits have them.
const (
	tooLate           = "no answer in time"
	tooDear           = "too much CPU time"
	tooManyBlankLines = "too many blank lines"
	tooManyFolds      = "too many folds or words in signed fields"
	bodyTooLarge      = "body too large for so many signatures"
)

// Reasons that are no limit, for which a signature was not evaluated either.
const (
	notReported   = "not reported by the earlier milter"
	misreadForm   = "a form that go-msgauth misreads"
	internalError = "internal error"
)

// limit is what a message ran into, as a label of the metrics.
type limit int

const (
	limitHeader    limit = iota // size or number of its fields, or their form
	limitTime                   // for the answer
	limitCPU                    // CPU time
	limitBlank                  // blank lines within the body
	limitFolds                  // of signed fields
	limitBody                   // size of the body
	limitSignature              // of a signature or its key
	limits
)

var limitNames = [limits]string{"header", "time", "cpu", "blank_lines", "folds", "body", "signature"}

// limit is which limit a signature ran into, if it was not evaluated because of one.
func (f finding) limit() (l limit, met bool) {
	switch {
	case f.token != "neutral", f.reason == notReported, f.reason == misreadForm, f.reason == internalError:
		return 0, false
	case f.reason == tooDear:
		return limitCPU, true
	case f.reason == tooManyBlankLines:
		return limitBlank, true
	case f.reason == tooManyFolds:
		return limitFolds, true
	case f.reason == bodyTooLarge:
		return limitBody, true
	}
	return limitSignature, true
}
