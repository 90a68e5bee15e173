package probe

import (
	"crypto/tls"
	"crypto/x509"
	x509pkix "crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/probetest"
)

// issuingPoint is the extension that says which certificates a list covers (RFC 5280, section 5.2.5).
func issuingPoint(t *testing.T, uri string, fields ...uint8) x509pkix.Extension {
	t.Helper()
	var b cryptobyte.Builder
	context := func(n uint8) cryptobyte_asn1.Tag { return cryptobyte_asn1.Tag(n).ContextSpecific() }
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if uri != "" {
			b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) {
					b.AddASN1(context(6), func(b *cryptobyte.Builder) { b.AddBytes([]byte(uri)) })
				})
			})
		}
		for _, field := range fields {
			value := []byte{0xff} // TRUE
			if field == 3 {
				value = []byte{6, 0x40} // keyCompromise
			}
			b.AddASN1(context(field), func(b *cryptobyte.Builder) { b.AddBytes(value) })
		}
	})
	value, err := b.Bytes()
	must(t, err)
	return x509pkix.Extension{Id: pkix.OIDIssuingDistributionPoint, Critical: true, Value: value}
}

// TestRevocation asks of one certificate at a time whether it was revoked. Each has its own
// CRL, at URL, good unless the case changes it.
func TestRevocation(t *testing.T) {
	l := newLab(t)
	l.serveCRLs()
	namesake, err := probetest.NewCA(probetest.CAConfig{}) // of the same name, with another key
	must(t, err)
	stranger, err := probetest.NewCA(probetest.CAConfig{Name: "Other CA"})
	must(t, err)
	fallen, err := probetest.NewCA(probetest.CAConfig{Name: "Fallen CA", CRLURL: "http://crl.lab.example/fallen"})
	must(t, err)
	l.env.Roots.AddCert(fallen.Root)
	page := func(ca *probetest.CA, change func(*x509.RevocationList)) http.HandlerFunc {
		der, err := ca.CRL(change)
		must(t, err)
		return probetest.Page("application/pkix-crl", der)
	}
	rootList, err := fallen.RootCRL(func(list *x509.RevocationList) {
		list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: fallen.Issuing.SerialNumber, RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 2}}
	})
	must(t, err)
	l.crls.Set("crl.lab.example/fallen/root.crl", probetest.Page("application/pkix-crl", rootList))
	l.crls.Set("crl.lab.example/fallen/issuing.crl", page(fallen, nil))
	l.zone("dead.example", "crl A 127.0.0.81")

	const url = "http://crl.lab.example/%d.crl"
	extended := func(e x509pkix.Extension) func(int, *x509.RevocationList) {
		return func(_ int, list *x509.RevocationList) { list.ExtraExtensions = append(list.ExtraExtensions, e) }
	}
	critical := func(arc ...int) x509pkix.Extension {
		return x509pkix.Extension{Id: arc, Critical: true, Value: []byte{2, 1, 1}}
	}
	own := func(fields ...uint8) func(int, *x509.RevocationList) {
		return func(i int, list *x509.RevocationList) {
			list.ExtraExtensions = []x509pkix.Extension{issuingPoint(t, fmt.Sprintf(url, i), fields...)}
		}
	}
	points := func(urls ...string) *probetest.Leaf { return &probetest.Leaf{CRLs: urls} }
	noRevAvail := &probetest.Leaf{CRLs: []string{}, Change: func(c *x509.Certificate) {
		c.ExtraExtensions = []x509pkix.Extension{{Id: pkix.OIDNoRevAvail, Value: []byte{5, 0}}}
	}}
	dated := func(this, next time.Duration) func(int, *x509.RevocationList) {
		return func(_ int, list *x509.RevocationList) {
			list.ThisUpdate, list.NextUpdate = time.Now().Add(this), time.Now().Add(next)
		}
	}
	for i, tt := range []struct {
		name    string
		revoked bool
		change  func(i int, list *x509.RevocationList)
		ca      *probetest.CA // whose list it is; nil for the right one's
		page    http.HandlerFunc
		leaf    *probetest.Leaf
		result  assess.Result
		say     string
	}{
		{name: "not revoked", result: assess.Pass, say: "on no CRL of its chain"},
		{name: "revoked", revoked: true, result: assess.Fail, say: "the server's certificate was revoked on "},
		{name: "revoked, the reason", revoked: true, result: assess.Fail, say: `: keyCompromise ("http://crl.lab.example/2.crl"); replace it`},
		{name: "others revoked", change: func(_ int, list *x509.RevocationList) {
			for n := range int64(50) {
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(10_000 - n), RevocationTime: time.Now()})
			}
		}, result: assess.Pass},
		{name: "revoked intermediate", leaf: &probetest.Leaf{}, ca: fallen, result: assess.Fail, say: `the intermediate certificate "Fallen CA Issuing" was revoked on`},
		{name: "the reason of the intermediate", leaf: &probetest.Leaf{}, ca: fallen, result: assess.Fail, say: "cACompromise"},

		{name: "of another authority", ca: stranger, say: `the CRL is not the issuer's own ("http://crl.lab.example/6.crl", which the server's certificate names) {crl-unavailable}`},
		{name: "of the same name, another key", ca: namesake, say: "the CRL is not signed by the issuer"},
		{name: "out of date", change: dated(-48*time.Hour, -time.Hour), say: "the CRL is out of date since"},
		{name: "out of date, revoked", revoked: true, change: dated(-48*time.Hour, -time.Hour), say: "the CRL is out of date since"},
		{name: "from the future", change: dated(time.Hour, 48*time.Hour), say: "the CRL is from the future"},

		{name: "scope: this point", change: own(), result: assess.Pass},
		{name: "scope: this point, revoked", revoked: true, change: own(), result: assess.Fail, say: "was revoked"},
		{name: "scope: another point", change: extended(issuingPoint(t, "http://crl.lab.example/other.crl")), say: "belongs to another distribution point"},
		{name: "scope: another point, revoked", revoked: true, change: extended(issuingPoint(t, "http://crl.lab.example/other.crl")), say: "belongs to another distribution point"},
		{name: "scope: servers", change: own(1), result: assess.Pass},
		{name: "scope: authorities", change: own(2), say: "for certificates of authorities only"},
		{name: "scope: some reasons", change: own(3), say: "covers some reasons for revocation only"},
		{name: "scope: some reasons, revoked", revoked: true, change: own(3), result: assess.Fail, say: "was revoked"},
		{name: "scope: indirect", change: own(4), say: "indirect"},
		{name: "scope: attributes", change: own(5), say: "attribute certificates"},
		{name: "scope: nonsense", change: extended(critical(2, 5, 29, 28)), say: "issuing distribution point cannot be read"},
		{name: "delta", change: extended(critical(2, 5, 29, 27)), say: "a delta"},
		{name: "unknown critical extension", change: extended(critical(1, 2, 3)), say: "unknown critical extension (1.2.3)"},
		{name: "unknown critical extension of an entry", change: func(_ int, list *x509.RevocationList) {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(1), RevocationTime: time.Now(), ExtraExtensions: []x509pkix.Extension{critical(2, 5, 29, 29)},
			}}
		}, say: "an entry of the CRL has an unknown critical extension"},

		{name: "404", page: http.NotFound, say: "the CRL cannot be had: status 404"},
		{name: "redirect", page: probetest.Redirect("http://crl.lab.example/issuing.crl"), say: "the CRL cannot be had: status 302"},
		{name: "nonsense", page: probetest.Page("application/pkix-crl", []byte("nonsense")), say: "the CRL cannot be read"},
		{name: "empty", page: probetest.Page("application/pkix-crl", nil), say: "the CRL cannot be read"},
		{name: "names none", leaf: &probetest.Leaf{CRLs: []string{}}, say: "whether it was revoked is not known: the server's certificate names no CRL: its authority publishes none, and there is nothing to do about it {crl-absent}"},
		{name: "will never be revoked", leaf: noRevAvail, result: assess.Pass},
		{name: "nobody listens", leaf: points("http://crl.dead.example/1.crl"), say: "the CRL cannot be had"},
		{name: "no such host", leaf: points("http://nobody.lab.example/1.crl"), say: "nobody.lab.example has no address"},
		{name: "over https", leaf: points("https://crl.lab.example/issuing.crl"), say: `it is not http but "https"`},
		{name: "on another port", leaf: points("http://crl.lab.example:8080/issuing.crl"), say: "on port"},
		{name: "of an address", leaf: points("http://127.0.0.80/issuing.crl"), say: "its host is no DNS name"},
		{name: "of an address in brackets", leaf: points("http://[::1]/issuing.crl"), say: "its host is no DNS name"},
		{name: "with a user", leaf: points("http://me@crl.lab.example/issuing.crl"), say: "user name"},
		{name: "LDAP before HTTP", leaf: points("ldap:///CN=CA?certificateRevocationList", "http://crl.lab.example/issuing.crl"), result: assess.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("r%d.example", i)
			leaf, issuer, signer := probetest.Leaf{CRLs: []string{fmt.Sprintf(url, i)}}, l.ca, l.ca
			if tt.leaf != nil {
				leaf = *tt.leaf
			}
			if tt.ca != nil {
				signer = tt.ca
			}
			if tt.ca == fallen {
				issuer = fallen
			}
			leaf.Names = []string{"mx." + domain}
			certificate, err := issuer.Issue(leaf)
			must(t, err)
			if tt.page == nil {
				tt.page = page(signer, func(list *x509.RevocationList) {
					if tt.change != nil {
						tt.change(i, list)
					}
					if tt.revoked {
						list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, revokedEntry(certificate))
					}
				})
			}
			l.crls.Set(fmt.Sprintf("crl.lab.example/%d.crl", i), tt.page)
			l.mailHost(i, domain, probetest.SMTPConfig{Certificates: certs(certificate)})
			facts := l.probe(domain)
			c := facts.Hosts.Hosts[0].Sessions[0].TLS.Certificate
			if c.Revoked.Result != tt.result || c.Trusted.Result != assess.Pass {
				t.Errorf("%s, want %s: %+v", c.Revoked.Result, tt.result, c)
			}
			support := assess.SupportYes // by the other three; what is unknown does not count
			if tt.result == assess.Fail {
				support = assess.SupportNo
			}
			wants(t, judged(facts, assess.X509), support, tt.say)
		})
	}
}

