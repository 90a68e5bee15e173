package probe

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	x509pkix "crypto/x509/pkix"
	"io"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/dnsname"
	"peerscore/assess/pkix"
)

// FuzzSMTPReply: whatever a server says, the replies are the same however the octets come in,
// and within the limits.
func FuzzSMTPReply(f *testing.F) {
	for _, text := range []string{
		"220 mx ESMTP\r\n250-mx\r\n250-STARTTLS\r\n250 SIZE\r\n", "250\n", "554-a\r\n220 b\r\n", "25 \r\n", "250x\r\n", "220 " + strings.Repeat("x", maxLine), strings.Repeat("220-x\r\n", maxLines+1), "\r\n", "199 a\r\n",
	} {
		f.Add([]byte(text))
	}
	read := func(r io.Reader) (replies []reply, problem string) {
		for stored := newReplyReader(r); ; {
			got, err := stored.read()
			if err != nil {
				return replies, err.Error()
			}
			replies = append(replies, got)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		replies, problem := read(bytes.NewReader(data))
		again, problem2 := read(iotest.OneByteReader(bytes.NewReader(data)))
		if !reflect.DeepEqual(replies, again) || problem != problem2 {
			t.Fatalf("octet by octet: %q, %s; at once: %q, %s", again, problem2, replies, problem)
		}
		octets := 0
		for _, r := range replies {
			if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > maxLines || utf8.RuneCountInString(r.String()) > 200 {
				t.Errorf("%+v", r)
			}
			for i, line := range r.lines {
				octets += len(line)
				if len(line) >= maxLine || strings.HasSuffix(line, "\n") || (i < len(r.lines)-1) != (len(line) > 3 && line[3] == '-') {
					t.Errorf("line %q of %q", line, r.lines)
				}
			}
			lower := strings.Split(strings.ToLower(strings.Join(r.lines, "\n")), "\n")
			if hasKeyword(r.lines, "STARTTLS") != hasKeyword(lower, "STARTTLS") || len(kept(r.lines)) > keptLines {
				t.Errorf("%q", r.lines)
			}
		}
		if octets > maxOctets {
			t.Errorf("%d octets", octets)
		}
	})
}

// authority has the same key in every process that fuzzes.
func authority(f *testing.F) (*x509.Certificate, ed25519.PrivateKey) {
	f.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: x509pkix.Name{CommonName: "CA"}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(f, err)
	cert, err := x509.ParseCertificate(der)
	must(f, err)
	return cert, key
}

// FuzzCRL signs lists with foreign entries and a foreign scope: a certificate is found if and
// only if it is there. No octet of a list can be changed without it being refused.
func FuzzCRL(f *testing.F) {
	issuer, key := authority(f)
	now := time.Unix(1_800_000_000, 0)
	const uri = "http://ca.example/1.crl"
	f.Add([]byte("\x01\x01\x05\x02\x04\x01\x00"), []byte{}, []byte{5}, uint16(9), byte(1))
	f.Add([]byte("\x14\x00"+strings.Repeat("\xff", 20)), []byte{0x30, 0}, bytes.Repeat([]byte{0xff}, 20), uint16(60), byte(0x80))
	f.Add([]byte("\x15\x00"+strings.Repeat("\x01", 21)), append([]byte{0x30, 0x1d, 0xa0, 0x1b, 0xa0, 0x19, 0x86, 0x17}, uri...), bytes.Repeat([]byte{1}, 21), uint16(0), byte(1))
	f.Add([]byte{}, []byte{0x30, 3, 0x82, 1, 0xff}, []byte{0}, uint16(200), byte(1))
	f.Fuzz(func(t *testing.T, entries, scope, serial []byte, at uint16, flip byte) {
		list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		wanted, listed := new(big.Int).SetBytes(serial), false
		for len(entries) > 2 && len(list.RevokedCertificateEntries) < 100 {
			n := min(int(entries[0]%25)+1, len(entries)-2)
			number := new(big.Int).SetBytes(entries[2 : 2+n])
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: number, RevocationTime: now, ReasonCode: int(entries[1] % 11)})
			listed = listed || number.Cmp(wanted) == 0
			entries = entries[2+n:]
		}
		if len(scope) > 0 {
			list.ExtraExtensions = []x509pkix.Extension{{Id: pkix.OIDIssuingDistributionPoint, Critical: true, Value: scope}}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, issuer, key)
		if err != nil {
			t.Skip()
		}
		if flip != 0 {
			changed := bytes.Clone(der)
			changed[int(at)%len(changed)] ^= flip
			if _, err := pkix.ParseCRL(changed, issuer); err == nil {
				t.Errorf("octet %d was changed by %#x", int(at)%len(changed), flip)
			}
		}
		read, err := pkix.ParseCRL(der, issuer)
		if err != nil {
			if len(scope) == 0 {
				t.Errorf("a good list: %v", err)
			}
			return
		}
		entry, err := read.Find(&x509.Certificate{SerialNumber: wanted, CRLDistributionPoints: []string{uri}}, issuer, now)
		switch {
		case err == nil && (entry != nil) != listed:
			t.Errorf("%x is listed: %t, was found: %+v", serial, listed, entry)
		case err != nil && len(scope) == 0 && wanted.BitLen() <= 160:
			t.Errorf("%x: %v", serial, err)
		}
	})
}

