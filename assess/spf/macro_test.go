package spf

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// evaluationFor is an evaluation as the examples of RFC 7208, section 7.4 describe it.
func evaluationFor(t *testing.T, ip, mailFrom string) *evaluation {
	return newEvaluation(t.Context(), zone{
		"3.2.0.192.in-addr.arpa": {"PTR mx.example.org"},
		"mx.example.org":         {"A 192.0.2.3"},
	}, Query{
		IP: netip.MustParseAddr(ip), HELO: "mail.example.net", MailFrom: mailFrom, Now: time.Unix(1700000000, 0),
	})
}

func TestExpand(t *testing.T) {
	const v4, v6, bad = "192.0.2.3", "2001:db8::cb01", "strong-bad@email.example.com"
	for _, c := range []struct{ ip, from, text, want string }{
		// RFC 7208, section 7.4
		{v4, bad, "%{s}", "strong-bad@email.example.com"},
		{v4, bad, "%{o}", "email.example.com"},
		{v4, bad, "%{d}", "email.example.com"},
		{v4, bad, "%{d4}", "email.example.com"},
		{v4, bad, "%{d3}", "email.example.com"},
		{v4, bad, "%{d2}", "example.com"},
		{v4, bad, "%{d1}", "com"},
		{v4, bad, "%{dr}", "com.example.email"},
		{v4, bad, "%{d2r}", "example.email"},
		{v4, bad, "%{l}", "strong-bad"},
		{v4, bad, "%{l-}", "strong.bad"},
		{v4, bad, "%{lr}", "strong-bad"},
		{v4, bad, "%{lr-}", "bad.strong"},
		{v4, bad, "%{l1r-}", "strong"},
		{v4, bad, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{v4, bad, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{v4, bad, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{v4, bad, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{v4, bad, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{v6, bad, "%{ir}.%{v}._spf.%{d2}", "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com"},

		{v4, bad, "%{p}", "mx.example.org"},
		{v6, bad, "%{p}", "unknown"},
		{v4, bad, "%{h} %{c} %{r} %{t}", "mail.example.net 192.0.2.3 unknown 1700000000"},
		{v6, bad, "%{c}", "2001:db8::cb01"},
		{"::ffff:192.0.2.3", bad, "%{i} %{c} %{v}", "192.0.2.3 192.0.2.3 in-addr"},
		{v4, bad, "%%%_%-%%", "% %20%"},
		{v4, bad, "%{D2R}", "example.email"},
		{v4, bad, "%{i3}|%{i2r}|%{i127}|%{i99999999999999999999}", "0.2.3|0.192|192.0.2.3|192.0.2.3"},
		{v4, bad, "%{d.}|%{d-}", "email.example.com|email.example.com"},
		{v4, "a--b-@example.com", "%{l-}|%{l2-}|%{lr-}", "a..b.|b.|.b..a"}, // no special treatment of empty parts
		{v4, "a+b=c_d,e/f.g@example.com", "%{l+=_,/}|%{l}", "a.b.c.d.e.f.g|a+b=c_d,e/f.g"},
		{v4, "~a&b=c-d_e.f@example.com", "%{L} %{l}", "~a%26b%3Dc-d_e.f ~a&b=c-d_e.f"},
		{v4, "a/ü@example.com", "%{S}", "a%2F%C3%BC%40example.com"},
		{v4, "@example.com", "%{s} %{l}", "postmaster@example.com postmaster"},
		{v4, "example.com", "%{s}", "postmaster@example.com"},
		{v4, "", "%{s} %{o}", "postmaster@mail.example.net mail.example.net"},
		{v4, `"a@b"@example.com`, "%{l}|%{o}", `"a@b"|example.com`},
		{v4, "a@b@example.com.", "%{l}|%{o}", `a@b|example.com`},
	} {
		e := evaluationFor(t, c.ip, c.from)
		if got := e.expand(c.text, e.senderDomain); got != c.want {
			t.Errorf("%s %s: %s: got %q, want %q", c.ip, c.from, c.text, got, c.want)
		}
	}
}

func TestExpansionLimit(t *testing.T) {
	e := evaluationFor(t, "192.0.2.3", strings.Repeat("x", 1000)+"@example.com")
	if got := e.expand(strings.Repeat("%{l}", 7), ""); len(got) != 7000 {
		t.Errorf("7,000 octets became %d", len(got))
	}
	if got := e.expand(strings.Repeat("%{l}", 9), ""); got != "" {
		t.Errorf("9,000 octets became %d", len(got))
	}
}

// TestMacroCost has a record of nothing but macros that keep next to nothing of what the client
// may make as long as its MTA lets it: HELO name, local part, and the names of its address.
func TestMacroCost(t *testing.T) {
	for _, macro := range []string{"%{h1}", "%{h1r}", "%{l1}", "%{s1r}", "%{h1r.-+,/_=}", "%{p1}"} {
		z := zone{
			"example.com":            {"TXT v=spf1 exists:" + strings.Repeat(macro, (MaxRecordLength-100)/len(macro)) + ".example.com -all"},
			"1.2.0.192.in-addr.arpa": many(10, "PTR no%d.example.net"),
			"no9.example.net":        {"A 192.0.2.1"},
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Check(t.Context(), z, Query{
			IP: netip.MustParseAddr("192.0.2.1"), HELO: strings.Repeat(".", 2000), MailFrom: strings.Repeat(".", 2000) + "@example.com",
		})
		runtime.ReadMemStats(&after)
		if octets := after.TotalAlloc - before.TotalAlloc; octets > 1<<20 {
			t.Errorf("%s: %d KiB allocated", macro, octets>>10)
		}
	}
}

func TestTargetName(t *testing.T) {
	long := strings.Repeat("a.", 126) + "b" // 253 octets
	for _, c := range []struct{ text, want string }{
		{"example.com", "example.com"},
		{"example.com.", "example.com"},
		{long, long},
		{long + ".", long},
		{"c." + long, long},
		{"cc.dd." + long, long},
		{strings.Repeat("x", 254), strings.Repeat("x", 254)}, // one label: not queryable
	} {
		if got := targetName(c.text); got != c.want {
			t.Errorf("%s: got %s", c.text, got)
		}
	}
}

func TestQueryable(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"example.com":                 true,
		"com":                         true,
		"foo:bar/baz.example.com":     true,
		"a b.example.com":             true,
		label + ".com":                true,
		label + "a.com":               false,
		"example." + label + "a":      false,
		"":                            false,
		".":                           false,
		".com":                        false,
		"example..com":                false,
		"example.com.":                false,
		"a\r\n.example.com":           false,
		"\xc3\xbc.example.com":        false,
		strings.Repeat("a.", 127):     false,
		strings.Repeat("a.", 127)[1:]: false,
	} {
		if got := queryable(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}
