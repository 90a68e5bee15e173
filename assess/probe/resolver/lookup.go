package resolver

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// The lookups below have the signatures of net.Resolver. Their errors are *net.DNSError:
// IsNotFound when the name or the type does not exist or no such name can be asked for, else
// IsTemporary, with IsTimeout where that was the reason.

// LookupTXT is the TXT records of a name, each with its strings joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	answer := r.Query(ctx, name, TXT)
	return slices.Clone(answer.Records), answer.lookupError()
}

// LookupNetIP is the addresses of a host: network is "ip", "ip4" or "ip6". An IP address is not
// a host. With "ip" the error is nil when there is any address.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	switch network {
	case "ip4":
		answer := r.Query(ctx, host, A)
		return slices.Clone(answer.Addrs), answer.lookupError()
	case "ip6":
		answer := r.Query(ctx, host, AAAA)
		return slices.Clone(answer.Addrs), answer.lookupError()
	case "ip":
		return r.lookupBoth(ctx, host)
	}
	return nil, net.UnknownNetworkError(network)
}

func (r *Resolver) lookupBoth(ctx context.Context, host string) ([]netip.Addr, error) {
	six := make(chan Answer, 1)
	go func() { six <- r.Query(ctx, host, AAAA) }()
	v4 := r.Query(ctx, host, A)
	v6 := <-six
	addrs := slices.Concat(v4.Addrs, v6.Addrs)
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case v4.Status == Failed:
		return nil, v4.lookupError()
	}
	return nil, v6.lookupError()
}

// LookupMX is the MX records of a name by preference. Hosts end in a dot; the one of a null MX is
// ".". Records whose host cannot be a name are left out.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answer := r.Query(ctx, name, MX)
	var records []*net.MX
	for _, mx := range answer.MX {
		if _, ok := canonicalName(mx.Host); ok {
			records = append(records, &net.MX{Host: dns.Fqdn(mx.Host), Pref: mx.Preference})
		}
	}
	slices.SortStableFunc(records, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return records, answer.lookupError()
}

// LookupAddr is the names that the PTR records of an IP address point to; they end in a dot.
// What cannot be a name is left out.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an IP address", Name: addr}
	}
	answer := r.Query(ctx, name, PTR)
	var names []string
	for _, record := range answer.Records {
		if _, ok := canonicalName(record); ok {
			names = append(names, dns.Fqdn(record))
		}
	}
	return names, answer.lookupError()
}

// lookupError is the error that net.Resolver would return for the answer, or nil.
func (a Answer) lookupError() error {
	const notFound = "no such host"
	switch {
	case a.Status == Found:
		return nil
	case a.Status != Failed, a.Reason == ReasonName:
		return &net.DNSError{Err: notFound, Name: a.Name, IsNotFound: true}
	}
	reason := a.Reason
	if a.EDE != "" {
		reason = strings.Join([]string{reason, a.EDE}, ", ")
	}
	return &net.DNSError{Err: reason, Name: a.Name, IsTemporary: true, IsTimeout: a.Reason == ReasonTimeout}
}
