package dkim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// publicKey is a key of a size and an exponent, which nobody has the other half of.
func publicKey(bits uint, exponent int) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), int(bits-1), 1), E: exponent}
}

// inInfo is a key within a SubjectPublicKeyInfo, as everybody publishes it.
func inInfo(t testing.TB, key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// bare is an RSAPublicKey, as RFC 6376 has it.
func bare(key *rsa.PublicKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(key))
}

// infoOf is a SubjectPublicKeyInfo of any algorithm around an RSA key.
func infoOf(t testing.TB, key *rsa.PublicKey, algorithm pkix.AlgorithmIdentifier, more ...byte) string {
	octets := x509.MarshalPKCS1PublicKey(key)
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{algorithm, asn1.BitString{Bytes: octets, BitLength: 8 * len(octets)}})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(append(der, more...))
}

// summary is a key in one line, or what is wrong with it.
func summary(k Key, err error) string {
	text := k.Type
	if k.Type == RSA {
		text += fmt.Sprintf(" %d/%d", k.Bits(), k.Exponent)
	}
	if k.Testing {
		text += " testing"
	}
	if k.Strict {
		text += " strict"
	}
	if k.Disordered {
		text += ", disordered"
	}
	if err != nil {
		text += ": " + err.Error()
	}
	return strings.TrimPrefix(text, ": ")
}

