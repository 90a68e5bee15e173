package milter

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"iter"
	"math/big"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// What go-msgauth v0.7.0 leaves open, and the tests that fail when it is open here:
//
//	quadratic time over blank lines and folds   TestBlankLines, TestFolds
//	white space is kept until text follows      TestBlankLines, TestCosts
//	goroutines leak when the reader fails       TestPieceReader, TestAbortLeavesNoGoroutine
//	names are not checked before the lookup    TestDKIM, TestSigningDomains
//	no limit on keys, names, fields, length     TestDKIM, TestCosts, TestWhichSignatures, TestHeaderLimits
//	t=y, l=, temporary errors are not told      TestDKIM
//	"b=" in another tag, i= in another case     TestDKIM
//	white space in p=, TXT records beside it    TestDKIM
//	several From fields                         TestSpoofing
//	errors quote the sender                     TestLog

// verify runs all signatures of a message that could be the author's, and gives their findings
// in the order in which they were chosen. It feeds the body in chunks, as an MTA does.
func verify(t testing.TB, z zone, message string) []signature {
	t.Helper()
	l := newLab(t, z)
	return verifyIn(l, message)
}

func verifyIn(l *lab, message string) []signature {
	m := l.server.newMessage(client{}, "")
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	for _, line := range strings.Split(strings.ReplaceAll(head, "\r\n ", "\n "), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		m.header.add(name, value)
	}
	m.begin()
	for chunk := []byte(body); len(chunk) > 0; chunk = chunk[min(len(chunk), 65535):] {
		m.body(chunk[:min(len(chunk), 65535)])
	}
	defer m.close()
	a, _ := m.evaluation.finish(context.Background())
	return a.signatures
}

// fieldOf is the signature alone, with its line end.
func fieldOf(signed string) string {
	field, _, _ := strings.Cut(signed, "\r\nFrom:")
	return field + "\r\n"
}

// edit changes a signed message after the fact.
func edit(message string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(message)
}

