package main

import (
	"bytes"
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

	"github.com/emersion/go-msgauth/dkim"

	"peerscore/assess/probe/probetest"
	"peerscore/milter/miltertest"
)

// demoProvider is one provider of the embedded internet. Number n has its MX hosts at
// 127.81.n.1, 127.81.n.2, ... and its outbound hosts in the n-th /28 of 192.0.2.0/24: these
// exist only in the milter protocol, which tells who the client is.
type demoProvider struct {
	domain   string
	story    string   // why it is here, for the reader of this table
	signed   bool     // DNSSEC
	mx       []string // each good, self-signed, wrong-name, expired, plain, or dead
	tlsa     bool
	spf      string // the record after "v=spf1 ip4:<its /24> "; "" for no record
	dmarc    string // "" for no record
	sts      bool   // MTA-STS and TLS-RPT
	key      string // what it signs with: rsa, ed25519, or "" for not at all
	senders  int    // outbound hosts
	plain    int    // of these, how many speak no TLS
	messages int
}

var demoProviders = []demoProvider{
	{"nordmail.example", "everything, kept well", true, []string{"good", "good"}, true, "-all", "p=reject; rua=mailto:dmarc@nordmail.example", true, "rsa", 2, 0, 48},
	{"uni.example", "signed zone, no TLSA", true, []string{"good", "good"}, false, "-all", "p=quarantine; rua=mailto:dmarc@uni.example", false, "rsa", 3, 0, 40},
	{"bigcorp.example", "a large provider without DNSSEC", false, []string{"good", "good", "good"}, false, "~all", "p=reject; rua=mailto:d@bigcorp.example", true, "rsa", 5, 0, 60},
	{"modern.example", "signs with Ed25519", false, []string{"good"}, false, "-all", "p=none", false, "ed25519", 1, 0, 16},
	{"bank.example", "no signature, policy without keys", true, []string{"good"}, false, "-all", "p=reject; rua=mailto:d@bank.example", false, "", 1, 0, 20},
	{"town-hall.example", "a self-signed certificate", false, []string{"self-signed"}, false, "-all", "", false, "", 1, 0, 12},
	{"clinic.example", "a certificate that ran out", false, []string{"expired"}, false, "~all", "", false, "rsa", 1, 0, 12},
	{"webshop.example", "a certificate for another name", false, []string{"wrong-name"}, false, "~all", "p=none", false, "rsa", 1, 0, 18},
	{"club.example", "one of three hosts in plain text", false, []string{"good", "good"}, false, "?all", "", false, "", 1, 1, 8},
	{"press.example", "no TLS at all", false, []string{"plain"}, false, "-all", "p=none", false, "rsa", 1, 1, 14},
	{"oldisp.example", "nothing but a mail server", false, []string{"plain"}, false, "", "", false, "", 1, 1, 10},
	{"island.example", "its mail server is down", true, []string{"dead"}, false, "-all", "", false, "rsa", 1, 0, 6},
}

// demoSource is outbound host i of provider n.
func demoSource(n, i int) string { return fmt.Sprintf("192.0.2.%d", 16*n+i) }

const (
	demoSelector = "demo"
	demoSpoofs   = 24
)

// demoWorld is the embedded internet: name server, mail servers, policy and CRL hosts.
type demoWorld struct {
	dns      *probetest.DNS
	ca       *probetest.CA
	smtpPort uint16
	closers  []io.Closer
	rsaKey   crypto.Signer
	edKey    crypto.Signer
}

func startDemoWorld() (_ *demoWorld, err error) {
	w := &demoWorld{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.ca, err = probetest.NewCA(probetest.CAConfig{Name: "Demo CA"}); err != nil {
		return nil, err
	}
	if w.rsaKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if _, w.edKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if w.smtpPort, err = freePort(); err != nil {
		return nil, err
	}
	var zones []probetest.Zone
	reverse := ""
	for n, p := range demoProviders {
		records, err := w.startProvider(n, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.domain, err)
		}
		zones = append(zones, probetest.Zone{Name: p.domain, Records: records, Signed: p.signed})
		for host := range p.senders {
			reverse += fmt.Sprintf("%d PTR out%d.%s.\n", 16*n+host, host+1, p.domain)
		}
	}
	zones = append(zones,
		probetest.Zone{Name: "example", Signed: true},
		probetest.Zone{Name: "2.0.192.in-addr.arpa", Records: reverse},
		probetest.Zone{Name: "forwarder.example", Records: "@ TXT \"v=spf1 ip4:198.51.100.1 -all\"\n"},
	)
	if w.dns, err = probetest.NewDNS(probetest.DNSConfig{Zones: zones}); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.dns)
	return w, nil
}

