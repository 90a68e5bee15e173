package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// with is the zone with more records, which replace those of the same name.
func (z zone) with(name string, lines ...string) zone {
	out := zone{name: lines}
	for n, l := range z {
		if n != name {
			out[n] = l
		}
	}
	return out
}

// hosts is what the records under test point to. The client is 192.0.2.1 or 2001:db8::1.
var hosts = zone{
	"a.example.com":           {"A 192.0.2.1", "AAAA 2001:db8::1"},
	"b.example.com":           {"A 192.0.2.200", "A 198.51.100.1", "AAAA 2001:db8:0:0:1::1"},
	"v4.example.com":          {"A 192.0.2.1"},
	"mapped.example.com":      {"A ::ffff:192.0.2.1", "AAAA ::ffff:192.0.2.1"},
	"fail.example.com":        {"FAIL"},
	"mx.example.com":          {"MX 10 b.example.com", "MX 20 a.example.com"},
	"nullmx.example.com":      {"MX 0 "},
	"oddmx.example.com":       {"MX 10 a..b", "MX 20 a.example.com"},
	"emptymx.example.com":     {"MX 10 no1.example.com", "MX 10 no2.example.com", "MX 10 no3.example.com"},
	"failmx.example.com":      {"MX 10 fail.example.com"},
	"onlya.example.com":       {"A 192.0.2.1"},
	"pass.example.com":        {"TXT v=spf1 +all"},
	"list.example.com":        {"TXT v=spf1 ip4:192.0.2.1 -all"},
	"neutral.example.com":     {"TXT v=spf1 ?all"},
	"fails.example.com":       {"TXT v=spf1 -all"},
	"wrong.example.com":       {"TXT v=spf1 foo"},
	"twice.example.com":       {"TXT v=spf1 -all", "TXT v=spf1 -all"},
	"loop.example.com":        {"TXT v=spf1 include:loop.example.com"},
	"1.2.0.192.in-addr.arpa":  {"PTR host.example.com.", "PTR other.example.net"},
	"host.example.com":        {"A 192.0.2.1"},
	"other.example.net":       {"A 192.0.2.99"},
	"2.2.0.192.in-addr.arpa":  {"FAIL"},
	"192.0.2.1.x.example.com": {"A 127.0.0.2"},
	"v6only.example.com":      {"AAAA 2001:db8::1"},
}

