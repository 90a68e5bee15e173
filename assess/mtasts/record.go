package mtasts

import (
	"fmt"
	"slices"
	"strings"

	"peerscore/assess/fields"
)

const (
	version = "STSv1"
	maxID   = 32 // letters and digits of an id
)

// Record is a record of _mta-sts, RFC 8461, section 3.1.
type Record struct {
	ID         string   // 1 to 32 letters and digits; a new one announces a new policy
	Extensions []Field  // in the order of the record
	Warnings   []string // valid, and yet likely to be misread by some senders
}

// Select picks the MTA-STS record among all TXT records at RecordName, each with
// its strings joined. Records that do not begin with "v=STSv1;" do not count. The
// error is ErrNoRecord, ErrMultipleRecords, or ErrRecordSyntax where the only
// candidate is one that a sender will not recognise.
func Select(txts []string) (string, error) { return kind.Select(txts) }

var kind = fields.Kind{Version: "v=" + version, Near: "v=STS", None: ErrNoRecord, Several: ErrMultipleRecords, Syntax: ErrRecordSyntax}

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
	list, err := kind.Split(txt)
	if err != nil {
		return r, err
	}
	if !strings.HasPrefix(txt, kind.Version+";") {
		r.warn("white space before the first semicolon: some senders ignore such a record")
	}
	for _, field := range list {
		name, value, err := fields.Cut(field)
		if err != nil {
			return r, err
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
		if err := fields.CheckExtension(name, value); err != nil {
			return r, err
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

func validID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if !fields.Alphanumeric(s[i]) {
			return false
		}
	}
	return true
}
