package mtasts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"peerscore/assess/fields"
)

// MaxAge is the longest life that a policy may give itself, in seconds: about a
// year (RFC 8461, section 3.2).
const MaxAge = 31557600

// Mode is what senders do when an MX host fails the policy (section 5). The
// values are those of the wire.
type Mode string

const (
	Enforce Mode = "enforce" // do not deliver there
	Testing Mode = "testing" // deliver, and report (RFC 8460)
	None    Mode = "none"    // as if there were no policy
)

// Policy is a policy, RFC 8461, section 3.2.
type Policy struct {
	Mode       Mode
	MX         []string // patterns, lower case: a host name, or "*." and a name
	MaxAge     time.Duration
	Extensions []Field  // in the order of the policy
	Warnings   []string // valid enough to be understood, but worth fixing
}

// ParsePolicy reads the body of a policy. The error wraps ErrPolicySyntax or
// ErrTooLarge and names the line to fix.
func ParsePolicy(body string) (Policy, error) {
	if len(body) > MaxPolicy {
		return Policy{}, fmt.Errorf("MTA-STS policy %w: the limit is %d bytes", ErrTooLarge, MaxPolicy)
	}
	p := policyParser{seen: map[string]bool{}}
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if err := p.line(strings.TrimSuffix(line, "\r")); err != nil {
			return Policy{}, fmt.Errorf("%w: line %d: %w", ErrPolicySyntax, i+1, err)
		}
	}
	if err := p.complete(); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicySyntax, err)
	}
	return p.Policy, nil
}

type policyParser struct {
	Policy
	seen map[string]bool
}

// line reads one line, without its end. An empty line is outside the grammar,
// common, and harmless.
func (p *policyParser) line(line string) error {
	line = strings.TrimRight(line, fields.Space)
	if line == "" {
		p.warn("an empty line")
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%.80q is not a field of the form name: value", line)
	}
	if !fields.IsName(name) {
		return fmt.Errorf("%.80q is not the name of a field", name)
	}
	value = strings.TrimLeft(value, fields.Space)
	if !policyValue(value) {
		return fmt.Errorf("%s: %.80q is not a value: it is empty, or has control characters or broken UTF-8", name, value)
	}
	// "If any non-repeated field--i.e., all fields excepting "mx"--is duplicated,
	// all entries except for the first SHALL be ignored."
	if p.seen[name] && name != "mx" {
		p.warn("a field that stands there twice: only the first counts")
		return nil
	}
	p.seen[name] = true
	return p.field(name, value)
}

func (p *policyParser) field(name, value string) error {
	switch name {
	case "version":
		if value != version {
			return fmt.Errorf("version %.80q: it must be %s", value, version)
		}
	case "mode":
		p.Mode = Mode(value)
		if p.Mode != Enforce && p.Mode != Testing && p.Mode != None {
			return fmt.Errorf("mode %.80q: it must be enforce, testing or none, in lower case", value)
		}
	case "max_age":
		seconds, err := maxAge(value)
		p.MaxAge = seconds
		return err
	case "mx":
		if !validPattern(value) {
			return fmt.Errorf("mx %.80q: it must be a host name, or *. and a name, in ASCII and without a dot at its end", value)
		}
		p.MX = append(p.MX, strings.ToLower(value))
	default:
		p.Extensions = append(p.Extensions, Field{name, value})
	}
	return nil
}

// complete says what is missing once all lines are read.
func (p *policyParser) complete() error {
	for _, name := range []string{"version", "mode", "max_age"} {
		if !p.seen[name] {
			return fmt.Errorf("the %s is missing", name)
		}
	}
	if p.Mode != None && len(p.MX) == 0 {
		return fmt.Errorf("mode %s without any mx", p.Mode)
	}
	return nil
}

// warn adds a warning once, however often the policy earns it.
func (p *policyParser) warn(text string) {
	if !slices.Contains(p.Warnings, text) {
		p.Warnings = append(p.Warnings, text)
	}
}

// maxAge reads 1*10(DIGIT); erratum 7282 notes that more than 8 digits cannot be
// within the limit, save for zeros in front.
func maxAge(s string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) > 10 {
		return 0, fmt.Errorf("max_age %.80q: it must be a number of seconds, in at most 10 digits", s)
	}
	if seconds > MaxAge {
		return 0, fmt.Errorf("max_age %d: the longest allowed is %d seconds", seconds, MaxAge)
	}
	return time.Duration(seconds) * time.Second, nil
}

// policyValue reports whether s fits sts-policy-ext-value, which all values do:
// visible ASCII, UTF-8, and spaces inside.
func policyValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// validPattern reports whether s is ["*."] Domain, with the Domain of RFC 5321
// section 4.1.2, all of it A-labels.
func validPattern(s string) bool {
	name := strings.TrimPrefix(s, "*.")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !fields.Alphanumeric(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return len(name) <= 253
}

// Match returns the first mx pattern of the policy that allows an MX host, or
// false. A wildcard stands for exactly one label, the left-most (section 4.1).
func (p Policy) Match(host string) (pattern string, ok bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	label, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		name, wildcard := strings.CutPrefix(pattern, "*.")
		if wildcard && label != "" && label != "*" && parent == name || !wildcard && host == name {
			return pattern, true
		}
	}
	return "", false
}
