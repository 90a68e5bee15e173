package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"peerscore/assess/probe/probetest"
)

// certificateHost is a domain whose MX host is a real Postfix with certificates of its own. All
// of them have TLSA records in signed zones.
type certificateHost struct {
	domain  string
	kinds   []string // of its certificates, in the order of smtpd_tls_chain_files
	without string   // the kind that no TLSA record matches
	smtpd   string   // options of its smtpd(8)

	starttls, dane string // what peerscore says
	policy         string // that it exports
	finger         bool   // posttls-finger verifies the host by DANE
}

var certificateHosts = []certificateHost{
	{"one.example", []string{"rsa"}, "", "", "yes", "yes", "dane-only", true},
	{"both.example", []string{"rsa", "ecdsa"}, "", "", "yes", "yes", "dane-only", true},
	{"forgotten.example", []string{"rsa", "ecdsa"}, "ecdsa", "", "yes", "no", "encrypt", false},
	{"ed448.example", []string{"ed448"}, "", "", "yes", "yes", "dane-only", true},
	{"dhe.example", []string{"rsa"}, "", "-o smtpd_tls_protocols=TLSv1.2 -o smtpd_tls_exclude_ciphers=kECDHE,kRSA", "yes", "yes", "dane-only", true},
	{"x448.example", []string{"rsa"}, "", "-o tls_eecdh_auto_curves=X448 -o smtpd_tls_exclude_ciphers=kDHE", "yes", "yes", "dane-only", true},
}

// TestPolicyForTwoCertificates has Postfix deliver by the table that peerscore exports, to hosts
// of which each sender sees one certificate of two, and to those that crypto/tls cannot finish a
// handshake with. No mail that would flow is deferred, and none goes without what it could have.
func TestPolicyForTwoCertificates(t *testing.T) {
	l := newLab(t)
	ca, err := probetest.NewCA(probetest.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l.write(l.dir, "ca.pem", string(ca.RootPEM()))
	zones := []zone{{name: ownDomain, signed: true, records: "@ MX 10 mx\nmx A " + receiver + "\n"}}
	var services []string
	var domains string
	for i, h := range certificateHosts {
		address := fmt.Sprintf("10.5.0.%d", i+1)
		records := "@ MX 10 mx\nmx A " + address + "\n"
		var files []string
		for _, kind := range h.kinds {
			certificate, file := l.certificateOf(ca, kind, "mx."+h.domain)
			files = append(files, file)
			if kind != h.without {
				records += tlsa("mx", certificate, true)
			}
		}
		zones = append(zones, zone{name: h.domain, signed: true, records: records})
		services = append(services, fmt.Sprintf("%s:25 inet n - n - - smtpd -o smtpd_tls_chain_files=%s %s", address, strings.Join(files, ","), h.smtpd))
		domains += " " + h.domain
	}
	l.startDNS(zones)
	hosts := l.startReceiverOf(domains, services)
	d := l.startDaemon(fmt.Sprintf("assess.ca_file = %q", filepath.Join(l.dir, "ca.pem")))
	for _, h := range certificateHosts {
		if out, err := d.cli("assess", h.domain); err != nil {
			t.Fatalf("assess %s: %v: %s", h.domain, err, out)
		}
		s := d.show(h.domain).Standards
		if s["starttls"].Support != h.starttls || s["dane"].Support != h.dane {
			out, _ := d.cli("explain", h.domain)
			t.Errorf("%s: STARTTLS %s, DANE %s\n%s", h.domain, s["starttls"].Support, s["dane"].Support, out)
		}
		// What Postfix itself makes of DANE there.
		out, err := l.try("", "env", "MAIL_CONFIG="+hosts.conf, "posttls-finger", "-c", "-t", "10", "-l", "dane-only", "-L", "summary", h.domain)
		if verified := strings.Contains(out, "Verified TLS connection established"); err != nil || verified != h.finger {
			t.Errorf("posttls-finger %s: %v\n%s", h.domain, err, out)
		}
	}
	table, err := d.cli("export", "postfix-tls-policy")
	if err != nil {
		t.Fatalf("export: %v: %s", err, table)
	}
	for _, h := range certificateHosts {
		if line := h.domain + " " + h.policy + "\n"; !strings.Contains(table, line) {
			t.Errorf("the table lacks %q:\n%s", line, table)
		}
	}
	l.deliverBy(table, hosts)
}

// certificateOf makes a certificate, and the file that Postfix reads it and its key from.
func (l *lab) certificateOf(ca *probetest.CA, kind, name string) (certificate tls.Certificate, file string) {
	l.t.Helper()
	file = filepath.Join(l.dir, name+"."+kind+".pem")
	if kind == "ed448" { // crypto/x509 cannot make one
		l.run(l.dir, "openssl", "req", "-x509", "-newkey", "ed448", "-noenc", "-keyout", file, "-out", file+".cert", "-subj", "/CN="+name, "-addext", "subjectAltName=DNS:"+name)
		text := l.read("", file+".cert")
		l.write("", file, l.read("", file)+text)
		block, _ := pem.Decode([]byte(text))
		return tls.Certificate{Certificate: [][]byte{block.Bytes}}, file
	}
	leaf := probetest.Leaf{Names: []string{name}}
	var err error
	if kind == "rsa" {
		leaf.Key, err = probetest.RSAKey(2048)
	} else {
		leaf.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err == nil {
		certificate, err = ca.Issue(leaf)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.writeCertificate(filepath.Base(file), certificate)
	return certificate, file
}

// startReceiverOf runs one Postfix that takes mail for all the domains, and for each a further
// smtpd(8) as its MX host.
func (l *lab) startReceiverOf(domains string, services []string) *postfix {
	l.t.Helper()
	return l.startPostfix("hosts", "10.5.0.100", []string{"myhostname = hosts.example", "virtual_mailbox_domains =" + domains}, services...)
}

// deliverBy has a Postfix of ours send one message to each domain by a table of TLS policies.
func (l *lab) deliverBy(table string, to *postfix) {
	l.t.Helper()
	l.write(l.dir, "tls_policy", table)
	sender := l.startPostfix("sender", "127.0.0.26", []string{
		"smtp_dns_support_level = dnssec", "smtp_tls_security_level = may", "smtp_tls_loglevel = 1",
		"smtp_tls_policy_maps = texthash:" + filepath.Join(l.dir, "tls_policy"),
	})
	for _, h := range certificateHosts {
		l.submit(sender.conf, message{id: h.domain, from: "somebody@" + ownDomain, rcpt: "user@" + h.domain})
	}
	l.waitFor("the mail to all hosts", func() bool { return len(to.delivered()) == len(certificateHosts) })
	log := l.read(l.dir, "sender.log")
	for _, h := range certificateHosts {
		if want := map[bool]string{true: "Verified", false: "Untrusted"}[h.policy == "dane-only"] + " TLS connection established to mx." + h.domain; !strings.Contains(log, want) {
			l.t.Errorf("the log lacks %q", want)
		}
	}
}