func TestDKIM(t *testing.T) {
	base := letter("a@example.org")
	ed := signed(t, base, "example.org", "ed")
	rsaSigned := signed(t, base, "example.org", "rsa", relaxed)
	yesterday := time.Now().Add(-24 * time.Hour)
	oversigned := func(o *msgauth.SignOptions) { o.HeaderKeys = []string{"From", "From", "Subject", "Reply-To", "To"} }
	withQuery := func(o *msgauth.SignOptions) { o.QueryMethods = []msgauth.QueryMethod{msgauth.QueryMethodDNSTXT} }
	identity := func(i string) func(*msgauth.SignOptions) {
		return func(o *msgauth.SignOptions) { o.Identifier = i }
	}
	naming := func(n int) func(*msgauth.SignOptions) {
		return func(o *msgauth.SignOptions) { o.HeaderKeys = append(slices.Repeat([]string{"X"}, n-1), "From") }
	}
	key := "TXT ed._domainkey.example.org"
	record := keyRecord(keys["ed"])
	short := newRSA(1024)
	idn := zone{"TXT ed._domainkey.xn--bcher-kva.example": {record}, "TXT xn--schlssel-95a._domainkey.xn--bcher-kva.example": {record}}
	unasked := zone{key: {"NEVER"}, "TXT rsa._domainkey.example.org": {"NEVER"}, "TXT e[d]._domainkey.example.org": {"NEVER"}}
	names := func(n, length int) func(*msgauth.SignOptions) {
		return func(o *msgauth.SignOptions) {
			o.HeaderKeys = append(slices.Repeat([]string{"X-" + strings.Repeat("x", length)}, n-1), "From")
		}
	}
	tests := []struct {
		name    string
		message string
		zone    zone // beside or instead of world
		want    string
	}{
		{"Ed25519, simple", ed, nil, "pass pass"},
		{"RSA, relaxed", rsaSigned, nil, "pass pass"},
		{"oversigned", signed(t, base, "example.org", "rsa", oversigned), nil, "pass pass"},
		{"with q=", signed(t, base, "example.org", "ed", withQuery), nil, "pass pass"},
		{"i= below d=", signed(t, base, "example.org", "ed", identity("@news.example.org")), nil, "pass pass"},
		{"an IDN", signed(t, letter("a@bücher.example"), "xn--bcher-kva.example", "ed"), idn, "pass pass"},
		{"an IDN, in Unicode", signed(t, letter("a@bücher.example"), "bücher.example", "ed", identity("ü@bücher.example")), idn, "pass pass"},
		{"an IDN, i= below d= in Unicode", signed(t, letter("a@bücher.example"), "bücher.example", "ed", identity("@ü.bücher.example")), idn, "pass pass"},
		{"an IDN, and t=s", signed(t, letter("a@bücher.example"), "bücher.example", "ed", identity("ü@bücher.example")), zone{"TXT ed._domainkey.xn--bcher-kva.example": {record + "; t=s"}}, "pass pass"},
		{"an IDN, s= in Unicode", signed(t, letter("a@bücher.example"), "bücher.example", "ed", func(o *msgauth.SignOptions) { o.Selector = "Schlüssel" }), idn, "pass pass"},
		{"an IDN, i= in the other spelling", edit(signed(t, letter("a@bücher.example"), "bücher.example", "ed"), "d=bücher", "i=@xn--bcher-kva.example; d=bücher"), idn, "unknown neutral"},
		{"i= of somebody else", edit(ed, " d=example.org", " i=@example.net; d=example.org"), unasked, "fail permerror"},
		{"i= without at sign", edit(ed, " d=example.org", " i=example.org; d=example.org"), unasked, "fail permerror"},
		{"i= in another case", edit(ed, " d=example.org", " i=@Example.org; d=example.org"), nil, "unknown neutral"},
		{"b= inside another tag", edit(ed, " d=example.org", " z=a b=c; d=example.org"), nil, "unknown neutral"},
		{"body changed", edit(ed, "here they are", "here they were"), nil, "fail fail"},
		{"header changed", edit(ed, "minutes", "hours"), nil, "fail fail"},
		{"l=", edit(ed, " d=example.org", " l=10; d=example.org"), unasked, "fail policy"},
		{"rsa-sha1", edit(rsaSigned, "a=rsa-sha256", "a=rsa-sha1"), unasked, "fail permerror"},
		{"expired", signed(t, base, "example.org", "ed", func(o *msgauth.SignOptions) { o.Expiration = yesterday }), unasked, "fail fail"},
		{"x= is no number", edit(ed, " d=example.org", " x=soon; d=example.org"), unasked, "fail fail"},
		{"not yet expired", signed(t, base, "example.org", "ed", func(o *msgauth.SignOptions) { o.Expiration = time.Now().Add(time.Hour) }), nil, "pass pass"},
		{"From not signed", edit(ed, "h=From:", "h="), unasked, "fail permerror"},
		{"no h=", edit(ed, "h=From", "hh=From"), unasked, "fail permerror"},
		{"version 2", edit(ed, "v=1", "v=2"), unasked, "fail permerror"},
		{"a tag twice", edit(ed, " d=example.org", " d=example.org; d=example.org"), unasked, "fail permerror"},
		{"d= is a suffix", edit(ed, "d=example.org", "d=org"), unasked, ""},
		{"d= is no name", edit(ed, "d=example.org", "d=example.org\x07"), unasked, ""},
		{"s= is no name", edit(ed, "s=ed", "s=e[d]"), unasked, "fail permerror"},
		{"s= is long", edit(ed, "s=ed", "s="+strings.Repeat("x.", 120)), nil, "fail permerror"},

		{"100 names in h=", signed(t, base, "example.org", "ed", names(100, 10)), nil, "pass pass"},
		{"101 names in h=", signed(t, base, "example.org", "ed", names(101, 10)), nil, "unknown neutral"},
		{"a field of 15 KiB", signed(t, base, "example.org", "ed", names(100, 145)), nil, "pass pass"},
		{"a field of 17 KiB", signed(t, base, "example.org", "ed", names(100, 170)), nil, "unknown neutral"},

		{"b= of one octet a line", foldB(ed), nil, "pass pass"},
		{"b= of one octet a line, relaxed", foldB(signed(t, base, "example.org", "ed", relaxed)), nil, "pass pass"},
		{"b= before another tag", edit(foldB(edit(ed, " b=", " b =")), "\r\nFrom:", "; z=\r\nFrom:"), nil, "fail fail"},
		{"another tag of one octet a line", edit(ed, "v=1;", "v=1; x\r\n =\r\n 9999999999;"), nil, "fail fail"},

		{"no key", ed, zone{key: nil}, "fail permerror"},
		{"key not available", ed, zone{key: {"SERVFAIL"}}, "unknown temperror"},
		{"revoked", ed, zone{key: {"v=DKIM1; k=ed25519; p="}}, "fail permerror"},
		{"revoked RSA", rsaSigned, zone{"TXT rsa._domainkey.example.org": {"v=DKIM1; p="}}, "fail permerror"},
		{"another key", ed, zone{key: {edit(record, "p=", "p=AAA")}}, "fail permerror"},
		{"another kind of key", ed, zone{key: {keyRecord(keys["rsa"])}}, "fail permerror"},
		{"malformed record", ed, zone{key: {record + "; nonsense"}}, "fail permerror"},
		{"v= behind p=", ed, zone{key: {strings.TrimPrefix(record, "v=DKIM1; ") + "; v=DKIM1"}}, "pass pass"},
		{"a blank in v=", ed, zone{key: {edit(record, "DKIM1", "DKIM 1")}}, "fail permerror"},
		{"a no-break space behind v=", ed, zone{key: {edit(record, "DKIM1", "DKIM1\u00a0")}}, "fail permerror"},
		{"k= in capitals", ed, zone{key: {edit(record, "ed25519", "Ed25519")}}, "fail permerror"},
		{"a revoked key beside it", ed, zone{key: {record, "v=DKIM1; p="}}, "fail permerror"},
		{"a malformed key beside it", ed, zone{key: {record, "p=x; nonsense"}}, "fail permerror"},
		{"blanks in p=", ed, zone{key: {record[:40] + "\t \r\n " + record[40:]}}, "pass pass"},
		{"test mode", ed, zone{key: {record + "; t=s:y"}}, "unknown policy"},
		{"test mode, and broken", edit(ed, "here", "there"), zone{key: {record + "; t=y"}}, "fail fail"},
		{"t=s and i= below d=", signed(t, base, "example.org", "ed", identity("@news.example.org")), zone{key: {record + "; t=s"}}, "fail permerror"},
		{"t=s and i= of d=", signed(t, base, "example.org", "ed", identity("@example.org")), zone{key: {record + "; t=s"}}, "pass pass"},
		{"key not for mail", ed, zone{key: {record + "; s=tlsrpt"}}, "fail permerror"},
		{"two keys", ed, zone{key: {record, record}}, "fail permerror"},
		{"wildcard TXT beside the key", ed, zone{key: {"v=spf1 -all", record}}, "pass pass"},
		{"100 names in h=", signed(t, base, "example.org", "ed", naming(100)), nil, "pass pass"},
		{"101 names in h=", signed(t, base, "example.org", "ed", naming(101)), nil, "unknown neutral"},
		{"record of 4 KiB", ed, zone{key: {record + "; n=" + strings.Repeat("x", dkim.MaxRecord-len(record)-4)}}, "pass pass"},
		{"record too long", ed, zone{key: {record + "; n=" + strings.Repeat("x", dkim.MaxRecord)}}, "unknown neutral"},
		{"1024 bits", signed(t, base, "example.org", "rsa", func(o *msgauth.SignOptions) { o.Signer = short }), zone{"TXT rsa._domainkey.example.org": {keyRecord(short)}}, "pass pass"},
		{"1023 bits", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(1023, 65537)}}, "fail policy"},
		{"4096 bits", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(4096, 65537)}}, "fail fail"},
		{"4096 bits and a larger exponent", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(4096, 65539)}}, "unknown neutral"},
		{"2048 bits and the largest exponent", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(2048, 1<<31-1)}}, "fail fail"},
		{"4097 bits", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(4097, 65537)}}, "unknown neutral"},
		{"exponent of 2^31", rsaSigned, zone{"TXT rsa._domainkey.example.org": {rsaRecord(2048, 1<<31)}}, "unknown neutral"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := zone{}
			for _, records := range []zone{world, tt.zone} {
				for name, values := range records {
					z[name] = values
				}
			}
			got := ""
			for _, s := range verify(t, z, tt.message) {
				got += s.finding.result.String() + " " + s.finding.token
				t.Log(s.finding.reason)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// foldB writes each octet of the signature on a line of its own, of a message that is signed once.
func foldB(message string) string {
	return regexp.MustCompile(`\bb=[^;]*?\r\n\S`).ReplaceAllStringFunc(message, func(tag string) string {
		value, next := tag[len("b="):len(tag)-len("\r\nX")], tag[len(tag)-1:]
		return "b=" + strings.Join(strings.Split(strings.Join(strings.Fields(value), ""), ""), "\r\n ") + "\r\n" + next
	})
}

// rsaRecord is a key record of any size; nobody holds the other half.
func rsaRecord(bits uint, e int) string {
	n := new(big.Int).SetBit(big.NewInt(1), int(bits-1), 1) // odd, so that it is computed with
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: e}))
}

