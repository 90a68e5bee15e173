package probe

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/probetest"
)

// tlsaOf is a record "usage selector matching-type" over a certificate of a chain, the leaf
// being the first.
func tlsaOf(kind string, certificate tls.Certificate, i int) string {
	data := certificate.Certificate[i]
	if kind[2] == '1' {
		leaf, err := pkix.ParseChain([][]byte{data})
		if err != nil {
			panic(err)
		}
		data = leaf[0].RawSubjectPublicKeyInfo
	}
	switch kind[4] {
	case '1':
		sum := sha256.Sum256(data)
		data = sum[:]
	case '2':
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("%s %x", kind, data)
}

// TestDANE shows TLSA records of all kinds at mail hosts of their own. The suites of package
// dane and contrib/differential go deeper into certificates.
func TestDANE(t *testing.T) {
	l := newLab(t)
	l.zone("target.example", "")
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	type leaf = probetest.Leaf
	const full = -1 // the root, which stands in the records alone
	expired := leaf{Names: []string{"MX"}, NotBefore: time.Now().AddDate(0, -2, 0), NotAfter: time.Now().AddDate(0, -1, 0)}
	for i, tt := range []struct {
		name    string
		leaf    leaf
		records []string // a kind and which certificate: "3 1 1 0"; else RDATA as it is
		support assess.Support
		say     string
	}{
		{"3 1 1", leaf{}, []string{"3 1 1 0"}, yes, `tlsa: pass: matches "3 1 1 `},
		{"3 1 2", leaf{}, []string{"3 1 2 0"}, yes, ""},
		{"3 0 1", leaf{}, []string{"3 0 1 0"}, yes, ""},
		{"3 0 2", leaf{}, []string{"3 0 2 0"}, yes, ""},
		{"3 0 0, the whole certificate", leaf{}, []string{"3 0 0 0"}, yes, `tlsa: pass: matches "3 0 0 3082`},
		{"3 1 0, the whole key", leaf{}, []string{"3 1 0 0"}, yes, ""},
		{"2 0 1 of the issuer", leaf{}, []string{"2 0 1 1"}, yes, ""},
		{"2 1 2 of the issuer", leaf{}, []string{"2 1 2 1"}, yes, ""},
		{"2 0 1 of the root, sent", leaf{WithRoot: true}, []string{"2 0 1 2"}, yes, ""},
		{"2 0 1 of the root, not sent", leaf{}, []string{"2 0 1 -1"}, no, "a server has to send its trust anchor too"},
		{"2 0 0 of the root, not sent", leaf{}, []string{"2 0 0 -1"}, yes, ""},
		{"2 1 0 of the root, not sent", leaf{}, []string{"2 1 0 -1"}, yes, ""},

		{"3: names do not matter", leaf{Names: []string{"www.example"}}, []string{"3 1 1 0"}, yes, ""},
		{"3: dates do not matter", expired, []string{"3 1 1 0"}, yes, ""},
		{"3: authorities do not matter", leaf{SelfSigned: true}, []string{"3 1 1 0"}, yes, ""},
		{"2: names matter", leaf{Names: []string{"www.example"}}, []string{"2 1 1 1"}, no, `the certificate is for ["www.example"], not for ["mx.`},
		{"2: dates matter", expired, []string{"2 1 1 1"}, no, "expired on"},
		{"2: the next hop's name will do", leaf{Names: []string{"@"}}, []string{"2 1 1 1"}, yes, ""},

		{"roll-over", leaf{}, []string{"3 1 1 " + strings.Repeat("ab", 32), "3 1 1 0"}, yes, "TLSA 3 1 1 abab"},
		{"a pair of usages", leaf{}, []string{"3 1 1 0", "2 1 1 1"}, yes, ""},
		{"no match", leaf{}, []string{"3 1 1 " + strings.Repeat("ab", 32)}, no, "it does not match the server's certificate"},
		{"usage 3 over an issuer", leaf{}, []string{"3 1 1 1"}, no, "it matches certificate 1 of the chain, an issuer, for which usage 2 is meant"},
		{"usage 2 over the server", leaf{}, []string{"2 1 1 0"}, no, "for which usage 3 is meant"},
		{"usage 1", leaf{}, []string{"1 1 1 0"}, no, "no usable TLSA record: 1 1 1: usage 1 (PKIX-EE) is not for SMTP between servers: publish usage 3"},
		{"usage 0", leaf{}, []string{"0 1 1 1"}, no, "no usable TLSA record"},
		{"usage 1 beside usage 3", leaf{}, []string{"1 1 1 0", "3 1 1 0"}, yes, "is not usable: usage 1"},
		{"cut off", leaf{}, []string{"3 1 1 abcd"}, no, "2 bytes of data, where a digest of matching type 1 has 32"},
		{"unknown selector", leaf{}, []string{"3 2 1 " + strings.Repeat("ab", 32)}, no, "selector 2 is not defined"},
		{"unknown matching type", leaf{}, []string{"3 1 3 " + strings.Repeat("ab", 32)}, no, "matching type 3 is not defined"},
		{"a stronger digest that does not match", leaf{}, []string{"3 1 1 0", "3 1 2 " + strings.Repeat("ab", 64)}, no, "does not match"},
		{"none", leaf{}, nil, no, "publishes no TLSA records for port 25"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("t%d.example", i)
			if tt.leaf.Names == nil {
				tt.leaf.Names = []string{"MX"}
			}
			tt.leaf.Names[0] = strings.NewReplacer("MX", "mx."+domain, "@", domain).Replace(tt.leaf.Names[0])
			certificate := l.issue(tt.leaf)
			var records []string
			for _, record := range tt.records {
				var of int
				if _, err := fmt.Sscanf(record[6:], "%d", &of); err == nil && len(record) < 9 {
					signer := certificate
					if of == full {
						signer, of = tls.Certificate{Certificate: [][]byte{l.ca.Root.Raw}}, 0
					}
					record = tlsaOf(record[:5], signer, of)
				}
				records = append(records, "_25._tcp.mx TLSA "+record)
			}
			l.mailHost(i, domain, probetest.SMTPConfig{Certificates: certs(certificate)}, records...)
			wants(t, judged(l.probe(domain), assess.DANE), tt.support, tt.say)
		})
	}
}