func TestCheck(t *testing.T) {
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	for _, c := range []struct {
		ip, record string
		want       Result
		problem    string
	}{
		{v4, "v=spf1", Neutral, ""},
		{v4, "v=spf1 all", Pass, ""},
		{v4, "v=spf1 ~all", SoftFail, ""},
		{v4, "v=spf1 ip4:192.0.2.0/24 -all", Pass, ""},
		{v4, "v=spf1 ip6:2001:db8::/32 -all", Fail, ""},
		{v6, "v=spf1 ip6:2001:DB8::/32 -all", Pass, ""},
		{v6, "v=spf1 ip4:0.0.0.0/0 -all", Fail, ""},
		{"::ffff:192.0.2.1", "v=spf1 ip6:::/0 ip4:192.0.2.1 -all", Pass, ""},
		{"::ffff:192.0.2.1", "v=spf1 ip6:::/0 -all", Fail, ""},
		{"fe80::1%eth0", "v=spf1 ip6:fe80::/10 -all", Pass, ""},
		{v4, "v=spf1 -all foo", PermError, "example.com: unknown mechanism in \"foo\" (octet 12)"},

		{v4, "v=spf1 a:a.example.com -all", Pass, ""},
		{v4, "v=spf1 a:b.example.com -all", Fail, ""},
		{v4, "v=spf1 a:b.example.com/24 -all", Pass, ""},
		{v4, "v=spf1 a:b.example.com//24 -all", Fail, ""},
		{v6, "v=spf1 a:b.example.com//64 -all", Pass, ""},
		{v4, "v=spf1 a:mapped.example.com -all", Pass, ""},
		{v6, "v=spf1 a:mapped.example.com//0 -all", Pass, ""}, // any AAAA record, with /0
		{v4, "v=spf1 a:A.EXAMPLE.COM. -all", Pass, ""},
		{v4, "v=spf1 a:a..example.com -all", Fail, ""},
		{v4, "v=spf1 a:fail.example.com -all", TempError, "example.com: a:fail.example.com: DNS failure"},
		{v4, "v=spf1 a -all", Fail, ""},

		{v4, "v=spf1 mx:mx.example.com -all", Pass, ""},
		{v6, "v=spf1 mx:mx.example.com//64 -all", Pass, ""},
		{v4, "v=spf1 mx:nullmx.example.com -all", Fail, ""},
		{v4, "v=spf1 mx:oddmx.example.com -all", Pass, ""},
		{v4, "v=spf1 mx:onlya.example.com -all", Fail, ""}, // no implicit MX
		{v4, "v=spf1 mx:failmx.example.com -all", TempError, "DNS failure"},
		{v4, "v=spf1 mx:fail.example.com -all", TempError, "DNS failure"},

		{v4, "v=spf1 ptr:example.com -all", Pass, ""},
		{v4, "v=spf1 ptr -all", Pass, ""},
		{v4, "v=spf1 ptr:EXAMPLE.com -all", Pass, ""},
		{v4, "v=spf1 ptr:ample.com -all", Fail, ""},
		{v4, "v=spf1 ptr:example.net -all", Fail, ""}, // the name does not lead back
		{v6, "v=spf1 ptr -all", Fail, ""},
		{"192.0.2.2", "v=spf1 ptr -all", Fail, ""}, // a failing reverse zone is no match

		{v4, "v=spf1 exists:%{i}.x.example.com -all", Pass, ""},
		{v6, "v=spf1 exists:v4.example.com -all", Pass, ""},
		{v6, "v=spf1 exists:v6only.example.com -all", Fail, ""},
		{v4, "v=spf1 exists:fail.example.com -all", TempError, "DNS failure"},

		{v4, "v=spf1 include:list.example.com -all", Pass, ""},
		{v4, "v=spf1 -include:list.example.com +all", Fail, ""},
		{v4, "v=spf1 ?include:list.example.com -all", Neutral, ""},
		{v4, "v=spf1 include:fails.example.com ~all", SoftFail, ""},
		{v4, "v=spf1 include:neutral.example.com ~all", SoftFail, ""},
		{v4, "v=spf1 include:fail.example.com -all", TempError, "fail.example.com: DNS failure"},
		{v4, "v=spf1 include:no.example.com -all", PermError, "no.example.com: no SPF record"},
		{v4, "v=spf1 include:a..b -all", PermError, "a..b: no SPF record"},
		{v4, "v=spf1 include:wrong.example.com -all", PermError, "wrong.example.com: unknown mechanism"},
		{v4, "v=spf1 include:twice.example.com -all", PermError, "2 SPF records"},
		{v4, "v=spf1 include:loop.example.com -all", PermError, "loop.example.com: include:loop.example.com: too many DNS lookups"},
		{v4, "v=spf1 include:%{l1r+}.com -all", PermError, "%{l1r+}.com: no SPF record"},

		{v4, "v=spf1 redirect=list.example.com", Pass, ""},
		{v6, "v=spf1 redirect=list.example.com", Fail, ""},
		{v4, "v=spf1 redirect=list.example.com ?all", Neutral, ""},
		{v4, "v=spf1 redirect=no.example.com", PermError, "no SPF record"},
		{v4, "v=spf1 redirect=fail.example.com", TempError, "DNS failure"},
		{v4, "v=spf1 redirect=a.example.com..%{d1}", PermError, "no SPF record"},
		{v4, "v=spf1 redirect=example.com", PermError, "example.com: redirect=example.com: too many DNS lookups: more than 10"},

		// RFC 7208, section 4.6.4: terms count, found or not, and the limit is not passed by ten.
		{v4, "v=spf1" + strings.Repeat(" a:b.example.com", 10) + " -all", Fail, ""},
		{v4, "v=spf1" + strings.Repeat(" a:b.example.com", 11) + " -all", PermError, "too many DNS lookups"},
		{v4, "v=spf1" + strings.Repeat(" a:b.example.com", 9) + " redirect=list.example.com", Pass, ""},
		{v4, "v=spf1" + strings.Repeat(" a:b.example.com", 10) + " redirect=list.example.com", PermError, "too many DNS lookups"},
		{v4, "v=spf1 a:no1.example.com mx:no2.example.com -all", Fail, ""},
		{v4, "v=spf1 a:no1.example.com mx:no2.example.com exists:no3.example.com -all", PermError, "void lookup limit exceeded"},
		{v6, "v=spf1 ptr ptr ptr -all", PermError, "void lookup limit exceeded"},
		{v6, "v=spf1 a:v4.example.com a:v4.example.com a:v4.example.com -all", PermError, "void lookup limit exceeded"},
		{v4, "v=spf1 mx:emptymx.example.com -all", Fail, ""}, // the hosts of an mx are no terms
		{v4, "v=spf1 a:a..b a:a..b a:a..b -all", Fail, ""},   // names that cannot be asked for
	} {
		z := hosts.with("example.com", "TXT unrelated", "TXT "+c.record)
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr(c.ip), HELO: "client.example.net", MailFrom: "x+y@example.com"})
		if out.Result != c.want || !strings.Contains(out.Problem, c.problem) || (out.Problem == "") != (c.problem == "") {
			t.Errorf("%s %s: got %s %q, want %s %q", c.ip, c.record, out.Result, out.Problem, c.want, c.problem)
		}
	}
}

