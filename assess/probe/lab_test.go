package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

// lab is an internet on loopback: one resolver, one authority, mail hosts on addresses of
// their own (127.1.0.0/16) that share a port, a policy host and a CRL host.
type lab struct {
	t     testing.TB
	ca    *probetest.CA
	dns   *probetest.DNS
	ports map[uint16]uint16
	// delay is the round trip to every server but the resolver.
	delay  time.Duration
	web    *probetest.Web // with the policies
	crls   *probetest.Web
	dialer *Dialer
	env    Env
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newDistantLab(t, 0, 0)
}

// newDistantLab is a lab whose servers are a round trip away; that of the resolver stands for
// what it has to ask itself.
func newDistantLab(t testing.TB, delay, resolving time.Duration) *lab {
	t.Helper()
	l := &lab{t: t, delay: delay, ports: make(map[uint16]uint16)}
	var err error
	l.ca, err = probetest.NewCA(probetest.CAConfig{CRLURL: "http://crl.lab.example"})
	must(t, err)
	l.dns, err = probetest.NewDNS(probetest.DNSConfig{Delay: resolving, Zones: []probetest.Zone{
		{Name: "example", Signed: true},
		{Name: "lab.example", Signed: true, Records: "crl A 127.0.0.80"},
	}})
	must(t, err)
	t.Cleanup(func() { l.dns.Close() })
	l.dialer = &Dialer{Allow: prefixes("127.0.0.0/8"), Ports: l.ports}
	limits := BulkLimits()
	l.env = Env{
		Resolver: l.resolver(), Dialer: l.dialer, Roots: l.ca.Roots(), EHLO: "probe.example", Limits: limits,
	}
	return l
}

// resolver makes a resolver with an empty cache.
func (l *lab) resolver() *resolver.Resolver {
	l.t.Helper()
	dns, err := resolver.New(resolver.Config{Servers: []string{l.dns.Addr()}})
	must(l.t, err)
	dns.SelfTest(context.Background())
	return dns
}

// zone adds a signed zone.
func (l *lab) zone(name, records string) {
	l.t.Helper()
	must(l.t, l.dns.Set(probetest.Zone{Name: name, Signed: true, Records: records}))
}

// serveCRLs starts the CRL host.
func (l *lab) serveCRLs() {
	l.t.Helper()
	issuing, err := l.ca.CRL(nil)
	must(l.t, err)
	root, err := l.ca.RootCRL(nil)
	must(l.t, err)
	l.crls, err = probetest.NewWeb(probetest.WebConfig{Addr: "127.0.0.80:0", Delay: l.delay, Pages: map[string]http.HandlerFunc{
		"crl.lab.example/issuing.crl": probetest.Page("application/pkix-crl", issuing),
		"crl.lab.example/root.crl":    probetest.Page("application/pkix-crl", root),
	}})
	must(l.t, err)
	l.t.Cleanup(func() { l.crls.Close() })
	l.ports[portHTTP] = portOf(l.t, l.crls.Addr())
}

// servePolicy starts a policy host at an address, on the port that all share.
func (l *lab) servePolicy(addr string, certificate tls.Certificate, path string, page http.HandlerFunc) {
	l.t.Helper()
	var err error
	l.web, err = probetest.NewWeb(probetest.WebConfig{
		Addr: net.JoinHostPort(addr, strconv.Itoa(int(l.ports[portHTTPS]))), Delay: l.delay, Certificates: []tls.Certificate{certificate},
		Pages: map[string]http.HandlerFunc{path: page},
	})
	must(l.t, err)
	l.t.Cleanup(func() { l.web.Close() })
	l.ports[portHTTPS] = portOf(l.t, l.web.Addr())
}

// serveSMTP starts a mail host at an address, on the port that all share.
func (l *lab) serveSMTP(addr string, cfg probetest.SMTPConfig) *probetest.SMTP {
	l.t.Helper()
	cfg.Addr = net.JoinHostPort(addr, strconv.Itoa(int(l.ports[portSMTP])))
	if cfg.Delay == 0 {
		cfg.Delay = l.delay
	}
	server, err := probetest.NewSMTP(cfg)
	must(l.t, err)
	l.t.Cleanup(func() { server.Close() })
	l.ports[portSMTP] = portOf(l.t, server.Addr())
	return server
}

// issue makes a certificate.
func (l *lab) issue(leaf probetest.Leaf) tls.Certificate {
	l.t.Helper()
	certificate, err := l.ca.Issue(leaf)
	must(l.t, err)
	return certificate
}

func (l *lab) runner() *Runner {
	l.t.Helper()
	r, err := NewRunner(l.env)
	must(l.t, err)
	return r
}

func (l *lab) probe(domain string) assess.Facts {
	l.t.Helper()
	return probeWith(l.t, l.runner(), domain)
}

func probeWith(t testing.TB, r *Runner, domain string) assess.Facts {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	facts, err := r.Probe(ctx, dnsname.Domain(domain), nil)
	must(t, err)
	return facts
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func portOf(t testing.TB, address string) uint16 {
	t.Helper()
	ap, err := netip.ParseAddrPort(address)
	must(t, err)
	return ap.Port()
}

// tlsa is a DANE-EE record over the key of a certificate.
func tlsa(certificate tls.Certificate) string {
	return fmt.Sprintf("3 1 1 %x", sha256.Sum256(certificate.Leaf.RawSubjectPublicKeyInfo))
}
