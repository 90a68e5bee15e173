package spf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// zone is a Resolver that reads like a zone file: per name, lines such as "TXT v=spf1 -all",
// "A 192.0.2.1", "MX 10 mail.example.com" or "CNAME other.example". "FAIL TXT" makes one type fail
// temporarily, "FAIL" all that no line before it answers.
type zone map[string][]string

func (z zone) lookup(name, rrtype string) ([]string, error) {
	for asked := name; ; {
		var found []string
		alias := ""
		for _, line := range z[name] {
			kind, data, _ := strings.Cut(line, " ")
			switch {
			case kind == rrtype:
				found = append(found, data)
			case kind == "CNAME":
				alias = strings.ToLower(data)
			case kind == "FAIL" && (data == rrtype || data == "" && found == nil):
				return nil, &net.DNSError{Err: "server misbehaving", Name: asked, IsTemporary: true}
			}
		}
		switch {
		case found != nil:
			return found, nil
		case alias == "":
			return nil, &net.DNSError{Err: "no such host", Name: asked, IsNotFound: true}
		case alias == name:
			return nil, &net.DNSError{Err: "CNAME loop", Name: asked, IsTemporary: true}
		}
		name = alias
	}
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	return z.lookup(name, "TXT")
}

func (z zone) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	found, err := z.lookup(host, map[string]string{"ip4": "A", "ip6": "AAAA"}[network])
	var addrs []netip.Addr
	for _, text := range found {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, err
}

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	found, err := z.lookup(name, "MX")
	var mxs []*net.MX
	for _, text := range found {
		mx := new(net.MX)
		preference, host, _ := strings.Cut(text, " ")
		fmt.Sscan(preference, &mx.Pref)
		mx.Host = host + "." // as net.Resolver gives it
		mxs = append(mxs, mx)
	}
	return mxs, err
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return z.lookup(arpa(netip.MustParseAddr(addr)), "PTR")
}

// arpa is the name of an address in the reverse tree.
func arpa(addr netip.Addr) string {
	text, suffix := "", ".in-addr.arpa"
	if addr.Is4() {
		text = strings.ReplaceAll(addr.String(), ".", " ")
	} else {
		text, suffix = strings.ReplaceAll(addr.StringExpanded(), ":", ""), ".ip6.arpa"
		text = strings.TrimSpace(strings.Join(strings.Split(text, ""), " "))
	}
	labels := strings.Fields(text)
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".") + suffix
}

func TestArpa(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":   "1.2.0.192.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := arpa(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