// freePort is a TCP port that nobody on loopback uses now.
func freePort() (uint16, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

// Close stops every server.
func (w *demoWorld) Close() error {
	for _, c := range w.closers {
		c.Close()
	}
	return nil
}

// startProvider starts the MX hosts of provider n and returns the records of its zone.
func (w *demoWorld) startProvider(n int, p demoProvider) (records string, err error) {
	var out strings.Builder
	for i, kind := range p.mx {
		name, address := fmt.Sprintf("mx%d", i+1), fmt.Sprintf("127.81.%d.%d", n+1, i+1)
		fmt.Fprintf(&out, "@ MX %d %s\n%s A %s\n", 10*(i+1), name, name, address)
		cert, err := w.startMX(kind, name+"."+p.domain, address)
		if err != nil {
			return "", err
		}
		if p.tlsa {
			fmt.Fprintf(&out, "_25._tcp.%s TLSA 3 1 1 %s\n", name, spkiDigest(cert))
		}
	}
	for i := range p.senders {
		fmt.Fprintf(&out, "out%d A %s\n", i+1, demoSource(n, i))
	}
	if p.spf != "" {
		fmt.Fprintf(&out, "@ TXT \"v=spf1 ip4:%s/28 %s\"\n", demoSource(n, 0), p.spf)
	}
	if p.dmarc != "" {
		fmt.Fprintf(&out, "_dmarc TXT \"v=DMARC1; %s\"\n", p.dmarc)
	}
	if p.key != "" {
		record, err := keyRecord(w.signer(p.key))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s._domainkey TXT %s\n", demoSelector, record)
	}
	if p.sts {
		fmt.Fprintf(&out, "_mta-sts TXT \"v=STSv1; id=2026112401\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@%s\"\n", p.domain)
		err = w.startPolicyHost(&out, n, p)
	}
	return out.String(), err
}

func (w *demoWorld) signer(key string) crypto.Signer {
	if key == "ed25519" {
		return w.edKey
	}
	return w.rsaKey
}

// startMX serves SMTP as a host of this kind does and returns its certificate.
func (w *demoWorld) startMX(kind, name, address string) (tls.Certificate, error) {
	leaf := probetest.Leaf{Names: []string{name}}
	switch kind {
	case "self-signed":
		leaf.SelfSigned = true
	case "wrong-name":
		leaf.Names = []string{"www.hosting.example"}
	case "expired":
		leaf.NotBefore, leaf.NotAfter = time.Now().AddDate(0, -4, 0), time.Now().AddDate(0, 0, -12)
	}
	cert, err := w.ca.Issue(leaf)
	if err != nil || kind == "dead" {
		return cert, err
	}
	config := probetest.SMTPConfig{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(address), w.smtpPort).String(), Name: name,
		Certificates: []tls.Certificate{cert},
	}
	if kind == "plain" {
		config.Certificates = nil
	}
	server, err := probetest.NewSMTP(config)
	if err == nil {
		w.closers = append(w.closers, server)
	}
	return cert, err
}

func (w *demoWorld) startPolicyHost(records *strings.Builder, n int, p demoProvider) error {
	cert, err := w.ca.Issue(probetest.Leaf{Names: []string{"mta-sts." + p.domain}})
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.84.%d.1", n+1)
	lines := []string{"version: STSv1", "mode: enforce", "mx: *." + p.domain, "max_age: 1209600"}
	web, err := probetest.NewWeb(probetest.WebConfig{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(address), w.smtpPort).String(), Certificates: []tls.Certificate{cert},
		Pages: map[string]http.HandlerFunc{probetest.PolicyPath(p.domain): probetest.Policy(lines...)},
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, web)
	fmt.Fprintf(records, "mta-sts A %s\n", address)
	return nil
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

// demoSession is one SMTP session to be played into the milter.
type demoSession struct {
	peer    miltertest.Peer
	message miltertest.Message
}

// sessions are all that is played: honest mail of every provider, spoofs, and forwarded mail.
func (w *demoWorld) sessions() ([]demoSession, error) {
	var sessions []demoSession
	for n, p := range demoProviders {
		for i := range p.messages {
			s, err := w.honest(n, p, i)
			if err != nil {
				return nil, err
			}
			sessions = append(sessions, s)
		}
	}
	for i := range demoSpoofs { // a spoofer claims to be the best and the bank
		victim := demoProviders[i%2*4].domain
		spoof := newDemoSession("203.0.113.66", "evil.example", "ceo@"+victim, victim, i)
		spoof.message.Data = append([]byte("Peer-Score: mx.demo.example; domain="+victim+"; identity=5\r\n"), spoof.message.Data...)
		sessions = append(sessions, spoof)
	}
	for i := range 12 { // a forwarder passes on signed mail
		s, err := w.honest(0, demoProviders[0], 1000+i)
		if err != nil {
			return nil, err
		}
		s.peer = newDemoSession("198.51.100.1", "forwarder.example", "", "", 0).peer
		s.message.From = fmt.Sprintf("srs%d@forwarder.example", i)
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// honest is message i of provider n, from one of its hosts and signed as the provider does.
func (w *demoWorld) honest(n int, p demoProvider, i int) (demoSession, error) {
	host := i % p.senders
	s := newDemoSession(demoSource(n, host), p.domain, "info@"+p.domain, p.domain, i)
	s.peer.Name = fmt.Sprintf("out%d.%s", host+1, p.domain)
	s.peer.HELO = s.peer.Name
	if host < p.plain {
		s.peer.TLSVersion, s.peer.Cipher = "", ""
	}
	if p.key == "" {
		return s, nil
	}
	var signed bytes.Buffer
	err := dkim.Sign(&signed, bytes.NewReader(s.message.Data), &dkim.SignOptions{
		Domain: p.domain, Selector: demoSelector, Signer: w.signer(p.key), Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	s.message.Data = signed.Bytes()
	return s, err
}

func newDemoSession(address, helo, reversePath, author string, i int) demoSession {
	return demoSession{
		peer: miltertest.Peer{
			Addr: netip.MustParseAddr(address), HELO: "mail." + helo, TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
		},
		message: miltertest.Message{
			QueueID: fmt.Sprintf("4DEMO%05d", i), From: reversePath, To: []string{"you@demo.example"},
			Data: fmt.Appendf(nil, "From: Somebody <somebody@%s>\r\nTo: you@demo.example\r\nSubject: message %d\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@%s>\r\n\r\nHello, this is message %d.\r\n", author, i, i, author, i),
		},
	}
}
