package probe

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
)

// publicKey is p= of an RSA key of so many bits, which nobody has the other half of.
func publicKey(t testing.TB, bits int) string {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	must(t, err)
	n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	must(t, err)
	return base64.StdEncoding.EncodeToString(der)
}

// inStrings is a TXT record in strings of at most 200 octets.
func inStrings(text string) string {
	var parts []string
	for ; len(text) > 200; text = text[200:] {
		parts = append(parts, `"`+text[:200]+`"`)
	}
	return strings.Join(append(parts, `"`+text+`"`), " ")
}

// TestDKIMPresence is the estimate while no message has been seen. A wait that ends in nothing
// is neither yes nor no.
func TestDKIMPresence(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newLab(t)
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: "s._domainkey TXT v=DKIM1"}))
	l.dns.Fail("_domainkey.refused.example TXT", probetest.Refused)
	l.dns.Fail("_domainkey.broken.example TXT", probetest.ServFail)
	l.dns.Fail("_domainkey.silent.example TXT", probetest.Timeout)
	for _, tt := range []struct {
		domain, records string
		support         assess.Support
		say             string
	}{
		{"keys.example", "s1._domainkey TXT \"v=DKIM1; p=\"", assess.SupportYes, "presence: pass: estimate: there are names under _domainkey"},
		{"cname.example", "s1._domainkey CNAME s1.esp.example.", assess.SupportYes, "presence: pass: estimate"},
		{"record.example", "_domainkey TXT \"o=-\"", assess.SupportYes, "presence: pass: estimate"},
		{"none.example", "@ A 192.0.2.1", assess.SupportNo, "presence: fail: estimate: there is no name under _domainkey"},
		{"refused.example", "s1._domainkey TXT x", assess.SupportUnknown, "whether there are keys is not known: REFUSED"},
		{"broken.example", "s1._domainkey TXT x", assess.SupportUnknown, "whether there are keys is not known: SERVFAIL"},
		{"silent.example", "s1._domainkey TXT x", assess.SupportUnknown, "whether there are keys is not known: timeout"},
		{"bogus.example", "", assess.SupportUnknown, "whether there are keys is not known: DNSSEC validation failed"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			if tt.records != "" {
				l.zone(tt.domain, "@ MX 0 .\n"+tt.records)
			}
			v := judged(l.probe(tt.domain), assess.DKIM)
			wants(t, v, tt.support, tt.say)
			if !v.Estimate {
				t.Error("it is not marked as an estimate")
			}
		})
	}
}