func TestIdentity(t *testing.T) {
	z := zone{"example.com": {"TXT v=spf1 -all"}, "mail.example.net": {"TXT v=spf1 +all"}}
	for _, c := range []struct {
		from, helo string
		identity   Identity
		domain     string
		want       Result
	}{
		{"user@example.com", "mail.example.net", MailFrom, "example.com", Fail},
		{"user@EXAMPLE.com.", "mail.example.net", MailFrom, "example.com", Fail},
		{"@example.com", "mail.example.net", MailFrom, "example.com", Fail},
		{"example.com", "mail.example.net", MailFrom, "example.com", Fail},
		{`"a@b c"@example.com`, "mail.example.net", MailFrom, "example.com", Fail},
		{`"victim@mail.example.net"@example.com`, "", MailFrom, "example.com", Fail},
		{"user@other.example", "mail.example.net", MailFrom, "other.example", None},
		{"", "mail.example.net", HELO, "mail.example.net", Pass},
		{"", "MAIL", HELO, "", None},
		{"", "[192.0.2.1]", HELO, "", None},
		{"", "", HELO, "", None},
		{"user", "mail.example.net", MailFrom, "", None},
		{"user@", "mail.example.net", MailFrom, "", None},
		{"user@[192.0.2.1]", "mail.example.net", MailFrom, "", None},
		{"user@example..com", "mail.example.net", MailFrom, "", None},
		{"user@example.com..", "mail.example.net", MailFrom, "", None},
		{"user@exa mple.com", "mail.example.net", MailFrom, "", None},
		{"user@bücher.example", "mail.example.net", MailFrom, "", None},
		{"user@" + strings.Repeat("a", 64) + ".example", "", MailFrom, "", None},
		{"user@" + strings.Repeat("a.", 127) + "com", "", MailFrom, "", None},
	} {
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), HELO: c.helo, MailFrom: c.from})
		if out.Result != c.want || out.Identity != c.identity || out.Domain != c.domain {
			t.Errorf("%q %q: got %s %s %q", c.from, c.helo, out.Result, out.Identity, out.Domain)
		}
		if (out.Problem != "") != (c.want == None) {
			t.Errorf("%q %q: problem %q", c.from, c.helo, out.Problem)
		}
	}
	if out := Check(t.Context(), z, Query{MailFrom: "user@example.com"}); out.Result != TempError || out.Queries != 0 {
		t.Errorf("no address: got %+v", out)
	}
}

func TestMatch(t *testing.T) {
	z := hosts.with("example.com", "TXT v=spf1 a:b.example.com include:in.example.com -all").
		with("in.example.com", "TXT v=spf1 ?a:a.example.com redirect=to.example.com").
		with("to.example.com", "TXT v=spf1 Mx:mx.example.com/28 -all")
	out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.193"), MailFrom: "user@example.com"})
	want := Match{MX, "Mx:mx.example.com/28", "to.example.com", netip.MustParsePrefix("192.0.2.192/28"), false}
	if out.Result != Pass || out.Match != want || !out.Narrow() {
		t.Errorf("got %+v", out)
	}
	if out.Lookups != 5 || out.Voids != 0 || out.Queries != 7 {
		t.Errorf("got %d lookups, %d voids, %d queries", out.Lookups, out.Voids, out.Queries)
	}
	out = Check(t.Context(), zone{"example.com": {"TXT v=spf1 a:no.example.com"}}, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "user@example.com"})
	if out.Match != (Match{}) || out.Narrow() || out.Voids != 1 {
		t.Errorf("default result: got %+v", out)
	}
}