// A signature with c=simple needs every byte of the header, blanks and folds included.
func TestHeaderBytes(t *testing.T) {
	for _, field := range []string{
		"X-A:none", "X-A: one", "X-A:  two", "X-A:\ttab", "X-A:\r\n fold", "X-A: a\r\n\tb\r\n  c ",
		"X-A:", "X-A: ", "X-a : odd", "x-A: 8-bit \xe4\xf6", "X-A: " + strings.Repeat("long ", 900), "X-A: bare\rCR",
	} {
		base := edit(letter("a@example.org"), "Subject: minutes", field)
		for _, options := range []func(*msgauth.SignOptions){func(*msgauth.SignOptions) {}, relaxed} {
			message := signed(t, base, "example.org", "ed", options, func(o *msgauth.SignOptions) { o.HeaderKeys = []string{"From", "X-A"} })
			l := newLab(t, world)
			l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(message)})
			if o := l.ledger.observations; len(o) != 1 || o[0].DKIMResult != "pass" {
				t.Errorf("%.40q: %+v", field, o)
			}
		}
	}
}

// Of many signatures the author's are taken first, five at most, and nothing is concluded
// from those that were left out.
func TestWhichSignatures(t *testing.T) {
	base := letter("a@example.org")
	mine := signed(t, base, "example.org", "ed")
	own := fieldOf(mine)
	other := strings.ReplaceAll(own, "d=example.org", "d=else.example")
	sub := strings.ReplaceAll(own, "d=example.org", "d=news.example.org")
	broken := strings.ReplaceAll(own, "bh=", "bh=AAAA")
	unicode := strings.ReplaceAll(broken, "d=example.org", "d=bücher.example.org")
	tests := []struct {
		name, fields string
		want         string
		dkim         assess.Result
	}{
		{"foreign ones are not looked at", other + other, "", assess.Fail},
		{"the author's own comes first", other + sub + own, "example.org news.example.org", assess.Pass},
		{"five at most", strings.Repeat(sub, 9) + own, "example.org news.example.org news.example.org news.example.org news.example.org", assess.Pass},
		{"what is left out is not a failure", strings.Repeat(broken, 6), "example.org example.org example.org example.org example.org", assess.Unknown},
		{"nor what is left out in Unicode", strings.Repeat(unicode, 6), strings.TrimSpace(strings.Repeat("xn--bcher-kva.example.org ", 5)), assess.Unknown},
		{"all broken in Unicode", strings.Repeat(unicode, 5), strings.TrimSpace(strings.Repeat("xn--bcher-kva.example.org ", 5)), assess.Fail},
		{"all broken", strings.Repeat(broken, 5), "example.org example.org example.org example.org example.org", assess.Fail},
	}
	for _, tt := range tests {
		l := newLab(t, world)
		m := miltertest.Message{From: "a@example.org", Data: []byte(tt.fields + base)}
		var names []string
		for _, s := range verifyIn(l, string(m.Data)) {
			names = append(names, string(s.Domain))
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		l.send(t, outbound, m)
		if o := l.ledger.observations; len(o) != 1 || o[0].DKIM != tt.dkim {
			t.Errorf("%s: %+v, want DKIM %v", tt.name, o, tt.dkim)
		}
	}
}

// A signature in a name that can be nobody's is not looked at, nor up.
func TestSigningDomains(t *testing.T) {
	for d, want := range map[string]int{
		"example.co.uk": 1, "mail.example.co.uk": 1, "Example.CO.UK": 1,
		"co.uk": 0, "uk": 0, "": 0, "192.0.2.1": 0, "mail.localhost": 0, "a.onion": 0, "2.0.192.in-addr.arpa": 0,
		"example..co.uk": 0, "-.co.uk": 0, "exa mple.co.uk\x00": 0, "[example.co.uk]": 0, "victim.example(.example.co.uk": 0,
	} {
		h := header{}
		h.add("DKIM-Signature", " v=1; a=rsa-sha256; s=k; h=from; bh=AAAA; b=AAAA; d="+d)
		if chosen, _ := h.signatures("example.co.uk", true, time.Now()); len(chosen) != want {
			t.Errorf("d=%q: %+v", d, chosen)
		}
	}
}

// Several signatures share one body; each sees the fields that it signs, another signature among them.
func TestSignedSignature(t *testing.T) {
	inner := signed(t, letter("a@example.org"), "example.org", "ed")
	outer := signed(t, inner, "example.org", "rsa", relaxed, func(o *msgauth.SignOptions) { o.HeaderKeys = []string{"From", "Subject", "DKIM-Signature"} })
	for _, s := range verify(t, world, outer) {
		if s.finding.result != assess.Pass {
			t.Errorf("s=%s: %+v", s.Selector, s.finding)
		}
	}
	l := newLab(t, world)
	l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(outer)})
	if s := l.ledger.observations[0].Selectors; len(s) != 2 {
		t.Errorf("selectors %+v", s)
	}
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// hugeExponent is a record whose exponent alone is 40 KB long.
func hugeExponent() string {
	e := new(big.Int).SetBit(big.NewInt(1), 332_000, 1)
	der, err := asn1.Marshal(struct{ N, E *big.Int }{new(big.Int).SetBit(big.NewInt(1), 2047, 1), e})
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)
}

