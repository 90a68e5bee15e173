package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"peerscore/assess"
	"peerscore/assess/mtasts"
	"peerscore/assess/probe/resolver"
)

// probeMTASTS holds each MX host against the policy (RFC 8461).
func probeMTASTS(_ context.Context, t *Target, f *assess.Facts) {
	found := t.sts()
	f.MTASTS = found.facts
	if found.facts.Fetched.Result != assess.Pass || found.policy.Mode == mtasts.None {
		return
	}
	for _, h := range t.Hosts() {
		f.MTASTS.Matches = append(f.MTASTS.Matches, assess.MTASTSHost{Host: h.Name, Match: h.covered(found.policy)})
	}
}

// sts is the policy of a domain, and how it was found.
type sts struct {
	facts  assess.MTASTSFacts
	policy mtasts.Policy // zero where there is none
}

// findPolicy reads the record and fetches the policy.
func (t *Target) findPolicy(ctx context.Context) (found sts) {
	m := &found.facts
	name := mtasts.RecordName(string(t.Domain))
	_, m.Lookup = t.lookup(ctx, name, resolver.TXT, "")
	if m.Lookup.Status != assess.LookupFound {
		return found
	}
	txt, err := mtasts.Select(m.Lookup.Records)
	var record mtasts.Record
	if err == nil {
		record, err = mtasts.ParseRecord(txt)
	}
	switch {
	case errors.Is(err, mtasts.ErrTooLarge): // a limit of ours
		m.Record.Detail = err.Error()
		return found
	case err != nil:
		m.Record = assess.Check{Result: assess.Fail, Detail: err.Error()}
		return found
	}
	m.Record.Result, m.ID = assess.Pass, record.ID
	policy, err := t.fetchPolicy(ctx, m, stageOf(name, resolver.TXT))
	if err != nil {
		m.Fetched = policyProblem(err)
		return found
	}
	found.policy = policy
	m.Fetched.Result = assess.Pass
	m.Mode, m.MaxAge, m.MX = string(policy.Mode), int(policy.MaxAge.Seconds()), policy.MX
	return found
}

func (t *Target) fetchPolicy(ctx context.Context, m *assess.MTASTSFacts, after string) (mtasts.Policy, error) {
	defer t.trace.begin("policy "+mtasts.PolicyHost(string(t.Domain)), after)()
	response, err := t.runner.web.get(ctx, t.dns, mtasts.PolicyURL(string(t.Domain)), mtasts.MaxPolicy)
	if err != nil {
		return mtasts.Policy{}, err
	}
	policy, err := mtasts.Response{Status: response.status, Header: response.header, Body: response.body}.Policy()
	if err == nil || errors.Is(err, mtasts.ErrPolicySyntax) {
		m.Policy = string(response.body)
	} else if response.status >= 500 || slices.Contains(busy, response.status) {
		err = errTemporary{err}
	}
	return policy, err
}

// busy are the statuses of a server that might give the policy to a later request.
var busy = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}

// errTemporary is a server that has an answer at other times.
type errTemporary struct{ error }

// policyProblem tells a policy that no sender can use from one that we could not get.
func policyProblem(err error) assess.Check {
	var certificate *tls.CertificateVerificationError
	var missing errNoAddress
	failed := errors.Is(err, mtasts.ErrPolicySyntax) || errors.Is(err, mtasts.ErrRedirect) || errors.Is(err, mtasts.ErrStatus) ||
		errors.Is(err, mtasts.ErrContentType) || errors.Is(err, mtasts.ErrEncoding) || errors.Is(err, errLimit) ||
		errors.As(err, &missing) && !missing.temporary
	switch {
	case errors.As(err, &errTemporary{}):
	case errors.As(err, &certificate):
		return assess.Check{Result: assess.Fail, Reason: assess.ReasonSTSPolicyCertificate, Detail: fmt.Sprintf("the policy host's certificate is not valid: %v", certificate.Err)}
	case failed:
		return assess.Check{Result: assess.Fail, Detail: err.Error()}
	}
	return assess.Check{Detail: "the policy cannot be had: " + err.Error()}
}

// covered reports whether the policy lists the host, and whether its certificates are such as a
// sender accepts (sections 4.1 and 4.2). Of several addresses one that is not covered decides.
func (h *Host) covered(policy mtasts.Policy) assess.Check {
	pattern, listed := policy.Match(h.Name)
	if !listed {
		return assess.Check{Result: assess.Fail, Reason: assess.ReasonSTSHostNotListed, Detail: "the policy does not list it as mx"}
	}
	result := assess.Check{Detail: "its certificate was not seen"}
	for _, s := range h.sessions() {
		check := s.acceptable()
		check.Reason = "" // that is the certificate's
		switch {
		case check.Result == assess.Fail:
			return check
		case check.Result == assess.Pass:
			result = assess.Check{Result: assess.Pass, Detail: "listed as " + pattern + ", with a valid certificate"}
		case result.Result == assess.Unknown:
			result = check
		}
	}
	return result
}

// acceptable is RFC 8461, section 4.2: STARTTLS, and each certificate such as a sender accepts.
func (s *Session) acceptable() assess.Check {
	facts := s.Facts()
	if facts.TLS == nil {
		if facts.Outcome == assess.TLSUnknown {
			return assess.Check{Detail: facts.Problem}
		}
		return assess.Check{Result: assess.Fail, Detail: facts.Problem}
	}
	check := s.verified(facts.TLS)
	if other := facts.Other; other != nil && other.TLS != nil && check.Result != assess.Fail {
		if second := s.verified(other.TLS); second.Result != assess.Pass {
			return second
		}
	}
	return check
}

// verified is a chain to a trusted root, within its dates, and the host's name as a DNS-ID. A CN
// does not count here.
func (s *Session) verified(seen *assess.TLSFacts) assess.Check {
	for _, check := range []assess.Check{seen.Certificate.Trusted, seen.Certificate.Dated} {
		if check.Result != assess.Pass {
			return check
		}
	}
	leaf, err := x509.ParseCertificate(seen.Chain[0])
	if err == nil {
		err = leaf.VerifyHostname(s.host.Name)
	}
	if err != nil {
		return assess.Check{Result: assess.Fail, Detail: err.Error()}
	}
	return assess.Check{Result: assess.Pass}
}