// TestDANEBase shows where the records are looked for (RFC 7672, section 2.2), and what DNSSEC and
// hosts that cannot be reached make of them.
func TestDANEBase(t *testing.T) {
	l := newLab(t)
	certificate := l.issue(probetest.Leaf{Names: []string{"mx.example"}})
	l.serveSMTP("127.1.1.1", probetest.SMTPConfig{Certificates: certs(certificate)})
	l.serveSMTP("127.1.2.1", probetest.SMTPConfig{})
	match, other := tlsa(certificate), "3 1 1 "+strings.Repeat("ab", 32)
	zones := map[string]string{
		"target.example": "mx A 127.1.1.1\n_25._tcp.mx TLSA " + match + "\nbare A 127.1.1.1\nother A 127.1.1.1\n_25._tcp.other TLSA " + other,
		"direct.example": "@ MX 10 mx.target.example.",
		"alias.example":  "@ MX 10 mx\nmx CNAME mx.target.example.",
		"chain.example":  "@ MX 10 mx\nmx CNAME mx.alias.example.",
		"first.example":  "@ MX 10 mx\nmx CNAME bare.target.example.\n_25._tcp.mx2 TLSA " + match,
		"both.example":   "@ MX 10 mx\nmx CNAME other.target.example.",
		"lost.example":   "@ MX 10 mx\nmx A 127.1.1.1\n_25._tcp.mx TLSA " + match,
		"bogus.example":  "@ MX 10 mx\nmx A 127.1.1.1",
		"plain.example":  "@ MX 10 mx\nmx A 127.1.2.1\n_25._tcp.mx TLSA " + match,
		"dead.example":   "@ MX 10 mx\nmx A 127.1.3.1\n_25._tcp.mx TLSA " + match,
		"pair.example":   "@ MX 10 mx\nmx A 127.1.1.1\nmx A 127.1.4.1\n_25._tcp.mx TLSA " + match,
	}
	for name, records := range zones {
		l.zone(name, records)
	}
	l.serveSMTP("127.1.4.1", probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx.example"}, SelfSigned: true, Key: l.rsa()}))})
	for name, records := range map[string]string{
		"unsigned.example":   "@ MX 10 mx\nmx A 127.1.1.1\n_25._tcp.mx TLSA " + match,
		"outside.example":    "@ MX 10 mx.target.example.",
		"loosealias.example": "@ MX 10 mx\nmx CNAME other.target.example.",
	} {
		must(t, l.dns.Set(probetest.Zone{Name: name, Records: records}))
	}
	must(t, l.dns.Set(probetest.Zone{Name: "_tcp.mx.bogus.example", Bogus: true, Records: "_25 TLSA " + match}))
	l.dns.Fail("_25._tcp.mx.lost.example TLSA", probetest.ServFail)
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for _, tt := range []struct {
		domain, base string
		support      assess.Support
		say          string
	}{
		{"direct.example", "mx.target.example", yes, ""},
		{"alias.example", "mx.target.example", yes, ""},
		{"chain.example", "mx.target.example", yes, ""},
		{"first.example", "mx.first.example", no, "publishes no TLSA records"},
		{"both.example", "other.target.example", no, "it does not match the server's certificate"},
		{"loosealias.example", "mx.loosealias.example", no, "publishes no TLSA records"},
		{"unsigned.example", "mx.unsigned.example", yes, "mx.unsigned.example: matches, but DNSSEC does not protect it: senders ignore it"},
		{"outside.example", "mx.target.example", yes, "matches, but DNSSEC does not protect the MX records that lead to it"},
		{"lost.example", "mx.lost.example", unknown, "the TLSA records are not known: SERVFAIL"},
		{"bogus.example", "mx.bogus.example", unknown, "the TLSA records are not known: DNSSEC validation failed"},
		{"plain.example", "mx.plain.example", no, "publishes TLSA records and speaks no STARTTLS: senders that honour DANE do not deliver"},
		{"dead.example", "mx.dead.example", unknown, "no certificate was seen: connect: "},
		{"pair.example", "mx.pair.example", no, "it does not match the server's certificate"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			facts := l.probe(tt.domain)
			if base := facts.Hosts.Hosts[0].DANE.Base; base != tt.base {
				t.Errorf("the TLSA base domain is %s, want %s", base, tt.base)
			}
			v := judged(facts, assess.DANE)
			wants(t, v, tt.support, tt.say)
			if warned := strings.Contains(say(v), "DNSSEC does not protect"); warned != strings.Contains(tt.say, "DNSSEC does not protect") {
				t.Error(say(v))
			}
		})
	}
}

