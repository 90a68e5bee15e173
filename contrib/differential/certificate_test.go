package differential

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

// TestCertificate probes mail hosts with chains and revocation lists good and strange, and
// holds the four answers against `openssl verify -crl_check_all`. Where the chain leads
// nowhere, or the certificate has expired, nobody is asked for lists here, so that only the
// rest is compared. Left out is what differs on purpose: OpenSSL takes "m*.example.org" for a
// wildcard, and a CN beside a SAN without DNS names.
func TestCertificate(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("openssl is not installed: left out certificates against openssl verify")
	}
	w := newPKIWorld(t)
	tally := map[string]int{}
	for _, chain := range w.chains() {
		all := w.lists()
		if !chain.everyList {
			all = all[:2]
		}
		for _, lists := range all {
			here, there := w.compare(chain, lists)
			if here != there {
				t.Errorf("%s, %s: here %q, OpenSSL %q", chain.name, lists.name, here, there)
				continue
			}
			tally["agree"]++
			tally[here]++
		}
	}
	t.Logf("certificates: %d cases agree: %v", tally["agree"], tally)
	for _, outcome := range []string{"", "chain", "name", "dates", "revoked", "unknown"} {
		if tally[outcome] == 0 {
			t.Errorf("no case ends in %q alone: the comparison says little", outcome)
		}
	}
}

// pkiWorld is a laboratory with one authority.
type pkiWorld struct {
	daneMaker
	dns                       *probetest.DNS
	web                       *probetest.Web
	dialer                    *probe.Dialer
	runner                    *probe.Runner
	root, stranger            *daneIdentity
	issuerKey, strangerIssuer *daneIdentity
	n                         int
}

// pkiChain is a way to issue the certificate of one host.
type pkiChain struct {
	name         string
	issuer, leaf func(*x509.Certificate)
	foreign      bool // by an authority that nobody trusts, whose root is sent
	alone        bool // sent without the issuer
	selfSigned   bool
	everyList    bool // tried with all of them, not with the first two only
}

// pkiLists are the two lists of a chain: change has a say in each, and what it makes nil is not to be had.
type pkiLists struct {
	name         string
	root, issuer func(list *x509.RevocationList, cert *x509.Certificate) *x509.RevocationList
	byStranger   bool // the issuer's list is signed with another key
}

func newPKIWorld(t *testing.T) *pkiWorld {
	w := &pkiWorld{daneMaker: daneMaker{t}}
	both := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign }
	w.root = w.issue(nil, w.authority("Root CA", both), w.ec())
	w.stranger = w.issue(nil, w.authority("Root CA", both, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(9) }), w.ec())
	w.issuerKey = &daneIdentity{key: w.ec()}
	w.strangerIssuer = &daneIdentity{key: w.ec()}
	var err error
	w.dns, err = probetest.NewDNS(probetest.DNSConfig{Zones: []probetest.Zone{{Name: "lab.example", Records: "crl A 127.0.0.80"}}})
	w.check(err)
	t.Cleanup(func() { w.dns.Close() })
	w.web, err = probetest.NewWeb(probetest.WebConfig{Addr: "127.0.0.80:0"})
	w.check(err)
	t.Cleanup(func() { w.web.Close() })
	dns, err := resolver.New(resolver.Config{Servers: []string{w.dns.Addr()}})
	w.check(err)
	roots := x509.NewCertPool()
	roots.AddCert(w.root.Certificate)
	w.dialer = &probe.Dialer{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Ports: map[uint16]uint16{80: netip.MustParseAddrPort(w.web.Addr()).Port()},
	}
	// The first server finds the port that all share.
	first, err := net.Listen("tcp", "127.2.0.1:0")
	w.check(err)
	w.dialer.Ports[25] = netip.MustParseAddrPort(first.Addr().String()).Port()
	w.check(first.Close())
	w.runner, err = probe.NewRunner(probe.Env{Resolver: dns, Dialer: w.dialer, Roots: roots, EHLO: "probe.example", Limits: probe.BulkLimits()})
	w.check(err)
	return w
}

