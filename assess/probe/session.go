package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
)

// Session is the dialogue with one address of an MX host. It goes on while probes look at what
// it has brought so far.
type Session struct {
	host *Host
	smtp assess.SMTPFacts

	name  string // what the trace calls it
	stage string // and the stage that brought the chain

	chain     [][]byte
	presented chan struct{} // closed when chain is known, or will never be
	over      chan struct{} // closed when smtp is complete

	certificate func() assess.CertificateFacts
}

// holdSessions begins a dialogue with each chosen address and returns at once.
func (h *Host) holdSessions(ctx context.Context) []*Session {
	var sessions []*Session
	for _, addr := range h.addresses().chosen {
		s := &Session{
			host: h, name: h.Name + " [" + addr.String() + "] ",
			presented: make(chan struct{}), over: make(chan struct{}),
		}
		s.certificate = sync.OnceValue(func() assess.CertificateFacts { return s.examine(ctx) })
		h.target.dialogues.Go(func() { s.run(ctx, addr) })
		sessions = append(sessions, s)
	}
	return sessions
}

func (s *Session) run(ctx context.Context, addr netip.Addr) {
	defer close(s.over)
	show := sync.OnceFunc(func() { close(s.presented) })
	defer show()
	env, trace := s.host.target.runner.env, s.host.target.trace
	waited := sync.OnceFunc(trace.begin(s.name+"turn", stageOf(s.host.Name, resolver.A)))
	defer waited()
	s.smtp = s.host.target.runner.gate.session(ctx, visit{addr, s.host.Name, s.host.target.visits.Add(1) > 1}, func(ctx context.Context) (assess.SMTPFacts, error) {
		waited()
		d := &dialogue{
			dialer: env.Dialer, ehlo: env.EHLO, now: env.Now, trace: trace, after: s.name + "turn",
			onChain: func(chain [][]byte) {
				s.chain, s.stage = slices.Clone(chain), s.name+stageHandshake
				show()
			},
		}
		return d.hold(ctx, addr, s.host.Name)
	})
	if s.chain == nil && s.smtp.TLS != nil { // a remembered dialogue
		s.chain, s.stage = s.smtp.TLS.Chain, s.name+"turn"
	}
}

// Chain is the chain that the server presented, leaf first; nil when there is none. It waits
// for the handshake and not for what follows.
func (s *Session) Chain() [][]byte {
	<-s.presented
	return s.chain
}

// Facts are all of the dialogue, once it is over, with what is to be said about the certificate.
func (s *Session) Facts() assess.SMTPFacts {
	<-s.over
	facts := s.smtp
	if facts.TLS != nil {
		tls := *facts.TLS // the dialogue may belong to other domains as well
		tls.Certificate = s.certificate()
		facts.TLS = &tls
	}
	return facts
}

// examine answers the four questions about the presented chain.
func (s *Session) examine(ctx context.Context) assess.CertificateFacts {
	t := s.host.target
	defer t.trace.begin(s.name+"certificate", s.stage)()
	certs, err := parseChain(s.Chain())
	if err != nil {
		unknown := assess.Check{Detail: err.Error()}
		return assess.CertificateFacts{Trusted: unknown, Named: unknown, Dated: unknown, Revoked: unknown}
	}
	c := chain{certs: certs, host: s.host.Name, roots: t.runner.env.Roots, now: t.runner.env.Now()}
	facts, paths := c.facts()
	if len(paths) == 0 {
		facts.Revoked.Detail = "nobody is asked while the chain leads to no trusted root"
		return facts
	}
	facts.Revoked = t.runner.crls.check(ctx, t.dns, paths[0])
	return facts
}
