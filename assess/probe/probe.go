// Package probe asks what a mail provider offers: it obtains assess.Facts from DNS, from the
// provider's mail servers and from its policy host, and has no opinion on them.
//
// [Runner.Probe] resolves the domain into a [Target], which holds what several standards need
// (MX hosts, their addresses, one SMTP dialogue with each), and runs [All], one probe for each
// standard, at once. So the time of a run is its longest chain of round trips: connect,
// greeting, EHLO, STARTTLS, handshake, EHLO; everything else happens beside it.
//
// Peers are hostile. Addresses are checked before they are dialled ([Dialer]); every read has a
// limit, and every wait an end; a dialogue with an address serves all domains on it, for days,
// and begins only as far as the budgets allow ([Limits]). A probe sends no mail: it says EHLO,
// STARTTLS, QUIT (RFC 5321, RFC 3207), fetches one policy over HTTPS (RFC 8461), revocation
// lists over HTTP (RFC 5280), and no more.
//
// What the peer does wrong is a fact. What could not be measured is unknown, with the reason. An
// error means that we could do nothing at all.
//
// The file names are those of package assess: assess/spf.go says what the facts of SPF are and
// what we think of them, spf.go here gets them. It leaves out OCSP, certificates to be fetched
// (AIA), other ports than 25, 80 and 443, and when a domain is probed: that is assess.Queue's.
package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/resolver"
)

// Probe obtains the facts of one standard. It writes to the part of the facts that carries its
// name, or through the target's hosts to its own fields of them, and to nothing else, since all
// probes run at once.
type Probe struct {
	Standard assess.Standard
	Run      func(ctx context.Context, t *Target, f *assess.Facts)
}

// All are the probes of a run.
var All = []Probe{
	{assess.StartTLS, probeStartTLS},
	{assess.X509, probeX509},
	{assess.SPF, probeSPF},
	{assess.DKIM, probeDKIM},
	{assess.DMARC, probeDMARC},
	{assess.DANE, probeDANE},
	{assess.DNSSEC, probeDNSSEC},
	{assess.MTASTS, probeMTASTS},
	{assess.TLSRPT, probeTLSRPT},
	{assess.BIMI, probeBIMI},
}

// Env is what a prober takes from its surroundings.
type Env struct {
	Resolver *resolver.Resolver
	Dialer   *Dialer
	Roots    *x509.CertPool   // whom certificates must lead to; the system's when nil
	EHLO     string           // our real host name
	Limits   Limits           // DefaultLimits() when zero
	Memory   Memory           // NewMemory() when nil
	Now      func() time.Time // time.Now when nil
	Log      *slog.Logger     // silent when nil

	// Trace, when not nil, hears of each stage of a run as it ends, from several goroutines at once.
	Trace func(StageTiming)
}

// Runner probes domains. It is an assess.Prober, for any number of goroutines at once.
type Runner struct {
	env     Env
	gate    *gate
	web     *web
	crls    *crlCache
	queries *queryLimit
}

var _ assess.Prober = (*Runner)(nil)

// NewRunner completes the surroundings. The error is that of the system's root certificates.
func NewRunner(env Env) (*Runner, error) {
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Limits == (Limits{}) {
		env.Limits = DefaultLimits()
	}
	if env.Memory == nil {
		env.Memory = NewMemory()
	}
	if env.Roots == nil {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("root certificates: %w", err)
		}
		env.Roots = roots
	}
	env.Dialer = env.Dialer.refusing(env.Resolver.Servers())
	r := &Runner{env: env}
	r.gate = &gate{
		budget: newBudget(env.Limits), memory: newRecent(env.Memory), roots: env.Roots, now: env.Now, log: env.Log,
		shares: shares{memory: env.Memory, limits: env.Limits, now: env.Now, log: env.Log},
	}
	r.web = &web{dialer: env.Dialer, roots: env.Roots, shares: &r.gate.shares, now: env.Now}
	r.crls = &crlCache{web: r.web, now: env.Now}
	r.queries = newQueryLimit(env.Limits.QueriesPerSecond)
	return r, nil
}

// refusing is the dialer that does not dial the resolver either.
func (d *Dialer) refusing(servers []netip.AddrPort) *Dialer {
	own := Dialer{}
	if d != nil {
		own = *d
	}
	own.Refuse = append([]netip.Addr(nil), own.Refuse...)
	for _, server := range servers {
		own.Refuse = append(own.Refuse, server.Addr())
	}
	return &own
}

// Probe obtains the facts of one domain. Selectors are the DKIM keys seen in use. What is not
// known when the deadline of the context comes is unknown. The error is a context that was
// canceled, and then there are no facts.
func (r *Runner) Probe(ctx context.Context, d dnsname.Domain, selectors []assess.Selector) (assess.Facts, error) {
	facts := assess.Facts{Domain: d, At: r.env.Now().UTC()}
	t := newTarget(ctx, r, d, selectors)
	var probes sync.WaitGroup
	for _, p := range All {
		probes.Go(func() { p.Run(ctx, t, &facts) })
	}
	probes.Wait()
	t.dialogues.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return assess.Facts{}, fmt.Errorf("probe %s: %w", d, ctx.Err())
	}
	facts.Hosts = t.facts()
	return facts, nil
}
