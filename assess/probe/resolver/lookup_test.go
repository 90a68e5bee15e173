package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

func TestLookups(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	s := serve(t, probetest.DNSConfig{
		Zones: append([]probetest.Zone{{Name: "odd.example", Records: `
			mx   MX 10 good
			mx   MX 5 bad\032name
			both A 192.0.2.1
			both AAAA 2001:db8::1
			half A 192.0.2.1
		`}, {Name: "8.b.d.0.1.0.0.2.ip6.arpa", Records: "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR Host.example.\n"}}, zones...),
		Failures: map[string]probetest.Failure{"half.odd.example AAAA": probetest.ServFail, "broken.example *": probetest.ServFail, "slow.example *": probetest.Timeout},
	})
	r := newResolver(t, Config{Timeout: time.Second}, s.Addr())
	txt := func(name string) (string, error) { return sprint(r.LookupTXT(ctx, name)) }
	addr := func(a string) (string, error) { return sprint(r.LookupAddr(ctx, a)) }
	ip := func(network string) func(string) (string, error) {
		return func(host string) (string, error) { return sprint(r.LookupNetIP(ctx, network, host)) }
	}
	mx := func(name string) (string, error) {
		records, err := r.LookupMX(ctx, name)
		var out []string
		for _, record := range records {
			out = append(out, fmt.Sprintf("%d %s", record.Pref, record.Host))
		}
		return sprint(out, err)
	}
	tests := []struct {
		lookup       func(string) (string, error)
		name, want   string
		notFound     bool
		temp, expiry bool
	}{
		{txt, "wild.wild.example", "[from the wildcard]", false, false, false},
		{txt, "nothing.example", "[]", true, false, false},
		{txt, "a.plain.example", "[]", true, false, false},
		{txt, "no name.example", "[]", true, false, false},
		{txt, "", "[]", true, false, false},
		{txt, "broken.example", "[]", false, true, false},
		{txt, "slow.example", "[]", false, true, true},
		{ip("ip4"), "both.odd.example", "[192.0.2.1]", false, false, false},
		{ip("ip6"), "both.odd.example", "[2001:db8::1]", false, false, false},
		{ip("ip"), "both.odd.example", "[192.0.2.1 2001:db8::1]", false, false, false},
		{ip("ip"), "half.odd.example", "[192.0.2.1]", false, false, false},
		{ip("ip6"), "half.odd.example", "[]", false, true, false},
		{ip("ip"), "nothing.example", "[]", true, false, false},
		{ip("ip"), "broken.example", "[]", false, true, false},
		{ip("ip4"), "192.0.2.1", "[]", true, false, false},
		{mx, "signed.example", "[10 a.mx.signed.example. 20 b.mx.signed.example.]", false, false, false},
		{mx, "null.plain.example", "[0 .]", false, false, false},
		{mx, "nothing.example", "[]", true, false, false},
		{addr, "192.0.2.1", "[a.mx.signed.example.]", false, false, false},
		{addr, "2001:db8::1", "[host.example.]", false, false, false},
		{addr, "192.0.2.2", "[]", true, false, false},
	}
	for _, tt := range tests {
		got, err := tt.lookup(tt.name)
		var dnsErr *net.DNSError
		if err == nil {
			dnsErr = &net.DNSError{}
		} else if e, ok := err.(net.Error); !ok || !errors.As(err, &dnsErr) || e.Timeout() != tt.expiry {
			t.Errorf("%s: the error is %#v", tt.name, err) // unwrapped: go-msgauth looks no deeper
			continue
		}
		if got != tt.want || dnsErr.IsNotFound != tt.notFound || dnsErr.IsTemporary != tt.temp || (err == nil) == (tt.notFound || tt.temp) {
			t.Errorf("%s = %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
	if _, err := r.LookupAddr(ctx, "not an address"); err == nil {
		t.Error("LookupAddr took what is no address")
	}
	if _, err := r.LookupNetIP(ctx, "tcp", "both.odd.example"); err == nil {
		t.Error("LookupNetIP took an unknown network")
	}
}

func sprint[T string | netip.Addr](list []T, err error) (string, error) { return fmt.Sprint(list), err }

// The lookups can stand in for those of net.Resolver.
type lookups interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

var _, _ lookups = (*Resolver)(nil), (*net.Resolver)(nil)
