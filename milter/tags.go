package milter

import (
	"errors"
	"strings"
	"unicode"
)

// maxTags is how many tags a list may have. RFC 6376 knows 14.
const maxTags = 64

// tags is a tag list of DKIM, "name=value; name=value" (RFC 6376, section 3.2), of a signature
// or of a key record. Values have no white space at their ends.
type tags map[string]string

var (
	errTagSyntax    = errors.New("malformed tag list")
	errDuplicateTag = errors.New("a tag occurs twice")
	errTooManyTags  = errors.New("too many tags")
)

// parseTags returns what it read so far along with an error.
func parseTags(text string) (tags, error) {
	t := tags{}
	for spec := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(spec, "=")
		if name = strings.TrimSpace(name); !found || name == "" {
			if strings.TrimSpace(spec) == "" {
				continue
			}
			return t, errTagSyntax
		}
		if _, duplicate := t[name]; duplicate {
			return t, errDuplicateTag
		}
		if len(t) == maxTags {
			return t, errTooManyTags
		}
		t[name] = strings.TrimSpace(value)
	}
	return t, nil
}

// compact is a value without any white space.
func (t tags) compact(name string) string { return withoutSpace(t[name]) }

func (t tags) has(names ...string) bool {
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
