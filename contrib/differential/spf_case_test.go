package differential

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// spfCase is a zone and a question about it. Zone lines read "A 192.0.2.1" or "MX 10 host"; "FAIL"
// fails all types, "FAIL A" one. A name below a key of Wild has the records of one of its sets,
// chosen by the CRC-32 of the name: two programs that expand a macro to different octets soon
// find different records.
type spfCase struct {
	Zone     map[string][]string   `json:"zone"`
	Wild     map[string][][]string `json:"wild"`
	IP       string                `json:"ip"`
	HELO     string                `json:"helo"`
	From     string                `json:"from"`
	Receiver string                `json:"receiver"`

	asked map[string]bool // the names that our evaluation looked up
	heard bool            // our evaluation is over
}

func (c *spfCase) lines(name string) []string {
	if lines, ok := c.Zone[name]; ok {
		return lines
	}
	for suffix, sets := range c.Wild {
		if strings.HasSuffix(name, "."+suffix) {
			return sets[crc32.ChecksumIEEE([]byte(name))%uint32(len(sets))]
		}
	}
	return nil
}

func (c *spfCase) lookup(name, rrtype string) ([]string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !c.heard {
		c.asked[name] = true
	}
	var found []string
	for _, line := range c.lines(name) {
		kind, data, _ := strings.Cut(line, " ")
		if kind == "FAIL" && (data == "" || data == rrtype) {
			return nil, &net.DNSError{Err: "injected", Name: name, IsTemporary: true}
		}
		if kind == rrtype {
			found = append(found, data)
		}
	}
	if found == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found, nil
}

func (c *spfCase) LookupTXT(_ context.Context, name string) ([]string, error) {
	return c.lookup(name, "TXT")
}

func (c *spfCase) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	found, err := c.lookup(host, map[string]string{"ip4": "A", "ip6": "AAAA"}[network])
	var addrs []netip.Addr
	for _, text := range found {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, err
}

// LookupIPAddr is what blitiri asks instead: both families at once. One failure fails both.
func (c *spfCase) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	var addrs []net.IPAddr
	var notFound error
	for _, rrtype := range []string{"A", "AAAA"} {
		found, err := c.lookup(host, rrtype)
		var dnsErr *net.DNSError
		if errors.As(err, &dnsErr) && !dnsErr.IsNotFound {
			return nil, err
		}
		for _, text := range found {
			addrs = append(addrs, net.IPAddr{IP: net.ParseIP(text)})
		}
		notFound = err
	}
	if addrs == nil {
		return nil, notFound
	}
	return addrs, nil
}

func (c *spfCase) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	found, err := c.lookup(name, "MX")
	var mxs []*net.MX
	for _, text := range found {
		var mx net.MX
		fmt.Sscanf(text, "%d %s", &mx.Pref, &mx.Host)
		mxs = append(mxs, &mx)
	}
	slices.SortFunc(mxs, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return mxs, err
}

func (c *spfCase) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return c.lookup(reverseName(netip.MustParseAddr(addr)), "PTR")
}

func reverseName(addr netip.Addr) string {
	labels, suffix := strings.Split(addr.String(), "."), ".in-addr.arpa"
	if addr.Is6() {
		labels, suffix = strings.Split(strings.ReplaceAll(addr.StringExpanded(), ":", ""), ""), ".ip6.arpa"
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".") + suffix
}

// spfGenerator makes cases from a small world of names, so that they meet.
type spfGenerator struct{ *rand.Rand }

func pick[T any](g spfGenerator, from ...T) T { return from[g.IntN(len(from))] }

func (g spfGenerator) percent(n int) bool { return g.IntN(100) < n }