func TestNarrow(t *testing.T) {
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	z := hosts.
		with("wide.example.com", "TXT v=spf1 ip4:192.0.0.0/11 -all").
		with("192.0.2.1.all.example.com", "TXT v=spf1 +all").
		with("192.0.2.1.list.example.com", "TXT v=spf1 ip4:192.0.2.1 -all").
		with("192.x.example.com", "A 127.0.0.2").with("0.192.x.example.com", "A 127.0.0.2").
		with("2.1.x.example.com", "A 127.0.0.2").with("1.x.example.com", "A 127.0.0.2").
		with("host.example.com.x.example.com", "A 127.0.0.2").
		with("1.0.0.2.x.example.com", "A 127.0.0.2").with("8.b.d.0.1.0.0.2.x.example.com", "A 127.0.0.2").
		with("attacker.example.net", "TXT v=spf1 a -all", "A 192.0.2.1", "MX 10 attacker.example.net").
		with("attacker.example.net.x.example.com", "A 192.0.2.1", "TXT v=spf1 a -all").
		with("attacker.example.netx.example.com", "A 192.0.2.1").
		with("com.example.sub", "A 192.0.2.1")
	for _, c := range []struct {
		ip, record string
		narrow     bool
	}{
		{v4, "ip4:192.0.2.1", true},
		{v4, "ip4:192.0.0.0/12", true},
		{v4, "ip4:192.0.0.0/11", false},
		{v4, "ip4:0.0.0.0/0", false},
		{v6, "ip6:2001:db8::/32", true},
		{v6, "ip6:2001:db8::/31", false},
		{v6, "ip6:::/0", false},
		{"::ffff:192.0.2.1", "ip4:192.0.2.0/24", true},
		{"::ffff:192.0.2.1", "ip4:192.0.2.0/0", false},
		{v4, "all", false},
		{v4, "-exists:%{i}.no.example.com +all", false},
		{v4, "a:a.example.com", true},
		{v4, "a:a.example.com/12", true},
		{v4, "a:a.example.com/11", false},
		{v4, "a:a.example.com//0", true},
		{v6, "a:a.example.com/0", true},
		{v6, "a:a.example.com//31", false},
		{v4, "mx:mx.example.com", true},
		{v4, "mx:mx.example.com/1", false},
		{v4, "include:list.example.com", true},
		{v4, "include:pass.example.com", false},
		{v4, "include:wide.example.com", false},
		{v4, "redirect=list.example.com", true},
		{v4, "redirect=pass.example.com", false},
		{v4, "include:%{i}.list.example.com", true},
		{v4, "include:%{i}.all.example.com", false},

		// The client gives the HELO name and the local part, which is "attacker.example.net".
		{v4, "a:%{h}", false},
		{v4, "a:%{H}", false},
		{v4, "a:%{l}", false},
		{v4, "a:%{h3}", false},
		{v4, "mx:%{h}", false},
		{v4, "exists:%{h}", false},
		{v4, "include:%{h}", false},
		{v4, "redirect=%{l}", false},
		{v4, "a:%{h}.x.example.com", true},
		{v4, "a:%{h}x.example.com", true}, // example.com is left behind the first dot
		{v4, "a:%{h}.x.%{d}", true},
		{v4, "a:%{h}.x.%{d2}", true},
		{v4, "a:%{dr}.sub", false},
		{v4, "include:%{h}.x.example.com", true},
		{v4, "ptr", true},
		{v4, "ptr:example.com", true},
		{v4, "ptr:%{d1}", false},
		{v4, "ptr:host.example.com", true},
		{v4, "exists:a.example.com", false},
		{v4, "exists:%{d}", false},
		{v4, "exists:%{h}.x.example.com", false},
		{v4, "exists:%{p}.x.example.com", false},
		{v4, "exists:%{i}.x.example.com", true},
		{v4, "exists:%{i4}.x.example.com", true},
		{v4, "exists:%{i-}.x.example.com", true},
		{v4, "exists:%{i2-.}.x.example.com", false},
		{v4, "exists:%{i1}.x.example.com", false},
		{v4, "exists:%{i1r}.x.example.com", false},
		{v4, "exists:%{i2r}.x.example.com", true},
		{v6, "exists:%{i4r}.x.example.com", false},
		{v6, "exists:%{i8r}.x.example.com", true},
	} {
		q := Query{IP: netip.MustParseAddr(c.ip), HELO: "attacker.example.net", MailFrom: "attacker.example.net@example.com"}
		out := Check(t.Context(), z.with("example.com", "TXT v=spf1 "+c.record, "A 192.0.2.7"), q)
		if out.Result != Pass || out.Narrow() != c.narrow {
			t.Errorf("%s %s: got %s narrow=%v (%s)", c.ip, c.record, out.Result, out.Narrow(), out.Problem)
		}
	}
	for _, out := range []Outcome{{}, {Result: Pass}, {Result: Fail, Match: Match{Mechanism: IP4}}} {
		if out.Narrow() {
			t.Errorf("%+v is narrow", out)
		}
	}
}

