// Package resolver is a security-aware stub resolver (RFC 4035, section 4.9, RFC 6840, section 5.7-5.9): it
// asks a recursive resolver, checks that the reply is one to its question, and tells how far
// DNSSEC vouches for it. The AD bit is believed from loopback or where the operator says so;
// a SERVFAIL that turns into an answer with CD set is suspect of being bogus. Answers are kept in a bounded
// cache for as long as their TTL says, and one question is asked once however many wait for it.
//
// Resolver.Query returns everything as plain data, failures included. The Lookup methods have
// the signatures of net.Resolver, for code that wants no more than that.
//
// It leaves out recursion and validation of its own, search domains, /etc/hosts, names beyond
// letters, digits, hyphens and underscores, and encrypted transports. No other package knows
// that github.com/miekg/dns is behind it.
package resolver

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultTimeout = 2 * time.Second
	defaultEntries = 8192
	minAttempts    = 2 // with one server, the second try goes to the same
)

// Config says whom to ask and whom to believe. The zero value is ready for use.
type Config struct {
	// Servers are IP addresses with or without a port, three at most; those of
	// /etc/resolv.conf, or 127.0.0.1, when empty.
	Servers []string
	// TrustAD says whose AD bit is believed; TrustLoopback when empty.
	TrustAD TrustAD
	// Timeout of one question with all its tries, 2 s when zero. After a SERVFAIL it begins anew
	// for the question with CD set.
	Timeout time.Duration
	// CacheEntries bounds the cache, in answers of up to 1 KiB; a larger one counts as several. 8192 when zero.
	CacheEntries int
	// Questions is how many are under way at once, each with a socket; 512 when zero, and at most.
	Questions int
	// SelfTestName is a zone that is signed; the root when empty.
	SelfTestName string
	Logger       *slog.Logger
	Now          func() time.Time
}

// Resolver asks questions. It may be used by any number of goroutines.
type Resolver struct {
	*upstream
	allowance *allowance // nil when unlimited
	cached    bool       // answers from the cache alone
}

// upstream is what all views of one resolver share.
type upstream struct {
	servers  []*server
	timeout  time.Duration
	testName string
	logger   *slog.Logger
	now      func() time.Time
	cache    *cache
	breaker  breaker
	places   places
	tested   atomic.Pointer[Validation]
}

// question is a name in lower case without the trailing dot, and a type.
type question struct {
	name string
	t    Type
}

// New makes a resolver; it sends nothing yet. The error is in the configuration or in /etc/resolv.conf.
func New(cfg Config) (*Resolver, error) {
	servers, err := parseServers(cfg)
	if err != nil {
		return nil, err
	}
	u := &upstream{
		servers:  servers,
		timeout:  cfg.Timeout,
		testName: cfg.SelfTestName,
		logger:   cfg.Logger,
		now:      cfg.Now,
		places:   newPlaces(cfg.Questions),
	}
	if u.timeout <= 0 {
		u.timeout = defaultTimeout
	}
	if u.testName == "" {
		u.testName = "."
	}
	if u.logger == nil {
		u.logger = slog.New(slog.DiscardHandler)
	}
	if u.now == nil {
		u.now = time.Now
	}
	if cfg.CacheEntries <= 0 {
		cfg.CacheEntries = defaultEntries
	}
	u.cache = newCache(cfg.CacheEntries)
	return &Resolver{upstream: u}, nil
}

// Servers are the addresses that questions go to.
func (r *Resolver) Servers() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(r.servers))
	for i, s := range r.servers {
		addrs[i] = s.addr
	}
	return addrs
}

// Query asks for the records of one type at a name. Whatever goes wrong is in the Answer: its
// Status is then Failed, and Reason says why. When ctx ends first the caller gets that as the
// reason, while the question goes on for others who wait for it and for the cache. Once ctx has
// ended, what the cache holds is still answered, and nothing is sent.
func (r *Resolver) Query(ctx context.Context, name string, t Type) Answer {
	canonical, ok := canonicalName(name)
	q := question{canonical, t}
	if !ok {
		return failed(question{name, t}, ReasonName)
	}
	for {
		answer, own := r.query(ctx, q)
		if own || answer.Reason != ReasonBudget {
			return answer
		}
		// It was asked within the allowance of somebody else, who has used that up.
	}
}

