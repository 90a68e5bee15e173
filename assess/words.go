package assess

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"peerscore/assess/dnsname"
)

// maxQuoted is how much of a peer's text one finding repeats, in octets.
const maxQuoted = 300

// quoted is a peer's own text: in quotation marks, on one line, of printable characters.
func quoted(s string) string {
	return strconv.Quote(clipped(s))
}

// told is a sentence of the prober, which may repeat a peer's text within it: on one line, of
// printable characters.
func told(s string) string {
	var b strings.Builder
	for _, r := range clipped(s) {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		escape := strconv.QuoteRune(r)
		b.WriteString(escape[1 : len(escape)-1])
	}
	return b.String()
}

// hostName is a name out of a record or certificate: as it is where it could be a host's or a
// wildcard, else in quotation marks.
func hostName(s string) string {
	if s == "" || len(s) > dnsname.MaxLength || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.*") != "" {
		return quoted(s)
	}
	return s
}

func clipped(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= maxQuoted {
		return s
	}
	end := maxQuoted
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + " ..."
}

// or is the prober's own explanation of a check, or ours where it gave none.
func (c Check) or(ours string) string {
	if c.Detail == "" {
		return ours
	}
	return told(c.Detail)
}

// missing says why there are no records.
func (l Lookup) missing() string {
	reason := told(l.Reason)
	switch l.Status {
	case LookupNXDomain:
		return "the name does not exist"
	case LookupNoData:
		return "there are no " + l.Type + " records"
	case LookupUnknown:
		if reason == "" {
			return "not asked"
		}
	}
	if l.Security == BogusAnswer || l.Security == SuspectAnswer {
		failed := "DNSSEC validation failed"
		if reason != "" {
			failed += ", " + reason
		}
		reason = failed
	}
	switch {
	case l.Security == SuspectAnswer:
		return reason + "; lost packets look the same, so it counts only when a run at least 15 minutes later finds it too"
	case reason == "":
		return "no usable answer"
	}
	return reason
}
