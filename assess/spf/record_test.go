package spf

import (
	"errors"
	"strings"
	"testing"
)

func TestParseValid(t *testing.T) {
	for _, text := range []string{
		"v=spf1",
		"v=spf1 ",
		"V=SPF1 IP4:192.0.2.1 -ALL",
		"v=spf1   a   mx  ~all  ",
		"v=spf1 a a:example.com a/24 a//64 a/24//64 a:example.com/24//64 a:%{d}/0//0",
		"v=spf1 mx mx:example.com. mx/32 mx//128",
		"v=spf1 a:foo:bar/baz.example.com a:x/24.example.com",
		"v=spf1 a:.com", // the macro-string before the top-level label may be empty
		"v=spf1 a:example.xn--zckzah a:example.1-2 a:example.a1 a:example.1a",
		"v=spf1 ptr ptr:example.com ?exists:%{i}._spf.%{d2} include:%{ir}.%{v}.%{d}",
		"v=spf1 ip4:0.0.0.0/0 ip4:192.0.2.1/32 ip6:::/0 ip6:2001:db8::/32 ip6:::ffff:192.0.2.1/96 ip6:2001:DB8::192.0.2.1",
		"v=spf1 include:%{d}%% include:a%_ include:a%-",
		"v=spf1 include:%{S}.%{L}.%{O}.%{D}.%{I}.%{P}.%{V}.%{H} -all",
		"v=spf1 include:%{l1r+-,/_=.}.%{d127}.%{o99999999999999999999R} -all",
		"v=spf1 redirect=_spf.example.com exp=exp.example.com",
		"v=spf1 EXP=%{d} Redirect=%{o}",
		"v=spf1 moo.cow-far_out=man:dog/cat moo=%{d}%%%_%- moo= -all MS=83859DAE",
		"v=spf1 all -all redirect=a.example.com", // RFC 7208, section 5.1: what follows is ignored, and still parsed
		"v=spf1 exists:exists:%{i}.spf.example.com ~all",
	} {
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseInvalid(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		reason string
	}{
		{"", 0, "does not begin"},
		{"v=spf10 -all", 0, "does not begin"},
		{"v=spf1\t-all", 0, "does not begin"},
		{" v=spf1 -all", 0, "does not begin"},
		{"v=spf1 a -all\n", 13, "not printable"},
		{"v=spf1 a\x00 -all", 8, "not printable"},
		{"v=spf1 a:b\xc3\xa9.example -all", 10, "not printable"},
		{"v=spf1 -all moo", 12, "unknown mechanism"},
		{"v=spf1 ipv4:192.0.2.1", 7, "meant ip4?"},
		{"v=spf1 ipv6:2001:db8::1", 7, "meant ip6?"},
		{"v=spf1 prt", 7, "meant ptr?"},
		{"v=spf1 redirect:example.com", 7, `without "="`},
		{"v=spf1 a -all.", 9, "unknown mechanism"},
		{"v=spf1 -all:foo.example", 7, "no argument"},
		{"v=spf1 all/8", 7, "no argument"},
		{"v=spf1 + -all", 7, "unknown mechanism"},
		{"v=spf1 --all", 7, "unknown mechanism"},
		{"v=spf1 a, mx", 7, "unknown mechanism"},
		{"v=spf1 1up=foo", 7, "unknown mechanism"},
		{"v=spf1 =all", 7, "unknown mechanism"},
		{"v=spf1 -redirect=example.com", 7, "unknown mechanism"},
		{"v=spf1 include", 7, "domain missing"},
		{"v=spf1 include: example.com", 7, "empty domain"},
		{"v=spf1 include/24", 7, "not allowed here"},
		{"v=spf1 include:example.com/24", 7, "top-level label"},
		{"v=spf1 exists", 7, "domain missing"},
		{"v=spf1 exists:", 7, "empty domain"},
		{"v=spf1 a:", 7, "empty domain"},
		{"v=spf1 a:/24", 7, "empty domain"},
		{"v=spf1 a:museum", 7, "top-level label"},
		{"v=spf1 a:museum.", 7, "top-level label"},
		{"v=spf1 a:example.com..", 7, "top-level label"},
		{"v=spf1 a:example.123", 7, "top-level label"},
		{"v=spf1 a:example.-com", 7, "top-level label"},
		{"v=spf1 a:example.com-", 7, "top-level label"},
		{"v=spf1 a:example.c_m", 7, "top-level label"},
		{"v=spf1 a:example.com:8080", 7, "top-level label"},
		{"v=spf1 a:%{d}com", 7, "top-level label"},
		{"v=spf1 a:%{d}.", 7, "top-level label"},
		{"v=spf1 a:192.0.2.1", 7, "meant ip4?"},
		{"v=spf1 a/33", 7, "bad IPv4 prefix"},
		{"v=spf1 a/024", 7, "bad IPv4 prefix"},
		{"v=spf1 a/999999999999999999999", 7, "bad IPv4 prefix"},
		{"v=spf1 a//129", 7, "bad IPv6 prefix"},
		{"v=spf1 a/", 7, "not allowed here"},
		{"v=spf1 a//", 7, "not allowed here"},
		{"v=spf1 a/24/64", 7, "bad IPv4 prefix"},
		{"v=spf1 a:example.com/24/32", 7, "top-level label"},
		{"v=spf1 a//64/24", 7, "not allowed here"},
		{"v=spf1 ptr/0", 7, "not allowed here"},
		{"v=spf1 ptr:", 7, "empty domain"},
		{"v=spf1 ip4", 7, "address missing"},
		{"v=spf1 ip4/24", 7, "address missing"},
		{"v=spf1 ip4:", 7, "not an address"},
		{"v=spf1 ip4:192.0.2", 7, "not an address"},
		{"v=spf1 ip4:192.0.2.01", 7, "not an address"},
		{"v=spf1 ip4:192.0.2.1:25", 7, "not an address"},
		{"v=spf1 ip4:2001:db8::1", 7, "not an address"},
		{"v=spf1 ip4:::ffff:192.0.2.1", 7, "not an address"},
		{"v=spf1 ip4:%{i}", 7, "not an address"},
		{"v=spf1 ip4:192.0.2.1/33", 7, "bad prefix length"},
		{"v=spf1 ip4:192.0.2.1/032", 7, "bad prefix length"},
		{"v=spf1 ip4:192.0.2.1//32", 7, "bad prefix length"},
		{"v=spf1 ip4:192.0.2.1/", 7, "bad prefix length"},
		{"v=spf1 ip6:192.0.2.1", 7, "not an address"},
		{"v=spf1 ip6:fe80::1%eth0", 7, "not an address"},
		{"v=spf1 ip6:2001:db8::/129", 7, "bad prefix length"},
		{"v=spf1 ip6:2001:db8::/256", 7, "bad prefix length"},
		{"v=spf1 redirect=", 7, "empty domain"},
		{"v=spf1 exp= -all", 7, "empty domain"},
		{"v=spf1 exp=-all", 7, "top-level label"},
		{"v=spf1 exp=a.example exp=a.example", 21, "repeated modifier"},
		{"v=spf1 redirect=a.example -all REDIRECT=b.example", 31, "repeated modifier"},
		{"v=spf1 foo=%abc", 7, `not followed by "{"`},
		{"v=spf1 foo=%{t}", 7, "macro letter t outside"},
		{"v=spf1 exp=%{r}.example.com", 7, "macro letter r outside"},
		{"v=spf1 a:%{C}.example.com", 7, "macro letter c outside"},
		{"v=spf1 a:%{x}.example.com", 7, `unknown macro letter "x"`},
		{"v=spf1 a:%{}.example.com", 7, "without a letter"},
		{"v=spf1 a:%{d0}.example.com", 7, "zero parts"},
		{"v=spf1 a:%{d000r}.example.com", 7, "zero parts"},
		{"v=spf1 a:%{dr1}.example.com", 7, "transformer or delimiter"},
		{"v=spf1 a:%{d-1}.example.com", 7, "transformer or delimiter"},
		{"v=spf1 a:%{d*}.example.com", 7, "transformer or delimiter"},
		{"v=spf1 a:%{d.example.com", 7, `without "}"`},
		{"v=spf1 a:%(d).example.com", 7, `not followed by "{"`},
		{"v=spf1 a:example.com%", 7, `"%" at the end`},
	} {
		_, err := Parse(c.text)
		var syntax *SyntaxError
		switch {
		case !errors.As(err, &syntax):
			t.Errorf("%q: no error", c.text)
		case syntax.Offset != c.offset || !strings.Contains(err.Error(), c.reason):
			t.Errorf("%q: got %d %q, want %d %q", c.text, syntax.Offset, err, c.offset, c.reason)
		}
	}
}

func TestParseFields(t *testing.T) {
	r, err := Parse("v=spf1 -Ip4:192.0.2.77/24 ~MX:%{D}/20//40 A X=1 Redirect=a.Example.com y=")
	if err != nil {
		t.Fatal(err)
	}
	ip4, mx, a := r.Directives[0], r.Directives[1], r.Directives[2]
	if ip4.Mechanism != IP4 || ip4.Result() != Fail || ip4.Network.String() != "192.0.2.0/24" || ip4.Lookup() {
		t.Errorf("ip4: %+v", ip4)
	}
	if mx.Mechanism != MX || mx.Result() != SoftFail || mx.Domain.Text != "%{D}" || mx.Bits4 != 20 || mx.Bits6 != 40 || !mx.Lookup() {
		t.Errorf("mx: %+v", mx)
	}
	if a.Mechanism != A || a.Result() != Pass || a.Domain.Text != "" || a.Bits4 != 32 || a.Bits6 != 128 || a.Text != "A" {
		t.Errorf("a: %+v", a)
	}
	if r.Redirect.Text != "a.Example.com" || r.Exp.Text != "" || len(r.Unknown) != 2 || r.Unknown[0] != (Modifier{"X", "1"}) {
		t.Errorf("modifiers: %+v", r)
	}
}

func TestRecordLength(t *testing.T) {
	text := "v=spf1" + strings.Repeat(" a", (MaxRecordLength-len("v=spf1"))/2)
	if _, err := Parse(text); err != nil {
		t.Errorf("%d octets: %v", len(text), err)
	}
	if _, err := Parse(text + " a"); err == nil {
		t.Errorf("%d octets: no error", len(text)+2)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"v=spf1 a mx ip4:192.0.2.0/24 include:a.example -all", ""},
		{"v=spf1 ip4:10.0.0.0/12 ip6:2001:db8::/32 a/12//32 -all", ""},
		{"v=spf1 +all", "+all authorises every host"},
		{"v=spf1 ALL", "ALL authorises every host"},
		{"v=spf1 ?ptr -all", "?ptr should not be used"},
		{"v=spf1 exists:%{p}.a.example -all", "macro p"},
		{"v=spf1 ip4:10.0.0.0/11 -all", "ip4:10.0.0.0/11 authorises a very wide range"},
		{"v=spf1 ip6:2001:db8::/31 -all", "very wide"},
		{"v=spf1 a/0 -all", "very wide"},
		{"v=spf1 mx//16 -all", "very wide"},
		{"v=spf1 -ip4:10.0.0.0/8 ~ip4:0.0.0.0/0 ?a/0 -all", ""},
		{"v=spf1 a:%{h} -all", "client choose"},
		{"v=spf1 include:%{l} -all", "client choose"},
		{"v=spf1 exists:a.example.com -all", "does not depend"},
		{"v=spf1 exists:%{i}.a.example.com -all", ""},
		{"v=spf1 -all a:b.example", "a:b.example stands after all"},
		{"v=spf1 -all MS=1", "unknown modifier MS= is ignored"},
		{"v=spf1 IP4=192.0.2.1 -all", "IP4= is ignored: write ip4: for the mechanism"},
		{"v=spf1 redirect=b.example -all", "redirect=b.example is ignored"},
		{"v=spf1 -all exp=b.example", ""},
		{"v=spf1" + strings.Repeat(" ip4:192.0.2.1", 32), "record of 454 octets"},
	} {
		r, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(r.Warnings(), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
}
