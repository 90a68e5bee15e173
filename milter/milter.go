// Package milter watches SMTP sessions from inside an MTA. It speaks the milter protocol
// (version 6, of Sendmail and Postfix), evaluates SPF, DKIM and DMARC of each message, decides
// whom the session speaks for, hands one observation to a Recorder, and puts the score of the
// author domain into the header of the message.
//
// The way of a message, one file a step; what a file uses stands below it:
//
//	guard.go conn.go packet.go   who may connect, which packets pass
//	session.go                   the callbacks of github.com/emersion/go-milter
//	message.go                   one message from MAIL to its end
//	evaluation.go                its SPF, DKIM and DMARC, beside each other:
//	  bodyfeed.go                  the body, for all signatures at once
//	  verification.go              one signature: the limits in front of go-msgauth, and what it does not report
//	  canonical.go                 the canonical form of header and body
//	  authres.go                   or the results of an earlier milter (RFC 8601)
//	  signature.go key.go          which signatures, and what their text and their keys decide (assess/dkim)
//	  lookup.go hostproof.go       questions to the DNS, and whose the client's name is
//	scoreheader.go               the Peer-Score fields that we write, and the removal of forged ones
//	attribute.go                 whom the session speaks for: one pure function, the table of milter/attribution.md
//	freeze.go                    what everybody fails at once is not held against anybody
//	mail.go messageheader.go     what is known of a message: its envelope, the fields of its header
//	macros.go                    what the MTA tells of the client
//	findings.go                  what the evaluation found, and the limits it ran into
//	budget.go                    what all that may cost
//	config.go stats.go log.go    what the server is given, and what it tells
//
// Mail flows whatever happens here. No message is ever rejected, deferred, quarantined or
// changed beyond the header fields named above; what cannot be told in time is not told. The
// MTA waits for nothing but the answer at the end of a message.
//
// The package leaves out the reputation itself (peerscore/store), probing, ARC evaluation, and
// every milter action that concerns envelope or body.
package milter

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"
)

// Server is the milter. It may serve several listeners.
type Server struct {
	config   Config
	policy   atomic.Pointer[Policy]
	log      throttle // for what peers can cause at will
	counters counters
	freezer  freezer
	// cpuBudget is that of a message, which tests change.
	cpuBudget time.Duration
	gate      gate
	stop      func()
	stopped   chan struct{}
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{config: cfg, stopped: make(chan struct{}), cpuBudget: cpuBudget}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	s.log = throttle{logger: cfg.Logger}
	s.gate = gate{log: &s.log, counters: &s.counters, most: MaxSessions}
	if cfg.Sessions > 0 {
		s.gate.most = min(cfg.Sessions, MaxSessions)
	}
	s.freezer.log, s.freezer.now = &s.log, cfg.Now
	s.SetPolicy(cfg.Policy)
	return s
}

// SetPolicy changes the policy for all messages that begin from now on.
func (s *Server) SetPolicy(p Policy) { s.policy.Store(&p) }

// Serve accepts MTAs until Shutdown, or until ln is closed, and closes ln. The error is nil after Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	guarded := &listener{Listener: ln, gate: &s.gate, done: s.stopped}
	library := gomilter.Server{
		NewMilter: func() gomilter.Milter {
			c := guarded.accepted
			c.session = &session{server: s}
			return c.session
		},
		Actions: actions, Protocol: steps, SymList: wantedMacros,
	}
	served := make(chan struct{})
	defer close(served)
	go func() {
		select {
		case <-s.stopped:
			ln.Close() // which makes Accept return
		case <-served:
		}
	}()
	err := library.Serve(guarded)
	select {
	case <-s.stopped:
		return nil
	default:
		return err
	}
}

// Shutdown stops accepting, lets the messages at hand end, and closes all sessions; when ctx
// ends first it closes them anyway and returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return s.gate.drain(ctx)
}

// contain runs f, which cannot end the process or the session: what it reads comes from strangers.
func (s *Server) contain(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.counters.panics.Add(1)
			s.config.Logger.Error("panic while a message was evaluated", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	f()
}
