// Package probetest is a small internet on loopback, named after httptest: what a peer of
// peerscore looks like from the network, scripted and with real sockets. Tests use it, and
// `peerscore demo` runs on it; so it does not import testing.
//
// This file and dns_*.go are its DNS: a server that holds every zone from the root down and
// answers over UDP and TCP (RFC 1034, 1035, 4033-4035, 6891, 8914). As a resolver, the
// default, it follows CNAMEs across its zones and sets AD as a validating resolver does;
// authoritative, it serves the same zones with real signatures and denials for a real resolver
// to validate. It leaves out zone transfers, updates, DNAME, NSEC3, and delegations to zones
// that it does not hold itself.
package probetest

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Zone is one DNS zone as a literal.
type Zone struct {
	// Name of the apex: "example.org", or "." for the root.
	Name string
	// Records is master-file text (RFC 1035, section 5), but for indentation, which means nothing: each
	// record begins with its owner, "@" or relative to the apex. The TTL is 300 unless given,
	// SOA and NS are made up where they are missing, wildcards work. Delegations and their DS
	// records are not written here: they follow from the zones that the server holds.
	Records string
	// Signed zones have a key, signatures, and a DS record in the zone above. A signed zone is
	// secure when the zone above is; with an unsigned one above it is insecure.
	Signed bool
	// Bogus zones are signed, and every signature in them but that of the key is broken. As a resolver
	// the server answers SERVFAIL with EDE 6 for them and for what lies below, unless CD is set.
	Bogus bool
	// Expired zones are the same, but that the signatures are good and their time is over: EDE 7.
	Expired bool
}

// Failure is how a question fails.
type Failure string

const (
	Timeout  Failure = "TIMEOUT" // no reply
	ServFail Failure = "SERVFAIL"
	Refused  Failure = "REFUSED"
)

// DNSConfig says what a DNS server serves, and how.
type DNSConfig struct {
	// Addr to listen on, UDP and TCP: an IP address and a port; "127.0.0.1:0" when empty.
	Addr string
	// Zones in any order. Without a root zone there is an empty, signed one, so that every name
	// that no zone holds gets a secure NXDOMAIN.
	Zones []Zone
	// Failures are questions that fail: "mx1.example.org A", or "example.org *" for every type.
	Failures map[string]Failure
	// Delay before each reply.
	Delay time.Duration
	// NotValidating makes the resolver one that knows nothing of DNSSEC: no AD, and bogus data as if it were good.
	NotValidating bool
	// Authoritative serves the zones as name servers do, for a real resolver to validate: AA, no
	// recursion, no AD. TrustAnchor is the way in. At port 53 the made-up NS and their addresses
	// lead a resolver from the root to every zone; at another port it needs a stub for each.
	Authoritative bool
}

// DNS is a DNS server on loopback.
type DNS struct {
	config  DNSConfig
	addr    netip.AddrPort
	servers []*dns.Server

	mu       sync.RWMutex
	zones    map[string]*zone // by apex
	failures map[string]Failure
	turns    map[dns.Question][]netip.Addr

	countMu sync.Mutex
	counts  map[string]int
}

// NewDNS starts a server. The error is a zone that does not parse or an address that cannot be had.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	addr, err := netip.ParseAddrPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("start a DNS server: %w", err)
	}
	s := &DNS{
		config:   cfg,
		addr:     addr,
		zones:    make(map[string]*zone, len(cfg.Zones)+1),
		failures: make(map[string]Failure, len(cfg.Failures)),
		turns:    make(map[dns.Question][]netip.Addr),
		counts:   make(map[string]int),
	}
	for _, literal := range append([]Zone{{Name: ".", Signed: true}}, cfg.Zones...) {
		z, err := parseZone(literal, s.addr.Addr())
		if err != nil {
			return nil, err
		}
		s.zones[z.name] = z
	}
	s.delegate()
	for question, failure := range cfg.Failures {
		s.Fail(question, failure)
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is the address and port that the server listens on.
func (s *DNS) Addr() string { return s.addr.String() }

// Close stops the server after the replies that are under way.
func (s *DNS) Close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Shutdown())
	}
	return errors.Join(errs...)
}

// Set adds a zone, or replaces it: from now on the server answers from the new one. A zone
// that was signed before keeps its key.
func (s *DNS) Set(literal Zone) error {
	z, err := parseZone(literal, s.addr.Addr())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.zones[z.name]; old != nil {
		z.key = old.key
	}
	s.zones[z.name] = z
	s.delegate()
	return nil
}

// Fail makes a question fail from now on, "example.org TXT" or "example.org *"; the empty
// failure makes it answered again.
func (s *DNS) Fail(question string, failure Failure) {
	name, qtype, _ := strings.Cut(question, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[countKey(dns.CanonicalName(name), qtype)] = failure
}

// Rebind answers each further question for an address of a name with the next of the addresses,
// which are of one family, and the last ever after, and lets no cache keep it: a rebinding attack.
func (s *DNS) Rebind(name string, addrs ...netip.Addr) {
	q := dns.Question{Name: dns.CanonicalName(name), Qtype: dns.TypeAAAA, Qclass: dns.ClassINET}
	if addrs[0].Is4() {
		q.Qtype = dns.TypeA
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns[q] = addrs
}

// turn is the answer whose turn it is, or nil.
func (s *DNS) turn(q dns.Question) []dns.RR {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.Name = dns.CanonicalName(q.Name)
	addrs := s.turns[q]
	if len(addrs) == 0 {
		return nil
	}
	if len(addrs) > 1 {
		s.turns[q] = addrs[1:]
	}
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: q.Qclass}
	if q.Qtype == dns.TypeA {
		return []dns.RR{&dns.A{Hdr: head, A: addrs[0].AsSlice()}}
	}
	return []dns.RR{&dns.AAAA{Hdr: head, AAAA: addrs[0].AsSlice()}}
}

// Queries tells how often each question was received, over UDP and TCP together:
// "example.org TXT", lower case, without the trailing dot.
func (s *DNS) Queries() map[string]int {
	s.countMu.Lock()
	defer s.countMu.Unlock()
	return maps.Clone(s.counts)
}

// TrustAnchor is the root's DNSKEY as text: what a validating resolver must be given.
func (s *DNS) TrustAnchor() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.zones["."].key().dnskey.String()
}

// countKey is the form in which questions are counted and made to fail.
func countKey(name, qtype string) string {
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return name + " " + qtype
}

// listenAttempts bounds the search for a port that is free for UDP and TCP.
const listenAttempts = 20

func (s *DNS) listen() error {
	var err error
	for range listenAttempts {
		var packets *net.UDPConn
		if packets, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr)); err != nil {
			break
		}
		bound := packets.LocalAddr().(*net.UDPAddr).AddrPort()
		var listener net.Listener
		if listener, err = net.Listen("tcp", bound.String()); err != nil {
			packets.Close()
			continue
		}
		s.addr = bound
		return errors.Join(
			s.start(&dns.Server{PacketConn: packets}),
			s.start(&dns.Server{Listener: listener, MaxTCPQueries: -1}),
		)
	}
	return fmt.Errorf("start a DNS server: %w", err)
}

// start returns once the server serves. Its goroutine ends with Close.
func (s *DNS) start(server *dns.Server) error {
	started := make(chan error, 1)
	server.Handler = s
	server.NotifyStartedFunc = func() { started <- nil }
	go func() {
		if err := server.ActivateAndServe(); err != nil {
			select {
			case started <- err:
			default:
			}
		}
	}()
	s.servers = append(s.servers, server)
	return <-started
}
