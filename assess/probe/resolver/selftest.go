package resolver

import (
	"context"
	"fmt"
	"strings"
)

// Validates reports whether the resolver validates DNSSEC. The zero value means that it is not known.
type Validates string

const (
	ValidatesUnknown Validates = ""
	ValidatesYes     Validates = "yes"
	ValidatesNo      Validates = "no"
)

// Validation is the outcome of a self-test.
type Validation struct {
	Validates Validates
	Detail    string // a sentence for the operator
}

// SelfTest asks each server for the DNSKEY set of a signed zone, the root unless configured
// otherwise: a server that validates answers with AD. The outcome decides what answers without
// AD mean from now on, so it belongs at the start and once a day. A test that could not be
// carried out leaves what an earlier one found.
func (r *Resolver) SelfTest(ctx context.Context) Validation {
	var overall Validation
	var details []string
	yes, no := 0, 0
	for _, s := range r.servers {
		v := r.testServer(ctx, s)
		details = append(details, v.Detail)
		switch v.Validates {
		case ValidatesYes:
			yes++
		case ValidatesNo:
			no++
		}
		if v.Validates != ValidatesUnknown && s.passed.Swap(v.Validates == ValidatesYes) != (v.Validates == ValidatesYes) {
			r.cache.clear() // the answers in it were judged by the old outcome
		}
	}
	switch {
	case no > 0:
		overall.Validates = ValidatesNo
	case yes == len(r.servers):
		overall.Validates = ValidatesYes
	}
	overall.Detail = strings.Join(details, "; ")
	if overall.Validates != ValidatesUnknown || r.tested.Load() == nil {
		r.tested.Store(&overall)
	}
	return overall
}

// Validation is the outcome of the last self-test that could be carried out.
func (r *Resolver) Validation() Validation {
	if v := r.tested.Load(); v != nil {
		return *v
	}
	return Validation{Detail: "the resolver has not been tested"}
}

func (r *Resolver) testServer(ctx context.Context, s *server) Validation {
	if !s.trusted {
		return Validation{Detail: fmt.Sprintf("the AD bit of %s is not believed (dns.trust_ad)", s.addr)}
	}
	name, ok := canonicalName(r.testName)
	if !ok {
		return Validation{Detail: fmt.Sprintf("%q is no name to test with", r.testName)}
	}
	q := question{name, DNSKEY}
	var answer Answer
	for range minAttempts {
		try, cancel := context.WithTimeout(ctx, r.timeout)
		answer = r.ask(try, s, q, nil)
		cancel()
		if answer.Status != Failed {
			break
		}
	}
	switch {
	case answer.Status == Failed:
		return Validation{Detail: fmt.Sprintf("%s could not be tested: %s", s.addr, answer.Reason)}
	case answer.Security == Secure:
		return Validation{ValidatesYes, fmt.Sprintf("%s validates", s.addr)}
	}
	return Validation{ValidatesNo, fmt.Sprintf("%s does not validate: %s came without AD", s.addr, testSubject(name))}
}

func testSubject(name string) string {
	if name == "." {
		return "the root's DNSKEY set"
	}
	return "the DNSKEY set of " + name
}
