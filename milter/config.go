package milter

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

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
