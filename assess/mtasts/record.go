package mtasts

import (
	"fmt"
	"slices"
	"strings"
)

const (
	version   = "STSv1"
	recordTag = "v=" + version
	maxID     = 32 // letters and digits of an id
)

// Record is a record of _mta-sts, RFC 8461 section 3.1.
type Record struct {
	ID         string   // 1 to 32 letters and digits; a new one announces a new policy
	Extensions []Field  // in the order of the record
	Warnings   []string // valid, and yet likely to be misread by some senders
}

// Select picks the MTA-STS record among all TXT records at RecordName, each with
// its strings joined. Records that do not begin with "v=STSv1;" do not count. The
// error is ErrNoRecord, ErrMultipleRecords, or ErrRecordSyntax where the only
// candidate is one that a sender will not recognise.
func Select(txts []string) (string, error) {
	var found []string
	nearMiss := ""
	for _, txt := range txts {
		if announces(txt) {
			found = append(found, txt)
		} else if tag := strings.TrimLeft(txt, wsp); len(tag) >= 5 && strings.EqualFold(tag[:5], "v=sts") {
			nearMiss = txt
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%w: %d found", ErrMultipleRecords, len(found))
	case nearMiss != "":
		return "", fmt.Errorf("%w: %.80q does not begin with %q, so senders ignore it", ErrRecordSyntax, nearMiss, recordTag+";")
	}
	return "", ErrNoRecord
}

// announces says whether a TXT record counts as an MTA-STS record. The text wants
// it to begin with "v=STSv1;", the grammar allows white space before the
// semicolon (erratum 6285): both count.
func announces(txt string) bool {
	rest, ok := strings.CutPrefix(txt, recordTag)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, wsp), ";")
}

// ParseRecord reads one record, its strings joined. The error wraps
// ErrRecordSyntax or ErrTooLarge and says what to fix.
func ParseRecord(txt string) (Record, error) {
	if len(txt) > MaxRecord {
		return Record{}, fmt.Errorf("MTA-STS record %w: %d bytes, the limit is %d", ErrTooLarge, len(txt), MaxRecord)
	}
	r, err := parseRecord(txt)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecordSyntax, err)
	}
	return r, nil
}

func parseRecord(txt string) (Record, error) {
	var r Record
	fields, err := splitRecord(txt)
	if err != nil {
		return r, err
	}
	if !strings.HasPrefix(txt, recordTag+";") {
		r.warn("white space before the first semicolon: some senders ignore such a record")
	}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return r, fmt.Errorf("%.80q is not a field of the form name=value", field)
		}
		// Section 3.2, of records and policies: "If any non-repeated field [...] is
		// duplicated, all entries except for the first SHALL be ignored."
		if name == "id" && r.ID == "" {
			if !validID(value) {
				return r, fmt.Errorf("id %.80q: an id is 1 to %d letters and digits", value, maxID)
			}
			r.ID = value
			continue
		}
		if !fieldName(name) {
			return r, fmt.Errorf("%.80q is not the name of a field", name)
		}
		if !fieldValue(value) {
			return r, fmt.Errorf("%s=%.80q: a value is printable ASCII without spaces, '=' and ';', and not empty", name, value)
		}
		if name == "id" {
			r.warn("a second id: only the first counts")
			continue
		}
		r.Extensions = append(r.Extensions, Field{name, value})
	}
	if r.ID == "" {
		return r, fmt.Errorf("the id is missing")
	}
	return r, nil
}

// warn adds a warning once, however often the record earns it.
func (r *Record) warn(text string) {
	if !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// splitRecord takes a record apart at its semicolons, without the version and the
// white space around the semicolons:
//
//	sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]
//	sts-field-delim = *WSP ";" *WSP
func splitRecord(txt string) ([]string, error) {
	if !announces(txt) {
		return nil, fmt.Errorf("it does not begin with %q", recordTag+";")
	}
	fields := strings.Split(txt, ";")[1:]
	last := len(fields) - 1
	for i, field := range fields {
		fields[i] = strings.TrimLeft(field, wsp)
		if i < last {
			fields[i] = strings.TrimRight(fields[i], wsp)
		}
	}
	if fields[last] == "" {
		fields = fields[:last]
	}
	for _, field := range fields {
		if field == "" {
			return nil, fmt.Errorf("two semicolons with nothing between them")
		}
	}
	return fields, nil
}

func validID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) {
			return false
		}
	}
	return true
}

// fieldValue says whether s fits sts-ext-value.
func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == ';' || c == '=' {
			return false
		}
	}
	return s != ""
}
