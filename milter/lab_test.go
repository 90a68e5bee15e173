package milter

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"math/rand"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
	"peerscore/milter/miltertest"
)

// zone is the DNS of a test: "TXT name", "ip4 name", "ip6 name", "MX name" or "PTR address" to
// the records. The record SERVFAIL is a temporary failure, HANG an answer that never comes, and
// NEVER a question that must not be asked.
type zone map[string][]string

func (z zone) lookup(ctx context.Context, kind, name string) ([]string, error) {
	records := z[kind+" "+strings.ToLower(name)]
	switch {
	case len(records) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case records[0] == "SERVFAIL":
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	case records[0] == "HANG":
		<-ctx.Done()
		return nil, ctx.Err()
	case records[0] == "NEVER":
		panic("asked for " + name)
	}
	return records, nil
}

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, "TXT", name)
}

func (z zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	records, err := z.lookup(ctx, network, host)
	var addrs []netip.Addr
	for _, r := range records {
		addrs = append(addrs, netip.MustParseAddr(r))
	}
	return addrs, err
}

func (z zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := z.lookup(ctx, "MX", name)
	var mxs []*net.MX
	for _, r := range records {
		mxs = append(mxs, &net.MX{Host: r, Pref: 10})
	}
	return mxs, err
}

func (z zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return z.lookup(ctx, "PTR", addr)
}

// unlimited is a resolver without a limit.
type unlimited struct{ spf.Resolver }

func (unlimited) Exhausted() bool { return false }

// Cached has what the resolver answers for somebody who has stopped waiting.
func (u unlimited) Cached() spf.Resolver { return hurried(u) }

// hurried asks a resolver with a context that has ended.
type hurried struct{ spf.Resolver }

var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (h hurried) LookupTXT(_ context.Context, name string) ([]string, error) {
	return h.Resolver.LookupTXT(over, name)
}

func (h hurried) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	return h.Resolver.LookupNetIP(over, network, host)
}

func (h hurried) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return h.Resolver.LookupMX(over, name)
}

func (h hurried) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return h.Resolver.LookupAddr(over, addr)
}

// always gives every message the same resolver.
func always(r spf.Resolver) func(int) Resolver { return func(int) Resolver { return unlimited{r} } }

// keys sign for the domains of a test; the selector names the key.
var keys = map[string]crypto.Signer{
	"ed":  ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)),
	"rsa": newRSA(2048),
}

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.New(rand.NewSource(1)), bits)
	if err != nil {
		panic(err)
	}
	return key
}

