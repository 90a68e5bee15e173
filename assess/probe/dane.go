package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"

	"peerscore/assess"
	"peerscore/assess/dane"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/resolver"
)

// probeDANE holds the TLSA records of each MX host against the certificates that it presented (RFC 7672).
func probeDANE(_ context.Context, t *Target, _ *assess.Facts) {
	var hosts sync.WaitGroup
	for _, h := range t.Hosts() {
		hosts.Go(h.findTLSA)
	}
	hosts.Wait()
}

func (h *Host) findTLSA() {
	answer := h.tlsa()
	if answer.Status != resolver.Found {
		return
	}
	records := recordsOf(answer)
	h.DANE.Match.Detail = "no certificate was seen"
	for _, s := range h.sessions() {
		facts := s.Facts()
		if facts.TLS == nil {
			continue
		}
		check, matched := h.matchEach(records, facts)
		// Of several addresses a mismatch decides, since a sender may come to any of them.
		if h.DANE.Match.Result == assess.Unknown || check.Result == assess.Fail && h.DANE.Match.Result == assess.Pass {
			h.DANE.Match, h.DANE.Matched = check, matched
		}
	}
}

func recordsOf(answer resolver.Answer) []dane.TLSA {
	records := make([]dane.TLSA, len(answer.TLSA))
	for i, r := range answer.TLSA {
		records[i] = dane.TLSA(r)
	}
	return records
}

// refuses reports whether the host has TLSA records, and a certificate matches none of them.
func (h *Host) refuses(seen *assess.TLSFacts) bool {
	certs, err := presented(seen)
	if err != nil {
		return false
	}
	answer := h.tlsa()
	if answer.Status != resolver.Found {
		return false
	}
	_, matches := h.verify(recordsOf(answer), certs).Best()
	return !matches
}

func (h *Host) verify(records []dane.TLSA, certs []*x509.Certificate) dane.Result {
	return dane.Verify(records, certs, dane.Config{
		Names: dane.ReferenceIdentifiers(h.DANE.Base, h.Name, string(h.target.Domain)),
		Now:   h.target.runner.env.Now(),
	})
}

// matchEach judges the certificates of one address: each that a sender may get has to match.
func (h *Host) matchEach(records []dane.TLSA, facts assess.SMTPFacts) (check assess.Check, matched string) {
	check, matched = h.match(records, facts.TLS)
	o := facts.Other
	switch {
	case check.Result != assess.Pass || o == nil:
	case o.TLS != nil:
		if second, _ := h.match(records, o.TLS); second.Result != assess.Pass {
			second.Detail = "its other certificate, with the key " + o.TLS.Certificate.Key + ": " + second.Detail
			return second, ""
		}
	case o.Shown.Result == assess.Unknown:
		return assess.Check{Detail: "whether it has another certificate, with another kind of key, is not known: " + o.Shown.Detail}, ""
	}
	return check, matched
}

// lookupTLSA finds the TLSA base domain: the end of the host's CNAMEs where DNSSEC protects
// them, and else, or if there are no records, the host itself (RFC 7672, section 2.2.2).
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

// match judges one presented chain.
func (h *Host) match(records []dane.TLSA, seen *assess.TLSFacts) (check assess.Check, matched string) {
	if len(seen.Chain) == 0 {
		return assess.Check{Detail: seen.Certificate.Trusted.Detail}, ""
	}
	certs, err := pkix.ParseChain(seen.Chain)
	if err != nil {
		return assess.Check{Detail: err.Error()}, ""
	}
	result := h.verify(records, certs)
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
	case ok:
		return assess.Check{Result: assess.Pass}, shortened(best.TLSA.String())
	case result.Status == dane.Unknown:
		return assess.Check{Detail: result.Reason}, ""
	}
	return assess.Check{Result: assess.Fail, Detail: result.Reason}, ""
}

func (h *Host) warn(text string) {
	for _, known := range h.DANE.Warnings {
		if known == text {
			return
		}
	}
	h.DANE.Warnings = append(h.DANE.Warnings, text)
}
