package probe

import (
	"crypto/x509"
	x509pkix "crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestX509 puts the four questions to mail hosts with all kinds of certificates. The results
// are those of chain, name, dates and revocation: p(ass), f(ail), u(nknown).
func TestX509(t *testing.T) {
	l := newLab(t)
	l.serveCRLs()
	other, err := probetest.NewCA(probetest.CAConfig{Name: "Other CA"})
	must(t, err)
	// Root and issuer of the old authority expired an hour ago.
	old, err := probetest.NewCA(probetest.CAConfig{Name: "Old CA", Now: func() time.Time { return time.Now().AddDate(-5, 0, 0).Add(-time.Hour) }})
	must(t, err)
	l.env.Roots.AddCert(old.Root)
	rsa1024, err := probetest.RSAKey(1024)
	must(t, err)

	type leaf = probetest.Leaf
	named := func(names ...string) leaf { return leaf{Names: names} }
	changed := func(change func(*x509.Certificate)) leaf { return leaf{Names: []string{"MX"}, Change: change} }
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	const day = 24 * time.Hour
	for i, tt := range []struct {
		name    string
		host    string // below the domain, "mx" when empty; in the names of the certificate it is MX, and the domain is @
		ca      *probetest.CA
		leaf    leaf
		results string
		support assess.Support
		say     string
	}{
		{"good", "", l.ca, named("MX"), "pppp", assess.SupportYes, `trusted: pass: issued by "CN=Lab CA Issuing", leads to "Lab CA Root"; key ECDSA P-256, signature ECDSA-SHA256`},
		{"sent with the root", "", l.ca, leaf{Names: []string{"MX"}, WithRoot: true}, "pppp", assess.SupportYes, ""},
		{"signed by the root", "", l.ca, leaf{Names: []string{"MX"}, FromRoot: true}, "pppp", assess.SupportYes, ""},
		{"many names", "", l.ca, named("a.example", "b.example", "MX"), "pppp", assess.SupportYes, " days to go"},

		{"self-signed", "", l.ca, leaf{Names: []string{"MX"}, SelfSigned: true}, "fppu", assess.SupportNo, "trusted: fail: self-signed"},
		{"missing intermediate", "", l.ca, leaf{Names: []string{"MX"}, Alone: true}, "fppu", assess.SupportNo, `missing intermediate: the certificate of "Lab CA Issuing" is neither sent`},
		{"a root that the server sends is no anchor", "", other, leaf{Names: []string{"MX"}, WithRoot: true}, "fppu", assess.SupportNo, `leads to "Other CA Root", which is no trusted root`},
		{"unknown authority", "", other, named("MX"), "fppu", assess.SupportNo, `missing intermediate: the certificate of "Other CA Root"`},
		{"expired intermediate", "", old, leaf{Names: []string{"MX"}, NotBefore: in(-day), NotAfter: in(day)}, "fppu", assess.SupportNo, `the intermediate certificate "Old CA Issuing" expired on`},
		{"for clients only", "", l.ca, changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "fppu", assess.SupportNo, "incompatible key usage"},
		{"unknown critical extension", "", l.ca, changed(func(c *x509.Certificate) {
			c.ExtraExtensions = []x509pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), "fppu", assess.SupportNo, "has a critical extension (1.2.3) that senders do not understand"},
		{"weak signature", "", l.ca, changed(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), "fppu", assess.SupportNo, "weak signature (ECDSA-SHA1) that is no longer accepted"},

		{"wrong name", "", l.ca, named("www.hosting.example"), "pfpp", assess.SupportNo, "certificate names www.hosting.example, not mx."},
		{"name at the end of another", "", l.ca, named("MX.evil.example"), "pfpp", assess.SupportNo, ""},
		{"name within another", "", l.ca, named("evil-MX"), "pfpp", assess.SupportNo, ""},
		{"the domain is not the host", "", l.ca, named("@"), "pfpp", assess.SupportNo, ""},
		{"capital letters", "", l.ca, named("Mx.@"), "pppp", assess.SupportYes, ""},
		{"wildcard", "", l.ca, named("*.@"), "pppp", assess.SupportYes, ""},
		{"wildcard spans one label", "a.mx", l.ca, named("*.@"), "pfpp", assess.SupportNo, ""},
		{"wildcard needs a label", "", l.ca, named("*.MX"), "pfpp", assess.SupportNo, ""},
		{"wildcard within a label", "", l.ca, named("m*.@"), "pfpp", assess.SupportNo, ""},
		{"wildcard below a top-level domain", "", l.ca, named("*.example"), "pfpp", assess.SupportNo, ""},
		{"CN without SAN", "", l.ca, leaf{CommonName: "MX"}, "pppp", assess.SupportYes, ""},
		{"CN with a letter that is k in lower case", "k", l.ca, leaf{CommonName: "\u212a.@"}, "pfpp", assess.SupportNo, ""},
		{"CN beside a SAN", "", l.ca, leaf{CommonName: "MX", Names: []string{"www.example"}}, "pfpp", assess.SupportNo, ""},
		{"CN beside a SAN with addresses", "", l.ca, leaf{CommonName: "MX", Addresses: []net.IP{{127, 0, 0, 1}}}, "pfpp", assess.SupportNo, "names no host"},
		{"no name", "", l.ca, leaf{}, "pfpp", assess.SupportNo, "names no host"},

		{"expired", "", l.ca, leaf{Names: []string{"MX"}, NotBefore: in(-9 * day), NotAfter: in(-3*day - time.Hour)}, "ppfu", assess.SupportNo, "3 days ago; renew it {certificate-expired}"},
		{"not yet valid", "", l.ca, leaf{Names: []string{"MX"}, NotBefore: in(day), NotAfter: in(9 * day)}, "ppfp", assess.SupportNo, "dates: fail: not yet valid: it begins on"},
		{"expires soon", "", l.ca, leaf{Names: []string{"MX"}, NotAfter: in(5*day + time.Hour)}, "pppp", assess.SupportYes, "expires soon: in 5 days"},
		{"weak key", "", l.ca, leaf{Names: []string{"MX"}, Key: rsa1024}, "pppp", assess.SupportYes, "weak key: \"mx."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("c%d.example", i)
			host := "mx." + domain
			if tt.host != "" {
				host = tt.host + "." + domain
			}
			spell := func(name string) string {
				return strings.NewReplacer("MX", host, "@", domain).Replace(name)
			}
			for i, name := range tt.leaf.Names {
				tt.leaf.Names[i] = spell(name)
			}
			tt.leaf.CommonName = spell(tt.leaf.CommonName)
			certificate, err := tt.ca.Issue(tt.leaf)
			must(t, err)
			addr := fmt.Sprintf("127.1.%d.1", i)
			l.zone(domain, fmt.Sprintf("@ MX 10 %s.\n%s. A %s", host, host, addr))
			l.serveSMTP(addr, probetest.SMTPConfig{Certificates: certs(certificate)})
			facts := l.probe(domain)
			c := facts.Hosts.Hosts[0].Sessions[0].TLS.Certificate
			if got := results(c.Trusted, c.Named, c.Dated, c.Revoked); got != tt.results {
				t.Errorf("%s, want %s: %+v", got, tt.results, c)
			}
			wants(t, judged(facts, assess.X509), tt.support, tt.say)
		})
	}
}

// Without roots of our own nothing can be said of anybody's chain.
func TestX509WithoutRoots(t *testing.T) {
	l := newLab(t)
	l.mailHost(1, "one.example", probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx.one.example"}}))})
	l.env.Roots = x509.NewCertPool()
	facts := l.probe("one.example")
	c := facts.Hosts.Hosts[0].Sessions[0].TLS.Certificate
	if got := results(c.Trusted, c.Named, c.Dated, c.Revoked); got != "uppu" {
		t.Errorf("%s: %+v", got, c)
	}
	wants(t, judged(facts, assess.X509), assess.SupportYes, "no root certificates to check with")
}
