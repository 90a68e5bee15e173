package probe

import (
	"context"
	"errors"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
	"peerscore/assess/tlsrpt"
)

// probeTLSRPT reads the record of RFC 8460.
func probeTLSRPT(ctx context.Context, t *Target, f *assess.Facts) {
	_, f.TLSRPT.Lookup = t.lookup(ctx, tlsrpt.RecordName(string(t.Domain)), resolver.TXT, "")
	if f.TLSRPT.Lookup.Status != assess.LookupFound {
		return
	}
	txt, err := tlsrpt.Select(f.TLSRPT.Lookup.Records)
	var record tlsrpt.Record
	if err == nil {
		record, err = tlsrpt.ParseRecord(txt)
	}
	switch {
	case errors.Is(err, tlsrpt.ErrTooLarge): // a limit of ours
		f.TLSRPT.Valid.Detail = err.Error()
		return
	case err != nil:
		f.TLSRPT.Valid = assess.Check{Result: assess.Fail, Detail: err.Error()}
		return
	}
	f.TLSRPT.Valid.Result = assess.Pass
	f.TLSRPT.Reports = record.RUA
}