func (w *pkiWorld) chains() []pkiChain {
	type f = func(*x509.Certificate)
	none := func(*x509.Certificate) {}
	names := func(cn string, dns ...string) f {
		return func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = cn, slices.Clone(dns) }
	}
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }
	strange := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}
	permitMail := func(d string) f { return func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{d} } }
	mail := func(a string) f { return func(c *x509.Certificate) { c.EmailAddresses = []string{a} } }
	excludeURI := func(d string) f { return func(c *x509.Certificate) { c.ExcludedURIDomains = []string{d} } }
	uri := func(raw string) f {
		u, err := url.Parse(raw)
		w.check(err)
		return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
	}
	clients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	return []pkiChain{
		{name: "usual", issuer: none, leaf: none, everyList: true},
		{name: "alone", issuer: none, leaf: none, alone: true},
		{name: "unknown authority of the same name", issuer: none, leaf: none, foreign: true},
		{name: "self-signed", issuer: none, leaf: none, selfSigned: true},
		{name: "expired", issuer: none, leaf: expired},
		{name: "not yet valid", issuer: none, leaf: future},
		{name: "expired, wrong name", issuer: none, leaf: func(c *x509.Certificate) { expired(c); c.DNSNames = []string{"other.example"} }},
		{name: "issuer expired", issuer: expired, leaf: none},
		{name: "issuer not yet valid", issuer: future, leaf: none},
		{name: "issuer no authority", issuer: func(c *x509.Certificate) { c.IsCA = false }, leaf: none},
		{name: "issuer may not sign", issuer: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, leaf: none, everyList: true},
		{name: "issuer for clients", issuer: clients, leaf: none},
		{name: "issuer with a strange extension", issuer: strange, leaf: none},
		{name: "name not permitted", issuer: func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"other.example"} }, leaf: none},
		{name: "name excluded", issuer: func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"example"} }, leaf: none},
		{name: "for clients", issuer: none, leaf: clients},
		{name: "strange extension", issuer: none, leaf: strange},
		{name: "server for lists", issuer: none, leaf: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }},
		{name: "mail address at the host", issuer: permitMail("HOST.example"), leaf: mail("a@host.example")},
		{name: "mail address at a host below", issuer: permitMail("example"), leaf: mail("a@host.example")},
		{name: "mail address below the domain", issuer: permitMail(".example"), leaf: mail("a@host.example")},
		{name: "that mail address", issuer: permitMail("a@host.example"), leaf: mail("a@host.EXAMPLE")},
		{name: "another mail address", issuer: permitMail("A@host.example"), leaf: mail("a@host.example")},
		{name: "URI at the host", issuer: excludeURI("host.example"), leaf: uri("https://host.example/")},
		{name: "URI at a host below", issuer: excludeURI("example"), leaf: uri("https://host.example/")},
		{name: "URI below the domain", issuer: excludeURI(".example"), leaf: uri("https://host.example/")},
		{name: "wrong name", issuer: none, leaf: names("x", "other.example"), everyList: true},
		{name: "name within another", issuer: none, leaf: names("x", "HOST.evil.example", "evilHOST")},
		{name: "CN only", issuer: none, leaf: names("HOST"), everyList: true},
		{name: "CN overruled", issuer: none, leaf: names("HOST", "other.example")},
		{name: "wildcard", issuer: none, leaf: names("x", "*.DOMAIN")},
		{name: "wildcard of two labels", issuer: none, leaf: names("x", "*.example")},
		{name: "wildcard CN", issuer: none, leaf: names("*.DOMAIN")},
		{name: "capitals", issuer: none, leaf: names("x", "MX.DOMAIN")},
	}
}

