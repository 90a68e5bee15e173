package main

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"peerscore/assess/dmarc"
	"peerscore/assess/dnsname"
	"peerscore/assess/mtasts"
	"peerscore/assess/spf"
	"peerscore/assess/tlsrpt"
)

// parser is a surface of one text and a function that reads it.
type parser struct {
	name   string
	octets int    // of the longest text that reaches it
	plain  string // repeated, an honest text
	atoms  []string
	read   func(string)
	known  []string
	ratio  float64 // parserRatio when 0
}

// A parser's limits. Honest text is no measure: most of it is refused, or read, at a glance. An
// octet may cost as much as reading this many in the plainest way, whatever the length of the
// text: a few tenths of a microsecond. What grows with the square of the length is above that.
const (
	parserRatio = 64
	spfRatio    = 4 * parserRatio // a term is two octets; and macros are read up to eleven times, and a name made of each
	parserHeld  = 4 << 20
)

// readPlainly is that way.
func readPlainly(text string) { strings.Fields(strings.ToLower(text)) }

var tagAtoms = []string{";", "=", " ", "\t", "\r\n ", ",", ":", "!", "%", "@", "a", "v=", "p=", "rua=mailto:a@b.example,", "rua=", "x=y;", "\\", "\"", "\x00", "\xff", "é", strings.Repeat("a", 64), "mailto:", "https://a/"}

func parsers() []*surface {
	list := []parser{
		{"From field", 256 << 10, "Some One <someone@sender.example>, ",
			[]string{"(", ")", "\"", "\\", "<", ">", ",", ":", ";", "@", ".", "[", "]", " ", "\t", "\n ", "a", "=?utf-8?q?a?=", "=?utf-8?b?", "?=", "\x00", "\xff", "a@b.example", "@a,", "xn--", "é", "..", strings.Repeat("a", 64), strings.Repeat("a.", 60)},
			func(text string) { _, _ = dmarc.AuthorDomain([]string{text}) }, nil, 0},
		{"domain", 64 << 10, "a.sender.example",
			[]string{".", "-", "a", "xn--", "xn--a-.", "é", "ß", "\u200d", "\u3002", "ب", "א", "_", "\xff", strings.Repeat("a", 63), strings.Repeat("é", 30), "\u0300"},
			func(text string) { _, _ = dnsname.Parse(text) }, nil, 0},
		{"DMARC record", 4 << 10, "v=DMARC1; p=reject; rua=mailto:dmarc@sender.example; ", append([]string{"v=DMARC1;"}, tagAtoms...),
			func(text string) { dmarc.Select([]string{"v=DMARC1; " + text}) }, nil, 0},
		{"TLS-RPT record", 4 << 10, "v=TLSRPTv1; rua=mailto:tls@sender.example; ", append([]string{"v=TLSRPTv1;"}, tagAtoms...),
			func(text string) { _, _ = tlsrpt.ParseRecord("v=TLSRPTv1;" + text) }, nil, 0},
		{"MTA-STS record", 4 << 10, "v=STSv1; id=20261120; ", append([]string{"v=STSv1;", "id="}, tagAtoms...),
			func(text string) { _, _ = mtasts.ParseRecord("v=STSv1;" + text) }, nil, 0},
		{"MTA-STS policy", 64 << 10, "version: STSv1\r\nmode: enforce\r\nmx: *.sender.example\r\nmax_age: 86400\r\n",
			[]string{"\r\n", "\n", "\r", ":", "mx:", "mx: *.a.example\n", "mx: *", "mode: enforce\n", "max_age: ", "9", " ", "\t", "a", ".", "\x00", "\xff", "é", "xn--a.", strings.Repeat("a", 63)},
			func(text string) {
				policy, _ := mtasts.ParsePolicy("version: STSv1\nmode: enforce\nmax_age: 86400\n" + text)
				policy.Match("mx1.mail.sender.example")
			}, nil, 0},
		{"SPF record", 64 << 10, "v=spf1 ip4:192.0.2.0/24 a:mail.sender.example include:_spf.sender.example -all ",
			[]string{"ip4:1.2.3.4 ", "ip6:::/0 ", "a ", "mx ", "ptr ", "include:", "exists:", "redirect=", "exp=", "%{", "}", "%{d99r.-+,/_=}", "%{i}", "%%", "%_", "%-", "/", "//", "-all ", " ", "a", ".", "=", ":", "\xff", strings.Repeat("a", 63)},
			func(text string) {
				record, err := spf.Parse("v=spf1 " + text)
				if err == nil {
					record.Warnings()
				}
			}, nil, spfRatio},
		{"SPF macros", 4 << 10, "exists:%{i}._spf.%{d2}.sender.example ",
			[]string{"%{d99r.-+,/_=}", "%{l}", "%{i}", "%{ir}", "%{h}", "%{s}", "%{L1r-}", "%{o128}", "%{d1r", "}", "exists:", "a:", " ", ".", "include:sender.example ", "redirect=sender.example ", "%%", "a"},
			func(text string) {
				spf.Check(context.Background(), sameTXT("v=spf1 "+text), spf.Query{
					IP: netip.MustParseAddr("2001:db8::1"), HELO: strings.Repeat("a-b.", 60) + "example",
					MailFrom: strings.Repeat("l-", 30) + "@" + strings.Repeat("d.", 100) + "example",
				})
			}, []string{"14.12x1 12.17x35389 | knobs"}, spfRatio},
	}
	var surfaces []*surface
	for _, p := range list {
		surfaces = append(surfaces, p.surface())
	}
	return surfaces
}

func (p parser) surface() *surface {
	return &surface{
		name: p.name, kin: alone, known: p.known,
		parts:  []part{{"text", p.atoms, p.octets}},
		limits: limits{ratio: cmp.Or(p.ratio, parserRatio), held: parserHeld},
		start:  func() (bench, error) { return p, nil },
		ordinary: func(_ input, octets int) input {
			return input{texts: []string{strings.Repeat(p.plain, octets/len(p.plain)+1)[:octets]}, ordinary: true}
		},
	}
}

func (p parser) run(in input, m meter) (use, int, error) {
	text := in.texts[0]
	read := p.read
	if in.ordinary {
		read = readPlainly
	}
	u, err := m(func() error { read(text); return nil })
	return u, len(text), err
}

func (parser) meter() meter { return repeated(300 * time.Microsecond) }

func (p parser) Close() error { return nil }

// sameTXT answers every question for a TXT record alike, and knows no other records.
type sameTXT string

func (s sameTXT) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(s)}, nil
}

func (s sameTXT) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, noSuch(host)
}

func (s sameTXT) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, noSuch(name)
}

func (s sameTXT) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, noSuch(addr)
}

func noSuch(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
