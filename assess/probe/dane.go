package probe

import (
	"context"
	"fmt"
	"sync"

	"peerscore/assess"
	"peerscore/assess/dane"
	"peerscore/assess/probe/resolver"
)

// probeDANE holds the TLSA records of each MX host against the certificates that it presented (RFC 7672).
func probeDANE(ctx context.Context, t *Target, _ *assess.Facts) {
	var hosts sync.WaitGroup
	for _, h := range t.Hosts() {
		hosts.Go(func() { h.findTLSA(ctx) })
	}
	hosts.Wait()
}

func (h *Host) findTLSA(ctx context.Context) {
	answer := h.lookupTLSA(ctx)
	if answer.Status != resolver.Found {
		return
	}
	records := make([]dane.TLSA, len(answer.TLSA))
	for i, r := range answer.TLSA {
		records[i] = dane.TLSA(r)
	}
	h.DANE.Match.Detail = "no certificate was seen"
	for _, s := range h.sessions() {
		facts := s.Facts()
		switch {
		case facts.TLS == nil:
		case len(facts.TLS.Chain) == 0:
			h.DANE.Match.Detail = facts.TLS.Certificate.Trusted.Detail
		default:
			h.match(records, facts.TLS.Chain)
		}
	}
}

// lookupTLSA finds the TLSA base domain: the end of the host's CNAMEs where DNSSEC protects
// them, and else, or if there are no records, the host itself (RFC 7672 §2.2.2).
func (h *Host) lookupTLSA(ctx context.Context) resolver.Answer {
	found := h.addresses()
	address := found.a
	if address.Status != resolver.Found {
		address = found.aaaa
	}
	var answer resolver.Answer
	for _, base := range dane.BaseDomains(h.Name, address.Canonical, address.Security == resolver.Secure) {
		h.DANE.Base = base
		answer, h.DANE.Lookup = h.target.lookup(ctx, dane.RecordName(base), resolver.TLSA, stageOf(h.Name, resolver.A))
		if answer.Status == resolver.Found || answer.Status == resolver.Failed {
			break
		}
	}
	return answer
}

// match judges one presented chain. Of several, from the addresses of one host, a mismatch
// decides, since a sender may come to any of them.
func (h *Host) match(records []dane.TLSA, ders [][]byte) {
	certs, err := parseChain(ders)
	if err != nil {
		h.DANE.Match.Detail = err.Error()
		return
	}
	result := dane.Verify(records, certs, dane.Config{
		Names: dane.ReferenceIdentifiers(h.DANE.Base, h.Name, string(h.target.Domain)),
		Now:   h.target.runner.env.Now(),
	})
	h.DANE.Usable = 0
	for _, r := range result.Records {
		switch r.Status {
		case dane.Unusable:
			h.warn(fmt.Sprintf("TLSA %.80s is not usable: %s", r.TLSA, r.Reason))
			continue
		case dane.Mismatch:
			h.warn(fmt.Sprintf("TLSA %.80s does not match: %s", r.TLSA, r.Reason))
		}
		h.DANE.Usable++
	}
	switch best, ok := result.Best(); {
	case h.DANE.Match.Result == assess.Fail:
	case ok:
		h.DANE.Match, h.DANE.Matched = assess.Check{Result: assess.Pass}, shortened(best.TLSA.String())
	case result.Status == dane.Unknown:
		h.DANE.Match.Detail = result.Reason
	default:
		h.DANE.Match, h.DANE.Matched = assess.Check{Result: assess.Fail, Detail: result.Reason}, ""
	}
}

func (h *Host) warn(text string) {
	for _, known := range h.DANE.Warnings {
		if known == text {
			return
		}
	}
	h.DANE.Warnings = append(h.DANE.Warnings, text)
}