func TestFindKey(t *testing.T) {
	key := publicKey(2048, 65537)
	p, ed := "p="+inInfo(t, key), "p="+base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		name    string
		records []string
		want    string
	}{
		{"a SubjectPublicKeyInfo", []string{"v=DKIM1; k=rsa; " + p}, "rsa 2048/65537"},
		{"an RSAPublicKey", []string{"p=" + bare(key)}, "rsa 2048/65537"},
		{"Ed25519", []string{"v=DKIM1; k=ed25519; " + ed}, "ed25519"},
		{"folding", []string{"\r\n v = DKIM1 ;\tk = rsa ; t = y : s ; p = " + p[2:40] + " \r\n\t" + p[40:] + " ; "}, "rsa 2048/65537 testing strict"},
		{"empty tags", []string{"v=DKIM1;; " + p + ";"}, "rsa 2048/65537"},
		{"other flags", []string{"t=x:yy; " + p}, "rsa 2048/65537"},
		{"other tags", []string{"v=DKIM1; g=*; n=notes=more; " + p}, "rsa 2048/65537"},
		{"small", []string{"p=" + bare(publicKey(512, 3))}, "rsa 512/3"},
		{"large", []string{"p=" + bare(publicKey(8192, 3))}, "rsa 8192/3"},
		{"for all services", []string{"s=*; " + p}, "rsa 2048/65537"},
		{"for mail too", []string{"s=tlsrpt : email; " + p}, "rsa 2048/65537"},
		{"of two hashes", []string{"h=sha1:sha256; " + p}, "rsa 2048/65537"},

		{"none", nil, "no key"},
		{"none among others", []string{"v=spf1 -all", "x"}, "no key"},
		{"one among others", []string{"v=spf1 -all", p}, "rsa 2048/65537"},
		{"two", []string{p, p}, "several keys"},
		{"not for mail", []string{"s=tlsrpt; " + p}, "rsa 2048/65537: s= does not allow email"},
		{"for nothing", []string{"s=; " + p}, "rsa 2048/65537: s= does not allow email"},
		{"of SHA-1", []string{"h=sha1; t=y; " + p}, "rsa 2048/65537 testing: h= does not allow sha256, the hash of all signatures that count (RFC 8301)"},
		{"revoked", []string{"t=y; p= "}, " testing: the key was revoked (p= is empty)"},
		{"without p=", []string{"v=DKIM1"}, "there is no key (p=)"},
		{"version 2", []string{"v=DKIM2; " + p}, `v="DKIM2" is not DKIM1`},
		{"not base64", []string{"p=!"}, "the key (p=) is not base64"},
		{"not DER", []string{"p=AAAA"}, "the RSA key cannot be read"},
		{"a negative modulus", []string{"p=" + base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 0xff, 2, 1, 3})}, "the RSA key cannot be read"},
		{"an exponent of 0", []string{"p=" + base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 3, 2, 1, 0})}, "the RSA key cannot be read"},
		{"no tag list", []string{"hello"}, `malformed tag list: "hello"`},
		{"a tag without a name", []string{"=x; " + p}, `malformed tag list: "=x"`},
		{"a tag twice", []string{p + "; p="}, `a tag occurs twice: "p"`},
	} {
		if got := summary(FindKey(tt.records)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The milter and the prober once read keys each in its own way. These are the records on which they
// differed, and what the standards say.
func TestDisputedKeys(t *testing.T) {
	key := publicKey(2048, 65537)
	p, ed := "p="+inInfo(t, key), "p="+base64.StdEncoding.EncodeToString(make([]byte, 32))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	null := asn1.RawValue{FullBytes: asn1.NullBytes}
	const unread = "the RSA key cannot be read"
	tooMany := strings.Builder{}
	for i := range MaxTags {
		fmt.Fprintf(&tooMany, "x%d=;", i)
	}
	for _, tt := range []struct {
		name    string
		records []string
		want    string
		say     string // the standard, or why where it is silent
	}{
		{"v= behind", []string{p + "; v=DKIM1"}, "rsa 2048/65537, disordered", "RFC 6376, section 3.6.1, has it first; no verifier minds"},
		{"v= behind another v", []string{"vv=; v=DKIM1; " + p}, "rsa 2048/65537, disordered", "the same"},
		{"a blank in v=", []string{"v=DKIM 1; " + p}, `v="DKIM 1" is not DKIM1`, `RFC 6376, section 3.6.1: "must do a string comparison"`},
		{"a blank in k=", []string{"k=r sa; " + p}, `the key type "r sa" is not known`, "RFC 6376, section 3.6.1: no white space in key-k-tag-type"},
		{"k= in capitals", []string{"k=RSA; " + p}, `the key type "RSA" is not known`, "RFC 6376, section 3.2: values are compared with regard to case"},
		{"k= in capitals, Ed25519", []string{"k=Ed25519; " + ed}, `the key type "Ed25519" is not known`, "the same"},
		{"white space of Unicode", []string{"v=DKIM1\u00a0; " + p}, `v="DKIM1\u00a0" is not DKIM1`, "RFC 6376, section 2.8: FWS is SP, HTAB, CRLF"},
		{"before a name", []string{"v=DKIM1; \u00a0" + p}, `malformed tag list: " \u00a0` + p[:38] + `"`, "the same"},
		{"vertical tab", []string{"v=DKIM1;\v" + p}, `malformed tag list: "\v` + p[:39] + `"`, "the same"},
		{"a blank within a name", []string{"v v=x; " + p}, `malformed tag list: "v v=x"`, "RFC 6376, section 3.2: tag-name"},
		{"one of two revoked", []string{p, "v=DKIM1; p="}, "several keys", "RFC 6376, sections 3.6.1 and 3.6.2.2: a revoked key is one"},
		{"one of two malformed", []string{p, "p=x; hello"}, "several keys", "RFC 6376, section 3.6.2.2: undefined, and so none"},
		{"one of two not base64", []string{p, "p=!"}, "several keys", "the same"},
		{"more tags than are read beside it", []string{p, tooMany.String() + "y=; p="}, "rsa 2048/65537", "our limit"},
		{"more tags than are read", []string{tooMany.String() + p}, `too many tags: "p" is past the limit`, "our limit"},
		{"a long record beside it", []string{p, strings.Repeat("x", MaxRecord+1)}, "key record too long: 4097 octets", "our limit"},
		{"RSASSA-PSS", []string{"p=" + infoOf(t, key, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, Parameters: null})}, unread, "RFC 3279, section 2.3.1"},
		{"without NULL", []string{"p=" + infoOf(t, key, pkix.AlgorithmIdentifier{Algorithm: rsaEncryption})}, unread, "RFC 3279, section 2.3.1"},
		{"octets behind", []string{"p=" + infoOf(t, key, pkix.AlgorithmIdentifier{Algorithm: rsaEncryption, Parameters: null}, 0)}, unread, "X.690: one value"},
		{"octets behind, bare", []string{"p=" + base64.StdEncoding.EncodeToString(append(x509.MarshalPKCS1PublicKey(key), 0))}, unread, "X.690: one value"},
		{"of a curve", []string{"p=" + inInfo(t, &curve.PublicKey)}, unread, "RFC 6376, section 3.6.1: k= is rsa"},
		{"a large exponent", []string{"p=" + bare(publicKey(2048, 1<<31))}, "rsa 2048/2147483648", "RFC 8301 has no limit: whether to compute is another question"},
		{"Ed25519 of another size", []string{"k=ed25519; p=AAAA"}, "an Ed25519 key of 3 octets", "RFC 8463, section 4.2"},
		{"an unknown type", []string{"k=rsa7; " + p}, `the key type "rsa7" is not known`, "RFC 6376, section 6.1.2"},
		{"an unknown version", []string{"v=DKIM2; " + p}, `v="DKIM2" is not DKIM1`, "RFC 6376, section 6.1.2"},
	} {
		if got := summary(FindKey(tt.records)); got != tt.want {
			t.Errorf("%s: %s, want %s (%s)", tt.name, got, tt.want, tt.say)
		}
	}
}

// TestKeyCost holds what choosing a key among the TXT records of its name may cost, of which a
// message may need five.
func TestKeyCost(t *testing.T) {
	tags := ""
	for i := range MaxTags {
		tags += fmt.Sprintf("a%d=;", i)
	}
	for name, records := range map[string][]string{
		"tags": slices.Repeat([]string{tags}, 100), "more tags": slices.Repeat([]string{tags + tags}, 70), "keys": slices.Repeat([]string{tags + "p="}, 100),
	} {
		before := totalAlloc()
		if _, err := FindKey(records); !errors.Is(err, ErrNoKey) && !errors.Is(err, ErrSeveralKeys) {
			t.Errorf("%s: %v", name, err)
		}
		if octets := totalAlloc() - before; octets > 64<<10 {
			t.Errorf("%s: %d KiB allocated", name, octets>>10)
		}
	}
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzKey: what is read keeps the limits, and is read again from the form without white space.
func FuzzKey(f *testing.F) {
	for _, record := range []string{"v=DKIM1; p=" + bare(publicKey(1024, 3)), "k=ed25519; p=" + strings.Repeat("A", 43) + "=", "p=", "v=DKIM1; t=y:s; h=sha1; s=*; p=AAAA", "p=a;p=b", ";;=", "v=DKIM2"} {
		f.Add(record, "v=spf1 -all")
	}
	f.Fuzz(func(t *testing.T, record, other string) {
		k, err := FindKey([]string{record})
		if k.Type == "" && err == nil || (k.Type == RSA) != (k.Bits() > 0) || k.Type == RSA && k.Exponent.Sign() <= 0 || len(k.Record) > MaxRecord {
			t.Errorf("%+v, %v", k, err)
		}
		if err == nil {
			if again, err := FindKey([]string{k.Record}); summary(again, err) != summary(k, nil) {
				t.Errorf("%q: %s, before: %s", k.Record, summary(again, err), summary(k, nil))
			}
		}
		if two, err := FindKey([]string{record, other}); err == nil && two.Record != withoutSpace(record) && two.Record != withoutSpace(other) {
			t.Errorf("%q is neither %q nor %q", two.Record, record, other)
		}
	})
}