// Megabytes of blank lines stop a core for minutes in go-msgauth alone. At the end of a body they
// do not count, however many they are; where text follows too many, the body is given up and
// nothing is concluded from that.
func TestBlankLines(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	blank := func(n int) string { return strings.Repeat("\r\n", n/2) }
	tests := []struct {
		name, body      string
		simple, relaxed string
	}{
		{"64 KiB is still looked at", "x" + blank(maxBlankRun) + "x\r\n", "pass", "pass"},
		{"a little more is not", "x" + blank(maxBlankRun+2) + "x\r\n", "neutral", "neutral"},
		{"from the start", blank(maxBlankRun + 2), "pass", "pass"},
		{"8 MiB", "x" + blank(8<<20), "pass", "pass"},
		{"bare line feeds", "x" + strings.Repeat("\n", maxBlankRun+1), "pass", "pass"},
		{"bare line feeds, and text", "x" + strings.Repeat("\n", maxBlankRun+1) + "x", "neutral", "neutral"},
		{"bare carriage returns", "x" + strings.Repeat("\r", maxBlankRun+1), "pass", "pass"},
		{"bare carriage returns, and text", strings.Repeat("\r", maxBlankRun+1) + "x", "pass", "neutral"},
		{"white space", "x\r\n" + strings.Repeat(" \t \r\n", maxBlankRun), "pass", "pass"},
		{"white space, and text", "x\r\n" + strings.Repeat(" \t \r\n", maxBlankRun) + "x\r\n", "pass", "neutral"},
		{"runs that add up to more", strings.Repeat(blank(60<<10)+"x", 5), "pass", "pass"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head, _, _ := strings.Cut(letter("a@example.org"), "\r\n\r\n")
			text := signed(t, head+"\r\n\r\n"+strings.TrimRight(tt.body, "\r\n"), "example.org", "ed") // go-msgauth needs minutes for the whole
			if strings.HasSuffix(tt.body, "\r") {
				text = signed(t, head+"\r\n\r\n"+tt.body, "example.org", "ed")
			}
			head, _, _ = strings.Cut(signed(t, text, "example.org", "ed", relaxed), "\r\n\r\n")
			got := verify(t, world, head+"\r\n\r\n"+tt.body)
			if len(got) != 2 || got[0].finding.token != tt.relaxed || got[1].finding.token != tt.simple {
				t.Errorf("got %+v, want %s and %s", got, tt.relaxed, tt.simple)
			}
		})
	}
}

