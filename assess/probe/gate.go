package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"peerscore/assess"
)

// What protects one address, under any limits.
const (
	sessionKeep = 7 * 24 * time.Hour // a dialogue that answered serves every domain for so long
	network4    = 24                 // bits of the networks in which one dialogue happens at a time
	network6    = 48
)

// retryAfter is how long an address rests after its first, second and further failures in a row.
var retryAfter = []time.Duration{6 * time.Hour, 24 * time.Hour, 72 * time.Hour}

// gate stands before each address. It lets one dialogue at a time through, remembers how it
// ended, and gives everybody who asks for the same address that answer.
type gate struct {
	budget *budget
	memory *recent
	now    func() time.Time
	log    *slog.Logger
	turns  turnstile[netip.Addr]

	mu   sync.Mutex
	full map[netip.Prefix]time.Time // networks past their number of dialogues, and until when
}

// visit is what a run wants at an address.
type visit struct {
	addr    netip.Addr
	name    string // of the server
	further bool   // the run has asked for another address before
}

// again gives the place within the budgets back and waits for another, for one more dialogue
// with the same address; problem says why there is none.
type again func(context.Context) (problem string)

// session is the dialogue with an address under a server name: one that is remembered, or the
// one that hold has now. Where there can be none, the facts say why their outcome is unknown.
func (g *gate) session(ctx context.Context, v visit, hold func(context.Context, again) (assess.SMTPFacts, error)) assess.SMTPFacts {
	addr, name := v.addr, v.name
	none := assess.SMTPFacts{Address: addr, ServerName: name, At: g.now().UTC(), Stage: stageConnect}
	leave, err := g.turns.enter(ctx, addr)
	if err != nil {
		none.Problem = "budget: another dialogue with the address was not over in time; next at the domain's next run"
		return none
	}
	defer leave()
	records := g.memory.lately(addr)
	facts, known := g.remembered(records, name)
	if known {
		return facts
	}
	records, err = g.memory.HostRecords(ctx, addr)
	if err != nil {
		g.log.Warn("host records cannot be read", "address", addr, "error", err)
	}
	if facts, known = g.remembered(records, name); known {
		return facts
	}
	c := classOf(records)
	if v.further {
		c = c.further()
	}
	done, problem := g.admit(ctx, addr, c)
	if problem != "" {
		none.Problem = problem
		return none
	}
	defer func() { done() }()
	facts, err = hold(ctx, func(ctx context.Context) (problem string) {
		done()
		if done, problem = g.admit(ctx, addr, c.further()); problem != "" {
			done = func() {}
		}
		return problem
	})
	if err != nil {
		return facts
	}
	return g.remember(ctx, records, facts)
}

// admit waits for the budgets; problem says which one is used up, and until when.
func (g *gate) admit(ctx context.Context, addr netip.Addr, c class) (done func(), problem string) {
	bits := network6
	if addr.Is4() {
		bits = network4
	}
	network, _ := addr.Prefix(bits) // the bits fit
	if problem := g.fullNetwork(network); problem != "" {
		return nil, problem
	}
	waiting, cancel := context.WithTimeout(ctx, g.budget.limits.Patience)
	defer cancel()
	done, err := g.budget.admit(waiting, c, network)
	if err != nil {
		return nil, "budget: no SMTP dialogue was free in time; next at the domain's next run"
	}
	if problem := g.countNetwork(ctx, network); problem != "" {
		done()
		return nil, problem
	}
	return done, ""
}

// countNetwork adds a dialogue to those with a network today. What cannot be counted is not begun.
func (g *gate) countNetwork(ctx context.Context, network netip.Prefix) (problem string) {
	today := g.now().UTC().Truncate(24 * time.Hour)
	n, err := g.memory.CountNetwork(ctx, network, today.Format(time.DateOnly))
	switch {
	case err != nil:
		g.log.Warn("dialogues with a network cannot be counted", "network", network, "error", err)
		return "budget: the dialogues with " + network.String() + " cannot be counted; next at the domain's next run"
	case n > g.budget.limits.NetworkPerDay:
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.full == nil {
			g.full = make(map[netip.Prefix]time.Time)
		}
		g.full[network] = today.AddDate(0, 0, 1)
		return g.dayIsFull(network, g.full[network])
	}
	return ""
}

