package spf

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var seeds = []string{
	"v=spf1",
	"v=spf1 a mx ptr ip4:192.0.2.0/24 ip6:2001:db8::/32 include:%{d} exists:%{ir}.%{v}.%{h} -all exp=%{d}",
	"v=spf1 a:foo:bar/baz.example.com/24//64 mx//0 ?exists:%{l1r+-,/_=.}.%{p} redirect=a.%{d2}",
	"v=spf1 include:%{L}%%%_%-.example x.y-z=%{S}",
	"v=spf1 ip4:1.2.3 \x80 %{",
}

// FuzzParse checks that what Parse takes can be used: its domain-specs expand and are classified.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			if e := err.(*SyntaxError); e.Reason == "" || e.Offset > len(text) || !strings.Contains(text, e.Term) || !isPrintable(e.Error()) {
				t.Errorf("%q: error %#v", text, e)
			}
			return
		}
		r.Warnings()
		rebuilt := version
		for i := range r.Directives {
			d := &r.Directives[i]
			d.Domain.anchored()
			d.Domain.addressBits(i%2 == 0)
			rebuilt += " " + d.Text
		}
		again, err := Parse(rebuilt)
		if err != nil || len(again.Directives) != len(r.Directives) {
			t.Errorf("%q: directives do not survive: %v", text, err)
		}
	})
}

// hostile answers every question, with data that depends on the name alone.
type hostile struct{ records []string }

func (h hostile) pick(name string) int { return len(name) + strings.Count(name, ".") }

func (h hostile) LookupTXT(_ context.Context, name string) ([]string, error) {
	return h.records[h.pick(name)%len(h.records):][:1], nil
}

func (h hostile) LookupNetIP(_ context.Context, network, name string) ([]netip.Addr, error) {
	if h.pick(name)%3 == 0 {
		return nil, &net.DNSError{IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
}

func (h hostile) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return slices.Repeat([]*net.MX{{Host: name + "."}, {Host: "."}, {Host: "a..b"}}, h.pick(name)%4), nil
}

func (h hostile) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return []string{"", ".", "host.example.com.", addr, "a\x00b.example."}, nil
}

// FuzzCheck evaluates and audits foreign records for foreign senders.
func FuzzCheck(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed, "v=spf1 ?a:%{l}.%{d} ~all", "user+tag@example.com", "helo.example.net", true)
		f.Add(seed, "why %{s} %{c} %{r} %{t}", "\"a@b\r\n\"@example.com", "[192.0.2.1]", false)
	}
	results := []Result{None, Neutral, Pass, Fail, SoftFail, TempError, PermError}
	f.Fuzz(func(t *testing.T, first, second, from, helo string, v6 bool) {
		ip := "192.0.2.1"
		if v6 {
			ip = "2001:db8::1"
		}
		resolver := hostile{[]string{first, second}}
		out := Check(t.Context(), resolver, Query{IP: netip.MustParseAddr(ip), MailFrom: from, HELO: helo})
		switch {
		case !slices.Contains(results, out.Result):
			t.Errorf("result %q", out.Result)
		case out.Queries > MaxQueries || out.Lookups > MaxLookups+1 || out.Voids > MaxVoidLookups+1:
			t.Errorf("%+v", out)
		case len(out.Explanation) > MaxExplanationLength || !isPrintable(out.Explanation):
			t.Errorf("explanation %q", out.Explanation)
		case !isPrintable(out.Problem) || !isPrintable(out.Match.Domain+out.Match.Term):
			t.Errorf("unprintable: %+v", out)
		case out.Narrow() && out.Match.Mechanism == All:
			t.Errorf("all is narrow: %+v", out)
		case (out.Problem == "") == (out.Result == None || out.Result == TempError || out.Result == PermError):
			t.Errorf("%s with problem %q", out.Result, out.Problem)
		}
		r := Audit(t.Context(), resolver, "example.com")
		if len(r.Visits) == 0 || len(r.Visits) > MaxQueries+maxFollowed || (r.State == Invalid) != (len(r.Errors) > 0) {
			t.Errorf("report %+v", r)
		}
	})
}
