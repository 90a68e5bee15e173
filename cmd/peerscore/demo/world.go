package demo

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"peerscore/assess/probe/probetest"
)

// Provider is one provider of the embedded internet. Number n has its MX hosts at
// 127.81.n.1, 127.81.n.2, ... and its outbound hosts in the n-th /28 of 192.0.2.0/24: these
// exist only in the milter protocol, which tells who the client is.
type Provider struct {
	Domain   string
	Story    string   // why it is here, for the reader of this table
	Zone     string   // signed, unsigned, or expired: signed, and the signatures have expired
	MX       []string // each good, self-signed, wrong-name, expired, revoked, plain, or dead
	TLSA     bool
	SPF      string // the record after "v=spf1 ip4:<its /24> "; "" for no record
	DMARC    string // "" for no record
	STS      bool   // MTA-STS and TLS-RPT
	Key      string // what it signs with: rsa, ed25519, or "" for not at all
	Senders  int    // outbound hosts
	Plain    int    // of these, how many speak no TLS
	Messages int    // 0: it sends nothing, we write to it
}

// Providers are those of the demo, good and bad.
var Providers = []Provider{
	{"nordmail.example", "everything, kept well", "signed", []string{"good", "good"}, true, "-all", "p=reject; rua=mailto:dmarc@nordmail.example", true, "rsa", 2, 0, 48},
	{"uni.example", "signed zone, no TLSA", "signed", []string{"good", "good"}, false, "-all", "p=quarantine; rua=mailto:dmarc@uni.example", false, "rsa", 3, 0, 40},
	{"bigcorp.example", "a large provider without DNSSEC", "unsigned", []string{"good", "good", "good"}, false, "~all", "p=reject; rua=mailto:d@bigcorp.example", true, "rsa", 5, 0, 60},
	{"modern.example", "signs with Ed25519", "unsigned", []string{"good"}, false, "-all", "p=none", false, "ed25519", 1, 0, 16},
	{"bank.example", "no signature, policy without keys", "signed", []string{"good"}, false, "-all", "p=reject; rua=mailto:d@bank.example", false, "", 1, 0, 20},
	{"town-hall.example", "a self-signed certificate", "unsigned", []string{"self-signed"}, false, "-all", "", false, "", 1, 0, 12},
	{"clinic.example", "a certificate that ran out", "unsigned", []string{"expired"}, false, "~all", "", false, "rsa", 1, 0, 12},
	{"webshop.example", "a certificate for another name", "unsigned", []string{"wrong-name"}, false, "~all", "p=none", false, "rsa", 1, 0, 18},
	{"club.example", "one of three hosts in plain text", "unsigned", []string{"good", "good"}, false, "?all", "", false, "", 1, 1, 8},
	{"press.example", "no TLS at all", "unsigned", []string{"plain"}, false, "-all", "p=none", false, "rsa", 1, 1, 14},
	{"oldisp.example", "nothing but a mail server", "unsigned", []string{"plain"}, false, "", "", false, "", 1, 1, 10},
	{"island.example", "its mail server is down", "signed", []string{"dead"}, false, "-all", "", false, "rsa", 1, 0, 6},
	{"agency.example", "a certificate that its authority revoked", "unsigned", []string{"revoked"}, false, "-all", "p=none", false, "", 1, 0, 9},
	{"broken.example", "a zone whose signatures have expired", "expired", []string{"good"}, false, "-all", "", false, "", 0, 0, 0},
}

// sourceOf is outbound host i of provider n.
func sourceOf(n, i int) string { return fmt.Sprintf("192.0.2.%d", 16*n+i) }

const (
	signingSelector = "demo"
	ownDomain       = "demo.example" // the domain of the host that runs peerscore
	ownMX           = "mx." + ownDomain
	crlHost         = "crl." + ownDomain
	crlAddress      = "127.84.0.1"
)

// World is the embedded internet: name server, mail servers, policy and CRL hosts.
type World struct {
	Providers []Provider
	DNS       *probetest.DNS
	CA        *probetest.CA
	Port      uint16 // of every server but the name server
	closers   []io.Closer
	rsaKey    crypto.Signer
	edKey     crypto.Signer
}

// StartWorld starts name servers, mail servers and policy hosts of the providers on loopback.
func StartWorld(providers []Provider) (_ *World, err error) {
	w := &World{Providers: providers}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.CA, err = probetest.NewCA(probetest.CAConfig{Name: "Demo CA", CRLURL: "http://" + crlHost}); err != nil {
		return nil, err
	}
	if w.rsaKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if _, w.edKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if w.Port, err = FreePort(); err != nil {
		return nil, err
	}
	var zones []probetest.Zone
	reverse := ""
	for n, p := range providers {
		records, err := w.startProvider(n, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Domain, err)
		}
		zones = append(zones, probetest.Zone{Name: p.Domain, Records: records, Signed: p.Zone == "signed", Expired: p.Zone == "expired"})
		for host := range p.Senders {
			reverse += fmt.Sprintf("%d PTR out%d.%s.\n", 16*n+host, host+1, p.Domain)
		}
	}
	if err := w.startCRLHost(); err != nil {
		return nil, err
	}
	zones = append(zones,
		probetest.Zone{Name: "example", Signed: true},
		probetest.Zone{Name: ownDomain, Records: "@ MX 10 mx\nmx A 127.81.0.1\ncrl A " + crlAddress + "\n"},
		probetest.Zone{Name: "2.0.192.in-addr.arpa", Records: reverse},
		probetest.Zone{Name: "forwarder.example", Records: "@ TXT \"v=spf1 ip4:198.51.100.1 -all\"\n"},
	)
	if w.DNS, err = probetest.NewDNS(probetest.DNSConfig{Zones: zones}); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.DNS)
	return w, nil
}

