package spf

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds on what a hostile policy can make of a report.
const (
	maxFollowed = 4 * MaxLookups // lookup terms after which no more are followed, only counted
	maxFindings = 100            // entries in each list of findings
)

// State is what an audit found.
type State string

const (
	Unknown State = ""        // something could not be looked up: see Report.Unresolved
	Absent  State = "absent"  // the domain publishes no SPF record
	Valid   State = "valid"   // one record, correct throughout, within the limits
	Invalid State = "invalid" // evaluation can end in permerror: see Report.Errors
)

// Report is the audit of a domain's SPF policy without a sender.
type Report struct {
	Domain     string
	State      State
	Records    []string // the domain's own SPF records as published; more than one is an error
	Errors     []string // what makes the policy invalid
	Unresolved []string // lookups that failed temporarily
	Warnings   []string

	// Visits are the records reached through includes and redirects, the domain's own first, in
	// the order of evaluation: a tree by Depth.
	Visits  []Visit
	Lookups int // terms that cause DNS lookups, all that were seen: RFC 7208, section 4.6.4 allows MaxLookups
	Voids   int // of them without an answer: RFC 7208, section 4.6.4 allows MaxVoidLookups

	// Policy is the "all" that ends evaluation, after redirects: "+all", "?all", "~all", "-all",
	// or "" where there is none. PolicyKnown is false where it could not be found out.
	Policy      string
	PolicyKnown bool
}

// Visit is one record on the way.
type Visit struct {
	Depth   int    // 0 for the domain's own record
	Via     string // the term that leads here, such as "include:spf.example.net"; "" at depth 0
	Domain  string
	Record  string // as published; "" when there is none
	Lookups int    // terms of this record alone that cause DNS lookups
	Problem string // why there is no usable record
}

// String is the visit as a line of the tree, indented by its depth.
func (v Visit) String() string {
	name, text := v.Via, v.Record
	if name == "" {
		name = v.Domain
	}
	if v.Problem != "" {
		text = strings.TrimSpace(text + " (" + v.Problem + ")")
	}
	return strings.Repeat("  ", v.Depth) + name + " -> " + text
}

// Audit follows every include and redirect of a domain's policy and adds up what its evaluation can
// cost. Macros are expanded as far as they depend on the domain alone; a term that depends on the
// sender counts as a lookup and is not made. A failing DNS makes the state unknown, unless what is
// known is enough to call it invalid.
func Audit(ctx context.Context, resolver Resolver, domain string) Report {
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	a := &auditor{evaluation: newEvaluation(ctx, resolver, Query{MailFrom: domain})}
	a.report.Domain = domain
	a.report.Policy, a.report.PolicyKnown = a.visit("", strings.TrimSuffix(domain, "."))
	a.judge()
	return a.report
}

// auditor is one call of Audit.
type auditor struct {
	*evaluation
	report Report
	chain  []string // the domain under visit and those that led to it
}

// judge checks the sums and concludes.
func (a *auditor) judge() {
	r := &a.report
	if r.Lookups > MaxLookups {
		r.Errors = append(r.Errors, fmt.Sprintf("%s: %d, and %d are allowed", TooManyLookups, r.Lookups, MaxLookups))
	}
	if r.Voids > MaxVoidLookups {
		r.Errors = append(r.Errors, fmt.Sprintf("%s: %d, and %d are allowed", VoidLimitExceeded, r.Voids, MaxVoidLookups))
	}
	switch {
	case len(r.Errors) > 0:
		r.State = Invalid
	case len(r.Unresolved) > 0:
		r.State = Unknown
	case len(r.Records) == 0:
		r.State, r.PolicyKnown = Absent, true
	default:
		r.State = Valid
	}
}

// visit reads the record of a domain, and the records that it leads to. It gives the policy in
// which evaluation of the record ends.
func (a *auditor) visit(via, domain string) (policy string, known bool) {
	domain = strings.ToLower(domain)
	v := Visit{Depth: len(a.chain), Via: via, Domain: domain}
	loop := slices.Contains(a.chain, domain)
	a.chain = append(a.chain, domain)
	defer func() { a.chain = a.chain[:len(a.chain)-1] }()
	if loop {
		v.Problem = "loop"
		a.report.Visits = append(a.report.Visits, v)
		a.fault(&a.report.Errors, v.Problem)
		return "", false
	}
	record, ok := a.fetch(&v)
	a.report.Visits = append(a.report.Visits, v)
	if !ok {
		return "", false
	}
	a.warn(domain, record.Warnings()...)
	return a.walk(record, len(a.report.Visits)-1)
}

