package probe

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/pkix"
)

// What protects one address, under any limits.
const (
	sessionKeep = 7 * 24 * time.Hour // a dialogue that answered serves every domain for so long
	otherRetry  = 24 * time.Hour     // after a server did not tell what other certificate it has
)

// retryAfter is how long an address rests after its first, second and further failures in a row.
var retryAfter = []time.Duration{6 * time.Hour, 24 * time.Hour, 72 * time.Hour}

// gate stands before each address. It lets one dialogue at a time through, remembers how it
// ended, and gives everybody who asks for the same address that answer.
type gate struct {
	budget *budget
	memory *recent
	shares shares
	roots  *x509.CertPool
	now    func() time.Time
	log    *slog.Logger
	turns  turnstile[line]
}

// line is one of the two in which visits to an address wait for their turn: with a name that has
// answered, and with others. These may hold their turn for minutes until there is a slot for
// them, and nobody is to keep a known name waiting with made-up ones. The budget lets only one
// of both have a dialogue at a time.
type line struct {
	addr   netip.Addr
	proven bool
}

// visit is what a run wants at an address.
type visit struct {
	addr         netip.Addr
	name         string         // of the server
	organisation dnsname.Domain // that the run is for
	further      bool           // the run has asked for another address before
	own          bool           // certificates shown under other names do not speak for this one
	// known, when not nil, is the dialogue that there was; its server is asked for its other certificate.
	known *assess.SMTPFacts
}

// without is what a visit brings that a budget did not let begin.
func (v visit) without(now time.Time, problem string) assess.SMTPFacts {
	if v.known != nil {
		facts := *v.known
		facts.Other = &assess.OtherFacts{At: now, Shown: assess.Check{Reason: assess.ReasonBudgetExhausted, Detail: problem}}
		return facts
	}
	return assess.SMTPFacts{Address: v.addr, ServerName: v.name, At: now, Stage: assess.StageConnect, Reason: assess.ReasonBudgetExhausted, Problem: problem}
}

// again gives the place within the budgets back and waits for another, for one more dialogue
// with the same address; problem says why there is none.
type again func(context.Context) (problem string)

// session is the dialogue with an address under a server name: one that is remembered, or the
// one that hold has now. Where there can be none, the facts say why their outcome is unknown.
func (g *gate) session(ctx context.Context, v visit, hold func(context.Context, again) (assess.SMTPFacts, error)) assess.SMTPFacts {
	facts, records, known := g.look(ctx, v)
	if known {
		return facts
	}
	leave, err := g.turns.enter(ctx, line{v.addr, g.classOf(records, v) == proven})
	if err != nil {
		return v.without(g.now().UTC(), overBudget+"another dialogue with the address was not over in time; next at the domain's next run")
	}
	defer leave()
	if facts, records, known = g.look(ctx, v); known {
		return facts
	}
	c := g.classOf(records, v)
	done, problem := g.wait(ctx, v, c)
	if problem == "" {
		if facts, records, known = g.look(ctx, v); known { // from the other line
			done()
			return facts
		}
		done, problem = g.count(ctx, v, c, done)
	}
	if problem != "" {
		return v.without(g.now().UTC(), problem)
	}
	defer func() { done() }()
	facts, err = hold(ctx, func(ctx context.Context) (problem string) {
		done()
		if done, problem = g.admit(ctx, v, c.further()); problem != "" {
			done = func() {}
		}
		return problem
	})
	if err != nil {
		return facts
	}
	return g.remember(ctx, records, v, facts)
}

// look finds a remembered dialogue, or else all that is known of the address.
func (g *gate) look(ctx context.Context, v visit) (facts assess.SMTPFacts, records []assess.HostRecord, known bool) {
	if facts, known = g.remembered(g.memory.lately(v.addr), v); known {
		return facts, nil, true
	}
	records, err := g.memory.HostRecords(ctx, v.addr)
	if err != nil {
		g.log.Warn("host records cannot be read", "address", v.addr, "error", err)
	}
	facts, known = g.remembered(records, v)
	return facts, records, known
}

// admit waits for the budgets; problem says which one is used up, and until when.
func (g *gate) admit(ctx context.Context, v visit, c class) (done func(), problem string) {
	if done, problem = g.wait(ctx, v, c); problem != "" {
		return nil, problem
	}
	return g.count(ctx, v, c, done)
}

// wait waits for a place of those that there are at a time.
func (g *gate) wait(ctx context.Context, v visit, c class) (done func(), problem string) {
	if problem := g.shares.usedUp(v, c); problem != "" {
		return nil, problem
	}
	waiting, cancel := context.WithTimeout(ctx, g.budget.limits.Patience)
	defer cancel()
	done, err := g.budget.admit(waiting, c, networkOf(v.addr), v.organisation)
	if err != nil {
		return nil, noneFree
	}
	return done, ""
}

// count draws a dialogue that has its place from those of the day, or gives the place back.
func (g *gate) count(ctx context.Context, v visit, c class, place func()) (done func(), problem string) {
	if problem := g.shares.take(ctx, v, c); problem != "" {
		place()
		return nil, problem
	}
	return place, ""
}

const noneFree = overBudget + "no SMTP dialogue was free in time; next at the domain's next run"

// remembered looks for a dialogue that is recent enough and speaks for the name.
func (g *gate) remembered(records []assess.HostRecord, v visit) (assess.SMTPFacts, bool) {
	for _, speaks := range []func(assess.HostRecord) bool{
		func(r assess.HostRecord) bool { return r.Session.ServerName == v.name },
		func(r assess.HostRecord) bool {
			return (!v.own || r.Session.TLS == nil) && g.speaksFor(r.Session, v.name)
		},
	} {
		i := slices.IndexFunc(records, func(r assess.HostRecord) bool {
			rest := r.NotBefore.Sub(g.now())
			return rest > 0 && rest <= sessionKeep+time.Hour && speaks(r) && // past that, a clock that was ahead wrote it
				(v.known == nil || otherAsked(r.Session, g.now()))
		})
		if i >= 0 {
			return told(records[i]), true
		}
	}
	return assess.SMTPFacts{}, false
}