func (g spfGenerator) next() *spfCase {
	c := &spfCase{
		IP:       pick(g, "192.0.2.1", "192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1", "2001:db8:0:1::1", "::ffff:192.0.2.1"),
		HELO:     pick(g, "h0.example.net", "h1.example.net", "d0.example.com", "localhost", "[192.0.2.1]", "h-e_l+o.example.net"),
		Receiver: "mx.receiver.example",
		Zone:     map[string][]string{},
		Wild:     map[string][][]string{"w.example.com": {{"A 127.0.0.2"}, {"A " + pick(g, "192.0.2.1", "192.0.2.9")}, {}}},
		asked:    map[string]bool{},
	}
	c.From = pick(g, "user", "user", "strong-bad", "a.b+c_d", "A/b=c", "~x&y", `"q s"`, "x--y") + "@d0.example.com"
	if g.percent(5) {
		c.From = pick(g, "", `"a@b"@d0.example.com`, "@d0.example.com", "user@nx.example.com", "user@D0.Example.COM", "user@localhost", "user@d0..example.com", "d0.example.com")
	}
	for i := range 5 {
		c.Zone[fmt.Sprintf("d%d.example.com", i)] = g.domain()
	}
	for i := range 4 {
		c.Zone[fmt.Sprintf("h%d.example.net", i)] = g.addresses()
	}
	var txts [][]string
	for range 3 {
		txts = append(txts, []string{"TXT " + g.record()})
	}
	c.Wild["t.example.com"] = txts
	addr := netip.MustParseAddr(c.IP).Unmap()
	for range g.IntN(4) {
		name := pick(g, "h0.example.net", "h1.example.net", "d0.example.com", "sub.d0.example.com", "nx.example.net")
		c.Zone[reverseName(addr)] = append(c.Zone[reverseName(addr)], "PTR "+name)
	}
	c.Zone["sub.d0.example.com"] = []string{"A 192.0.2.1", "AAAA 2001:db8::1"}
	c.Zone["e.example.com"] = []string{"TXT " + pick(g, "Sorry.", "%{i} %{c} is not %{s}'s %{h}", "see http://x.example/%{S}%{D}?%{r}%%%_%-", "%{l1r-} %{p} %{dr} %{o2}", "100%", "%{x}", "not ascii: é")}
	for range g.IntN(3) {
		name := pick(g, "d0.example.com", "d1.example.com", "d2.example.com", "h0.example.net", "h1.example.net", "e.example.com", "sub.d0.example.com", reverseName(addr))
		c.Zone[name] = append([]string{"FAIL" + pick(g, "", "", " A", " AAAA", " TXT", " PTR", " MX")}, c.Zone[name]...)
	}
	return c
}

// domain is the records of a domain that has a policy, mostly.
func (g spfGenerator) domain() []string {
	lines := g.addresses()
	for i := range g.IntN(4) {
		lines = append(lines, fmt.Sprintf("MX %d %s", 10*i, g.host()))
	}
	if g.percent(2) {
		for i := range 9 + g.IntN(4) {
			lines = append(lines, fmt.Sprintf("MX %d h%d.example.net", i, i%4))
		}
	}
	if g.percent(10) {
		lines = append(lines, "TXT "+pick(g, "unrelated", "v=spf10 -all", "v=spf2.0/pra -all", "é"))
	}
	if g.percent(97) {
		lines = append(lines, "TXT "+g.record())
	}
	if g.percent(2) {
		lines = append(lines, "TXT "+g.record())
	}
	return lines
}

func (g spfGenerator) addresses() []string {
	var lines []string
	for range g.IntN(3) {
		lines = append(lines, "A "+pick(g, "192.0.2.1", "192.0.2.129", "192.0.2.200", "198.51.100.7", "203.0.113.5"))
	}
	for range g.IntN(2) {
		lines = append(lines, "AAAA "+pick(g, "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::2", "2001:db9::1"))
	}
	return lines
}

func (g spfGenerator) host() string {
	return pick(g, "h0.example.net", "h1.example.net", "h2.example.net", "h3.example.net", "d1.example.com", "nx.example.net")
}

