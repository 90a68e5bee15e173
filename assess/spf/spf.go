// Package spf evaluates and audits Sender Policy Framework records (RFC 7208, and RFC 8616, section 4 for
// local parts that are not ASCII).
//
// [Check] answers for one message whether a host may use a domain: check_host() of RFC 7208, section 4, with
// the explanation that a failing domain offers. [Audit] looks at a domain without a message: syntax
// of every record reached, lookups spent, policy at the end. [Parse] reads one record.
//
// The resolver is injected and nothing else is read or written. Receiver policy, the Received-SPF
// field and the conversion of U-labels (RFC 8616, section 4, leaves it to the caller) are left out.
package spf

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Limits. The first three are those of RFC 7208, section 4.6.4, whose violation is the domain's permanent
// error; the others protect the receiver, and exceeding the number of queries or the time is a
// temporary error: it says nothing about the domain.
const (
	MaxLookups     = 10 // terms that cause DNS lookups: include, a, mx, ptr, exists, redirect
	MaxVoidLookups = 2  // terms whose own lookup had no answer
	MaxNames       = 10 // names of one mx (more is an error) or of the client's PTR set (more is ignored)

	MaxQueries           = 40              // DNS questions of one call, of any kind
	MaxForeign           = 20              // of them, for names of one organisation other than the sender's: ten terms, one of them an mx of ten hosts
	MaxDuration          = 5 * time.Second // of one call
	MaxRecordLength      = 16 << 10        // octets of a record or an explanation as published, and of all records of one call
	MaxTerms             = 1000            // of all records of one call; it fits MaxRecordLength of ip4 terms
	MaxExplanationLength = 1 << 10         // octets of an explanation after expansion; a longer one is left out
	maxExpansion         = 8 << 10         // octets at which the expansion of a domain-spec is given up
)

// What the two limits of RFC 7208, section 4.6.4 are called wherever they are exceeded.
const (
	TooManyLookups     = "too many DNS lookups"
	VoidLimitExceeded  = "void lookup limit exceeded"
	tooManyMXNames     = "more than 10 MX names"
	tooManyQueries     = "more than 40 DNS queries"
	tooLongInAll       = "records of more than 16384 octets in all"
	tooManyTerms       = "more than 1000 terms in all records"
	tooManyForeign     = "more than 20 DNS queries for names of one other organisation"
	timeLimitExceeded  = "time limit exceeded"
	malformedDomain    = "not a domain name"
	noRecord           = "no SPF record"
	temporaryDNSFailed = "DNS failure"
)

// Resolver is the part of *net.Resolver that SPF needs. Names are absolute, in lower case and
// without the final dot. They need not be host names: macros put any printable character into them.
//
// A *net.DNSError with IsNotFound means that there are no such records (NXDOMAIN or NODATA); any
// other error is a temporary failure.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) // network is "ip4" or "ip6"
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Result is the outcome of check_host() (RFC 7208, section 2.6), as the token that goes on the wire.
type Result string

const (
	None      Result = "none"      // no domain or no record to evaluate
	Neutral   Result = "neutral"   // the domain asserts nothing about the host
	Pass      Result = "pass"      // the host is authorised
	Fail      Result = "fail"      // the host is not authorised
	SoftFail  Result = "softfail"  // the host is probably not authorised
	TempError Result = "temperror" // could not be evaluated now
	PermError Result = "permerror" // the published records cannot be interpreted
)

// Identity says which identity of the session was checked (RFC 7208, sections 2.3 and 2.4).
type Identity string

const (
	MailFrom Identity = "mailfrom"
	HELO     Identity = "helo" // the reverse-path was null
)

// Query is one message's question.
type Query struct {
	IP       netip.Addr // the client; IPv4-mapped IPv6 counts as IPv4
	HELO     string     // argument of HELO or EHLO as received
	MailFrom string     // reverse-path without angle brackets; "" for the null reverse-path
	Receiver string     // this host's name, for the macro r; "unknown" when empty
	Now      time.Time  // for the macro t; time.Now() when zero

	// NoExplanation saves the query for the explanation of a fail.
	NoExplanation bool
}

// Outcome is the answer to a Query. Only Explanation can hold the sender's local part.
type Outcome struct {
	Result   Result
	Identity Identity
	Domain   string // of the identity, in lower case; "" when it has none that is a domain name
	Match    Match  // the term that decided; zero when none did

	// Problem is one sentence that says why the result is none, temperror or permerror.
	Problem string
	// Explanation is what the domain says about a fail (RFC 7208, section 6.2): printable ASCII that
	// the sender of the message may have shaped, or "".
	Explanation string

	Lookups int // terms that caused DNS lookups, as RFC 7208, section 4.6.4 counts them
	Voids   int // those of them without an answer
	Queries int // DNS questions in all

	// Exhausted reports that MaxQueries or MaxForeign ended the evaluation.
	Exhausted bool
}

// Match is the mechanism that decided: the innermost one, through includes and redirects.
type Match struct {
	Mechanism Mechanism    // "" when no mechanism matched
	Term      string       // as published, such as "+ip4:192.0.2.0/24"
	Domain    string       // whose record the term stands in; a domain-spec where the name holds the local part
	Network   netip.Prefix // the network around the client, for ip4, ip6, a and mx
	Wide      bool         // the match says little about who the client is: see Outcome.Narrow
}

// Narrow reports whether a pass shows that the domain's owner chose this very client: the term that
// matched is not "all", its network is at least NarrowBits4 or NarrowBits6 long, and neither a
// macro nor an include let the client, or everybody, choose the answer.
func (o Outcome) Narrow() bool {
	return o.Result == Pass && o.Match.Mechanism != "" && !o.Match.Wide
}

// Check evaluates the SPF policy of the reverse-path's domain, or of the HELO name when the
// reverse-path is null, for a client (RFC 7208, section 4).
func Check(ctx context.Context, resolver Resolver, q Query) Outcome {
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	e := newEvaluation(ctx, resolver, q)
	out := Outcome{Identity: e.identity}
	if wellFormed(e.senderDomain) {
		out.Domain = strings.ToLower(e.senderDomain)
	}
	h, err := e.start()
	if err == nil {
		out.Result, out.Match = h.result, h.match
		if h.result == Fail && !q.NoExplanation {
			out.Explanation = e.explanation(h.exp, h.expDomain)
		}
	} else {
		out.Result, out.Problem = err.result, err.Error()
	}
	out.Lookups, out.Voids, out.Queries = e.lookups, e.voids, e.queries
	out.Exhausted = e.refused == errTooManyQueries || e.refused == errTooManyForeign
	return out
}

// Publishes reports whether a domain publishes an SPF record, be it a wrong one, with one query.
// The error is a temporary failure.
func Publishes(ctx context.Context, resolver Resolver, domain string) (bool, error) {
	texts, err := newEvaluation(ctx, resolver, Query{MailFrom: domain}).records(strings.TrimSuffix(domain, "."))
	return len(texts) > 0, err
}

// splitSender gives local part and domain of the identity to check (RFC 7208, sections 4.1 and 4.3): the
// domain stands after the last "@", since a quoted local part may hold one too.
func splitSender(q Query) (identity Identity, local, domain string) {
	if q.MailFrom == "" {
		return HELO, "postmaster", q.HELO
	}
	at := strings.LastIndexByte(q.MailFrom, '@')
	local, domain = q.MailFrom[:max(at, 0)], q.MailFrom[at+1:]
	if local == "" {
		local = "postmaster"
	}
	return MailFrom, local, domain
}