// TestDKIMKeys looks at the keys that messages were signed with.
func TestDKIMKeys(t *testing.T) {
	l := newLab(t)
	k1024, k2048, k512 := publicKey(t, 1024), publicKey(t, 2048), publicKey(t, 512)
	ed25519 := base64.StdEncoding.EncodeToString(make([]byte, 32))
	modulus := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	largeExponent := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: modulus, E: 1 << 31}))
	records := map[string]string{
		"rsa2048":  "v=DKIM1; k=rsa; p=" + k2048,
		"bare":     "p=" + k2048,
		"blanks":   "v=DKIM1 ; p = " + k2048[:50] + " " + k2048[50:] + " ;",
		"rsa1024":  "v=DKIM1; p=" + k1024,
		"rsa512":   "v=DKIM1; p=" + k512,
		"ed25519":  "v=DKIM1; k=ed25519; p=" + ed25519,
		"short":    "v=DKIM1; k=ed25519; p=" + ed25519[:20],
		"testing":  "v=DKIM1; t=s:y; p=" + k2048,
		"strict":   "v=DKIM1; t=s; p=" + k2048,
		"revoked":  "v=DKIM1; p=",
		"empty":    "v=DKIM1",
		"later":    "v=DKIM2; p=" + k2048,
		"second":   "p=" + k2048 + "; v=DKIM1",
		"garbage":  "v=DKIM1; p=!!!!",
		"nokey":    "v=DKIM1; p=" + base64.StdEncoding.EncodeToString([]byte("this is no key")),
		"twice":    "v=DKIM1; p=" + k2048 + "; p=" + k2048,
		"notags":   "hello",
		"capitals": "v=DKIM1; k=RSA; p=" + k2048,
		"exponent": "v=DKIM1; p=" + largeExponent,
		"unknown":  "v=DKIM1; k=rsa7; p=" + k2048,
		"sha1":     "v=DKIM1; h=sha1; p=" + k2048,
		"hashes":   "v=DKIM1; h=sha1:sha256; p=" + k2048,
		"service":  "v=DKIM1; s=tlsrpt; p=" + k2048,
		"services": "v=DKIM1; s=other:email; p=" + k2048,
		"any":      "v=DKIM1; s=*; p=" + k2048,
		"long":     "v=DKIM1; n=" + strings.Repeat("x", dkim.MaxRecord) + "; p=" + k2048,
	}
	zone := "@ MX 0 .\n"
	for name, record := range records {
		zone += name + "._domainkey TXT " + inStrings(record) + "\n"
	}
	l.zone("keys.example", zone+"two._domainkey TXT x\ntwo._domainkey TXT y\nbeside._domainkey TXT \"v=spf1 -all\"\nbeside._domainkey TXT "+inStrings("p="+k2048)+"\nrotated._domainkey TXT \"p=\"\nrotated._domainkey TXT "+inStrings("p="+k2048)+"\nelsewhere._domainkey CNAME rsa2048._domainkey.keys.example.\n")
	must(t, l.dns.Set(probetest.Zone{Name: "insecure.example", Records: "a._domainkey TXT " + inStrings("p="+k2048)}))
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: "a._domainkey TXT " + inStrings("p="+k2048)}))
	l.dns.Fail("lost._domainkey.keys.example TXT", probetest.ServFail)
	for _, tt := range []struct {
		selector string // of keys.example where no other domain stands there
		say      string
	}{
		{"rsa2048", ": RSA 2048, DNSSEC secure"},
		{"bare", ": RSA 2048, DNSSEC secure"},
		{"blanks", ": RSA 2048, DNSSEC secure"},
		{"elsewhere", ": RSA 2048, DNSSEC secure"},
		{"rsa1024", ": RSA 1024, DNSSEC secure; short key: 2048 bits are recommended (RFC 8301)"},
		{"rsa512", ": RSA 512, DNSSEC secure; weak key: verifiers refuse less than 1024 bits (RFC 8301)"},
		{"ed25519", ": Ed25519, DNSSEC secure"},
		{"short", ": no usable key, DNSSEC secure; an Ed25519 key of 15 octets"},
		{"testing", ": RSA 2048, testing (t=y): receivers treat its messages as unsigned, remove the flag"},
		{"strict", ": RSA 2048, DNSSEC secure"},
		{"revoked", "the key was revoked (p= is empty)"},
		{"empty", "there is no key (p=)"},
		{"later", `v="DKIM2" is not DKIM1`},
		{"second", ": RSA 2048, DNSSEC secure; v= is not the first tag"},
		{"garbage", "the key (p=) is not base64"},
		{"nokey", "the RSA key cannot be read"},
		{"twice", `a tag occurs twice: "p"`},
		{"notags", `malformed tag list: "hello"`},
		{"capitals", `the key type "RSA" is not known`},
		{"exponent", ": RSA 2048, DNSSEC secure; an RSA exponent of 32 bits, which verifiers may not take"},
		{"unknown", `the key type "rsa7" is not known`},
		{"sha1", ": RSA 2048, DNSSEC secure; h= does not allow sha256, the hash of all signatures that count (RFC 8301)"},
		{"hashes", ": RSA 2048, DNSSEC secure"},
		{"service", ": RSA 2048, DNSSEC secure; s= does not allow email"},
		{"services", ": RSA 2048, DNSSEC secure"},
		{"any", ": RSA 2048, DNSSEC secure"},
		{"long", "key record too long: 45"},
		{"two", "2 TXT records, where there must be one"},
		{"beside", ": RSA 2048, DNSSEC secure; 2 TXT records, of which verifiers may take another: look for a wildcard"},
		{"rotated", ": no usable key, DNSSEC secure; 2 TXT records, where there must be one"},
		{"missing", "the name does not exist"},
		{"lost", "SERVFAIL"},
		{"a insecure.example", ": RSA 2048, DNSSEC insecure"},
		{"a bogus.example", "DNSSEC validation failed"},
	} {
		t.Run(tt.selector, func(t *testing.T) {
			name, domain, ok := strings.Cut(tt.selector, " ")
			if !ok {
				domain = "keys.example"
			}
			facts, err := l.runner().Probe(t.Context(), "keys.example", []assess.Selector{{Domain: dnsname.Domain(domain), Name: name}})
			must(t, err)
			key := fmt.Sprintf("key %s._domainkey.%s", name, domain)
			for _, note := range judged(facts, assess.DKIM).Notes {
				if strings.HasPrefix(note, key) && strings.Contains(note, tt.say) && (tt.say[0] != ':' || strings.HasSuffix(note, tt.say) || name == "testing") {
					return
				}
			}
			t.Errorf("no %q in:\n%s", tt.say, say(judged(facts, assess.DKIM)))
		})
	}
}