func TestExplanation(t *testing.T) {
	long := strings.Repeat("x", MaxExplanationLength)
	for _, c := range []struct{ exp, txt, from, want string }{
		{"e.example.com", "TXT Sorry.", "u@example.com", "Sorry."},
		{"e.%{d}", "TXT %{i} may not %{l} at %{d2} on %{r} (%{t}): %{C}", "u@example.com", "192.0.2.1 may not u at example.com on unknown (1700000000): 192.0.2.1"},
		{"no.example.com", "TXT x", "u@example.com", ""},
		{"e..example.com", "TXT x", "u@example.com", ""},
		{"e.example.com", "FAIL", "u@example.com", ""},
		{"e.example.com", "TXT %{x}", "u@example.com", ""},
		{"e.example.com", "TXT 100%", "u@example.com", ""},
		{"e.example.com", "TXT caf\xc3\xa9", "u@example.com", ""},
		{"e.example.com", "TXT a\r\nb", "u@example.com", ""},
		{"e.example.com", "TXT %{l}", "\"a\r\nQUIT\"@example.com", ""},
		{"e.example.com", "TXT %{l}", "\xc3\xbc@example.com", ""},
		{"%{l}.example.com", "TXT x", "\xc3\xbc@example.com", ""},
		{"e.example.com", "TXT " + long, "u@example.com", long},
		{"e.example.com", "TXT x" + long, "u@example.com", ""},
		{"e.example.com", "TXT " + strings.Repeat("%%", MaxRecordLength/2+1), "u@example.com", ""},
	} {
		z := zone{"example.com": {"TXT v=spf1 exp=" + c.exp + " -all"}, "e.example.com": {c.txt}}
		q := Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: c.from, Now: time.Unix(1700000000, 0)}
		out := Check(t.Context(), z, q)
		if out.Result != Fail || out.Explanation != c.want {
			t.Errorf("%s %s %q: got %s %q", c.exp, c.txt, c.from, out.Result, out.Explanation)
		}
		q.NoExplanation = true
		if out := Check(t.Context(), z, q); out.Explanation != "" || out.Queries != 1 {
			t.Errorf("%s: NoExplanation was not heeded: %+v", c.exp, out)
		}
	}
}

// A local part that is not ASCII makes the terms that use it match nothing (RFC 8616, section 4).
func TestInternationalLocalPart(t *testing.T) {
	z := zone{
		"example.com":   {"TXT v=spf1 exists:%{l}.x.example.com include:%{S} ~exists:yes.example.com -all"},
		"*":             {"A 127.0.0.2"},
		"x.example.com": {"TXT v=spf1 +all"}, "yes.example.com": {"A 127.0.0.2"},
	}
	out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "ü@example.com"})
	if out.Result != SoftFail || out.Queries != 2 || out.Lookups != 3 {
		t.Errorf("got %+v", out)
	}
}

// The local part stays out of everything that may be stored or logged.
func TestPrivacy(t *testing.T) {
	const secret = "sEcReT"
	named := errors.New("cannot resolve " + secret + ".example.com")
	for _, c := range []struct {
		record string
		fail   error
		want   Result
	}{
		{"a:%{l}.example.com -all", named, TempError},
		{"exists:%{s} -all", &net.DNSError{Err: "timeout", Name: secret, IsTimeout: true}, TempError},
		{"include:%{l}.example.com", named, TempError},
		{"redirect=%{l1r-}.example.com", nil, PermError},
		{"include:%{l}.pass.example.com", nil, Pass},
		{"include:%{l}.again.example.com", nil, Pass},
		{"include:%{l}.broken.example.com", nil, PermError},
	} {
		z := personal{zone{
			"example.com":               {"TXT v=spf1 " + c.record},
			"secret.pass.example.com":   {"TXT v=spf1 +all"},
			"secret.again.example.com":  {"TXT v=spf1 include:pass.%{d}"},
			"secret.broken.example.com": {"TXT v=spf1 a:no.%{d} a:no.%{d} a:no.%{d}"},
			"pass.secret.again.example.com": {
				"TXT v=spf1 a -all", "A 192.0.2.1"},
		}, c.fail}
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: secret + "@example.com"})
		if out.Result != c.want {
			t.Errorf("%s: got %s %s", c.record, out.Result, out.Problem)
		}
		if text := strings.ToLower(fmt.Sprintf("%+v", out)); strings.Contains(text, "secret") {
			t.Errorf("%s: local part in %s", c.record, text)
		}
	}
}