// FreePort is a TCP port that nobody on loopback uses now.
func FreePort() (uint16, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

// Close stops every server.
func (w *World) Close() error {
	for _, c := range w.closers {
		c.Close()
	}
	return nil
}

// startProvider starts the MX hosts of provider n and returns the records of its zone.
func (w *World) startProvider(n int, p Provider) (records string, err error) {
	var out strings.Builder
	for i, kind := range p.MX {
		name, address := fmt.Sprintf("mx%d", i+1), fmt.Sprintf("127.81.%d.%d", n+1, i+1)
		fmt.Fprintf(&out, "@ MX %d %s\n%s A %s\n", 10*(i+1), name, name, address)
		cert, err := w.startMX(kind, name+"."+p.Domain, address)
		if err != nil {
			return "", err
		}
		if p.TLSA {
			fmt.Fprintf(&out, "_25._tcp.%s TLSA 3 1 1 %s\n", name, spkiDigest(cert))
		}
	}
	for i := range p.Senders {
		fmt.Fprintf(&out, "out%d A %s\n", i+1, sourceOf(n, i))
	}
	if p.SPF != "" {
		fmt.Fprintf(&out, "@ TXT \"v=spf1 ip4:%s/28 %s\"\n", sourceOf(n, 0), p.SPF)
	}
	if p.DMARC != "" {
		fmt.Fprintf(&out, "_dmarc TXT \"v=DMARC1; %s\"\n", p.DMARC)
	}
	if p.Key != "" {
		record, err := keyRecord(w.signer(p.Key))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s._domainkey TXT %s\n", signingSelector, record)
	}
	if p.STS {
		fmt.Fprintf(&out, "_mta-sts TXT \"v=STSv1; id=2026112401\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@%s\"\n", p.Domain)
		err = w.startPolicyHost(&out, n, p)
	}
	return out.String(), err
}

func (w *World) signer(key string) crypto.Signer {
	if key == "ed25519" {
		return w.edKey
	}
	return w.rsaKey
}

// startMX serves SMTP as a host of this kind does and returns its certificate.
func (w *World) startMX(kind, name, address string) (tls.Certificate, error) {
	leaf := probetest.Leaf{Names: []string{name}}
	switch kind {
	case "self-signed":
		leaf.SelfSigned = true
	case "wrong-name":
		leaf.Names = []string{"www.hosting.example"}
	case "expired":
		leaf.NotBefore, leaf.NotAfter = time.Now().AddDate(0, -4, 0), time.Now().AddDate(0, 0, -12)
	}
	cert, err := w.CA.Issue(leaf)
	if err != nil || kind == "dead" {
		return cert, err
	}
	if kind == "revoked" {
		w.CA.Revoke(cert)
	}
	cfg := probetest.SMTPConfig{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(address), w.Port).String(), Name: name,
		Certificates: []tls.Certificate{cert},
	}
	if kind == "plain" {
		cfg.Certificates = nil
	}
	server, err := probetest.NewSMTP(cfg)
	if err == nil {
		w.closers = append(w.closers, server)
	}
	return cert, err
}

func (w *World) startPolicyHost(records *strings.Builder, n int, p Provider) error {
	cert, err := w.CA.Issue(probetest.Leaf{Names: []string{"mta-sts." + p.Domain}})
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.84.%d.1", n+1)
	lines := []string{"version: STSv1", "mode: enforce", "mx: *." + p.Domain, "max_age: 1209600"}
	web, err := probetest.NewWeb(probetest.WebConfig{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(address), w.Port).String(), Certificates: []tls.Certificate{cert},
		Pages: map[string]http.HandlerFunc{probetest.PolicyPath(p.Domain): probetest.Policy(lines...)},
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, web)
	fmt.Fprintf(records, "mta-sts A %s\n", address)
	return nil
}

// startCRLHost serves what the authority has revoked by now.
func (w *World) startCRLHost() error {
	root, err := w.CA.RootCRL(nil)
	if err != nil {
		return err
	}
	issuing, err := w.CA.CRL(nil)
	if err != nil {
		return err
	}
	web, err := probetest.NewWeb(probetest.WebConfig{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(crlAddress), w.Port).String(),
		Pages: map[string]http.HandlerFunc{
			crlHost + "/root.crl":    probetest.Page("application/pkix-crl", root),
			crlHost + "/issuing.crl": probetest.Page("application/pkix-crl", issuing),
		},
	})
	if err == nil {
		w.closers = append(w.closers, web)
	}
	return err
}

func spkiDigest(cert tls.Certificate) string {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err) // it was made a moment ago
	}
	digest := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(digest[:])
}

// keyRecord is the DKIM key record as the strings of a TXT record.
func keyRecord(key crypto.Signer) (string, error) {
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return fmt.Sprintf("\"v=DKIM1; k=ed25519; p=%s\"", base64.StdEncoding.EncodeToString(public)), nil
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString(der)
	return fmt.Sprintf("\"v=DKIM1; k=rsa; p=%s\" \"%s\"", b64[:200], b64[200:]), nil
}