// keyRecord is the TXT record of a key.
func keyRecord(key crypto.Signer) string {
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// signed puts a signature of the domain before a message. Changes are made to the options.
func signed(t testing.TB, message string, domain, selector string, options ...func(*msgauth.SignOptions)) string {
	t.Helper()
	o := &msgauth.SignOptions{Domain: domain, Selector: selector, Signer: keys[selector]}
	for _, change := range options {
		change(o)
	}
	var out bytes.Buffer
	if err := msgauth.Sign(&out, strings.NewReader(message), o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func relaxed(o *msgauth.SignOptions) {
	o.HeaderCanonicalization, o.BodyCanonicalization = msgauth.CanonicalizationRelaxed, msgauth.CanonicalizationRelaxed
}

// ledger is a store in memory: it adds observations up as the real one does.
type ledger struct {
	mu              sync.Mutex
	observations    []assess.Observation
	unauthenticated map[dnsname.Domain]int
	standings       map[dnsname.Domain]assess.Standing
	offered         []dnsname.Domain
	learned         []dnsname.Domain
	err             error // of AddObservation
}

func (l *ledger) AddObservation(_ context.Context, o assess.Observation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.observations = append(l.observations, o)
	}
	return l.err
}

func (l *ledger) CountUnauthenticated(d dnsname.Domain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unauthenticated == nil {
		l.unauthenticated = map[dnsname.Domain]int{}
	}
	l.unauthenticated[d]++
}

func (l *ledger) Standing(_ context.Context, d dnsname.Domain) assess.Standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.standings[d]
}

func (l *ledger) Offer(d dnsname.Domain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered = append(l.offered, d)
}

func (l *ledger) Learn(d dnsname.Domain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learned = append(l.learned, d)
}

// tally adds up what is credited to a domain: for each host once, however many messages it
// sent; for the pseudo-host "relayed" each signature once.
func (l *ledger) tally(d dnsname.Domain) []assess.HostTally {
	l.mu.Lock()
	defer l.mu.Unlock()
	hosts := map[netip.Prefix]*assess.HostTally{}
	seen := map[assess.SignatureID]bool{}
	for _, o := range l.observations {
		if o.Domain != d || o.Relayed() && seen[o.Signature] {
			continue
		}
		seen[o.Signature] = seen[o.Signature] || o.Relayed()
		if hosts[o.Host] == nil {
			hosts[o.Host] = &assess.HostTally{Host: o.Host}
		}
		h := hosts[o.Host]
		h.Sessions++
		h.StartTLS.Add(o.StartTLS)
		h.SPF.Add(o.SPF)
		h.DKIM.Add(o.DKIM)
	}
	var list []assess.HostTally
	for _, h := range hosts {
		list = append(list, *h)
	}
	slices.SortFunc(list, func(a, b assess.HostTally) int { return cmp.Compare(a.Subject(), b.Subject()) })
	return list
}

// lab is a milter with its world, reached through a real socket.
type lab struct {
	zone   zone
	ledger *ledger
	server *Server
	logged *locked
	path   string
}

const labHost = "mx.own.example"

func newLab(t testing.TB, z zone, changes ...func(*Config)) *lab {
	t.Helper()
	l := &lab{zone: z, ledger: &ledger{standings: map[dnsname.Domain]assess.Standing{}}, logged: &locked{}}
	cfg := Config{
		Resolver: always(z), Recorder: l.ledger, Reputation: l.ledger, Learner: l.ledger, Hostname: labHost,
		Logger: slog.New(slog.NewTextHandler(l.logged, nil)),
		Policy: Policy{
			Authentication: Verify, AuthservID: labHost, Score: true, Bars: true, LearnRecipients: true,
			InternalHosts: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			OwnDomains:    []dnsname.Domain{"own.example"},
		},
	}
	for _, change := range changes {
		change(&cfg)
	}
	l.server = New(cfg)
	l.server.cpuBudget = time.Hour // how fast the machine is decides no test
	l.path = filepath.Join(t.TempDir(), "milter")
	ln, err := net.Listen("unix", l.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		l.ledger.checkEligible(t)
	})
	return l
}

// checkEligible holds every test to this: only whom a message is credited to may be probed.
func (l *ledger) checkEligible(t testing.TB) {
	for _, d := range l.offered {
		if l.err == nil && !slices.ContainsFunc(l.observations, func(o assess.Observation) bool { return o.Domain == d }) {
			t.Errorf("%s is offered for a probe, and nothing is credited to it", d)
		}
	}
}

// locked is a buffer for the handlers of several goroutines.
type locked struct {
	mu sync.Mutex
	w  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.String()
}

// dial opens a session of an MTA.
func (l *lab) dial(t testing.TB) *miltertest.Client {
	t.Helper()
	c, err := miltertest.Dial("unix", l.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answer plays one message in a session of its own.
func (l *lab) answer(t testing.TB, p miltertest.Peer, m miltertest.Message) miltertest.Answer {
	t.Helper()
	c := l.dial(t)
	if err := c.Connect(p); err != nil {
		t.Fatal(err)
	}
	answer := play(t, c, p, m)
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	return answer
}

// send is answer, applied to the message: what is delivered.
func (l *lab) send(t testing.TB, p miltertest.Peer, m miltertest.Message) string {
	t.Helper()
	return string(l.answer(t, p, m).Apply(m.Data))
}

// play plays one message in a session that is open. Whatever it is, the MTA goes on.
func play(t testing.TB, c *miltertest.Client, p miltertest.Peer, m miltertest.Message) miltertest.Answer {
	t.Helper()
	if m.QueueID == "" {
		m.QueueID = "4fQ1aB2cDe"
	}
	answer, err := c.Send(p, m)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Code != 'c' {
		t.Fatalf("the milter answered %q", answer.Code)
	}
	return answer
}

// values are those of all fields of a name in a message, unfolded.
func values(message, name string) []string {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	var list []string
	for _, line := range strings.Split(strings.ReplaceAll(head, "\r\n ", " "), "\r\n") {
		field, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(field), name) {
			list = append(list, strings.TrimSpace(value))
		}
	}
	return list
}

// letter is a short message from an author.
func letter(from string, more ...string) string {
	return strings.Join(append([]string{"From: " + from, "To: <info@own.example>", "Subject: minutes",
		"Date: Fri, 20 Nov 2026 10:00:00 +0000", "Message-ID: <1@example.org>"}, more...), "\r\n") +
		"\r\n\r\nDear all,\r\n\r\nhere they are.\r\n"
}