// personal fails with err for every name of the zone that holds the local part.
type personal struct {
	zone
	err error
}

func (p personal) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.zone.LookupNetIP(ctx, network, host)
}

func (p personal) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if p.err != nil && strings.Contains(name, "secret") {
		return nil, p.err
	}
	return p.zone.LookupTXT(ctx, name)
}

// many is the zone line repeated, "%d" counting up from 1.
func many(n int, format string) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(format, i+1))
	}
	return lines
}

func TestNameLimits(t *testing.T) {
	z := hosts.with("mx10.example.com", append(many(9, "MX 10 no%d.example.com"), "MX 10 a.example.com")...).
		with("mx11.example.com", append(many(10, "MX 10 no%d.example.com"), "MX 10 a.example.com")...).
		with("3.2.0.192.in-addr.arpa", append(many(9, "PTR no%d.example.com"), "PTR host3.example.com")...).
		with("host3.example.com", "A 192.0.2.3").
		with("4.2.0.192.in-addr.arpa", append(many(10, "PTR no%d.example.com"), "PTR host4.example.com")...).
		with("host4.example.com", "A 192.0.2.4").
		with("host3.example.com.p.example.com", "A 127.0.0.2").
		with("unknown.p.example.com", "A 127.0.0.2")
	for _, c := range []struct {
		ip, record string
		want       Result
	}{
		{"192.0.2.1", "mx:mx10.example.com -all", Pass},
		{"192.0.2.1", "mx:mx11.example.com -all", PermError},
		{"192.0.2.3", "ptr -all", Pass},
		{"192.0.2.4", "ptr -all", Fail},
		{"192.0.2.3", "~exists:%{p}.p.example.com -all", SoftFail},
		{"192.0.2.4", "?exists:unknown.p.example.com -all", Neutral},
		{"192.0.2.4", "-exists:host4.example.com.p.example.com ?exists:%{p}.p.example.com", Neutral},
	} {
		out := Check(t.Context(), z.with("example.com", "TXT v=spf1 "+c.record), Query{IP: netip.MustParseAddr(c.ip), MailFrom: "u@example.com"})
		if out.Result != c.want {
			t.Errorf("%s %s: got %s %s", c.ip, c.record, out.Result, out.Problem)
		}
	}
}

