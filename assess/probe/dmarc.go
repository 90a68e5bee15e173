package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"peerscore/assess"
	"peerscore/assess/dmarc"
	"peerscore/assess/probe/resolver"
)

// probeDMARC finds the record that applies to the very domain, by the tree walk of RFC 9989, section 4.10.
func probeDMARC(ctx context.Context, t *Target, f *assess.Facts) {
	name := func(domain string) string { return "_dmarc." + domain }
	own := name(string(t.Domain))
	_, f.DMARC.Lookup = t.lookup(ctx, own, resolver.TXT, "")
	found := dmarc.Discover(ctx, t.dns, string(t.Domain))
	for _, step := range found.Walk {
		if step.Domain != string(t.Domain) { // the answer is in the resolver's cache
			_, lookup := t.lookup(ctx, name(step.Domain), resolver.TXT, stageOf(own, resolver.TXT))
			f.DMARC.Walk = append(f.DMARC.Walk, lookup)
		}
		if step.Records > 1 {
			f.DMARC.Warnings = append(f.DMARC.Warnings, fmt.Sprintf("%d DMARC records at %s: all of them are ignored", step.Records, name(step.Domain)))
		}
		if i := slices.IndexFunc(step.TXT, looksLikeDMARC); i >= 0 && step.Records == 0 {
			f.DMARC.Warnings = append(f.DMARC.Warnings, fmt.Sprintf("%+.80q at %s is no DMARC record: one begins with v=DMARC1;", step.TXT[i], name(step.Domain)))
		}
	}
	f.DMARC.Organisational = found.Organisational
	f.DMARC.Valid = dmarcCheck(found)
	record := found.Record
	if record == nil {
		return
	}
	f.DMARC.Found, f.DMARC.Record = name(found.RecordDomain), record.Text
	f.DMARC.Warnings = append(f.DMARC.Warnings, record.Warnings...)
	if record.Standing != dmarc.Broken && record.Standing != dmarc.Ignored {
		f.DMARC.Policy = string(found.Policy(!found.DependsOnExistence() || t.exists()))
		for _, uri := range append(record.RUA, record.RUF...) {
			f.DMARC.Reports = append(f.DMARC.Reports, uri.URI)
		}
	}
}

// looksLikeDMARC reports whether a TXT record was surely meant to be a DMARC record.
func looksLikeDMARC(txt string) bool {
	return strings.Contains(strings.ToLower(txt[:min(len(txt), 40)]), "dmarc1")
}

// exists reports whether the domain exists (RFC 9989, section 3.2.13), as its MX lookup has it.
func (t *Target) exists() bool {
	mx, _ := t.mx()
	return mx.Lookup.Status != assess.LookupNXDomain
}

// dmarcCheck holds the record that applies against the grammar. Where none applies, several in
// one place are the domain's mistake; without any there is nothing to check.
func dmarcCheck(found dmarc.Discovery) assess.Check {
	if record := found.Record; record != nil {
		switch err := record.Err(); {
		case err != nil:
			return assess.Check{Result: assess.Fail, Detail: err.Error()}
		case record.Standing == dmarc.Ignored: // RFC 9989, section 4.10.1, RFC 7489, section 6.6.3
			return assess.Check{Result: assess.Fail, Detail: "neither a policy (p=) nor a report address (rua=): receivers ignore the record"}
		}
		return assess.Check{Result: assess.Pass}
	}
	if found.Err != nil {
		return assess.Check{Detail: found.Err.Error()}
	}
	for _, step := range found.Walk {
		switch {
		case step.Records == 1 && step.Record == nil: // a limit of ours, not a mistake of the domain
			return assess.Check{Detail: fmt.Sprintf("past a limit: the record at _dmarc.%s has more octets or tags than are read", step.Domain)}
		case step.Records > 1:
			return assess.Check{Result: assess.Fail, Reason: assess.ReasonDMARCMultiple, Detail: fmt.Sprintf("%d DMARC records at _dmarc.%s, none of which counts", step.Records, step.Domain)}
		}
	}
	return assess.Check{}
}