func revokedEntry(certificate tls.Certificate) x509.RevocationListEntry {
	return x509.RevocationListEntry{SerialNumber: certificate.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 1}
}

// A chain that leads nowhere makes nobody fetch anything, and one that leads to a root makes
// them fetch each list once, for all domains.
func TestRevocationRequests(t *testing.T) {
	l := newLab(t)
	l.serveCRLs()
	other, err := probetest.NewCA(probetest.CAConfig{Name: "Other CA", CRLURL: "http://crl.lab.example/other"})
	must(t, err)
	for i := range 3 {
		domain := fmt.Sprintf("d%d.example", i)
		l.mailHost(i, domain, probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx." + domain}}))})
	}
	stray, err := other.Issue(probetest.Leaf{Names: []string{"mx.stray.example"}, WithRoot: true})
	must(t, err)
	l.mailHost(3, "stray.example", probetest.SMTPConfig{Certificates: certs(stray)})
	r := l.runner()
	for _, domain := range []string{"stray.example", "d0.example", "d1.example", "d2.example"} {
		facts := probeWith(t, r, domain)
		revoked := facts.Hosts.Hosts[0].Sessions[0].TLS.Certificate.Revoked
		if trusted := domain != "stray.example"; (revoked.Result == assess.Pass) != trusted {
			t.Errorf("%s: %+v", domain, revoked)
		}
	}
	for path, n := range l.crls.Requests() {
		if n != 1 || path != "crl.lab.example/root.crl" && path != "crl.lab.example/issuing.crl" {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	if n := len(l.crls.Requests()); n != 2 {
		t.Errorf("%d lists were asked for: %v", n, l.crls.Requests())
	}
}

// A list of the size allowed, full of entries as short as they can be, is read without taking
// many times its size.
func TestHugeCRL(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	entries := make([]x509.RevocationListEntry, 400_000)
	for i := range entries {
		entries[i] = x509.RevocationListEntry{SerialNumber: big.NewInt(int64(1<<40 + i)), RevocationTime: time.Now()}
	}
	der, err := ca.CRL(func(list *x509.RevocationList) { list.RevokedCertificateEntries = entries })
	must(t, err)
	if len(der) > maxCRLOctets || len(der) < maxCRLOctets*9/10 {
		t.Fatalf("a list of %d octets shows nothing", len(der))
	}
	before := allocated()
	list, err := pkix.ParseCRL(der, ca.Issuing)
	must(t, err)
	if grown := allocated() - before; len(list.Revoked) != len(entries) || grown > maxHostileOctets {
		t.Errorf("%d entries in %d octets made us allocate %d", len(list.Revoked), len(der), grown)
	}
}
