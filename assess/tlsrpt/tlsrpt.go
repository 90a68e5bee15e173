// Package tlsrpt reads the TXT record of SMTP TLS Reporting, RFC 8460, section 3,
// with which a domain asks senders for daily reports of how TLS to its MX hosts
// went:
//
//	_smtp._tls.example.org. TXT "v=TLSRPTv1; rua=mailto:tlsrpt@example.org"
//
// The grammar is applied as it stands, but for white space at the end of a record,
// which senders are known to accept. Errors are written for the postmaster who has
// to fix the record.
//
// Left out: the lookup of the record, and the reports themselves (section 4).
package tlsrpt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"peerscore/assess/fields"
)

// MaxRecord limits a TXT record, its strings joined, in bytes.
const MaxRecord = 4 << 10

// Why there is no record to use. All but ErrNoRecord are mistakes of the domain.
var (
	ErrNoRecord        = errors.New("no TLS-RPT record")
	ErrMultipleRecords = errors.New("several TLS-RPT records, where senders accept only one")
	ErrSyntax          = errors.New("TLS-RPT record with an error")
	ErrTooLarge        = errors.New("TLS-RPT record too large")
)

// Record is a record of _smtp._tls.
type Record struct {
	RUA        []string // where reports go: at least one URI of mailto or https, as written
	Unusable   []string // valid URIs of rua with a scheme that nobody reports to
	Extensions []Field  // in the order of the record
	Warnings   []string // valid, and yet likely to be misread by some senders
}

// Field is a name and a value that this package does not know: an extension,
// to be ignored by a sender.
type Field struct {
	Name, Value string
}

// RecordName is where the record of a domain is published.
func RecordName(domain string) string { return "_smtp._tls." + domain }

// Select picks the TLS-RPT record among all TXT records at RecordName, each with
// its strings joined. Records that do not begin with "v=TLSRPTv1;" do not count.
// The error is ErrNoRecord, ErrMultipleRecords, or ErrSyntax where the only
// candidate is one that a sender will not recognise.
func Select(txts []string) (string, error) { return kind.Select(txts) }

var kind = fields.Kind{Version: "v=TLSRPTv1", Near: "v=TLSRPT", None: ErrNoRecord, Several: ErrMultipleRecords, Syntax: ErrSyntax}

// ParseRecord reads one record, its strings joined. The error wraps ErrSyntax or
// ErrTooLarge and says what to fix.
func ParseRecord(txt string) (Record, error) {
	if len(txt) > MaxRecord {
		return Record{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(txt), MaxRecord)
	}
	r, err := parseRecord(txt)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	return r, nil
}

func parseRecord(txt string) (Record, error) {
	var r Record
	if trimmed := strings.TrimRight(txt, fields.Space); trimmed != txt {
		r.warn("white space at the end: the grammar has none, and some senders may ignore such a record")
		txt = trimmed
	}
	list, err := kind.Split(txt)
	if err != nil {
		return r, err
	}
	if !strings.HasPrefix(txt, kind.Version+";") {
		r.warn("white space before the first semicolon: some senders ignore such a record")
	}
	for _, field := range list {
		if err := r.field(field); err != nil {
			return r, err
		}
	}
	switch {
	case len(r.RUA) == 0 && len(r.Unusable) == 0:
		return r, errors.New("the rua, the address for reports, is missing")
	case len(r.RUA) == 0:
		return r, fmt.Errorf("rua=%.80q: reports go to mailto: and https: addresses only", r.Unusable[0])
	case len(r.Unusable) > 0:
		r.warn("an address that is neither mailto: nor https: gets no reports")
	}
	return r, nil
}

func (r *Record) field(field string) error {
	name, value, err := fields.Cut(field)
	if err != nil {
		return err
	}
	if name == "rua" {
		return r.addresses(value)
	}
	if err := fields.CheckExtension(name, value); err != nil {
		return err
	}
	r.Extensions = append(r.Extensions, Field{name, value})
	return nil
}

// addresses reads the URIs of one rua, separated by commas. The grammar allows
// several rua fields, and "[t]he record supports the ability to declare more than
// one rua": all of them count, though some senders use the first alone.
func (r *Record) addresses(value string) error {
	if len(r.RUA)+len(r.Unusable) > 0 {
		r.warn("a second rua: some senders use the first only; put all addresses in one, separated by commas")
	}
	for i, uri := range strings.Split(value, ",") {
		if uri = strings.TrimRight(uri, fields.Space); i > 0 {
			uri = strings.TrimLeft(uri, fields.Space)
		}
		usable, err := checkURI(uri)
		if err != nil {
			return fmt.Errorf("rua=%.80q: %w", uri, err)
		}
		if usable {
			r.RUA = append(r.RUA, uri)
		} else {
			r.Unusable = append(r.Unusable, uri)
		}
	}
	return nil
}

// warn adds a warning once, however often the record earns it.
func (r *Record) warn(text string) {
	if !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}