// A host whose records do not match what its address showed under another name, be it valid for
// both, is asked under its own: it may have a certificate of its own, which they are for.
func TestDANEUnderItsOwnName(t *testing.T) {
	l := newLab(t)
	l.serveCRLs()
	own := l.issue(probetest.Leaf{Names: []string{"mx.tenant2.example"}, Key: l.rsa()})
	shared := l.issue(probetest.Leaf{Names: []string{"mx.tenant1.example", "mx.tenant2.example"}, Key: l.rsa()})
	server := l.serveSMTP("127.1.9.1", probetest.SMTPConfig{Certificates: certs(own, shared)})
	l.zone("tenant1.example", "@ MX 10 mx\nmx A 127.1.9.1")
	l.zone("tenant2.example", "@ MX 10 mx\nmx A 127.1.9.1\n_25._tcp.mx TLSA "+tlsa(own))
	r := l.runner()
	wants(t, judged(probeWith(t, r, "tenant1.example"), assess.X509), assess.SupportYes, "")
	facts := probeWith(t, r, "tenant2.example")
	wants(t, judged(facts, assess.DANE), assess.SupportYes, "tlsa: pass")
	wants(t, judged(facts, assess.X509), assess.SupportYes, "")
	if names := server.ServerNames(); names[0] != "mx.tenant1.example" {
		t.Errorf("asked for %q", names)
	}
}