func TestQueryLimit(t *testing.T) {
	z := zone{"mx.example.com": many(10, "MX 10 no%d.example.com")}
	for _, c := range []struct {
		record  string
		want    Result
		queries int
	}{
		{"v=spf1 mx:mx.example.com mx:mx.example.com mx:mx.example.com -all", Fail, 1 + 3*11},
		{"v=spf1 mx:mx.example.com mx:mx.example.com mx:mx.example.com mx:mx.example.com -all", TempError, MaxQueries},
	} {
		out := Check(t.Context(), z.with("example.com", "TXT "+c.record), Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@example.com"})
		if out.Result != c.want || out.Queries != c.queries {
			t.Errorf("%s: got %s %s after %d queries", c.record, out.Result, out.Problem, out.Queries)
		}
	}
	// A budget that ends inside ptr, which forgives DNS errors, ends the evaluation too.
	z = z.with("1.2.0.192.in-addr.arpa", many(10, "PTR no%d.example.com")...).
		with("example.com", "TXT v=spf1 mx:mx.example.com mx:mx.example.com mx:mx.example.com ptr -all")
	out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@example.com"})
	if out.Result != TempError || out.Queries != MaxQueries || !strings.HasSuffix(out.Problem, tooManyQueries) {
		t.Errorf("ptr: got %s %s after %d queries", out.Result, out.Problem, out.Queries)
	}
}

// TestTextLimit has a record include itself: ten times the text for the price of one.
func TestTextLimit(t *testing.T) {
	for _, c := range []struct {
		record  string
		want    Result
		problem string
	}{
		{"v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 900) + "-all", Fail, ""},
		{"v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 100) + "include:example.com -all", PermError, tooManyTerms},
		{"v=spf1 x=" + strings.Repeat("a", 4000) + " include:example.com -all", PermError, tooLongInAll},
		{"v=spf1 " + strings.Repeat("x ", MaxRecordLength), PermError, "record too long: 32775 octets"},
	} {
		z := zone{"example.com": {"TXT " + c.record}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("198.51.100.1"), MailFrom: "u@example.com"})
		runtime.ReadMemStats(&after)
		if out.Result != c.want || !strings.HasSuffix(out.Problem, c.problem) {
			t.Errorf("%.40s: got %s %s", c.record, out.Result, out.Problem)
		}
		if octets := after.TotalAlloc - before.TotalAlloc; octets > 1<<20 {
			t.Errorf("%.40s: %d octets allocated", c.record, octets)
		}
	}
}

// TestProblemLength has what is wrong with a record be as long as the record; the log line of each
// message repeats it.
func TestProblemLength(t *testing.T) {
	long := strings.Repeat("x", 15_000)
	for _, record := range []string{
		"v=spf1 " + long, "v=spf1 " + strings.Repeat("(", 15_000), "v=spf1 include:" + long + ".example.com", "v=spf1 redirect=%{l}" + long + ".example.com",
		"v=spf1 a:%{l}." + strings.Repeat("x.", 7_000) + "fail.example.com", "v=spf1 include:%{l1}" + strings.Repeat("%{l1}", 2_000) + ".wrong.example.com",
	} {
		z := hosts.with("example.com", "TXT "+record)
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: ".@example.com"})
		if out.Problem == "" && out.Result != Neutral || len(out.Problem) > 1000 {
			t.Errorf("%.40s: %s, a problem of %d octets: %.80s", record, out.Result, len(out.Problem), out.Problem)
		}
	}
}

// A record can have 20 questions asked for names of one organisation that is not its own, however
// it goes about it, and as many of the next.
func TestForeignQueryLimit(t *testing.T) {
	z := zone{
		"a.evil.example": many(10, "MX 10 no%d.victim.example"), "b.evil.example": many(10, "MX 10 no1%d.victim.example"),
		"c.evil.example":         many(10, "MX 10 no2%d.victim.example"),
		"d.evil.example":         many(9, "MX 10 no%d.other.example"),
		"1.2.0.192.in-addr.arpa": many(10, "PTR no%d.victim.example"),
		"unknown.evil.example":   {"A 127.0.0.2"},
		"victim.example":         {"TXT v=spf1 mx:a.evil.example mx:b.evil.example mx:c.evil.example -all"},
	}
	for _, c := range []struct {
		record         string
		want           Result
		victim, others int
	}{
		{"v=spf1 mx:a.evil.example mx:b.evil.example -all", Fail, 20, 3},
		{"v=spf1 mx:a.evil.example mx:b.evil.example mx:d.evil.example -all", Fail, 20, 4 + 9},
		{"v=spf1 mx:a.evil.example mx:b.evil.example a:www.victim.example -all", TempError, 20, 3},
		{"v=spf1 mx:a.evil.example mx:b.evil.example mx:c.evil.example -all", TempError, 20, 4},
		{"v=spf1 mx:a.evil.example include:victim.example -all", TempError, 20, 3}, // with an mx of its own
		{"v=spf1 mx:a.evil.example mx:b.evil.example ptr:victim.example -all", TempError, 20, 4},
		{"v=spf1 mx:a.evil.example mx:b.evil.example exists:%{p}.evil.example -all", TempError, 20, 4},
	} {
		asked := &askedFor{zone: z.with("evil.example", "TXT "+c.record)}
		out := Check(t.Context(), asked, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@evil.example"})
		if out.Result != c.want || asked.victim != c.victim || asked.others != c.others || out.Queries != c.victim+c.others {
			t.Errorf("%s: %s %s, %d queries for names of the victim and %d others, counted as %d", c.record, out.Result, out.Problem, asked.victim, asked.others, out.Queries)
		}
		if out.Exhausted != (c.want == TempError) || out.Exhausted && !strings.HasSuffix(out.Problem, tooManyForeign) {
			t.Errorf("%s: exhausted %v, %q", c.record, out.Exhausted, out.Problem)
		}
	}
	own := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@victim.example"})
	if own.Result != Fail || own.Queries != 1+3+30 {
		t.Errorf("a record about names of its own: %s %s after %d queries", own.Result, own.Problem, own.Queries)
	}
}

// askedFor counts the questions for names of the victim, and all others.
type askedFor struct {
	zone
	victim, others int
}

func (a *askedFor) note(name string) {
	if within(name, "victim.example") {
		a.victim++
	} else {
		a.others++
	}
}

func (a *askedFor) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a.note(name)
	return a.zone.LookupTXT(ctx, name)
}