// query looks for the answer in the cache, and waits for it else. Own reports that the question
// was sent, or refused, within the limits of this view.
func (r *Resolver) query(ctx context.Context, q question) (answer Answer, own bool) {
	answer, f, first := r.cache.find(q, r.now(), false)
	if r.cached && answer.Status == "" {
		return failed(q, ReasonNotCached), true
	}
	if answer.Status == "" && f == nil {
		if reason := r.allowance.admit(ctx); reason != "" {
			return failed(q, reason), true
		}
		if answer, f, first = r.cache.find(q, r.now(), true); !first {
			r.allowance.giveBack()
		}
	}
	if answer.Status != "" {
		return answer, false
	}
	if first {
		go r.fly(q, f, r.allowance)
	}
	select {
	case <-f.done:
		return f.answer, first
	case <-ctx.Done():
		return failed(q, contextReason(ctx)), first
	}
}

// fly answers a question for all who wait for it. It ends within twice the timeout, and
// nothing that a server sends makes it panic.
func (u *upstream) fly(q question, f *flight, a *allowance) {
	answer := failed(q, ReasonInternal)
	defer func() { u.cache.land(q, f, answer, u.now()) }()
	defer u.contain(q)
	answer = u.resolve(q, a)
}

// contain ends a panic over the reply to a question; it is to be deferred.
func (u *upstream) contain(q question) {
	if p := recover(); p != nil {
		u.logger.Error("DNS reply caused a panic", "name", q.name, "type", q.t.String(), "panic", p, "stack", string(debug.Stack()))
	}
}

// resolve asks the servers in turn until one has an answer. The first query is admitted already.
func (u *upstream) resolve(q question, a *allowance) Answer {
	began := u.now()
	closed, control := u.breaker.closed(began)
	if !closed {
		return failed(q, ReasonBreaker)
	}
	if control {
		go u.control()
	}
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	owner := organisation(q.name)
	leave, ok := u.places.take(ctx, owner)
	if !ok {
		return failed(q, ReasonBusy)
	}
	defer leave()
	answer := u.tryServers(ctx, q, a)
	if answer.Status == Failed && answer.Reason != ReasonBudget {
		answer.TTL = failureTTL
	}
	if answer.Reason == ReasonTimeout && u.breaker.timedOut(owner, began, u.now()) {
		go u.control()
	}
	return answer
}

// tryServers gives each try its share of the time that is left. A reply without an answer
// (SERVFAIL, REFUSED) sends the question to the next server and outranks a timeout as the reason.
func (u *upstream) tryServers(ctx context.Context, q question, a *allowance) Answer {
	answer := failed(q, ReasonTimeout)
	replied := 0
	attempts := max(minAttempts, len(u.servers))
	for i := range attempts {
		if replied == len(u.servers) {
			break
		}
		if i > 0 && !a.spend() {
			return failed(q, ReasonBudget)
		}
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(attempts-i)
		try, cancel := context.WithTimeout(ctx, share)
		got := u.ask(try, u.servers[i%len(u.servers)], q, a)
		cancel()
		if got.Status != Failed || got.Security != Indeterminate || got.Reason == ReasonBudget {
			return got
		}
		if got.Reason != ReasonTimeout {
			answer = got
			replied++
		}
	}
	return answer
}

// ask puts the question to one server and judges the reply. A SERVFAIL of a validating server
// is looked into with CD set (RFC 4035, section 3.2.2): are there data that it refuses?
func (u *upstream) ask(ctx context.Context, s *server, q question, a *allowance) Answer {
	reply, err := exchange(ctx, s.addr, q, false, a)
	if err != nil {
		return failed(q, errorReason(err))
	}
	u.breaker.answered(u.now())
	answer := parse(reply, q)
	if refusal := refusalOf(reply); reply.Rcode == dns.RcodeServerFailure && refusal != Indeterminate && s.validates() {
		if !a.spend() {
			return failed(q, ReasonBudget)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.timeout)
		defer cancel()
		unchecked, err := exchange(ctx, s.addr, q, true, a)
		if err == nil && parse(unchecked, q).Status != Failed {
			answer.Security = refusal
		}
	} else if answer.Status != Failed {
		answer.Security = s.security(reply.AuthenticatedData)
	}
	return answer
}
