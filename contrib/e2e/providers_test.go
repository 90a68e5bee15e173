package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"peerscore/assess/probe/probetest"
)

// provider is one peer of the laboratory, with the truth about it. Number n has its MX hosts at
// 10.1.n.1, 10.1.n.2, ... and sends from 10.2.n.1.
type provider struct {
	domain  string
	signed  bool // its zone
	bogus   bool
	mx      []string // how each MX host is: good, self-signed, wrong-name, expired, revoked, plain, dead, postfix
	null    bool     // null MX
	tlsa    string   // match, mismatch, or none
	spf     bool
	dkim    bool // it signs what it sends
	dmarc   bool
	plain   bool   // it sends without TLS
	silent  bool   // it sends nothing: `assess` makes it known,
	written bool   // or mail to it
	ipv6    string // it may send from there too

	stars    string // confidentiality/identity/integrity, "-" for none, "p" for partial
	supports string // starttls x509 spf dkim dmarc dane dnssec: y, n, ? each
}

// providers is the truth, worked out by hand from assess/methodology.md. SPF of a provider without a record is "n".
var providers = []provider{
	{domain: "gold.example", signed: true, mx: []string{"good"}, tlsa: "match", spf: true, dkim: true, dmarc: true, ipv6: source6,
		stars: "5/5/5", supports: "y y y y y y y"},
	{domain: "silver.example", mx: []string{"good", "good"}, spf: true, dkim: true, dmarc: true,
		stars: "4/4.5/5", supports: "y y y y y n n"},
	{domain: "selfsigned.example", mx: []string{"self-signed"}, spf: true,
		stars: "3/3/1", supports: "y n y n n n n"},
	{domain: "wrongname.example", mx: []string{"wrong-name"}, spf: true, dmarc: true,
		stars: "3/4/2.5", supports: "y n y n y n n"},
	{domain: "expired.example", mx: []string{"expired"}, spf: true, dkim: true,
		stars: "3/3.5/3.5", supports: "y n y y n n n"},
	{domain: "revoked.example", mx: []string{"revoked"}, spf: true,
		stars: "3/3/1", supports: "y n y n n n n"},
	{domain: "plain.example", mx: []string{"plain"}, spf: true, dkim: true, dmarc: true, plain: true,
		stars: "0/4.5/3.5", supports: "n ? y y y n n"},
	{domain: "tlsabad.example", signed: true, mx: []string{"good"}, tlsa: "mismatch", spf: true, dkim: true, dmarc: true,
		stars: "4.5/5/5", supports: "y y y y y n y"},
	{domain: "tlsaplain.example", mx: []string{"good"}, tlsa: "match", spf: true,
		stars: "4.5/3/2", supports: "y y y n n y n"},
	{domain: "dead.example", mx: []string{"dead"}, spf: true, dkim: true,
		stars: "3p/3.5/3.5", supports: "y ? y y n n n"},
	{domain: "twomx.example", mx: []string{"good", "good"}, spf: true, plain: true,
		stars: "0/3/0", supports: "n y y n n n n"},
	{domain: "postfix.example", mx: []string{"postfix"}, spf: true, dkim: true, dmarc: true,
		stars: "4/4.5/5", supports: "y y y y y n n"},
	{domain: "written.example", mx: []string{"good"}, spf: true, dmarc: true, silent: true, written: true,
		stars: "4/4/3", supports: "y y y n y n n"},
	{domain: "nullmx.example", null: true, spf: true, dmarc: true, silent: true,
		stars: "-/-/-", supports: "? ? y n y ? n"},
	{domain: "bogus.example", signed: true, bogus: true, mx: []string{"good"}, spf: true, dmarc: true, silent: true,
		stars: "-p/-p/-p", supports: "? ? ? ? ? ? ?"}, // until a later run finds it so too
}

// host returns an address of provider number n.
func mxAddress(n, i int) string { return fmt.Sprintf("10.1.%d.%d", n+1, i+1) }
func source(n int) string       { return fmt.Sprintf("10.2.%d.1", n+1) }

const crlAddress = "10.3.0.80"