func (a *askedFor) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	a.note(host)
	return a.zone.LookupNetIP(ctx, network, host)
}

func (a *askedFor) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a.note(name)
	return a.zone.LookupMX(ctx, name)
}

func (a *askedFor) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a.note(addr)
	return a.zone.LookupAddr(ctx, addr)
}

func TestPublishes(t *testing.T) {
	z := zone{"a.example": {"TXT v=spf1 -all"}, "b.example": {"TXT other"}, "c.example": {"TXT v=spf1 foo:", "TXT v=spf1 -all"}}
	for domain, want := range map[string]bool{"a.example": true, "b.example": false, "c.example": true, "none.example": false} {
		if got, err := Publishes(t.Context(), z, domain); got != want || err != nil {
			t.Errorf("%s: %v, %v", domain, got, err)
		}
	}
}

// silent never answers addresses before its time is over.
type silent struct{ zone }

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		z := silent{hosts.with("example.com", "TXT v=spf1 ptr a:a.example.com -all")}
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@example.com"})
		if out.Result != TempError || out.Problem != "example.com: ptr: time limit exceeded" {
			t.Errorf("got %s %s", out.Result, out.Problem)
		}
		if took := time.Since(start); took != MaxDuration {
			t.Errorf("took %v", took)
		}
	})
}

// partly gives usable records beside an error, as net.Resolver does about malformed ones.
type partly struct{ zone }

func (p partly) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	mxs, _ := p.zone.LookupMX(ctx, name)
	return mxs, errors.New("malformed records")
}

func (p partly) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	names, _ := p.zone.LookupAddr(ctx, addr)
	return names, errors.New("malformed records")
}

func TestPartialAnswers(t *testing.T) {
	for record, want := range map[string]Result{
		"mx:mx.example.com -all": Pass,
		"mx:no.example.com -all": TempError,
		"ptr -all":               Pass,
	} {
		z := partly{hosts.with("example.com", "TXT v=spf1 "+record)}
		out := Check(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@example.com"})
		if out.Result != want {
			t.Errorf("%s: got %s %s", record, out.Result, out.Problem)
		}
	}
}

func TestValidatedNamePreference(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, "unknown"},
		{[]string{"other.example.net", "sub.example.com", "example.com"}, "example.com"},
		{[]string{"other.example.net", "sub.example.com", "liar.example.com"}, "sub.example.com"},
		{[]string{"liar.example.com", "other.example.net", "notexample.com"}, "other.example.net"},
		{[]string{"liar.example.com", "a..b"}, "unknown"},
	} {
		z := zone{"liar.example.com": {"A 192.0.2.9"}}
		for _, name := range c.names {
			z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"], "PTR "+name)
			if z[name] == nil {
				z[name] = []string{"A 192.0.2.1"}
			}
		}
		e := newEvaluation(t.Context(), z, Query{IP: netip.MustParseAddr("192.0.2.1"), MailFrom: "u@example.com"})
		if got := e.validatedName("example.com"); got != c.want {
			t.Errorf("%v: got %s", c.names, got)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	z := hosts.with("example.com", "TXT v=spf1 a mx:mx.example.com include:in.example.com ip4:198.51.100.0/24 -all").
		with("in.example.com", "TXT v=spf1 ip4:203.0.113.0/24 ip4:203.0.113.7 ip6:2001:db8:1::/48 ip4:192.0.2.0/28 ~all")
	q := Query{IP: netip.MustParseAddr("192.0.2.2"), HELO: "client.example.net", MailFrom: "user@example.com"}
	b.ReportAllocs()
	for b.Loop() {
		if out := Check(b.Context(), z, q); out.Result != Pass {
			b.Fatal(out)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("v=spf1 ip4:203.0.113.0/24 ip4:203.0.113.7 ip6:2001:db8:1::/48 include:%{ir}.%{v}.%{d}.x.example mx a:b.example/24 ~all"); err != nil {
			b.Fatal(err)
		}
	}
}
