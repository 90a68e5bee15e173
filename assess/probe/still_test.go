package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

// still is an internet in a bubble of virtual time. Mail and web servers are at the far ends of
// pipes, on public addresses. The resolver is a real one: while it is asked, the clock stands.
type still struct {
	t   *testing.T
	ca  *probetest.CA
	dns *probetest.DNS
	env Env

	mu      sync.Mutex
	peers   map[string]peer // by address and port
	dialled map[string]int
	talking sync.WaitGroup
}

// peer is one end of a connection.
type peer func(net.Conn)

// newStill makes an internet of zones that were made outside of the bubble.
func newStill(t *testing.T, dns *probetest.DNS) *still {
	t.Helper()
	s := &still{t: t, dns: dns, peers: make(map[string]peer), dialled: make(map[string]int)}
	var err error
	s.ca, err = probetest.NewCA(probetest.CAConfig{CRLURL: "http://crl.lab.example"})
	must(t, err)
	r, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}})
	must(t, err)
	r.SelfTest(t.Context())
	s.env = Env{Resolver: r, Dialer: &Dialer{Dial: s.dial}, Roots: s.ca.Roots(), EHLO: "probe.example", Limits: BulkLimits()}
	return s
}

// zoneServer serves zones below example, for one bubble after the other.
func zoneServer(t testing.TB) *probetest.DNS {
	t.Helper()
	dns, err := probetest.NewDNS(probetest.DNSConfig{Zones: []probetest.Zone{
		{Name: "example", Signed: true},
		{Name: "lab.example", Signed: true, Records: "crl A 5.0.0.80"},
	}})
	must(t, err)
	t.Cleanup(func() { dns.Close() })
	return dns
}

// dial finds nobody at most addresses.
func (s *still) dial(_ context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	p := s.peers[address]
	s.dialled[address]++
	s.mu.Unlock()
	if p == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	s.talking.Go(func() {
		defer server.Close()
		p(socket(server))
	})
	return client, nil
}

// socketConn is an end of a pipe that takes what the other end writes, as sockets do, whether
// or not anybody reads it yet.
type socketConn struct {
	net.Conn
	in   chan []byte
	rest []byte
}

func socket(conn net.Conn) net.Conn {
	c := &socketConn{Conn: conn, in: make(chan []byte, 1<<10)}
	go func() {
		defer close(c.in)
		for {
			buf := make([]byte, 4<<10)
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			c.in <- buf[:n]
		}
	}()
	return c
}

func (c *socketConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		var open bool
		if c.rest, open = <-c.in; !open {
			return 0, io.EOF
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// forgetCalls counts what is dialled from here on.
func (s *still) forgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.dialled)
}

// calls is how often an address was dialled.
func (s *still) calls(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialled[address]
}

// put places a peer at an address and port.
func (s *still) put(address string, p peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[address] = p
}

func (s *still) zone(name, records string) {
	s.t.Helper()
	must(s.t, s.dns.Set(probetest.Zone{Name: name, Signed: true, Records: records}))
}

func (s *still) issue(leaf probetest.Leaf) tls.Certificate {
	s.t.Helper()
	certificate, err := s.ca.Issue(leaf)
	must(s.t, err)
	return certificate
}

// smtp is a mail host as configured.
func smtp(cfg probetest.SMTPConfig) peer { return probetest.UnstartedSMTP(cfg).Serve }

// honest is a provider that does everything right, whose mail host is at an address.
func (s *still) honest(domain, addr string) {
	s.t.Helper()
	s.zone(domain, "@ MX 10 mx\nmx A "+addr+"\nmta-sts A "+addr+"\n_mta-sts TXT \"v=STSv1; id=1\"")
	s.put(addr+":25", smtp(probetest.SMTPConfig{Certificates: certs(s.issue(probetest.Leaf{Names: []string{"mx." + domain}}))}))
	policy := "version: STSv1\nmode: enforce\nmx: mx." + domain + "\nmax_age: 604800\n"
	s.put(addr+":443", s.https("mta-sts."+domain, response("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "+fmt.Sprint(len(policy)), text(policy))))
}

// lists is a CRL host that does everything right.
func (s *still) lists() peer {
	s.t.Helper()
	issuing, err := s.ca.CRL(nil)
	must(s.t, err)
	root, err := s.ca.RootCRL(nil)
	must(s.t, err)
	return func(c net.Conn) {
		r, err := request(c)
		if err != nil {
			return
		}
		body := issuing
		if r.URL.Path == "/root.crl" {
			body = root
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

// probe runs one domain and tells how long it took.
func (s *still) probe(r *Runner, domain string) (assess.Facts, time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), assess.MaxRun)
	defer cancel()
	began := time.Now()
	facts, err := r.Probe(ctx, dnsname.Domain(domain), nil)
	must(s.t, err)
	return facts, time.Since(began)
}

func (s *still) runner() *Runner {
	s.t.Helper()
	r, err := NewRunner(s.env)
	must(s.t, err)
	time.Sleep(time.Minute) // the places that the minute before may have used
	return r
}

// response reads a request, and answers with a status line and fields, and a body.
func response(head string, body func(io.Writer)) peer {
	return func(c net.Conn) {
		if _, err := request(c); err != nil {
			return
		}
		if _, err := io.WriteString(c, head+"\r\n\r\n"); err == nil {
			body(c)
		}
	}
}

func text(s string) func(io.Writer) { return func(w io.Writer) { io.WriteString(w, s) } }

// endless writes the same until nobody reads it any more, with a pause before each.
func endless(s string, pause time.Duration) func(io.Writer) {
	return func(w io.Writer) {
		for {
			time.Sleep(pause)
			if _, err := io.WriteString(w, s); err != nil {
				return
			}
		}
	}
}

// https is a web server with a certificate for a name.
func (s *still) https(name string, p peer) peer {
	s.t.Helper()
	return secured(s.issue(probetest.Leaf{Names: []string{name}, CRLs: []string{}}), p)
}

func secured(certificate tls.Certificate, p peer) peer {
	return func(c net.Conn) {
		t := tls.Server(c, &tls.Config{Certificates: certs(certificate)})
		if t.Handshake() == nil {
			p(t)
		}
	}
}

func request(c net.Conn) (*http.Request, error) { return http.ReadRequest(bufio.NewReader(c)) }
