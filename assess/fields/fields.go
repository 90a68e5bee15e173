// Package fields reads the TXT records of MTA-STS and TLS-RPT, whose grammars are the same but for
// names (RFC 8461, section 3.1; RFC 8460, section 3):
//
//	record = version 1*(field-delim field) [field-delim]
//	field-delim = *WSP ";" *WSP
package fields

import (
	"errors"
	"fmt"
	"strings"
)

// Space is white space.
const Space = " \t"

const maxName = 32 // characters of the name of a field

// Kind is one kind of record, with the errors of Select.
type Kind struct {
	Version string // with its tag: "v=STSv1"
	Near    string // how one begins that was probably meant, in any case: "v=STS"

	None, Several, Syntax error
}

// Select picks the record of a kind among all TXT records of a name, each with its strings joined.
// The error is, or wraps, one of the three of the kind; Syntax is where the only candidate is one
// that a sender will not recognise.
func (k Kind) Select(txts []string) (string, error) {
	var found []string
	nearMiss := ""
	for _, txt := range txts {
		if k.Announces(txt) {
			found = append(found, txt)
		} else if tag := strings.TrimLeft(txt, Space); len(tag) >= len(k.Near) && strings.EqualFold(tag[:len(k.Near)], k.Near) {
			nearMiss = txt
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%w: %d found", k.Several, len(found))
	case nearMiss != "":
		return "", fmt.Errorf("%w: %.80q does not begin with %q, so senders ignore it", k.Syntax, nearMiss, k.Version+";")
	}
	return "", k.None
}

// Announces reports whether a TXT record counts as one of the kind. The text of the RFCs wants it
// to begin with the version and a semicolon, the grammar allows white space between them (erratum
// 6285): both count.
func (k Kind) Announces(txt string) bool {
	rest, ok := strings.CutPrefix(txt, k.Version)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, Space), ";")
}

// Split takes a record apart at its semicolons, without the version and the white space around
// the semicolons. That at the end of the record stays.
func (k Kind) Split(txt string) ([]string, error) {
	if !k.Announces(txt) {
		return nil, fmt.Errorf("it does not begin with %q", k.Version+";")
	}
	list := strings.Split(txt, ";")[1:]
	last := len(list) - 1
	for i, field := range list {
		list[i] = strings.TrimLeft(field, Space)
		if i < last {
			list[i] = strings.TrimRight(list[i], Space)
		}
	}
	if list[last] == "" {
		list = list[:last]
	}
	for _, field := range list {
		if field == "" {
			return nil, errors.New("two semicolons with nothing between them")
		}
	}
	return list, nil
}

// Cut parts a field at its first equals sign.
func Cut(field string) (name, value string, err error) {
	name, value, ok := strings.Cut(field, "=")
	if !ok {
		return "", "", fmt.Errorf("%.80q is not a field of the form name=value", field)
	}
	return name, value, nil
}

// CheckExtension holds name and value to what an extension may have.
func CheckExtension(name, value string) error {
	switch {
	case !IsName(name):
		return fmt.Errorf("%.80q is not the name of a field", name)
	case !isValue(value):
		return fmt.Errorf("%s=%.80q: a value is printable ASCII without spaces, '=' and ';', and not empty", name, value)
	}
	return nil
}

// IsName reports whether s can be the name of a field: a letter or digit, then up to 31 of
// letters, digits, "_-.".
func IsName(s string) bool {
	if s == "" || len(s) > maxName || !Alphanumeric(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !Alphanumeric(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == ';' || c == '=' {
			return false
		}
	}
	return s != ""
}

// Alphanumeric reports whether an octet is a letter or a digit of ASCII.
func Alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
