package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"

	"peerscore/assess/probe"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

const (
	peerEHLO = iota
	peerPolicy
)

const (
	knobNames = iota
	knobConstraints
	knobIntermediates
	knobRevoked
	knobTrusted
)

var (
	nameCounts         = []int{1, 10, 100, 1000}
	constraintCounts   = []int{0, 10, 100, 500}
	intermediateCounts = []int{1, 4, 9, 30}
	revokedCounts      = []int{0, 100, 10_000, 100_000}
)

const (
	peerDomain = "sender.example"
	peerMX     = "mx.sender.example"
	peerCRL    = "crl.sender.example"
)

// peerSurface is a domain as the prober meets it: SMTP dialogue, certificates, revocation list
// and policy.
func peerSurface() *surface {
	return &surface{
		name: "peer",
		// A list of that size is its authority's, and is fetched once for all who point to it.
		kin:  func(in input) string { return fmt.Sprint(in.knobs[knobRevoked]) },
		slow: true,
		parts: []part{
			peerEHLO:   {"EHLO reply", []string{"250-A\r\n", "250 A\r\n", "250-", "\r\n", "\n", "\r", " ", "a", "\x00", "\xff", "250-STARTTLS\r\n", "250-SIZE ", "220 a\r\n", strings.Repeat("a", 500)}, 128 << 10},
			peerPolicy: {"policy", []string{"mx: *.sender.example\r\n", "mx: a\n", "mx:", "\n", ":", "a", " ", "mode: enforce\r\n", "\x00", "\xff", strings.Repeat("a", 200)}, 128 << 10},
		},
		knobs: []knob{
			knobNames: {"names", len(nameCounts)}, knobConstraints: {"constraints", len(constraintCounts)}, knobIntermediates: {"intermediates", len(intermediateCounts)},
			knobRevoked: {"revoked", len(revokedCounts)}, knobTrusted: {"trusted", 2},
		},
		// A run asks 60 questions at the most (assess/probe/limits.md, section 5); what it may cost is spread over minutes.
		limits: limits{ratio: 8, held: 32 << 20, queries: 60},
		start:  newPeerBench,
		ordinary: func(in input, octets int) input {
			lines := "mx: mx.sender.example\r\n"
			return input{
				texts: []string{"", strings.Repeat(lines, min(octets, 60<<10)/len(lines))}, knobs: []int{0, 0, 0, in.knobs[knobRevoked], 1}, ordinary: true,
			}
		},
	}
}

// peerBench is a prober and its peer on loopback.
type peerBench struct {
	dns    *probetest.DNS
	smtp   *probetest.SMTP
	policy *probetest.Web
	web    *probetest.Web // of revocation lists
	ca     *probetest.CA
	dialer map[string]string // what listens at an address

	ehlo   string
	served tls.Certificate
	chains map[string]tls.Certificate
	lists  map[int][]byte
}

func newPeerBench() (_ bench, err error) {
	b := &peerBench{chains: map[string]tls.Certificate{}, lists: map[int][]byte{}, dialer: map[string]string{}}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.ca, err = probetest.NewCA(probetest.CAConfig{CRLURL: "http://" + peerCRL}); err != nil {
		return nil, err
	}
	if b.smtp, err = probetest.NewSMTP(probetest.SMTPConfig{Name: peerMX, Steps: map[string]probetest.Step{
		"EHLO": func(c *probetest.SMTPConn) bool {
			_, err := c.Write([]byte("250-" + peerMX + "\r\n" + b.ehlo + "250 STARTTLS\r\n"))
			return err == nil
		},
		"STARTTLS": func(c *probetest.SMTPConn) bool {
			return probetest.HandshakeWith(&tls.Config{Certificates: []tls.Certificate{b.served}})(c)
		},
	}}); err != nil {
		return nil, err
	}
	sts, err := b.ca.Issue(probetest.Leaf{Names: []string{"mta-sts." + peerDomain}})
	if err != nil {
		return nil, err
	}
	if b.policy, err = probetest.NewWeb(probetest.WebConfig{Certificates: []tls.Certificate{sts}}); err != nil {
		return nil, err
	}
	if b.web, err = probetest.NewWeb(probetest.WebConfig{}); err != nil {
		return nil, err
	}
	b.dns, err = probetest.NewDNS(probetest.DNSConfig{Zones: []probetest.Zone{{Name: peerDomain, Signed: true, Records: `
		@ MX 10 mx
		mx A 127.0.0.2
		mta-sts A 127.0.0.3
		crl A 127.0.0.4
		@ TXT "v=spf1 mx -all"
		_dmarc TXT "v=DMARC1; p=reject"
		_mta-sts TXT "v=STSv1; id=1"
		_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@sender.example"
	`}}})
	b.dialer = map[string]string{"127.0.0.2:25": b.smtp.Addr(), "127.0.0.3:443": b.policy.Addr(), "127.0.0.4:80": b.web.Addr()}
	return b, err
}

