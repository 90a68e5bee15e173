package spf

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// evaluation is one call of Check, through all of its includes and redirects.
type evaluation struct {
	client
	ip           netip.Addr
	identity     Identity
	local        string
	senderDomain string
	sender       string // both
	helo         string
	receiver     string
	now          time.Time

	lookups, voids int
	octets, terms  int       // of the records read so far
	lookalike      string    // the last TXT record that was to be an SPF record and is none
	names          []pointer // the client's PTR names, MaxNames at most
	namesKnown     bool
	namesErr       error
	validFor       string // the domain that validatedName was last asked for
	validName      string // its answer
}

func newEvaluation(ctx context.Context, resolver Resolver, q Query) *evaluation {
	e := &evaluation{
		client:   client{ctx: ctx, resolver: resolver},
		ip:       q.IP.Unmap().WithZone(""),
		helo:     q.HELO,
		receiver: q.Receiver,
		now:      q.Now,
	}
	e.identity, e.local, e.senderDomain = splitSender(q)
	e.senderDomain = strings.TrimSuffix(e.senderDomain, ".")
	e.sender = e.local + "@" + e.senderDomain
	e.own = organisation(e.senderDomain)
	if e.receiver == "" {
		e.receiver = "unknown"
	}
	if e.now.IsZero() {
		e.now = time.Now()
	}
	return e
}

// failure ends an evaluation early: none, temperror or permerror.
type failure struct {
	result  Result
	where   string // domain and term
	problem string
}

func (f *failure) Error() string {
	if f.where == "" {
		return f.problem
	}
	return clip(f.where) + ": " + f.problem
}

func temporary(err error) *failure { return &failure{result: TempError, problem: reason(err)} }
func permanent(problem string) *failure {
	return &failure{result: PermError, problem: problem}
}

// hit is the end of an evaluation that went well.
type hit struct {
	result    Result
	match     Match
	exp       DomainSpec // of the record that decided, includes apart
	expDomain string
}

// place is the <domain> of check_host(). Shown stands for it wherever it may be logged: the
// domain-spec when the name is to be hidden, because the sender's local part or a HELO name with
// control characters went into it.
type place struct {
	domain, shown string
	hidden        bool
}

// start checks the identity itself (RFC 7208, section 4.3).
func (e *evaluation) start() (hit, *failure) {
	if !e.ip.IsValid() {
		return hit{}, &failure{result: TempError, problem: "client address unknown"}
	}
	if !wellFormed(e.senderDomain) {
		return hit{}, &failure{result: None, problem: malformedDomain}
	}
	return e.checkHost(place{domain: e.senderDomain, shown: strings.ToLower(e.senderDomain)})
}

// checkHost is check_host() (RFC 7208, section 4) for the domain at p.
func (e *evaluation) checkHost(p place) (hit, *failure) {
	record, fail := e.record(p)
	if fail != nil {
		return hit{}, fail
	}
	for i := range record.Directives {
		d := &record.Directives[i]
		h, matched, fail := e.evaluate(d, p)
		if fail != nil {
			if fail.where == "" {
				fail.where = p.shown + ": " + d.Text
			}
			return hit{}, fail
		}
		if matched {
			h.exp, h.expDomain = record.Exp, p.domain
			return h, nil
		}
	}
	if record.Redirect.Text != "" {
		return e.redirect(record.Redirect, p)
	}
	return hit{result: Neutral}, nil // RFC 7208, section 4.7
}

// record fetches, selects and parses (RFC 7208, sections 4.4 to 4.6).
func (e *evaluation) record(p place) (Record, *failure) {
	texts, err := e.records(p.domain)
	switch {
	case err != nil:
		return Record{}, &failure{TempError, p.shown, reason(err)}
	case len(texts) == 0:
		return Record{}, &failure{None, p.shown, noRecord}
	case len(texts) > 1:
		return Record{}, &failure{PermError, p.shown, strconv.Itoa(len(texts)) + " SPF records"}
	}
	if fail := e.countText(texts[0]); fail != nil {
		fail.where = p.shown
		return Record{}, fail
	}
	record, err := Parse(texts[0])
	if err != nil {
		return Record{}, &failure{PermError, p.shown, err.Error()}
	}
	return record, nil
}

