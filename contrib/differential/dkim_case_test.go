package differential

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// dkimGenerator makes signed messages, with a signer of its own: that of a library would write
// every signature in the same manner.
type dkimGenerator struct {
	spfGenerator
	rsa, small *rsa.PrivateKey
	ed         ed25519.PrivateKey
}

func newDKIMGenerator(t *testing.T, r *rand.Rand) dkimGenerator {
	g := dkimGenerator{spfGenerator: spfGenerator{r}, ed: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
	for bits, key := range map[int]**rsa.PrivateKey{2048: &g.rsa, 1024: &g.small} {
		var err error
		if *key, err = rsa.GenerateKey(cryptorand.Reader, bits); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g dkimGenerator) next() dkimCase {
	key, algorithm := crypto.Signer(g.rsa), "rsa-sha256"
	switch g.IntN(12) {
	case 0, 1, 2, 3, 4:
		key, algorithm = g.ed, "ed25519-sha256"
	case 5, 6:
		key = g.small
	case 7:
		algorithm = "rsa-sha1"
	}
	fields := g.fields()
	body := g.body()
	canonical := pick(g.spfGenerator, "", "simple/simple", "simple", "relaxed", "relaxed/relaxed", "relaxed/relaxed", "relaxed/simple", "simple/relaxed")
	c := dkimCase{Keys: map[string]string{"s1._domainkey.example.org": g.record(key)}}
	c.signature = g.sign(key, algorithm, canonical, fields, body)
	fields = slices.Insert(fields, g.IntN(2), "DKIM-Signature:"+c.signature)
	message := strings.Join(fields, "\r\n") + "\r\n\r\n" + body
	if g.percent(35) {
		message = g.tamper(message)
	}
	c.Message = []byte(message)
	return c
}

// fields are a header; h= picks from its names.
func (g dkimGenerator) fields() []string {
	p := g.spfGenerator
	blank := func() string { return pick(p, "", " ", " ", " ", "  ", "\t", "\r\n ", " \r\n\t") }
	fields := []string{
		"From:" + blank() + "a@example.org" + pick(p, "", "", " ", "\t"),
		pick(p, "To", "to", "TO") + ":" + blank() + "<info@own.example>",
		"Subject:" + blank() + pick(p, "minutes", "minutes  of   the\r\n\tmeeting", "", "a b=c; d", "\xe4\xf6 8-bit", "tab\tand \t blank") + pick(p, "", "  "),
		"Date:" + blank() + "Fri, 20 Nov 2026 10:00:00 +0000",
	}
	for range g.IntN(3) {
		fields = append(fields, pick(p, "X-A: one", "X-A:two", "x-a:  three ", "Received: from x\r\n by y", "X-Empty:", "X-Empty: "))
	}
	g.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields
}

func (g dkimGenerator) body() string {
	p := g.spfGenerator
	var body strings.Builder
	for range g.IntN(5) {
		body.WriteString(pick(p, "Dear all,", "here  they\tare. ", "trailing \t ", "", "", " leading", ".", "\xe4 8-bit", " ", "\t", "From here", "long "+strings.Repeat("x", 900)) + "\r\n")
	}
	return body.String() + pick(p, "", "", "", "no line end", "a blank at the end ", "\r\n", "\r\n\r\n\r\n", " \r\n")
}

// record is the key record, often with more than the key in it.
func (g dkimGenerator) record(key crypto.Signer) string {
	p := g.spfGenerator
	public, kind := []byte(nil), pick(p, "", "k=rsa; ")
	if ed, ok := key.Public().(ed25519.PublicKey); ok {
		public, kind = ed, "k=ed25519; "
	} else if g.percent(80) {
		public, _ = x509.MarshalPKIXPublicKey(key.Public())
	} else {
		public = x509.MarshalPKCS1PublicKey(key.Public().(*rsa.PublicKey))
	}
	text := base64.StdEncoding.EncodeToString(public)
	switch g.IntN(40) {
	case 0:
		text = ""
	case 1:
		text = text[:len(text)/2]
	case 2, 3:
		text = text[:9] + " " + text[9:]
	case 4:
		text = "AAAA" + text[4:]
	}
	record := pick(p, "v=DKIM1; ", "v=DKIM1; ", "v=DKIM1;", "", "v = DKIM1 ; ") + kind
	if g.percent(35) {
		record += pick(p, "t=y; ", "t=s; ", "s=email; ", "s=*; ", "s=tlsrpt; ", "s=other; ", "h=sha256; ", "h=sha1; ", "n=a note; ", "x=unknown; ")
	}
	if g.percent(2) {
		record = pick(p, "v=DKIM2; ", "k=x25519; ")
	}
	return record + "p=" + text + pick(p, "", "", ";", " ; ")
}

// sign is the value of the signature field.
func (g dkimGenerator) sign(key crypto.Signer, algorithm, canonical string, fields []string, body string) string {
	p := g.spfGenerator
	hash := map[string]crypto.Hash{"rsa-sha1": crypto.SHA1}[algorithm]
	if hash == 0 {
		hash = crypto.SHA256
	}
	headerForm, bodyForm, _ := strings.Cut(canonical, "/")
	canonicalBody := canonicalDKIMBody(body, bodyForm == "relaxed")
	names := []string{"From"}
	for _, field := range fields {
		if name, _, _ := strings.Cut(field, ":"); name != "From" && g.percent(70) {
			names = append(names, pick(p, name, strings.ToLower(name)))
		}
	}
	names = append(names, pick(p, nil, nil, []string{"Cc"}, []string{"from"}, []string{"subject", "subject"})...)
	tags := []string{
		"a=" + algorithm, "d=" + pick(p, "example.org", "example.org", "example.org", "Example.ORG"), "s=s1",
		"h=" + strings.Join(names, pick(p, ":", ":", " : ", ":\r\n\t", "\r\n :")),
	}
	if canonical != "" {
		tags = append(tags, "c="+canonical)
	}
	for _, tag := range []struct {
		percent int
		text    string
	}{
		{30, fmt.Sprintf("t=%d", time.Now().Unix()-1000)},
		{10, "q=dns/txt"}, {10, "z=X:a|b"}, {5, "zz=unknown"},
		{10, fmt.Sprintf("x=%d", time.Now().AddDate(0, 0, pick(p, 1, 1, -1)).Unix())},
		{20, "i=" + pick(p, "@example.org", "a@example.org", "@news.example.org", "@example.net", "@badexample.org")},
	} {
		if g.percent(tag.percent) {
			tags = append(tags, tag.text)
		}
	}
	if g.percent(8) {
		length := pick(p, len(canonicalBody), len(canonicalBody)/2, 0)
		tags = append(tags, fmt.Sprintf("l=%d", length))
		canonicalBody = canonicalBody[:length]
	}
	tags = append(tags, "bh="+base64.StdEncoding.EncodeToString(digest(hash, canonicalBody)))
	g.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	tags = slices.Insert(tags, g.IntN(len(tags)), "b=%b")
	if g.percent(10) {
		for i, tag := range tags {
			tags[i] = strings.Replace(tag, "=", " = ", 1)
		}
	}
	tags = slices.Insert(tags, 0, "v=1")
	list := pick(p, " ", " ", "", "\r\n\t") + strings.Join(tags, pick(p, "; ", ";", " ; ", ";\r\n\t", ";\r\n  ")) + pick(p, "", "", ";")

	var signed string
	used := map[string]int{}
	for _, name := range names {
		name = strings.ToLower(name)
		used[name]++
		for i, n := len(fields)-1, used[name]; i >= 0; i-- {
			if found, _, _ := strings.Cut(fields[i], ":"); strings.ToLower(found) != name {
				continue
			}
			if n--; n == 0 {
				signed += canonicalDKIMField(fields[i], headerForm == "relaxed") + "\r\n"
				break
			}
		}
	}
	signed += canonicalDKIMField("DKIM-Signature:"+dkimValue.ReplaceAllString(list, "="), headerForm == "relaxed")
	sum, options := digest(hash, signed), crypto.SignerOpts(hash)
	if algorithm == "ed25519-sha256" {
		options = crypto.Hash(0)
	}
	b, err := key.Sign(cryptorand.Reader, sum, options)
	if err != nil {
		panic(err)
	}
	text := base64.StdEncoding.EncodeToString(b)
	if g.percent(50) {
		text = text[:40] + pick(p, "\r\n\t", " ", "\r\n        ") + text[40:]
	}
	return strings.Replace(list, "%b", text, 1)
}

func digest(hash crypto.Hash, text string) []byte {
	if hash == crypto.SHA1 {
		sum := sha1.Sum([]byte(text))
		return sum[:]
	}
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

var (
	dkimBlanks   = regexp.MustCompile(`[ \t]+`)
	dkimLineEnds = regexp.MustCompile(`[ \t]+\r\n`)
	dkimValue    = regexp.MustCompile(`=\s*%b\s*`) // "including all surrounding whitespace", says RFC 6376, section 3.7
	dkimLastEnds = regexp.MustCompile(`(\r\n)*$`)
)

// canonicalDKIMBody is RFC 6376, sections 3.4.3 and 3.4.4.
func canonicalDKIMBody(body string, relaxed bool) string {
	if body != "" && !strings.HasSuffix(body, "\r\n") {
		body += "\r\n"
	}
	if relaxed {
		body = dkimBlanks.ReplaceAllString(dkimLineEnds.ReplaceAllString(body, "\r\n"), " ")
	}
	body = dkimLastEnds.ReplaceAllString(body, "")
	if body == "" && relaxed {
		return ""
	}
	return body + "\r\n"
}

// canonicalDKIMField is RFC 6376, sections 3.4.1 and 3.4.2, without the line end.
func canonicalDKIMField(field string, relaxed bool) string {
	if !relaxed {
		return field
	}
	name, value, _ := strings.Cut(field, ":")
	value = dkimBlanks.ReplaceAllString(strings.ReplaceAll(value, "\r\n", ""), " ")
	return strings.ToLower(name) + ":" + strings.Trim(value, " ")
}

// tamper changes a message on its way; what it does may be harmless to the signature.
func (g dkimGenerator) tamper(message string) string {
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	replace := func(text, old, new string) string { return strings.Replace(text, old, new, 1) }
	switch g.IntN(14) {
	case 0:
		body += "an advertisement\r\n"
	case 1:
		body += "\r\n\r\n"
	case 2:
		body = strings.TrimRight(body, "\r\n")
	case 3:
		body = strings.ReplaceAll(body, " ", "  ")
	case 4:
		body = strings.ReplaceAll(body, "\r\n", " \r\n")
	case 5:
		body = replace(body, "e", "E")
	case 6:
		header = replace(header, "minutes", "hours")
	case 7:
		header = replace(header, "Subject:", "Subject: ")
	case 8:
		header = replace(header, "Subject:", "SUBJECT:")
	case 9:
		header += "\r\nSubject: another"
	case 10:
		header = "X-A: another\r\nCc: another@example.org\r\n" + header
	case 11:
		header = replace(header, "; ", ";\r\n ")
	case 12:
		header = replace(header, "bh=", "bh=A")
	case 13:
		header = replace(header, "s=s1", "s=s2")
	}
	return header + "\r\n\r\n" + body
}