// told is what a remembered dialogue says. A chain that was too large to be kept is not known any
// more, nor whether its server passes.
func told(r assess.HostRecord) assess.SMTPFacts {
	if r.Session.Outcome == assess.TLSEstablished && noLeaf(r.Session.TLS) {
		r.Session.Outcome, r.Session.TLS = assess.TLSUnknown, nil
		r.Session.Reason, r.Session.Problem = assess.ReasonDialogueNotKept, tooLarge
	}
	if o := r.Session.Other; o != nil && o.TLS != nil && noLeaf(o.TLS) {
		r.Session.Other = &assess.OtherFacts{At: o.At, Shown: assess.Check{Reason: assess.ReasonDialogueNotKept, Detail: tooLarge}}
	}
	if r.Session.Outcome == assess.TLSUnknown {
		r.Session.Problem += "; next at " + date(r.NotBefore)
	}
	return r.Session
}

const tooLarge = "its certificates were too large to be kept"

// otherAsked reports whether a server was asked for its other certificate since the dialogue, and
// is not to be asked again because it did not tell.
func otherAsked(session assess.SMTPFacts, now time.Time) bool {
	o := session.Other
	return o != nil && !o.At.Before(session.At) && (o.Shown.Result != assess.Unknown || now.Before(o.At.Add(otherRetry)))
}

// speaksFor reports whether a dialogue under one server name answers for another one on the same
// address. Where it ended before the handshake the name had not been said, and a server that
// says nothing in the handshake is a tarpit under any name. Where the certificate is valid for the
// other host too, that host would be shown the same one or one as good; if it is not, the
// server may well have another certificate for that name (RFC 6066, section 3), and has to be asked,
// however many names it has shown this one under: others may have made them up.
func (g *gate) speaksFor(session assess.SMTPFacts, name string) bool {
	switch session.Stage {
	case assess.StageConnect, assess.StageGreeting, assess.StageEHLO, assess.StageSTARTTLS:
		return true
	case assess.StageHandshake:
		if session.Outcome != assess.TLSAnswered {
			return session.Outcome == assess.TLSUnknown && session.Reason == assess.ReasonSMTPTimeout
		}
	}
	return g.valid(session.TLS, name) && (session.Other == nil || session.Other.TLS == nil || g.valid(session.Other.TLS, name))
}

// valid reports whether the certificate of a handshake names a host, and a trusted authority says
// so. Anyone may name hosts that are not theirs in a certificate that they issue themselves.
func (g *gate) valid(seen *assess.TLSFacts, host string) bool {
	certs, err := presented(seen)
	if err != nil {
		return false
	}
	c := chain{certs: certs, host: host, usage: pkix.ServerUsage(seen.Cipher), roots: g.roots, now: g.now()}
	if c.named().Result != assess.Pass || c.dated().Result != assess.Pass {
		return false
	}
	trusted, _ := c.trusted()
	return trusted.Result == assess.Pass
}

// noLeaf reports whether a handshake showed no certificate.
func noLeaf(seen *assess.TLSFacts) bool { return seen == nil || len(seen.Chain) == 0 }

// remember keeps a dialogue and decides when the address may be asked again. It returns what the
// dialogue is worth after the one before: a suspicion that comes up twice, in runs hours apart,
// is an outcome.
func (g *gate) remember(ctx context.Context, before []assess.HostRecord, v visit, facts assess.SMTPFacts) assess.SMTPFacts {
	for _, r := range before {
		if r.Session.ServerName != facts.ServerName {
			continue
		}
		if facts.Suspect != "" && r.Session.Suspect == facts.Suspect {
			facts.Outcome, facts.Reason = facts.Suspect, ""
		}
		if facts.Other == nil && facts.TLS != nil {
			facts.Other = r.Session.Other // of before this dialogue: see talks.other
		}
	}
	record := assess.HostRecord{Session: facts.Bounded(), Organisation: v.organisation, NotBefore: facts.At.Add(sessionKeep)}
	if facts.Outcome == assess.TLSUnknown {
		record.Failures = 1 + g.failures(before, facts)
		record.NotBefore = facts.At.Add(retryAfter[min(record.Failures, len(retryAfter))-1])
	}
	if err := g.memory.SaveHostRecord(ctx, record); err != nil {
		g.log.Warn("a host record cannot be kept", "address", facts.Address, "error", err)
	}
	return facts
}

// failures counts those in a row before this one, under the same name or any that this one speaks for.
func (g *gate) failures(records []assess.HostRecord, facts assess.SMTPFacts) int {
	most := 0
	for _, r := range records {
		if r.Session.ServerName == facts.ServerName || g.speaksFor(r.Session, facts.ServerName) {
			most = max(most, r.Failures)
		}
	}
	return most
}

// classOf tells who is asked from how the last dialogue ended that speaks for the name. An
// address that answered under other names has proven nothing under this one: its owner makes up
// as many as they like.
func (g *gate) classOf(records []assess.HostRecord, v visit) class {
	var last *assess.HostRecord
	for i, r := range records {
		if r.Session.ServerName != v.name && !g.speaksFor(r.Session, v.name) {
			continue
		}
		if last == nil || r.Session.At.After(last.Session.At) {
			last = &records[i]
		}
	}
	switch {
	case last != nil && last.Failures > 0:
		return failing
	case last != nil:
		return proven
	case v.further:
		return further
	}
	return newcomer
}
