package dmarc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// readTags reads what follows the version:
//
//	dmarc-record = dmarc-version *(dmarc-sep dmarc-tag) [dmarc-sep]
//	dmarc-tag    = 1*ALPHA equals 1*dmarc-value
//
// Tag names may also hold digits and underscores, as in the syntax of DKIM that section 4.7
// builds on: such a tag is unknown, not an error.
func (r *Record) readTags(rest string) {
	seen := map[string]bool{"v": true}
	for more := true; more; {
		var element string
		element, rest, more = strings.Cut(rest, ";")
		if element = strings.Trim(element, wsp); element == "" {
			if more {
				r.warn("two semicolons with nothing between them")
			}
			continue
		}
		name, value, ok := strings.Cut(element, "=")
		name = lower(strings.TrimRight(name, wsp))
		if !ok || !validTagName(name) {
			r.fault("%+.*q is not of the form tag=value", maxQuoted, element)
			continue
		}
		if seen[name] {
			r.fault("%.*s occurs twice", maxQuoted, name)
			r.Standing = Broken
		}
		seen[name] = true
		tag := Tag{name, strings.TrimLeft(value, wsp)}
		r.Tags = append(r.Tags, tag)
		r.set(tag)
	}
}

func validTagName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '_' {
			return false
		}
	}
	return name != "" && !digit(name[0]) && name[0] != '_'
}

// set takes over the value of one tag. Values are matched without regard to case, as the
// strings of ABNF are (RFC 5234, section 2.3).
func (r *Record) set(tag Tag) {
	value := lower(tag.Value)
	switch tag.Name {
	case "p":
		r.hasP = r.setPolicy(&r.P, tag)
		if len(r.Tags) > 2 {
			r.warn("p does not follow v: some receivers of RFC 7489 want it there")
		}
	case "sp":
		r.badSP = !r.setPolicy(&r.SP, tag)
	case "np":
		r.setPolicy(&r.NP, tag)
	case "t":
		r.T = value == "y"
		r.check(value == "y" || value == "n", tag, "y or n")
	case "psd":
		r.check(oneOf(&r.PSD, value, PSDYes, PSDNo, PSDUnknown), tag, "y, n or u")
	case "adkim":
		r.check(oneOf(&r.ADKIM, value, Relaxed, Strict), tag, "r or s")
	case "aspf":
		r.check(oneOf(&r.ASPF, value, Relaxed, Strict), tag, "r or s")
	case "rua":
		r.RUA = r.readURIs(tag)
	case "ruf":
		r.RUF = r.readURIs(tag)
	case "fo":
		r.setFO(tag, value)
	case "pct", "ri", "rf":
		r.setObsolete(tag)
	default:
		r.warn("unknown tag %.*s: ignored", maxQuoted, tag.Name)
		r.check(printable(tag.Value), tag, "printable ASCII")
	}
}

// printable reports whether a value fits 1*dmarc-value, all that is asked of tags without a
// grammar of their own.
func printable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return value != ""
}

func (r *Record) setPolicy(p *Policy, tag Tag) bool {
	ok := oneOf(p, lower(tag.Value), PolicyNone, PolicyQuarantine, PolicyReject)
	r.badPolicy = r.badPolicy || !ok
	return r.check(ok, tag, "none, quarantine or reject")
}

// oneOf stores value in dst if it is one of the words.
func oneOf[T ~string](dst *T, value string, words ...T) bool {
	for _, word := range words {
		if value == string(word) {
			*dst = word
			return true
		}
	}
	return false
}

// setFO reads the options of failure reports:
//
//	dmarc-fo   = ("0" / "1") *(":" dmarc-afrf)
//	           / dmarc-afrf [":" ("0" / "1")] [":" dmarc-afrf]
//	           / *(dmarc-afrf ":") ("0" / "1")
//	dmarc-afrf = "d" / "s"  ; each at most once
//
// that is d, s, and one of 0 and 1, each at most once, in any order.
//
// RFC 7489 took 0 and 1 together, as in "0:1:d:s", and many records have them from there.
// Receivers discard that "in favor of default values" (section 4.8): no reason to call the
// record invalid.
func (r *Record) setFO(tag Tag, value string) {
	count := map[string]int{}
	for option := range strings.SplitSeq(value, ":") {
		count[option]++
	}
	valid := true
	for option, n := range count {
		valid = valid && n == 1 && slices.Contains([]string{"0", "1", "d", "s"}, option)
	}
	switch {
	case !r.check(valid, tag, "0 or 1, d and s, each at most once, with colons between them"):
	case count["0"]+count["1"] > 1:
		r.warn("fo=%s: 0 and 1 exclude each other since RFC 9989: receivers take the default, 0", value)
	default:
		r.FO = value
	}
}

// readURIs reads a list of destinations and keeps the valid ones.
func (r *Record) readURIs(tag Tag) []ReportURI {
	var uris []ReportURI
	n := 0
	for element := range strings.SplitSeq(tag.Value, ",") {
		if n++; n > maxURIs {
			r.warn("%s: only the first %d destinations are read", tag.Name, maxURIs)
			break
		}
		uri, err := parseReportURI(strings.Trim(element, wsp))
		if err != nil {
			r.fault("%s: %v", tag.Name, err)
			continue
		}
		uris = append(uris, uri)
		if _, mailto := cutScheme(uri.URI, "mailto"); !mailto {
			r.warn("%s: %+.*q: receivers need not support anything but mailto", tag.Name, maxQuoted, uri.URI)
		} else if uri.Address == "" {
			r.warn("%s: %+.*q has no address that mail could reach", tag.Name, maxQuoted, uri.URI)
		}
		if uri.URI != strings.Trim(element, wsp) {
			r.warn("%s: the size behind the exclamation point is obsolete: ignored", tag.Name)
		}
	}
	return uris
}

// setObsolete reads a tag of RFC 7489. RFC 9989 does not say what is valid in it.
func (r *Record) setObsolete(tag Tag) {
	r.warn("%s is obsolete since RFC 9989: ignored", tag.Name)
	r.check(printable(tag.Value), tag, "printable ASCII")
	switch n, err := strconv.ParseUint(tag.Value, 10, 32); {
	case tag.Name == "rf" && tag.Value != "":
		r.RF = lower(tag.Value)
	case tag.Name == "pct" && err == nil && n <= 100:
		r.PCT = int(n)
	case tag.Name == "ri" && err == nil:
		r.RI = uint32(n)
	}
}

// check records a fault unless ok.
func (r *Record) check(ok bool, tag Tag, want string) bool {
	if !ok {
		r.fault("%s=%+.*q: not %s", tag.Name, maxQuoted, tag.Value, want)
	}
	return ok
}

func (r *Record) fault(format string, args ...any) { addFinding(&r.Errors, format, args) }

func (r *Record) warn(format string, args ...any) { addFinding(&r.Warnings, format, args) }

// addFinding adds a finding once. A record is small, the findings on it need not be.
func addFinding(list *[]string, format string, args []any) {
	if len(*list) == maxFindings {
		return
	}
	if text := fmt.Sprintf(format, args...); !slices.Contains(*list, text) {
		*list = append(*list, text)
	}
}