func (*peerBench) meter() meter { return measured }

func (b *peerBench) Close() error {
	for _, c := range []interface{ Close() error }{b.smtp, b.policy, b.web, b.dns} {
		if c != nil {
			c.Close()
		}
	}
	return nil
}

// dial leads to what listens at an address of the laboratory.
func (b *peerBench) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, b.dialer[address])
}

// run probes the domain once, with a prober that knows nothing yet.
func (b *peerBench) run(in input, m meter) (use, int, error) {
	octets, err := b.prepare(in)
	if err != nil {
		return use{}, 0, err
	}
	dns, err := resolver.New(resolver.Config{Servers: []string{b.dns.Addr()}})
	if err != nil {
		return use{}, 0, err
	}
	runner, err := probe.NewRunner(probe.Env{
		Resolver: dns, Roots: b.ca.Roots(), EHLO: "mx.receiver.example", Limits: probe.BulkLimits(),
		Dialer: &probe.Dialer{Dial: b.dial, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		return use{}, 0, err
	}
	before := b.queries()
	u, err := m(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := runner.Probe(ctx, peerDomain, nil)
		return err
	})
	u.queries = b.queries() - before
	return u, octets, err
}

func (b *peerBench) queries() (n int) {
	for _, asked := range b.dns.Queries() {
		n += asked
	}
	return n
}

// prepare has the servers say what the input says.
func (b *peerBench) prepare(in input) (octets int, err error) {
	b.ehlo = in.texts[peerEHLO]
	policy := "version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\n" + in.texts[peerPolicy]
	b.policy.Set(probetest.PolicyPath(peerDomain), probetest.Page("text/plain", []byte(policy)))
	if b.served, err = b.chain(in); err != nil {
		return 0, err
	}
	revoked := revokedCounts[in.knobs[knobRevoked]]
	if b.lists[revoked] == nil {
		if b.lists[revoked], err = b.ca.CRL(func(list *x509.RevocationList) {
			for i := range revoked {
				serial := big.NewInt(int64(i) + 1<<40)
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Hour)})
			}
		}); err != nil {
			return 0, err
		}
	}
	b.web.Set(peerCRL+"/issuing.crl", probetest.Page("application/pkix-crl", b.lists[revoked]))
	octets = len(b.ehlo) + len(policy) + len(b.lists[revoked])
	for _, der := range b.served.Certificate {
		octets += len(der)
	}
	return octets, nil
}

// chain is a certificate with names, and certificates of authorities with one name and one key,
// each of which could have issued it and every other.
func (b *peerBench) chain(in input) (tls.Certificate, error) {
	key := fmt.Sprint(in.knobs)
	if cert, ok := b.chains[key]; ok {
		return cert, nil
	}
	leaf := probetest.Leaf{Names: []string{peerMX}}
	for i := 1; i < nameCounts[in.knobs[knobNames]]; i++ {
		leaf.Names = append(leaf.Names, fmt.Sprintf("n%d.a.b.c.d.e.f.sender.example", i))
	}
	cert, err := b.ca.Issue(leaf)
	if err == nil && in.knobs[knobTrusted] == 0 {
		cert, err = untrusted(leaf.Names, constraintCounts[in.knobs[knobConstraints]], intermediateCounts[in.knobs[knobIntermediates]])
	}
	b.chains[key] = cert
	return cert, err
}

func untrusted(names []string, constraints, intermediates int) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "same"}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	for i := range constraints {
		authority.PermittedDNSDomains = append(authority.PermittedDNSDomains, fmt.Sprintf("d%d.sender.example", i))
	}
	end := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
	}
	chain := tls.Certificate{PrivateKey: crypto.PrivateKey(key)}
	der, err := x509.CreateCertificate(rand.Reader, end, authority, key.Public(), key)
	for i := 0; err == nil && i < intermediates; i++ {
		chain.Certificate = append(chain.Certificate, der)
		authority.SerialNumber = big.NewInt(int64(i) + 10)
		der, err = x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	}
	chain.Certificate = append(chain.Certificate, der)
	return chain, err
}
