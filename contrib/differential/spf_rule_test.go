package differential

import (
	"regexp"
	"slices"
	"strings"

	"peerscore/assess/spf"
)

// spfDispute is a case in which a peer answers otherwise than package spf.
type spfDispute struct {
	*spfCase
	ours    spf.Outcome
	theirs  spfAnswer
	records string // the SPF records that our evaluation reached, a line each
}

// spfRule is a known disagreement: when it applies, and the section of the standard that ours follows.
type spfRule struct {
	name    string
	section string
	applies func(d spfDispute) bool
}

var blitiriRules = []spfRule{
	{"takes the first @ for the end of the local part", "RFC 5321, section 4.1.2", quotedAt},
	{"takes a sender without @ for a local part", "RFC 7208, section 4.3", func(d spfDispute) bool {
		return d.From != "" && !strings.Contains(d.From, "@")
	}},
	{"leaves an empty local part empty", "RFC 7208, section 4.3", emptyLocalPart},
	{"does not see syntax errors behind the match", "RFC 7208, section 4.6", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, "(octet ") && d.theirs.Result != "permerror"
	}},
	{"expands the name of a domain that holds a percent sign", "RFC 7208, section 4.8", func(d spfDispute) bool {
		return d.theirs.Problem == "invalid macro" && d.askedLike(`%`)
	}},
	{"refuses a slash in a domain-spec", "RFC 7208, section 7.1", func(d spfDispute) bool {
		return d.theirs.Result == "permerror" && regexp.MustCompile(`[:=][^ ]*/[^ ]*\.|%{[^ }]*/`).MatchString(d.records)
	}},
	{"knows no validated names", "RFC 7208, section 7.3", func(d spfDispute) bool {
		return regexp.MustCompile(`%{[pP]`).MatchString(d.records)
	}},
	{"asks for both families, so that one of them is enough", "RFC 7208, sections 5.3 and 5.7", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, spf.VoidLimitExceeded) && d.oneFamily()
	}},
	{"fails when the other family fails", "RFC 7208, section 5.3", func(d spfDispute) bool {
		return d.theirs.Result == "temperror" && d.askedFails("A", "AAAA")
	}},
	{"asks for the addresses of all MX hosts first", "RFC 7208, section 5.4", otherMXFails},
	{"counts the client's missing PTR records once", "RFC 7208, section 4.6.4", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, spf.VoidLimitExceeded) && strings.Count(strings.ToLower(d.records), "ptr") > 1
	}},
	{"escapes a blank as +", "RFC 7208, section 7.3", func(d spfDispute) bool {
		return strings.Contains(d.From, " ") && regexp.MustCompile(`%{[LS]`).MatchString(d.records)
	}},
	{"joins consecutive delimiters", "RFC 7208, section 7.3", func(d spfDispute) bool {
		return strings.Contains(d.From, "--") && regexp.MustCompile(`%{[lsLS][^ }]*-`).MatchString(d.records)
	}},
}

var pyspfRules = []spfRule{
	{"takes the first @ for the end of the local part", "RFC 5321, section 4.1.2", quotedAt},
	{"counts void lookups of MX hosts, PTR names and records", "RFC 7208, section 4.6.4", func(d spfDispute) bool {
		return strings.Contains(d.theirs.Explanation, "Void lookup limit") && d.ours.Result != spf.PermError
	}},
	{"leaves an empty local part empty", "RFC 7208, section 4.3", emptyLocalPart},
	{"asks for the addresses of all MX hosts first", "RFC 7208, section 5.4", otherMXFails},
	{"takes macros that keep zero parts", "RFC 7208, section 7.3", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, "zero parts")
	}},
	{"takes other delimiters", "RFC 7208, section 7.1", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, "transformer or delimiter")
	}},
	{"takes exists without a domain behind a qualifier", "RFC 7208, section 5.7", func(d spfDispute) bool {
		return regexp.MustCompile(`domain missing in "[-+?~]exists"`).MatchString(d.ours.Problem)
	}},
	{"takes octets that are not printable ASCII", "RFC 7208, section 7.1", func(d spfDispute) bool {
		return strings.Contains(d.ours.Problem, "not printable") && strings.Contains(d.records, "\x00")
	}},
	{"knows modifiers in lower case only", "RFC 7208, section 4.6.1", func(d spfDispute) bool {
		return regexp.MustCompile(`Redirect=|EXP=`).MatchString(d.records)
	}},
	{"joins parts with the delimiters found", "RFC 7208, section 7.3", func(d spfDispute) bool {
		return regexp.MustCompile(`%{[^lsLS}][^ }]*[-+=_]`).MatchString(d.records)
	}},
	{"fails when a PTR or its name fails", "RFC 7208, section 5.5", func(d spfDispute) bool {
		return d.theirs.Result == "temperror" && regexp.MustCompile(`(?i)ptr|%{p`).MatchString(d.records)
	}},
	{"refuses an include of the domain itself, reached or not", "RFC 7208, section 4.6.2", func(d spfDispute) bool {
		return strings.Contains(d.theirs.Explanation, "trivial recursion")
	}},
	{"expands the name of a domain that holds a percent sign", "RFC 7208, section 4.8", func(d spfDispute) bool {
		return strings.Contains(d.theirs.Explanation, "invalid-macro-char") && d.askedLike(`%`)
	}},
	{"refuses a repeated unknown modifier", "RFC 7208, section 6", func(d spfDispute) bool {
		return regexp.MustCompile(`^SPF Permanent Error: x[^ ]*= MUST appear at most once`).MatchString(d.theirs.Explanation)
	}},
}

func quotedAt(d spfDispute) bool { return strings.Count(d.From, "@") > 1 }

// otherMXFails: an MX host matches, and a later one, which need not be asked for any more, fails.
func otherMXFails(d spfDispute) bool {
	if d.theirs.Result != "temperror" {
		return false
	}
	for name := range d.asked {
		for _, line := range d.lines(name) {
			fields := strings.Fields(line)
			if fields[0] == "MX" && slices.ContainsFunc(d.lines(fields[2]), func(l string) bool { return strings.HasPrefix(l, "FAIL") }) {
				return true
			}
		}
	}
	return false
}

// emptyLocalPart: the macros l and s need the "postmaster" that takes the place of the local part.
func emptyLocalPart(d spfDispute) bool {
	return d.From != "" && strings.LastIndex(d.From, "@") < 1 && regexp.MustCompile(`%{[lsLS]`).MatchString(d.records)
}

// askedLike reports whether our evaluation asked for a name that holds part.
func (d spfDispute) askedLike(part string) bool {
	for name := range d.asked {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// oneFamily reports whether a name that was asked for has addresses of one family only.
func (d spfDispute) oneFamily() bool {
	for name := range d.asked {
		text := "\n" + strings.Join(d.lines(name), "\n")
		if strings.Contains(text, "\nA ") != strings.Contains(text, "\nAAAA ") {
			return true
		}
	}
	return false
}

// askedFails reports whether one of the types fails for a name that was asked for.
func (d spfDispute) askedFails(types ...string) bool {
	for name := range d.asked {
		for _, line := range d.lines(name) {
			for _, rrtype := range types {
				if line == "FAIL" || line == "FAIL "+rrtype {
					return true
				}
			}
		}
	}
	return false
}
