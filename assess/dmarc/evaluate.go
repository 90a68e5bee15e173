package dmarc

import (
	"context"
	"peerscore/assess/dnsname"
	"strings"
)

// Identifier is what one authentication mechanism says of a message.
type Identifier struct {
	Domain    string // the MAIL FROM domain for SPF, d= for DKIM
	Pass      bool
	TempError bool // the mechanism could not tell, because a lookup failed
}

// Message is what DMARC needs to know of a message.
type Message struct {
	Author string // the author domain, as AuthorDomain gives it
	SPF    Identifier
	DKIM   []Identifier // one for each signature

	// Exists reports whether a domain exists, that is, whether a query for it, of any type,
	// ends otherwise than in NXDOMAIN (section 3.2.13; LookupTXT cannot tell). It is asked
	// only where the policy depends on it, which is rare. Nil means that the author domain exists.
	Exists func(ctx context.Context, domain string) (bool, error)
}

// Alignment is how one identifier stands to the author domain. Both answers are unknown when
// a lookup failed, and when the identifier neither passed nor might have.
type Alignment struct {
	Identifier
	Relaxed Answer // of the same organisational domain, whatever the record asks for
	Aligned Answer // in the mode that the record asks for, relaxed when no record applies
}

// Evaluation is the result of DMARC for one message, and what it rests on.
type Evaluation struct {
	Result       Result
	Policy       Policy  // what the record asks for a message that fails; "" when no record applies, or it is not known
	Record       *Record // the record found for the author domain, whatever its Standing; nil when there is none
	RecordDomain string  // where it stands
	SPF          Alignment
	DKIM         []Alignment // in the order of the message
	Err          error       // the first temporary failure met, whatever became of the result
}

// Evaluate is section 5.3 for one message. The alignment of the identifiers is found even
// when no record applies. It makes at most 8 queries in all, commonly one;
// what needs more is unknown.
func Evaluate(ctx context.Context, r Resolver, m Message) Evaluation {
	author := newTree(r).walk(m.Author)
	var e Evaluation
	var policyErr error
	e.Record, e.RecordDomain, policyErr = author.policyRecord(ctx)
	e.note(policyErr)

	spf, dkim := Relaxed, Relaxed
	if e.Record != nil {
		spf, dkim = e.Record.ASPF, e.Record.ADKIM
	}
	e.SPF = e.align(ctx, author, m.SPF, spf)
	for _, id := range m.DKIM {
		e.DKIM = append(e.DKIM, e.align(ctx, author, id, dkim))
	}

	switch {
	case policyErr != nil:
		e.Result = ResultTempError
	case e.Record == nil || e.Record.Standing == Ignored:
		e.Result = ResultNone
	case e.Record.Standing == Broken:
		e.Result = ResultPermError
	default:
		e.Result = e.judge()
		e.findPolicy(ctx, m)
	}
	return e
}

// note keeps the first temporary failure.
func (e *Evaluation) note(err error) {
	if e.Err == nil {
		e.Err = err
	}
}

// align finds how an identifier stands to the author domain.
func (e *Evaluation) align(ctx context.Context, author *walk, id Identifier, mode Mode) Alignment {
	a := Alignment{Identifier: id}
	if !id.Pass && !id.TempError {
		return a
	}
	domain := canonical(id.Domain)
	same, err := author.sharesOrganisation(ctx, domain)
	e.note(err)
	if err == nil {
		a.Relaxed = answer(same)
	}
	a.Aligned = a.Relaxed
	if mode == Strict && domain != author.start {
		a.Aligned = No
	}
	return a
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// judge is section 5.3.5: one aligned identifier that passed is enough. Where none is, and one
// might have been had a lookup not failed, the message can neither pass nor fail (5.3.6).
func (e *Evaluation) judge() Result {
	result := ResultFail
	for _, a := range append([]Alignment{e.SPF}, e.DKIM...) {
		switch {
		case a.Pass && a.Aligned == Yes:
			return ResultPass
		case a.TempError && a.Aligned == Yes, (a.Pass || a.TempError) && a.Aligned == Unknown:
			result = ResultTempError
		}
	}
	return result
}

// findPolicy fills in the policy. A message that fails must not have one policy put for the
// other: with the existence of its domain unknown it has no result.
func (e *Evaluation) findPolicy(ctx context.Context, m Message) {
	d := Discovery{Domain: canonical(m.Author), Record: e.Record, RecordDomain: e.RecordDomain}
	exists := true
	if m.Exists != nil && d.DependsOnExistence() {
		var err error
		if exists, err = m.Exists(ctx, d.Domain); err != nil {
			e.note(err)
			if e.Result == ResultFail {
				e.Result = ResultTempError
			}
			return
		}
	}
	e.Policy = d.Policy(exists)
}

// sharesOrganisation reports whether the start of the walk and another canonical domain have the
// same organisational domain. It walks no further than it must:
//   - what cannot be a domain is aligned with nothing;
//   - equal domains are aligned;
//   - domains that share no more than the last label are not, even where somebody publishes a
//     record for that label and forgets its psd=y;
//   - the organisational domain of a name lies above it, so what does not lie below that of
//     the start has another one.
func (w *walk) sharesOrganisation(ctx context.Context, domain string) (bool, error) {
	if !dnsname.Queryable(w.start) || !dnsname.Queryable(domain) {
		return false, nil
	}
	if w.start == domain {
		return true, nil
	}
	common := lastLabels(domain, 2)
	if !strings.Contains(common, ".") || !within(w.start, common) {
		return false, nil
	}
	org, err := w.organisational(ctx)
	if err != nil || !within(domain, org) {
		return false, err
	}
	other, err := w.tree.walk(domain).organisational(ctx)
	return err == nil && other == org, err
}