// Signed fields in thousands of lines cost go-msgauth seconds. Relaxed canonicalisation undoes
// the folds, so that it never sees them; where the simple one keeps too many, or there are too many
// words, the signature is not evaluated. A long list of recipients is not too many.
func TestFolds(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	many := "To: x" + strings.Repeat("\r\n ", 15_000) + "x"
	words := "To: x" + strings.Repeat(" x", 10_000)
	recipients := "To: " + strings.Repeat("recipient@mail.own.example,\r\n ", 120) + "x@own.example"
	for _, tt := range []struct {
		name, field string
		options     func(*msgauth.SignOptions)
		want        string
	}{
		{"relaxed", many, relaxed, "pass"},
		{"relaxed, 10,000 words", words, relaxed, "neutral"},
		{"simple", many, func(*msgauth.SignOptions) {}, "neutral"},
		{"simple, 120 recipients", recipients, func(*msgauth.SignOptions) {}, "pass"},
	} {
		text := signed(t, edit(letter("a@example.org"), "To: <info@own.example>", tt.field), "example.org", "ed", tt.options)
		own, _, _ := strings.Cut(text, "\r\nFrom:")
		for _, copies := range []int{1, 4} {
			l := newLab(t, world)
			before := totalAlloc()
			got := verifyIn(l, strings.Repeat(own+"\r\n", copies-1)+text)
			if octets := totalAlloc() - before; octets > 24<<20 {
				t.Errorf("%s: %d MiB allocated", tt.name, octets>>20)
			}
			for _, s := range got {
				if len(got) != copies || s.finding.token != tt.want {
					t.Errorf("%s: %+v of %d signatures, want %s", tt.name, s.finding, len(got), tt.want)
				}
			}
			t.Logf("%s, %d signatures: %d KiB", tt.name, copies, (totalAlloc()-before)>>10)
		}
	}
}

