package dane_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"math/big"
	"time"

	"peerscore/assess/dane"
)

// selfSigned is the certificate of a mail server that no public authority knows.
func selfSigned(name string) *x509.Certificate {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return certificate
}

// A mail server publishes the digest of its own key, "3 1 1": then neither names, dates nor public
// authorities matter. An old record beside it does no harm.
func ExampleVerify() {
	certificate := selfSigned("mx.example.org")
	digest := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	current := dane.TLSA{Usage: dane.DANEEE, Selector: dane.SPKI, MatchingType: dane.SHA256, Data: digest[:]}
	old := current
	old.Data = make([]byte, sha256.Size)
	public := current
	public.Usage = dane.PKIXEE // not for SMTP: RFC 7672, section 3.1.3
	for _, records := range [][]dane.TLSA{{current, old}, {old}, {public}, nil} {
		got := dane.Verify(records, []*x509.Certificate{certificate}, dane.Config{})
		fmt.Printf("%s: %q\n", got.Status, got.Reason)
	}
	// Output:
	// match: ""
	// mismatch: "3 1 1: it does not match the server's certificate"
	// unusable: "no usable TLSA record: 1 1 1: usage 1 (PKIX-EE) is not for SMTP between servers: publish usage 3"
	// absent: "there are no TLSA records"
}

// Where the records are, and which names a certificate may carry for those of usage 2.
func ExampleBaseDomains() {
	for _, base := range dane.BaseDomains("mx.example.org", "mail7.provider.example", true) {
		fmt.Println(dane.RecordName(base), dane.ReferenceIdentifiers(base, "mx.example.org", "example.org"))
	}
	// Output:
	// _25._tcp.mail7.provider.example [mail7.provider.example mx.example.org example.org]
	// _25._tcp.mx.example.org [mx.example.org example.org]
}