// fullNetwork says that a network is known to have had its dialogues, before one more takes a
// place in the minute that another could use.
func (g *gate) fullNetwork(network netip.Prefix) (problem string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.full, func(_ netip.Prefix, until time.Time) bool { return !g.now().Before(until) })
	if until, full := g.full[network]; full {
		return g.dayIsFull(network, until)
	}
	return ""
}

func (g *gate) dayIsFull(network netip.Prefix, until time.Time) string {
	return fmt.Sprintf("budget: %d dialogues with %s in a day; next at %s", g.budget.limits.NetworkPerDay, network, date(until))
}

// remembered looks for a dialogue that is recent enough and speaks for the name.
func (g *gate) remembered(records []assess.HostRecord, name string) (assess.SMTPFacts, bool) {
	for _, own := range []bool{true, false} {
		for _, r := range records {
			rest := r.NotBefore.Sub(g.now())
			if rest > sessionKeep+time.Hour { // a clock that was ahead wrote it
				continue
			}
			if own != (r.Session.ServerName == name) || rest <= 0 || !own && !speaksFor(r.Session, name) {
				continue
			}
			if r.Session.Outcome == assess.TLSUnknown {
				r.Session.Problem += "; next at " + date(r.NotBefore)
			}
			return r.Session, true
		}
	}
	return assess.SMTPFacts{}, false
}

// speaksFor tells whether a dialogue under one server name answers for another one on the same
// address. Where it ended before the handshake the name had not been said, and a server that
// says nothing in the handshake is a tarpit under any name. Where the certificate names the
// other host too, that host would be shown the same one or one as good; if it does not, the
// server may well have another certificate for that name (RFC 6066 §3), and has to be asked.
func speaksFor(session assess.SMTPFacts, name string) bool {
	switch session.Stage {
	case stageConnect, stageGreeting, stageEHLO, stageSTARTTLS:
		return true
	case stageHandshake:
		if session.Outcome != assess.TLSAnswered {
			return session.Outcome == assess.TLSUnknown && strings.HasSuffix(session.Problem, problemTimeout)
		}
	}
	if session.TLS == nil || len(session.TLS.Chain) == 0 {
		return false
	}
	leaf, err := x509.ParseCertificate(session.TLS.Chain[0])
	return err == nil && chain{certs: []*x509.Certificate{leaf}, host: name}.named().Result == assess.Pass
}

// remember keeps a dialogue and decides when the address may be asked again. It returns what the
// dialogue is worth after the one before: a suspicion that comes up twice, in runs hours apart,
// is an outcome.
func (g *gate) remember(ctx context.Context, before []assess.HostRecord, facts assess.SMTPFacts) assess.SMTPFacts {
	if facts.Suspect != "" && slices.ContainsFunc(before, func(r assess.HostRecord) bool {
		return r.Session.ServerName == facts.ServerName && r.Session.Suspect == facts.Suspect
	}) {
		facts.Outcome = facts.Suspect
	}
	record := assess.HostRecord{Session: facts, NotBefore: facts.At.Add(sessionKeep)}
	if facts.Outcome == assess.TLSUnknown {
		record.Failures = 1 + failures(before, facts)
		record.NotBefore = facts.At.Add(retryAfter[min(record.Failures, len(retryAfter))-1])
	}
	if err := g.memory.SaveHostRecord(ctx, record); err != nil {
		g.log.Warn("a host record cannot be kept", "address", facts.Address, "error", err)
	}
	return facts
}

// failures counts those in a row before this one, under the same name or any that this one speaks for.
func failures(records []assess.HostRecord, facts assess.SMTPFacts) int {
	most := 0
	for _, r := range records {
		if r.Session.ServerName == facts.ServerName || speaksFor(r.Session, facts.ServerName) {
			most = max(most, r.Failures)
		}
	}
	return most
}

// classOf tells who an address is from how its last dialogue ended.
func classOf(records []assess.HostRecord) class {
	if len(records) == 0 {
		return newcomer
	}
	last := slices.MaxFunc(records, func(a, b assess.HostRecord) int { return a.Session.At.Compare(b.Session.At) })
	if last.Failures > 0 {
		return failing
	}
	return proven
}