// All signatures have a body hashed, each for itself; of a large body only the first two do.
func TestLargeBody(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	for size, want := range map[int]string{maxSharedBody: "pass pass pass", maxSharedBody + 1: "pass pass neutral"} {
		head, _, _ := strings.Cut(letter("a@example.org"), "\r\n\r\n")
		text := head + "\r\n\r\n" + strings.Repeat("x", size)
		first := fieldOf(signed(t, text, "example.org", "ed", relaxed))
		var tokens []string
		for _, s := range verify(t, world, first+first+signed(t, text, "example.org", "ed")) {
			tokens = append(tokens, s.finding.token)
		}
		if got := strings.Join(tokens, " "); got != want {
			t.Errorf("%d octets: %s, want %s", size, got, want)
		}
	}
}

// Messages that are given up in the middle of their body leave no goroutine behind, however
// many signatures they have.
func TestAbortLeavesNoGoroutine(t *testing.T) {
	message := letter("a@example.org")
	for range 3 {
		message = signed(t, message, "example.org", "ed")
	}
	l := newLab(t, world)
	c := l.dial(t)
	m := miltertest.Message{From: "a@example.org", Data: []byte(message)}
	play(t, c, outbound, m)
	before := runtime.NumGoroutine()
	for range 100 {
		for _, step := range []func() error{
			func() error { return c.Envelope(outbound, m) },
			func() error { return c.Header(outbound, m) },
			func() error { return c.Body([]byte("half of it")) },
			c.Abort,
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	play(t, c, outbound, m)
	settle(t, before)
}

// settle waits until no more goroutines run than before.
func settle(t testing.TB, before int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// A key that comes late holds the body up and loses nothing of it.
func TestBodyWaitsForKey(t *testing.T) {
	release := make(chan struct{})
	l := newLab(t, world, func(c *Config) { c.Resolver = always(lateKey{world, release}) })
	c := l.dial(t)
	m := fromExample(t)
	sent := make(chan miltertest.Answer)
	go func() {
		c.Connect(outbound)
		answer, _ := c.Send(outbound, m)
		sent <- answer
	}()
	close(release)
	if answer := <-sent; len(answer.Changes) == 0 || l.ledger.observations[0].DKIMResult != "pass" {
		t.Errorf("%+v, %+v", answer, l.ledger.observations)
	}
}

type lateKey struct {
	zone
	release chan struct{}
}

func (l lateKey) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.Contains(name, "_domainkey") {
		<-l.release
	}
	return l.zone.LookupTXT(ctx, name)
}

// The reader in front of go-msgauth gives out head and pieces in order, by either method.
func TestPieceReader(t *testing.T) {
	next, stop := iter.Pull(slices.Values([][]byte{[]byte("one"), nil, []byte("two"), []byte("three")}))
	defer stop()
	r := &pieceReader{rest: []byte("head"), more: next}
	first := make([]byte, 6)
	n, _ := r.Read(first)
	var out bytes.Buffer
	written, err := r.WriteTo(&out)
	if got := string(first[:n]) + out.String(); got != "headonetwothree" || err != nil || int(written) != out.Len() {
		t.Errorf("%q, %d, %v", got, written, err)
	}
	if _, err := r.Read(first); fmt.Sprint(err) != "EOF" {
		t.Errorf("at the end: %v", err)
	}
}

func FuzzSignatures(f *testing.F) {
	f.Add("v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=; b=", keyRecord(keys["ed"]))
	f.Add("d=;d=", "p=;t=y:s")
	f.Fuzz(func(t *testing.T, field, record string) {
		h := header{}
		h.add("From", " a@example.org")
		h.add("DKIM-Signature", field)
		chosen, _ := h.signatures("example.org", true, time.Now())
		for _, s := range chosen {
			if _, err := dnsname.Parse(string(s.Domain)); err != nil {
				t.Errorf("d=%q", s.Domain)
			}
			if s.finding == (finding{}) && (!dnsname.Queryable(s.KeyName()) || s.KeyName() != strings.ToLower(s.KeyName())) {
				t.Errorf("key name %q", s.KeyName())
			}
			s.id()
			s.misread()
		}
		if k, found := checkKey([]string{record}); found == (finding{}) && len(k.Record) > dkim.MaxRecord {
			t.Errorf("a key of %d bytes", len(k.Record))
		}
	})
}

// One signature in another spelling is the same: white space and the spare bits of base64 in
// b= are not signed, so whoever replays a message may choose them.
func TestSignatureSpellings(t *testing.T) {
	message := signed(t, letter("a@example.org"), "example.org", "ed")
	end := strings.Index(message, "==\r\n")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := alphabet[strings.IndexByte(alphabet, message[end-1])|1]
	l := newLab(t, world)
	for _, spelling := range []string{
		message, message[:end-1] + string(last) + message[end:], message[:end] + " " + message[end:],
	} {
		l.send(t, stranger, miltertest.Message{From: "a@forwarder.example", Data: []byte(spelling)})
	}
	tally := l.ledger.tally("example.org")
	if len(l.ledger.observations) != 3 || len(tally) != 1 || tally[0].Sessions != 1 {
		t.Errorf("%d observations, tally %+v", len(l.ledger.observations), tally)
	}
	l.send(t, stranger, miltertest.Message{From: "a@forwarder.example", Data: []byte(signed(t, letter("b@example.org"), "example.org", "ed"))})
	if tally = l.ledger.tally("example.org"); tally[0].Sessions != 2 {
		t.Errorf("with another letter: tally %+v", tally)
	}
}
