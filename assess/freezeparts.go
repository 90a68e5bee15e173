package assess

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"peerscore/assess/dnsname"
)

// freeze holds what a run found against the evidence that there was before, part by part: a
// resolver that lies, a middlebox that takes STARTTLS out of every EHLO, a clock that is wrong or
// roots that are gone make every domain lose what it had. Where everybody lost a part at once the
// older result stands in new facts; a domain without one has to be asked again, and the error,
// which wraps ErrNothingMeasured, says so.
func (a *Assessor) freeze(ctx context.Context, facts *Facts, before Evidence) (err error) {
	found := *facts // as the run had it, before anything is taken
	found.Hosts.Hosts = slices.Clone(facts.Hosts.Hosts)
	for _, p := range parts() {
		if !p.scored {
			continue
		}
		now, then := Unknown, Unknown
		if !found.stands(p.name) {
			now = p.result(&found)
		}
		if before.Facts != nil {
			then = p.result(before.Facts)
		}
		failed := now == Fail || now == Bogus
		if then == Pass && (failed || now == Pass) {
			a.vote(ctx, p, Vote{Organisation: p.ownerOf(before.Facts), Since: before.Since, Host: before.Tally.lastHost(), Failed: failed, At: facts.At})
		}
		switch {
		case !failed || !a.freezer.Frozen(p.name):
		case then == Pass:
			p.keep(facts, before.Facts, "everybody lost it at once, which looks like a fault on our side")
		case before.Facts == nil:
			err = fmt.Errorf("%w of %s that could be believed: everybody fails at once (%s), which looks like a fault on our side", ErrNothingMeasured, facts.Domain, strings.TrimSpace(p.name))
		}
	}
	return err
}

// vote notes how an organisation does at a part, and logs where a freeze begins or ends by that.
func (a *Assessor) vote(ctx context.Context, p part, v Vote) {
	switch frozen, changed := a.freezer.Vote(p.name, a.Bulk, v); {
	case !changed || a.Logger == nil:
	case frozen:
		a.Logger.ErrorContext(ctx, "everybody loses the same at once: is the fault in our resolver, network, clock or roots? Older results stand", "part", strings.TrimSpace(p.name))
	default:
		a.Logger.InfoContext(ctx, "losses count again", "part", strings.TrimSpace(p.name))
	}
}

// Frozen names the parts of probe results in which everybody fails of late, so that the fault
// is likely our own and older results stand.
func (a *Assessor) Frozen() []string {
	var names []string
	for _, p := range parts() {
		if a.freezer.Frozen(p.name) {
			names = append(names, strings.TrimSpace(p.name))
		}
	}
	return names
}

// stands reports whether any of a part is of an earlier run.
func (f *Facts) stands(part string) bool {
	return slices.ContainsFunc(f.Kept, func(k Kept) bool {
		return k.Part == part || part == partSMTP("") && (k.Part == partMX || strings.HasPrefix(k.Part, part))
	})
}

// ownerOf is whose loss of the part counts once.
func (p part) ownerOf(f *Facts) dnsname.Domain {
	if p.owner == nil {
		return f.Domain.Organisational()
	}
	return p.owner(f)
}

// smtpPart is the dialogues with all hosts. Those of one are kept by keepHost.
func smtpPart() part {
	return part{name: partSMTP(""), result: (*Facts).smtpResult, takes: takeSessions, owner: mxOrganisation}
}

// mxOrganisation is whose mail hosts they are: a thousand domains may be on the same.
func mxOrganisation(f *Facts) dnsname.Domain {
	for _, h := range f.Hosts.Hosts {
		if d, err := dnsname.Parse(h.Name); err == nil {
			return d.Organisational()
		}
	}
	return f.Domain.Organisational()
}

// mxResult reports whether mail hosts are named, or a null MX is.
func (f *Facts) mxResult() Result {
	switch {
	case mxProblem(f) != "":
		return Unknown
	case f.Hosts.Null, len(f.Hosts.Hosts) > 0:
		return Pass
	}
	return Fail
}

// smtpResult reports whether TLS with a certificate in order was had at any host.
func (f *Facts) smtpResult() Result {
	result := Unknown
	for _, h := range f.Hosts.Hosts {
		for _, s := range h.Sessions {
			switch {
			case s.Outcome.result() == Unknown, s.hidden():
			case s.Outcome.result() == Pass && s.TLS != nil && s.TLS.Certificate.Trusted.Result == Pass && s.TLS.Certificate.Dated.Result == Pass:
				return Pass
			default:
				result = Fail
			}
		}
	}
	return result
}

// takeSessions takes the dialogues of each host from older facts.
func takeSessions(to, from *Facts, reason string) {
	for i := range to.Hosts.Hosts {
		h := &to.Hosts.Hosts[i]
		j := slices.IndexFunc(from.Hosts.Hosts, func(o MXHost) bool { return o.Name == h.Name })
		if j < 0 {
			continue
		}
		if known := from.Hosts.Hosts[j].stillKnown(*h); len(known) > 0 && to.keep(partSMTP(h.Name), known[0].At, reason) {
			h.Sessions = known
		}
	}
}