// fetch gets the record of the domain under visit and notes in v what it found.
func (a *auditor) fetch(v *Visit) (Record, bool) {
	texts, err := a.records(v.Domain)
	if v.Depth == 0 {
		a.report.Records = texts
	}
	list := &a.report.Errors
	switch {
	case err != nil:
		v.Problem, list = reason(err), &a.report.Unresolved
	case len(texts) == 0:
		v.Problem = noRecord
		if a.lookalike != "" {
			a.warn(v.Domain, fmt.Sprintf("%+.80q is no SPF record: one begins with v=spf1 and a blank", a.lookalike))
		}
		if v.Depth == 0 {
			return Record{}, false // absent, which is no error
		}
	case len(texts) > 1:
		v.Problem = strconv.Itoa(len(texts)) + " SPF records"
	default:
		v.Record = texts[0]
		record, err := Parse(texts[0])
		if err == nil {
			return record, true
		}
		v.Problem = err.Error()
		if len(texts[0]) > MaxRecordLength { // a limit of ours
			list = &a.report.Unresolved
		}
	}
	a.fault(list, v.Problem)
	return Record{}, false
}

// fault notes an error or a failed lookup about the domain under visit, with the way to it.
func (a *auditor) fault(list *[]string, text string) {
	note(list, strings.Join(a.chain, " -> ")+": "+text)
}

// walk goes through the terms of a record as far as evaluation can get.
func (a *auditor) walk(record Record, index int) (policy string, known bool) {
	domain := a.report.Visits[index].Domain
	count := func() {
		a.report.Lookups++
		a.report.Visits[index].Lookups++
	}
	for i := range record.Directives {
		d := &record.Directives[i]
		if d.Mechanism == All {
			return string(d.Qualifier) + "all", true
		}
		if d.Lookup() {
			count()
			a.follow(d, domain)
		}
	}
	if record.Redirect.Text == "" {
		if index == 0 {
			a.warn(domain, `neither "all" nor a redirect at the end: hosts that are not listed are neutral`)
		}
		return "", true
	}
	count()
	via := "redirect=" + record.Redirect.Text
	if !record.Redirect.static() {
		a.warn(domain, via+" depends on the sender and was not followed")
		return "", false
	}
	return a.visit(via, a.expandStatic(record.Redirect, domain))
}

// follow makes the lookup of a directive, unless it depends on the sender or the limit is passed
// already: from there on only the records are of interest.
func (a *auditor) follow(d *Directive, domain string) {
	switch {
	case d.Mechanism == PTR, a.refused != nil, a.report.Lookups > maxFollowed:
	case !d.Domain.static():
		if d.Mechanism == Include {
			a.warn(domain, d.Text+" depends on the sender and was not followed")
		}
	case d.Mechanism == Include:
		a.visit(d.Text, a.expandStatic(d.Domain, domain))
	case a.report.Lookups <= MaxLookups:
		a.resolve(d, domain)
	}
}

// resolve asks for what a, mx or exists points to.
func (a *auditor) resolve(d *Directive, domain string) {
	target := a.expandStatic(d.Domain, domain)
	if !queryable(target) {
		a.warn(domain, d.Text+" never matches: "+malformedDomain)
		return
	}
	found, err := 0, error(nil)
	switch d.Mechanism {
	case MX:
		mxs, mxErr := a.mx(target)
		found, err = len(mxs), mxErr
		if found > MaxNames {
			a.fault(&a.report.Errors, d.Text+": "+tooManyMXNames)
		}
	case A, Exists:
		found, err = a.countAddresses(target, d.Mechanism == A)
	}
	switch {
	case err != nil:
		a.fault(&a.report.Unresolved, d.Text+": "+reason(err))
	case found == 0:
		a.report.Voids++
		a.warn(domain, d.Text+" finds nothing (a void lookup)")
	}
}

// countAddresses asks for IPv4 addresses and, where both families count, for IPv6 ones if there are none.
func (a *auditor) countAddresses(name string, both bool) (int, error) {
	addrs, err := a.addresses(name, true)
	if err == nil && len(addrs) == 0 && both {
		addrs, err = a.addresses(name, false)
	}
	return len(addrs), err
}

// warn notes something that is no error, naming the domain where it is not the audited one.
func (a *auditor) warn(domain string, texts ...string) {
	for _, text := range texts {
		if domain != a.chain[0] {
			text = domain + ": " + text
		}
		note(&a.report.Warnings, text)
	}
}

func note(list *[]string, text string) {
	if len(*list) < maxFindings {
		*list = append(*list, text)
	}
}

// expandStatic is the target-name of a domain-spec that depends on the domain alone.
func (a *auditor) expandStatic(spec DomainSpec, domain string) string {
	return a.target(spec, place{domain: domain}).domain
}

// static reports whether the expansion is the same for all senders of a domain.
func (s DomainSpec) static() bool {
	return s.uses&^lettersOf("do") == 0
}