func (w *pkiWorld) lists() []pkiLists {
	type list = x509.RevocationList
	type f = func(*list, *x509.Certificate) *list
	asIs := func(l *list, _ *x509.Certificate) *list { return l }
	revoke := func(l *list, c *x509.Certificate) *list {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 1}}
		return l
	}
	old := func(l *list, _ *x509.Certificate) *list {
		l.ThisUpdate, l.NextUpdate = time.Now().AddDate(0, 0, -9), time.Now().AddDate(0, 0, -1)
		return l
	}
	future := func(l *list, _ *x509.Certificate) *list {
		l.ThisUpdate, l.NextUpdate = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		return l
	}
	none := func(*list, *x509.Certificate) *list { return nil }
	scope := func(value ...byte) f {
		return func(l *list, _ *x509.Certificate) *list {
			l.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: append([]byte{0x30, byte(len(value))}, value...)}}
			return l
		}
	}
	return []pkiLists{
		{name: "good lists", root: asIs, issuer: asIs},
		{name: "revoked", root: asIs, issuer: revoke},
		{name: "issuer revoked", root: revoke, issuer: asIs},
		{name: "out of date", root: asIs, issuer: old},
		{name: "from the future", root: asIs, issuer: future},
		{name: "none", root: asIs, issuer: none},
		{name: "none of the root", root: none, issuer: asIs},
		{name: "by another key", root: asIs, issuer: revoke, byStranger: true},
		{name: "of servers", root: asIs, issuer: scope(0x81, 1, 0xff)},
		{name: "of authorities", root: asIs, issuer: scope(0x82, 1, 0xff)},
		{name: "of another point", root: asIs, issuer: scope(append([]byte{0xa0, 16, 0xa0, 14, 0x86, 12}, "http://other"...)...)},
		{name: "of some reasons", root: asIs, issuer: scope(0x83, 2, 6, 0x40)},
		{name: "indirect", root: asIs, issuer: scope(0x84, 1, 0xff)},
	}
}