// FuzzCertificate judges certificates with foreign octets and with foreign names; on names it
// agrees with the standard library, but for wildcards below a top-level domain.
func FuzzCertificate(f *testing.F) {
	issuer, key := authority(f)
	now := time.Unix(1_800_000_000, 0)
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	issue := func(names []string, cn string) ([]byte, error) {
		return x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: x509pkix.Name{CommonName: cn}, DNSNames: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		}, issuer, key.Public(), key)
	}
	for _, names := range []string{"mx.example.org", "*.example.org\nMX.Example.NET", "*.org", "m*.example.org", "*", "", "mx..org"} {
		der, err := issue(strings.Fields(names), "mx.example.org")
		must(f, err)
		f.Add(der, names, "mx.example.org", "mx.example.org")
	}
	f.Add(issuer.Raw, "a", "\xff", "a.b.example")
	judge := func(t *testing.T, der []byte, host string) {
		certs, err := pkix.ParseChain([][]byte{der})
		if err != nil {
			return
		}
		c := chain{certs: certs, host: host, roots: roots, now: now}
		facts, paths := c.facts()
		leaf := certs[0]
		trusted := leaf.CheckSignatureFrom(issuer) == nil || leaf.Equal(issuer)
		if pass := facts.Trusted.Result == assess.Pass; pass != (len(paths) > 0) || pass && !trusted || facts.Trusted.Result == assess.Unknown {
			t.Errorf("trusted: %+v, %d paths", facts.Trusted, len(paths))
		}
		if within := !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter); within != (facts.Dated.Result == assess.Pass) {
			t.Errorf("dated: %+v", facts.Dated)
		}
		if len(facts.Names) > maxNames || len(facts.Warnings) > 3 {
			t.Errorf("%d names, %d warnings", len(facts.Names), len(facts.Warnings))
		}
		if _, err := dnsname.Parse(host); err != nil || len(leaf.DNSNames) == 0 {
			return
		}
		standard := leaf.VerifyHostname(host) == nil
		if parent := "*" + host[strings.IndexByte(host, '.'):]; strings.Count(host, ".") == 1 && slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, parent) }) {
			return
		}
		if standard != (facts.Named.Result == assess.Pass) {
			t.Errorf("%q for %q: %+v, the standard library says %t", leaf.DNSNames, host, facts.Named, standard)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte, names, cn, host string) {
		judge(t, der, host)
		if der, err := issue(strings.Fields(names), cn); err == nil {
			judge(t, der, host)
		}
	})
}

// FuzzDKIMKey reads foreign key records: either there is a key or a reason why not, and blanks
// within p= mean nothing.
func FuzzDKIMKey(f *testing.F) {
	for _, record := range []string{"v=DKIM1; p=" + publicKey(f, 1024), "k=ed25519; p=" + strings.Repeat("A", 43) + "=", "p=", "v=DKIM1; t=y:s; h=sha1; s=*; p=AAAA", "p=a;p=b", ";;=", "v=DKIM2"} {
		f.Add(record)
	}
	read := func(record string) (key string, testing bool, problem string) {
		found, err := dkim.FindKey([]string{record})
		return describeKey(found), found.Testing, keyProblem(found, err)
	}
	f.Fuzz(func(t *testing.T, record string) {
		key, testing, problem := read(record)
		if key == "" && problem == "" || len(key) > 20 || len(problem) > 300 {
			t.Errorf("key %q, problem %q", key, problem)
		}
		if testing && !strings.Contains(record, "y") {
			t.Error("testing")
		}
		if before, value, ok := strings.Cut(record, "; p="); ok && !strings.Contains(before, "p=") && len(value) > 2 && len(record) < dkim.MaxRecord && value[0] != ';' && strings.Trim(value[:2], " \t\r\n") == value[:2] && value[1] != ';' {
			spaced := before + "; p=" + value[:1] + " \t" + value[1:]
			if len(spaced) > dkim.MaxRecord {
				return
			}
			if key2, testing2, _ := read(spaced); key2 != key || testing2 != testing {
				t.Errorf("%q with blanks: %q, before: %q", record, key2, key)
			}
		}
	})
}

// FuzzCRLURL: what is asked for is plain HTTP at port 80 of a name, whatever a certificate says.
func FuzzCRLURL(f *testing.F) {
	for _, text := range []string{"http://crl.example.net/a.crl", "http://crl.example.net:80", "http://127.0.0.1/", "http://[::ffff:127.0.0.1]:80/", "http://a@b.example/", "HTTP://a.example:081", "http://a.example:80:80/", "http:///x", "ldap://a.example/", "http://a.example%2f/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := distributionPoint(&x509.Certificate{CRLDistributionPoints: []string{text}})
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || got != text || u.Scheme != "http" || u.User != nil || u.Port() != "" && u.Port() != "80" || !strings.Contains(u.Hostname(), ".") {
			t.Fatalf("%q: %+v, %v", text, u, err)
		}
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			t.Errorf("%q is an address", text)
		}
	})
}