// startProviders serves the zones of all providers and what answers on their MX hosts.
func (l *lab) startProviders() {
	l.t.Helper()
	ca, err := probetest.NewCA(probetest.CAConfig{CRLURL: "http://crl.ca.example"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(l.dir, "ca.pem", string(ca.RootPEM()))
	key := l.newDKIMKey()
	reverse := ""
	zones := []zone{
		{name: "ca.example", records: "crl A " + crlAddress + "\n"},
		{name: ownDomain, records: "@ MX 10 mx\nmx A " + receiver + "\n"},
	}
	for n, p := range providers {
		zones = append(zones, zone{p.domain, p.signed, p.bogus, l.recordsOf(ca, n, p, key)})
		reverse += fmt.Sprintf("1.%d.2 PTR mail.%s.\n", n+1, p.domain)
	}
	zones = append(zones, zone{name: "10.in-addr.arpa", records: reverse})
	l.startDNS(zones)
	l.startCRLHost(ca)
	own, err := ca.Issue(probetest.Leaf{Names: []string{ownHost}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.writeCertificate("own.pem", own)
}

// recordsOf starts the MX hosts of a provider and returns its zone.
func (l *lab) recordsOf(ca *probetest.CA, n int, p provider, dkimKey string) string {
	records := fmt.Sprintf("mail A %s\n", source(n))
	if p.spf {
		also := ""
		if p.ipv6 != "" {
			also = " ip6:" + p.ipv6
		}
		records += fmt.Sprintf("@ TXT \"v=spf1 ip4:%s%s -all\"\n", source(n), also)
	}
	if p.dmarc {
		records += fmt.Sprintf("_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@%s\"\n", p.domain)
	}
	if p.dkim {
		records += dkimKey
	}
	if p.null {
		records += "@ MX 0 .\n"
	}
	for i, kind := range p.mx {
		name := fmt.Sprintf("mx%d", i+1)
		records += fmt.Sprintf("@ MX %d %s\n%s A %s\n", 10*(i+1), name, name, mxAddress(n, i))
		cert := l.startMX(ca, kind, name+"."+p.domain, mxAddress(n, i))
		if p.tlsa != "" {
			records += tlsa(name, cert, p.tlsa == "match")
		}
	}
	return records
}

// startMX serves port 25 as a host of this kind does and returns the certificate.
func (l *lab) startMX(ca *probetest.CA, kind, name, address string) tls.Certificate {
	l.t.Helper()
	leaf := probetest.Leaf{Names: []string{name}}
	switch kind {
	case "self-signed":
		leaf.SelfSigned = true
	case "wrong-name":
		leaf.Names = []string{"mail.elsewhere.example"}
	case "expired":
		leaf.NotBefore, leaf.NotAfter = time.Now().AddDate(0, -4, 0), time.Now().AddDate(0, 0, -1)
	}
	cert, err := ca.Issue(leaf)
	if err != nil {
		l.t.Fatal(err)
	}
	cfg := probetest.SMTPConfig{Addr: address + ":25", Name: name, Certificates: []tls.Certificate{cert}}
	switch kind {
	case "dead":
		return cert
	case "postfix":
		l.writeCertificate("postfix.pem", cert)
		return cert
	case "revoked":
		ca.Revoke(cert)
	case "plain":
		cfg.Certificates = nil
	}
	server, err := probetest.NewSMTP(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { server.Close() })
	return cert
}

// tlsa is a record of the kind that most operators publish: DANE-EE, SPKI, SHA-256.
func tlsa(name string, cert tls.Certificate, match bool) string {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err) // we made it
	}
	digest := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	if !match {
		digest[0] ^= 1
	}
	return fmt.Sprintf("_25._tcp.%s TLSA 3 1 1 %x\n", name, digest)
}

func (l *lab) startCRLHost(ca *probetest.CA) {
	l.t.Helper()
	pages := map[string][]byte{}
	for name, list := range map[string]func(func(*x509.RevocationList)) ([]byte, error){"issuing": ca.CRL, "root": ca.RootCRL} {
		der, err := list(nil)
		if err != nil {
			l.t.Fatal(err)
		}
		pages["crl.ca.example/"+name+".crl"] = der
	}
	cfg := probetest.WebConfig{Addr: crlAddress + ":80", Pages: map[string]httpHandler{}}
	for path, der := range pages {
		cfg.Pages[path] = probetest.Page("application/pkix-crl", der)
	}
	web, err := probetest.NewWeb(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { web.Close() })
}

// makeOwnCertificate is for laboratories without providers, where nobody verifies it.
func (l *lab) makeOwnCertificate() {
	l.t.Helper()
	ca, err := probetest.NewCA(probetest.CAConfig{})
	if err != nil {
		l.t.Fatal(err)
	}
	own, err := ca.Issue(probetest.Leaf{Names: []string{ownHost}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.writeCertificate("own.pem", own)
}

// writeCertificate writes key and chain into one file, as Postfix reads them.
func (l *lab) writeCertificate(name string, cert tls.Certificate) {
	l.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		l.t.Fatal(err)
	}
	var out strings.Builder
	pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range cert.Certificate {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	l.write(l.dir, name, out.String())
}

// startReceiver runs the Postfix under test with peerscore as its milter.
func (l *lab) startReceiver(settings ...string) *postfix {
	l.t.Helper()
	return l.startPostfix("postfix", receiver, append([]string{
		l.documented(milterInet), "smtpd_tls_chain_files = " + filepath.Join(l.dir, "own.pem"),
	}, settings...))
}