// compare asks both about one case. The answers are what is wrong: any of chain, name, dates,
// revoked, unknown.
func (w *pkiWorld) compare(chain pkiChain, lists pkiLists) (here, there string) {
	w.t.Helper()
	w.n++
	domain := fmt.Sprintf("c%d.example", w.n)
	host := "mx." + domain
	point := func(list string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.CRLDistributionPoints = []string{fmt.Sprintf("http://crl.lab.example/%d/%s", w.n, list)}
		}
	}
	root, issuerKey := w.root, w.issuerKey
	if chain.foreign {
		root, issuerKey = w.stranger, w.strangerIssuer
	}
	both := func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }
	issuer := w.issue(root, w.authority("Issuer CA", both, point("root"), chain.issuer), issuerKey.key)
	signer := issuer
	if chain.selfSigned {
		signer = nil
	}
	spell := strings.NewReplacer("HOST", host, "DOMAIN", domain)
	leaf := w.issue(signer, w.server(func(c *x509.Certificate) { c.DNSNames = []string{host}; c.SerialNumber = big.NewInt(7) },
		point("issuer"), chain.leaf, func(c *x509.Certificate) {
			c.Subject.CommonName = spell.Replace(c.Subject.CommonName)
			for i, name := range c.DNSNames {
				c.DNSNames[i] = spell.Replace(name)
			}
		}), w.issuerKey.key)
	sent := []*x509.Certificate{leaf.Certificate, issuer.Certificate, root.Certificate}
	if chain.alone {
		sent = sent[:1]
	}
	var crls []byte
	for _, l := range []struct {
		name   string
		of     *x509.Certificate
		by     *daneIdentity
		change func(*x509.RevocationList, *x509.Certificate) *x509.RevocationList
	}{{"root", issuer.Certificate, root, lists.root}, {"issuer", leaf.Certificate, issuer, lists.issuer}} {
		list := l.change(&x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, l.of)
		path := fmt.Sprintf("crl.lab.example/%d/%s", w.n, l.name)
		if list == nil {
			w.web.Set(path, http.NotFound)
			continue
		}
		key := l.by.key
		if lists.byStranger && l.name == "issuer" {
			key = w.strangerIssuer.key
		}
		able := *l.by.Certificate // whose key usage is what is tested
		able.KeyUsage, able.PublicKey = x509.KeyUsageCRLSign, key.Public()
		if able.SubjectKeyId == nil { // as of one that is no authority
			able.SubjectKeyId = []byte{1}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, &able, key)
		w.check(err)
		w.web.Set(path, probetest.Page("application/pkix-crl", der))
		crls = append(crls, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	here = w.probe(domain, host, leaf, sent)
	return here, relevant(w.askOpenSSL(host, sent, crls))
}

// probe is our own answer.
func (w *pkiWorld) probe(domain, host string, leaf *daneIdentity, sent []*x509.Certificate) string {
	addr := fmt.Sprintf("127.2.%d.%d", w.n/200, 1+w.n%200)
	certificate := tls.Certificate{PrivateKey: leaf.key}
	for _, cert := range sent {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	server, err := probetest.NewSMTP(probetest.SMTPConfig{
		Addr: fmt.Sprintf("%s:%d", addr, w.dialer.Ports[25]), Certificates: []tls.Certificate{certificate},
	})
	w.check(err)
	defer server.Close()
	w.check(w.dns.Set(probetest.Zone{Name: domain, Records: "@ MX 10 mx\nmx A " + addr}))
	c := w.seen(domain).Certificate
	return relevant(map[string]bool{
		"chain": c.Trusted.Result != assess.Pass, "name": c.Named.Result != assess.Pass, "dates": c.Dated.Result != assess.Pass,
		"revoked": c.Revoked.Result == assess.Fail, "unknown": c.Revoked.Result == assess.Unknown,
	})
}

// seen is what a run sees of the only host of a domain. On a machine that has no time for it a run
// may see nothing; that is no answer, and it is asked again.
func (w *pkiWorld) seen(domain string) *assess.TLSFacts {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		facts, err := w.runner.Probe(ctx, dnsname.Domain(domain), nil)
		w.check(err)
		for _, host := range facts.Hosts.Hosts {
			for _, session := range host.Sessions {
				if session.TLS != nil {
					return session.TLS
				}
			}
		}
		if ctx.Err() != nil {
			w.t.Fatalf("%s was not seen: %+v", domain, facts.Hosts)
		}
		time.Sleep(time.Second)
	}
}

// relevant is what is compared of the faults found.
func relevant(faults map[string]bool) string {
	if faults["chain"] || faults["dates"] {
		delete(faults, "revoked")
		delete(faults, "unknown")
	}
	if faults["revoked"] {
		delete(faults, "unknown")
	}
	var words []string
	for _, word := range []string{"chain", "name", "dates", "revoked", "unknown"} {
		if faults[word] {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

var verifyError = regexp.MustCompile(`(?m)^error (\d+) at (\d+) depth lookup`)

// askOpenSSL is OpenSSL's answer. It stops at the first thing that is wrong, so that each
// question is put to it on its own.
func (w *pkiWorld) askOpenSSL(host string, sent []*x509.Certificate, crls []byte) map[string]bool {
	dir := w.t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		w.check(os.WriteFile(path, content, 0o600))
		return path
	}
	certificates := func(certs ...*x509.Certificate) (out []byte) {
		for _, cert := range certs {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		return out
	}
	leaf := write("leaf", certificates(sent[0]))
	path := []string{"verify", "-purpose", "sslserver", "-no-CApath", "-no-CAstore",
		"-CAfile", write("root", certificates(w.root.Certificate)), "-untrusted", write("sent", certificates(sent...))}
	lists := append(slices.Clone(path), "-crl_check_all")
	if len(crls) > 0 {
		lists = append(lists, "-CRLfile", write("crls", crls))
	}
	faults := map[string]bool{}
	if out, _ := w.openSSL("x509", "-noout", "-checkhost", host, "-in", leaf); !strings.Contains(out, "does match") {
		faults["name"] = true
	}
	for _, args := range [][]string{path, lists} {
		out, err := w.openSSL(append(args, leaf)...)
		found := verifyError.FindAllStringSubmatch(out, -1)
		for _, match := range found {
			faults[w.fault(match[1], match[2], out)] = true
		}
		if (err == nil) != (len(found) == 0) {
			w.t.Errorf("%v, and openssl says:\n%s", err, out)
		}
	}
	return faults
}

func (w *pkiWorld) openSSL(args ...string) (string, error) {
	out, err := exec.CommandContext(w.t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

// fault is the meaning of an error of OpenSSL (x509_vfy.h) at a depth.
func (w *pkiWorld) fault(number, depth, out string) string {
	switch number {
	case "9", "10": // not yet valid, expired
		if depth == "0" {
			return "dates"
		}
		return "chain"
	case "23":
		return "revoked"
	case "3", "8", "11", "12", "33", "35", "36", "44": // no CRL, or none that counts
		return "unknown"
	case "2", "7", "18", "19", "20", "21", "24", "26", "32", "34", "47", "48", "79":
		return "chain"
	}
	w.t.Errorf("an error that is not known here:\n%s", out)
	return number
}