// countText keeps the records of one call from costing what ten of the longest would: a record
// that includes itself comes for the price of one.
func (e *evaluation) countText(text string) *failure {
	e.octets += len(text)
	e.terms += strings.Count(text, " ")
	switch {
	case len(text) > MaxRecordLength: // Parse has a name for it
		return nil
	case e.octets > MaxRecordLength:
		return &failure{result: PermError, problem: tooLongInAll}
	case e.terms > MaxTerms:
		return &failure{result: PermError, problem: tooManyTerms}
	}
	return nil
}

// records are the SPF records among the TXT records of a domain. A name that is no domain name of
// two labels or more has none (RFC 7208, section 4.3).
func (e *evaluation) records(domain string) ([]string, error) {
	if !queryable(domain) || strings.IndexByte(domain, '.') < 0 {
		return nil, nil
	}
	txts, err := e.txt(domain)
	var texts []string
	e.lookalike = ""
	for _, txt := range txts {
		switch {
		case isRecord(txt):
			texts = append(texts, txt)
		case isLookalike(txt):
			e.lookalike = txt
		}
	}
	return texts, err
}

// redirect hands over to another domain's record (RFC 7208, section 6.1). An "all" would have matched.
func (e *evaluation) redirect(spec DomainSpec, p place) (hit, *failure) {
	if fail := e.countLookup(); fail != nil {
		fail.where = p.shown + ": redirect=" + spec.Text
		return hit{}, fail
	}
	return e.hop(spec, p)
}

// hop checks the domain that an include or a redirect names, which must have a record.
func (e *evaluation) hop(spec DomainSpec, p place) (hit, *failure) {
	h, fail := e.checkHost(e.target(spec, p))
	if fail != nil {
		if fail.result == None {
			fail.result = PermError
		}
		return hit{}, fail
	}
	h.match.Wide = h.match.Wide || !spec.anchored()
	return h, nil
}

// evaluate reports whether a directive matches the client (RFC 7208, section 5).
func (e *evaluation) evaluate(d *Directive, p place) (h hit, matched bool, fail *failure) {
	if d.Lookup() {
		if fail = e.countLookup(); fail != nil {
			return h, false, fail
		}
	}
	if d.Domain.personal() && !isASCII(e.local) {
		return h, false, nil // RFC 8616, section 4
	}
	if d.Mechanism == Include {
		return e.include(d, p)
	}
	target := e.target(d.Domain, p)
	network := d.Network
	switch d.Mechanism {
	case All:
		matched = true
	case IP4, IP6:
		matched = d.Network.Contains(e.ip)
	case A:
		network, fail = e.matchA(d, target.domain)
		matched = network.IsValid()
	case MX:
		network, fail = e.matchMX(d, target.domain)
		matched = network.IsValid()
	case PTR:
		matched, fail = e.matchPTR(target.domain)
	case Exists:
		matched, fail = e.matchExists(target.domain)
	}
	if !matched || fail != nil {
		return h, false, fail
	}
	h.result = d.Result()
	h.match = Match{d.Mechanism, d.Text, p.shown, network, e.wide(d, target.domain, network)}
	return h, true, nil
}

// target is the target-name of a term (RFC 7208, section 4.8).
func (e *evaluation) target(spec DomainSpec, p place) place {
	if spec.Text == "" {
		return p
	}
	name := targetName(e.expand(spec.Text, p.domain))
	if spec.personal() || p.hidden && spec.uses.has('d') || !isPrintable(name) {
		return place{name, spec.Text, true}
	}
	return place{name, strings.ToLower(name), false}
}

// include asks another domain whether it would pass the client (RFC 7208, section 5.2). The match within
// it is what a reader wants to see.
func (e *evaluation) include(d *Directive, p place) (hit, bool, *failure) {
	h, fail := e.hop(d.Domain, p)
	if fail != nil || h.result != Pass {
		return hit{}, false, fail
	}
	h.result = d.Result()
	return h, true, nil
}

// countLookup counts a term that causes DNS lookups (RFC 7208, section 4.6.4).
func (e *evaluation) countLookup() *failure {
	e.lookups++
	if e.lookups > MaxLookups {
		return permanent(fmt.Sprintf("%s: more than %d", TooManyLookups, MaxLookups))
	}
	return nil
}

// countVoid counts a term whose own lookup had no answer (RFC 7208, section 4.6.4).
func (e *evaluation) countVoid() *failure {
	e.voids++
	if e.voids > MaxVoidLookups {
		return permanent(fmt.Sprintf("%s: more than %d", VoidLimitExceeded, MaxVoidLookups))
	}
	return nil
}
