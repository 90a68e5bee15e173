package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// fakeDNS answers for sender.example and for everybody else. It knows at once and keeps nothing,
// as with a TTL of 0.
type fakeDNS struct {
	spf, dmarc, key string
	queries         atomic.Int64
}

func (d *fakeDNS) set(in input, key string) {
	d.spf, d.dmarc, d.key = "v=spf1 "+in.texts[partSPF], "v=DMARC1; "+in.texts[partDMARC], key
	d.queries.Store(0)
}

func (d *fakeDNS) ask(ctx context.Context) error {
	if ctx.Err() == nil {
		d.queries.Add(1)
	}
	return ctx.Err()
}

// Exhausted leaves the limit to the messages: what they ask for past it is counted here.
func (d *fakeDNS) Exhausted() bool { return false }

func (d *fakeDNS) Cached() spf.Resolver { return nothingKept{} }

// nothingKept is the cache of a resolver that has none.
type nothingKept struct{}

var errNothingKept = errors.New("not in the cache")

func (nothingKept) LookupTXT(context.Context, string) ([]string, error) { return nil, errNothingKept }
func (nothingKept) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, errNothingKept }
func (nothingKept) LookupAddr(context.Context, string) ([]string, error) {
	return nil, errNothingKept
}
func (nothingKept) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errNothingKept
}

func (d *fakeDNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := d.ask(ctx); err != nil {
		return nil, err
	}
	switch {
	case strings.Contains(name, "._domainkey."):
		return []string{d.key}, nil
	case strings.HasPrefix(name, "_dmarc."):
		return []string{d.dmarc}, nil
	}
	return []string{d.spf}, nil
}

func (d *fakeDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := d.ask(ctx); err != nil {
		return nil, err
	}
	if network == "ip6" {
		return nil, noSuch(host)
	}
	return slices.Repeat([]netip.Addr{netip.MustParseAddr("203.0.113.7")}, 100), nil
}

func (d *fakeDNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := d.ask(ctx); err != nil {
		return nil, err
	}
	var hosts []*net.MX
	for i := range 10 {
		hosts = append(hosts, &net.MX{Host: fmt.Sprintf("mx%d.%s.", i, name), Pref: 10})
	}
	return hosts, nil
}

func (d *fakeDNS) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	if err := d.ask(ctx); err != nil {
		return nil, err
	}
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("p%d.victim.example.", i))
	}
	return names, nil
}

// nothing remembers nothing.
type nothing struct{}

func (nothing) AddObservation(context.Context, assess.Observation) error            { return nil }
func (nothing) CountUnauthenticated(dnsname.Domain)                                 {}
func (nothing) Standing(context.Context, dnsname.Domain) (standing assess.Standing) { return }
func (nothing) Offer(dnsname.Domain)                                                {}
func (nothing) Learn(dnsname.Domain)                                                {}
