package probe

import (
	"context"
	"strings"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
	"peerscore/assess/spf"
)

// Limits on what is kept of an audit.
const (
	maxChainLines = 64
	maxFactLine   = 512 // octets
)

// probeSPF audits the domain's record without a sender (RFC 7208).
func probeSPF(ctx context.Context, t *Target, f *assess.Facts) {
	domain := string(t.Domain)
	_, f.SPF.Lookup = t.lookup(ctx, domain, resolver.TXT, "")
	defer t.trace.begin("spf audit", stageOf(domain, resolver.TXT))()
	report := spf.Audit(ctx, t.dns, domain)
	f.SPF.Count = len(report.Records)
	if len(report.Records) > 0 {
		f.SPF.Record = report.Records[0]
	}
	f.SPF.Valid = spfCheck(report)
	f.SPF.Lookups, f.SPF.VoidLookups = report.Lookups, report.Voids
	if report.PolicyKnown {
		f.SPF.Policy = report.Policy
	}
	for _, visit := range report.Visits[:min(len(report.Visits), maxChainLines)] {
		f.SPF.Chain = append(f.SPF.Chain, shortened(visit.String()))
	}
	f.SPF.Warnings = report.Warnings
}

func spfCheck(report spf.Report) assess.Check {
	switch report.State {
	case spf.Valid:
		return assess.Check{Result: assess.Pass}
	case spf.Invalid:
		return assess.Check{Result: assess.Fail, Reason: mistake(report), Detail: strings.Join(report.Errors, "; ")}
	}
	return assess.Check{Detail: strings.Join(report.Unresolved, "; ")}
}

// mistake is the one among the errors for which there is the most to say.
func mistake(report spf.Report) assess.Reason {
	switch {
	case report.Lookups > spf.MaxLookups:
		return assess.ReasonSPFLookupLimit
	case report.Voids > spf.MaxVoidLookups:
		return assess.ReasonSPFVoidLimit
	}
	return assess.ReasonSPFInvalid
}

// shortened bounds a line of foreign text that is kept.
func shortened(line string) string { return line[:min(len(line), maxFactLine)] }
