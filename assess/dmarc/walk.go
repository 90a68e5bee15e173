package dmarc

import (
	"context"
	"errors"
	"net"
	"peerscore/assess/dnsname"
)

// The shortcut of section 4.10, step 4: a name of 8 labels or more is followed by its last 7,
// so that no walk takes more than 8 queries.
const shortcut = 7

// Step is one query of a DNS Tree Walk and what was found.
type Step struct {
	Domain  string   // the query is for _dmarc.<Domain>
	TXT     []string // all TXT records there, as received
	Records int      // how many of them are DMARC records
	Record  *Record  // the only one; nil when there are none, several, or one over MaxRecord
	Err     error    // temporary failure: nothing is known about the name
}

// Discovery is what a DNS Tree Walk from one domain found.
type Discovery struct {
	Domain         string
	Record         *Record // the policy record that applies to Domain; nil when none does
	RecordDomain   string  // where it stands: Domain, its organisational domain, or the public suffix above
	Organisational string  // the organisational domain; "" when a temporary failure hides it
	Walk           []Step  // the queries in their order
	Err            error   // temporary failure: whether a record applies is not known
}

// Discover finds the policy record that applies to the very domain (section 4.10.1) and its
// organisational domain (section 4.10.2), with at most 8 queries.
func Discover(ctx context.Context, r Resolver, domain string) Discovery {
	w := newTree(r).walk(domain)
	d := Discovery{Domain: w.start}
	d.Record, d.RecordDomain, d.Err = w.policyRecord(ctx)
	d.Organisational, _ = w.organisational(ctx) // "" says it; the failure is in the last step
	d.Walk = w.steps
	return d
}

// Policy is what the record that applies asks for mail of Domain that fails, test mode taken
// into account; "" when no record applies. Whether the domain exists (section 3.2.13: it is no
// NXDOMAIN) matters only where DependsOnExistence says so.
func (d Discovery) Policy(exists bool) Policy {
	if d.Record == nil {
		return ""
	}
	return d.Record.policy(d.RecordDomain != d.Domain, exists)
}

// DependsOnExistence reports whether the record asks one thing for domains that exist and
// another for those that do not.
func (d Discovery) DependsOnExistence() bool { return d.Policy(true) != d.Policy(false) }

// OrganisationalDomain is the organisational domain of a name by its DNS Tree Walk, section
// 4.10.2. An error is a temporary failure.
func OrganisationalDomain(ctx context.Context, r Resolver, domain string) (string, error) {
	return newTree(r).walk(domain).organisational(ctx)
}

// tree remembers the steps of one evaluation, so that walks which meet ask nothing twice.
type tree struct {
	resolver Resolver
	steps    map[string]Step
}

func newTree(r Resolver) *tree { return &tree{resolver: r, steps: make(map[string]Step)} }

// step asks for the records of one domain, or remembers them. A name that cannot exist has none.
func (t *tree) step(ctx context.Context, domain string) Step {
	if s, ok := t.steps[domain]; ok {
		return s
	}
	s := Step{Domain: domain}
	switch name := "_dmarc." + domain; {
	case !dnsname.Queryable(name):
	case len(t.steps) >= maxQueries:
		s.Err = ErrTooManyQueries
	default:
		s.TXT, s.Err = lookupTXT(ctx, t.resolver, name)
		s.Record, s.Records = Select(s.TXT)
	}
	t.steps[domain] = s
	return s
}

// lookupTXT tells "none" from "could not tell": an error is a temporary failure.
func lookupTXT(ctx context.Context, r Resolver, name string) ([]string, error) {
	txts, err := r.LookupTXT(ctx, name)
	if dnsErr := (*net.DNSError)(nil); errors.As(err, &dnsErr) && dnsErr.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return txts, nil
}

// walk is one DNS Tree Walk, taken only as far as it is needed: a domain with a record of its
// own has its policy after the first query.
type walk struct {
	tree  *tree
	start string
	next  string // the next target; "" at the end
	steps []Step
}

func (t *tree) walk(domain string) *walk {
	domain = canonical(domain)
	return &walk{tree: t, start: domain, next: domain}
}

// advance takes the next step. The walk ends at the last label, at psd=y and psd=n (steps 2
// and 6), and at a temporary failure, since nothing above could make up for what is not known.
func (w *walk) advance(ctx context.Context) bool {
	if w.next == "" {
		return false
	}
	s := w.tree.step(ctx, w.next)
	w.steps = append(w.steps, s)
	if s.Err != nil || s.Record.psd() != PSDUnknown {
		w.next = ""
	} else {
		w.next = lastLabels(w.next, min(shortcut, countLabels(w.next)-1))
	}
	return true
}

// psd is the psd tag of the record of a step, which may have none.
func (r *Record) psd() PSD {
	if r == nil || r.Standing == Broken {
		return PSDUnknown
	}
	return r.PSD
}

// organisational takes the walk to its end and selects by section 4.10.2, from the longest
// name to the shortest: psd=n marks the organisational domain; psd=y, other than at the start,
// marks the one below; otherwise it is the shortest name with a record; without any record it
// is the start.
func (w *walk) organisational(ctx context.Context) (string, error) {
	for w.advance(ctx) {
	}
	org := w.start
	for _, s := range w.steps {
		switch {
		case s.Err != nil:
			return "", s.Err
		case s.Record == nil:
		case s.Record.psd() == PSDYes && s.Domain != w.start:
			return lastLabels(w.start, countLabels(s.Domain)+1), nil
		default:
			org = s.Domain
		}
	}
	return org, nil
}

// policyRecord finds the record that applies to the start, by the preference of section
// 4.10.1: its own, that of its organisational domain, that of the public suffix.
func (w *walk) policyRecord(ctx context.Context) (record *Record, domain string, err error) {
	if len(w.steps) == 0 && !w.advance(ctx) {
		return nil, "", nil
	}
	if own := w.steps[0]; own.Record != nil {
		return own.Record, own.Domain, nil
	}
	org, err := w.organisational(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, s := range w.steps {
		if s.Domain == org && s.Record != nil {
			return s.Record, org, nil
		}
	}
	// The organisational domain has none. Then only a public suffix can have one, and it ended the walk.
	if last := w.steps[len(w.steps)-1]; last.Record != nil {
		return last.Record, last.Domain, nil
	}
	return nil, "", nil
}
