// Package milter watches SMTP sessions from inside an MTA. It speaks the milter protocol
// (version 6, of Sendmail and Postfix), evaluates SPF, DKIM and DMARC of each message, decides
// whom the session speaks for, hands one observation to a Recorder, and puts the score of the
// author domain into the header of the message.
//
// The way of a message, one file a step:
//
//	guard.go conn.go packet.go   who may connect, which packets pass
//	session.go macros.go         the callbacks of github.com/emersion/go-milter; what the MTA tells
//	message.go fields.go         one message from MAIL to its end
//	budget.go                    what all that may cost
//	verify.go lookup.go          SPF, DKIM, DMARC of the message at hand, beside each other:
//	  signature.go key.go dkim.go  the limits in front of go-msgauth, and what it does not report
//	  canonical.go               the canonical form of header and body
//	  authres.go                 or the results of an earlier milter (RFC 8601)
//	attribute.go                 whom the session speaks for: one pure function
//	freeze.go                    what everybody fails at once is not held against anybody
//	header.go                    the Peer-Score fields, and the removal of forged ones
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
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// Recorder keeps what messages showed.
type Recorder interface {
	// AddObservation returns once the observation is safe, or cannot be soon, or ctx ends. An
	// error is counted and stands in the line of the message, which goes on.
	AddObservation(ctx context.Context, o assess.Observation) error
	// CountUnauthenticated counts a message that claimed the domain without proof, or failed its DMARC. It does not block.
	CountUnauthenticated(d dnsname.Domain)
}

// Reputation tells what is known of a domain, the zero Standing where nothing is. It is asked
// once for each message and should answer from memory.
type Reputation interface {
	Standing(ctx context.Context, d dnsname.Domain) assess.Standing
}

// Learner is told which domains are worth an assessment. Neither method blocks.
type Learner interface {
	// Offer names a domain that was just credited: probe it if it is new or its assessment is old.
	Offer(d dnsname.Domain)
	// Learn names a domain that our own users write to: it becomes a known peer.
	Learn(d dnsname.Domain)
}

// Config is what a Server works with. All fields but Now and Sessions are required.
type Config struct {
	// Resolver is what one message asks, with so many queries at most. It must answer or give up
	// within 2 s a question, at once when the context has ended, and should cache.
	Resolver   func(queries int) Resolver
	Recorder   Recorder
	Reputation Reputation
	Learner    Learner
	Logger     *slog.Logger
	Hostname   string           // the authserv-id where neither policy nor MTA give one
	Now        func() time.Time // time.Now when nil
	Policy     Policy
	Sessions   int // at once, where there may be fewer than MaxSessions; MaxSessions when zero
}

// Authentication says who evaluates SPF, DKIM and DMARC.
type Authentication string

const (
	Verify Authentication = "verify" // we do
	Trust  Authentication = "trust"  // an earlier milter did; its Authentication-Results are read
)

// Policy is what the operator decides. It can be changed while the server runs.
type Policy struct {
	Authentication     Authentication
	AuthservID         string         // empty: the name of the MTA
	TrustedAuthservIDs []string       // whose results are believed when Authentication is Trust
	InternalHosts      []netip.Prefix // clients whose mail is our own
	OwnDomains         []dnsname.Domain

	Score, Bars           bool // the header fields Peer-Score and Peer-Score-*
	AuthenticationResults bool // one Authentication-Results of our own
	LearnRecipients       bool // from the mail of our own users
}

// owns reports whether a domain is one of ours, or lies below one.
func (p *Policy) owns(d dnsname.Domain) bool {
	return slices.ContainsFunc(p.OwnDomains, d.Within)
}

func (p *Policy) trusts(servID string) bool {
	return slices.ContainsFunc(p.TrustedAuthservIDs, func(id string) bool { return equalFold(id, servID) })
}

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

// spawn runs f in a goroutine.
func (s *Server) spawn(f func()) { go s.contain(f) }

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
