package dkim

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// MaxTags is how many tags a list may have. RFC 6376 knows 14.
const MaxTags = 64

// fws is the folding white space that may stand around a name or a value.
const fws = " \t\r\n"

// Tags is a tag list, "name=value; name=value" (RFC 6376, section 3.2), of a signature or of a
// key record. Values have no white space at their ends.
type Tags map[string]string

// What is wrong with a tag list.
var (
	ErrSyntax      = errors.New("malformed tag list")
	ErrDuplicate   = errors.New("a tag occurs twice")
	ErrTooManyTags = errors.New("too many tags")
)

// ParseTags returns what it read so far along with an error, which wraps one of those above and
// quotes the tag. Empty tags, as of two semicolons in a row, are passed over.
func ParseTags(text string) (Tags, error) {
	t := Tags{}
	for spec := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(spec, "=")
		if name = strings.Trim(name, fws); !found && name == "" {
			continue
		}
		if !found || name == "" || strings.ContainsFunc(name, unicode.IsSpace) {
			return t, fmt.Errorf("%w: %.40q", ErrSyntax, spec)
		}
		if _, duplicate := t[name]; duplicate {
			return t, fmt.Errorf("%w: %.20q", ErrDuplicate, name)
		}
		if len(t) == MaxTags {
			return t, fmt.Errorf("%w: %.20q is past the limit", ErrTooManyTags, name)
		}
		t[name] = strings.Trim(value, fws)
	}
	return t, nil
}

// Compact is a value without any white space.
func (t Tags) Compact(name string) string { return withoutSpace(t[name]) }

// list is a value that is a list of words between colons.
func (t Tags) list(name string) []string { return strings.Split(t.Compact(name), ":") }

func (t Tags) has(names ...string) bool {
	for _, name := range names {
		if _, ok := t[name]; !ok {
			return false
		}
	}
	return true
}

func withoutSpace(s string) string {
	if !strings.ContainsFunc(s, unicode.IsSpace) {
		return s
	}
	var b strings.Builder
	for word := range strings.FieldsSeq(s) {
		b.WriteString(word)
	}
	return b.String()
}
