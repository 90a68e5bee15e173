package probe

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/resolver"
)

// Session is what the dialogues with one address of an MX host brought. They go on while probes
// look at what there is so far.
type Session struct {
	host *Host
	addr netip.Addr
	smtp assess.SMTPFacts
	own  bool // only what was shown under the host's own name will do

	last  *dialogue
	name  string // what the trace calls it
	stage string // and the stage that brought the chain

	once      sync.Once
	first     assess.TLSFacts // the first that was seen of a handshake: its chain and cipher suite
	presented chan struct{}   // closed when first is known, or will never be
	over      chan struct{}   // closed when smtp is complete

	certificate func() assess.CertificateFacts // of first
	complete    func() assess.SMTPFacts
}

// holdSessions begins a dialogue with each chosen address and returns at once.
func (h *Host) holdSessions(ctx context.Context) []*Session {
	var sessions []*Session
	for _, addr := range h.addresses().chosen {
		s := &Session{
			host: h, addr: addr, name: h.Name + " [" + addr.String() + "] ",
			presented: make(chan struct{}), over: make(chan struct{}),
		}
		s.certificate = sync.OnceValue(func() assess.CertificateFacts { return s.examine(ctx, s.first) })
		s.complete = sync.OnceValue(func() assess.SMTPFacts { return s.withCertificates(ctx) })
		h.target.dialogues.Go(func() { s.run(ctx) })
		sessions = append(sessions, s)
	}
	return sessions
}

func (s *Session) run(ctx context.Context) {
	defer close(s.over)
	defer s.present(assess.TLSFacts{}, "")
	waited := sync.OnceFunc(s.host.target.trace.begin(s.name+"turn", stageOf(s.host.Name, resolver.A)))
	defer waited()
	s.ask(ctx, waited)
	if s.smtp.TLS != nil {
		s.present(*s.smtp.TLS, "turn") // a remembered dialogue
	}
	s.askOwn(ctx)
	s.seeOther(ctx)
	if s.askOwn(ctx) {
		s.seeOther(ctx)
	}
}

// askOwn has the dialogue under the host's own name, and reports whether it had to: another name's
// spoke for the host, and its TLSA records do not match what was shown under that.
func (s *Session) askOwn(ctx context.Context) bool {
	known := s.smtp
	if s.own || known.ServerName == s.host.Name || !s.host.refuses(known.TLS) && (known.Other == nil || !s.host.refuses(known.Other.TLS)) {
		return false
	}
	s.own = true
	s.ask(ctx, func() {})
	return true
}

// ask has the dialogue under the host's own name, or finds one that speaks for it.
func (s *Session) ask(ctx context.Context, waited func()) {
	s.smtp = s.host.target.runner.gate.session(ctx, s.visit(s.host.Name, nil), func(ctx context.Context, more again) (assess.SMTPFacts, error) {
		waited()
		return talks{s.addr, s.host.Name, s.dialogue, more}.hold(ctx)
	})
}

// seeOther has the server asked for its other certificate, where that decides. Where another
// name's dialogue spoke for the host, and that name's other certificate does not, the host has a
// dialogue of its own.
func (s *Session) seeOther(ctx context.Context) {
	for range 2 {
		known := s.smtp
		if known.TLS == nil || len(known.TLS.Chain) == 0 {
			return
		}
		if !s.host.certificatesDecide() {
			break
		}
		s.smtp = s.host.target.runner.gate.session(ctx, s.visit(known.ServerName, &known), func(ctx context.Context, more again) (assess.SMTPFacts, error) {
			return talks{s.addr, known.ServerName, s.dialogue, more}.other(ctx, known)
		})
		if known.ServerName == s.host.Name || s.host.target.runner.gate.speaksFor(s.smtp, s.host.Name) {
			return
		}
		s.ask(ctx, func() {})
	}
	if o := s.smtp.Other; o != nil && o.At.Before(s.smtp.At) {
		s.smtp.Other = nil // of an earlier dialogue
	}
}

func (s *Session) visit(name string, known *assess.SMTPFacts) visit {
	t := s.host.target
	return visit{addr: s.addr, name: name, organisation: t.Domain.Organisational(), further: t.visits.Add(1) > 1, known: known, own: s.own}
}

// dialogue is one that may begin.
func (s *Session) dialogue() *dialogue {
	env, after := s.host.target.runner.env, s.name+"turn"
	if s.last != nil {
		after = s.last.after
	}
	s.last = &dialogue{
		dialer: env.Dialer, ehlo: env.EHLO, now: env.Now, trace: s.host.target.trace, after: after, again: s.last != nil,
		onChain: func(seen assess.TLSFacts) { s.present(seen, string(assess.StageHandshake)) },
	}
	return s.last
}

// present lets probes have the chain; the first one that there is stands.
func (s *Session) present(seen assess.TLSFacts, stage string) {
	s.once.Do(func() {
		s.first, s.stage = seen, s.name+stage
		close(s.presented)
	})
}

// Chain is the chain that the server presented, leaf first; nil when there is none. It waits
// for the handshake and not for what follows.
func (s *Session) Chain() [][]byte {
	<-s.presented
	return s.first.Chain
}

// Facts are all of the dialogue, once it is over, with what is to be said about the certificate.
func (s *Session) Facts() assess.SMTPFacts {
	<-s.over
	return s.complete()
}

func (s *Session) withCertificates(ctx context.Context) assess.SMTPFacts {
	facts := s.smtp
	if facts.TLS == nil {
		return facts
	}
	if facts.Other != nil && facts.Other.TLS != nil {
		other, tls := *facts.Other, *facts.Other.TLS
		tls.Certificate = s.examine(ctx, tls)
		facts.Other, other.TLS = &other, &tls
	}
	tls := *facts.TLS // the dialogue may belong to other domains as well
	facts.TLS = &tls
	switch {
	case len(tls.Chain) == 0:
		tls.Certificate = unexamined(assess.ReasonCertificateEncrypted, "TLS 1.3 encrypts its certificate, and "+facts.Problem)
	case slices.EqualFunc(tls.Chain, s.first.Chain, bytes.Equal):
		tls.Certificate = s.certificate()
	default: // the first was seen in a dialogue that failed
		tls.Certificate = s.examine(ctx, tls)
	}
	return facts
}

// unexamined says why the four questions have no answers.
func unexamined(reason assess.Reason, detail string) assess.CertificateFacts {
	unknown := assess.Check{Reason: reason, Detail: detail}
	return assess.CertificateFacts{Trusted: unknown, Named: unknown, Dated: unknown, Revoked: unknown}
}

// examine answers the four questions about the chain of a handshake.
func (s *Session) examine(ctx context.Context, seen assess.TLSFacts) assess.CertificateFacts {
	t := s.host.target
	defer t.trace.begin(s.name+"certificate", s.stage)()
	certs, err := pkix.ParseChain(seen.Chain)
	if err != nil {
		return unexamined(assess.ReasonCertificateUnreadable, err.Error())
	}
	c := chain{certs: certs, host: s.host.Name, usage: pkix.ServerUsage(seen.Cipher), roots: t.runner.env.Roots, now: t.runner.env.Now()}
	facts, path := c.facts()
	if path == nil {
		facts.Revoked.Detail = "nobody is asked while the chain leads to no trusted root"
		return facts
	}
	facts.Revoked = t.runner.crls.check(ctx, t.dns, path)
	return facts
}