// record is an SPF record, now and then with an octet changed.
func (g spfGenerator) record() string {
	terms := []string{pick(g, "v=spf1", "v=spf1", "v=spf1", "V=SPF1")}
	directives := g.IntN(5)
	if g.percent(4) {
		directives = 8 + g.IntN(6)
	}
	for range directives {
		terms = append(terms, g.directive())
	}
	if g.percent(8) {
		terms = append(terms, pick(g, "exp", "EXP")+"="+pick(g, "e.example.com", "e.%{d2}", "nx.example.com"))
	}
	for range max(0, g.IntN(12)-9) {
		terms = append(terms, pick(g, "x=y", "x.y-z_1=%{d}:/", "x=", "x=%{l}%%%_%-"))
	}
	if g.percent(8) {
		terms = slices.Insert(terms, 1+g.IntN(len(terms)), pick(g, "redirect", "redirect", "Redirect")+"="+g.target("t.example.com"))
	}
	if g.percent(80) {
		terms = append(terms, pick(g, "-all", "-all", "~all", "?all", "all", "-ALL"))
	}
	text := strings.Join(terms, pick(g, " ", " ", " ", "  "))
	if g.percent(4) {
		at := len("v=spf1 ") + g.IntN(max(len(text)-len("v=spf1 "), 1))
		octet := string("%{}:/=.-_ 0a9~\x00\xff"[g.IntN(16)])
		text = text[:min(at, len(text))] + octet + text[min(at+g.IntN(2), len(text)):]
	}
	return text
}

func (g spfGenerator) directive() string {
	argument := func(percent int, wild string) string {
		if g.percent(percent) {
			return ":" + g.target(wild)
		}
		return ""
	}
	lengths := func() string {
		return pick(g, "", "", "", "/24", "/25", "//64", "/24//48", "/0", "//0", "/32//128")
	}
	return pick(g, "", "", "", "+", "-", "~", "?") + pick(g,
		func() string {
			return pick(g, "ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip4:198.51.100.7/32", "IP4:203.0.113.0/25", "ip4:0.0.0.0/0", "ip4:192.0.2.1/33", "ip4:192.0.2")
		},
		func() string { return pick(g, "ip6:2001:db8::1", "ip6:2001:DB8::/64", "ip6:::/0", "ip6:2001:db9::/32") },
		func() string { return pick(g, "a", "a", "A") + argument(70, "w.example.com") + lengths() },
		func() string { return "mx" + argument(50, "w.example.com") + lengths() },
		func() string { return "ptr" + argument(50, "w.example.com") },
		func() string { return "include" + argument(99, "t.example.com") },
		func() string { return "include" + argument(99, "t.example.com") },
		func() string { return "exists" + argument(99, "w.example.com") },
		func() string { return "exists:" + g.macro() + "." + g.macro() + ".w.example.com" },
	)()
}

// target is a domain-spec, often with macros, at times below a wild domain.
func (g spfGenerator) target(wild string) string {
	switch n := g.IntN(100); {
	case n < 55:
		return pick(g, "d1.example.com", "d2.example.com", "d3.example.com", "d4.example.com", "h0.example.net", "h1.example.net", "H2.Example.NET.")
	case n < 60:
		return pick(g, "nx1.example.com", "nx2.example.com", "example", "d1.example.com..", "d1.example.123", "a.b..example.com", "foo:bar.example.com", "")
	case n < 65:
		return pick(g, "%{d}", "%{o}", "%{h}", "d1.%{d2}", "d2.example.%{d1}", "d1.e%{x}.com", "%{d0}", "%{p}", "d1.%(d)")
	}
	return g.macro() + "." + wild
}

func (g spfGenerator) macro() string {
	letter := pick(g, "s", "l", "o", "d", "i", "v", "h", "l", "i", "S", "L", "H", "I")
	if g.percent(3) {
		letter = pick(g, "p", "P")
	}
	digits := pick(g, "", "", "1", "2", "3", "12")
	if g.percent(1) {
		letter = pick(g, "c", "t", "x")
	}
	if g.percent(1) {
		digits = "0"
	}
	return "%{" + letter + digits + pick(g, "", "", "r") + pick(g, "", "", "", "-", "+", "-.", "=_") + "}"
}
