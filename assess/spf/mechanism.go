package spf

import (
	"net/netip"
	"strings"
)

// matchA looks for the client among the addresses of the target (RFC 7208, section 5.3).
func (e *evaluation) matchA(d *Directive, target string) (netip.Prefix, *failure) {
	if !queryable(target) {
		return netip.Prefix{}, nil
	}
	addrs, err := e.addresses(target, e.ip.Is4())
	if err != nil {
		return netip.Prefix{}, temporary(err)
	}
	if len(addrs) == 0 {
		return netip.Prefix{}, e.countVoid()
	}
	return d.contains(addrs, e.ip), nil
}

// matchMX looks for the client among the addresses of the target's MX hosts (RFC 7208, section 5.4). There
// is no implicit MX, and an MX host without addresses is no void lookup: the term's own query
// had an answer.
func (e *evaluation) matchMX(d *Directive, target string) (netip.Prefix, *failure) {
	if !queryable(target) {
		return netip.Prefix{}, nil
	}
	mxs, err := e.mx(target)
	switch {
	case err != nil:
		return netip.Prefix{}, temporary(err)
	case len(mxs) == 0:
		return netip.Prefix{}, e.countVoid()
	case len(mxs) > MaxNames:
		return netip.Prefix{}, permanent(tooManyMXNames)
	}
	for _, mx := range mxs {
		host := strings.TrimSuffix(mx.Host, ".")
		if !queryable(host) { // also the null MX
			continue
		}
		addrs, err := e.addresses(host, e.ip.Is4())
		if err != nil {
			return netip.Prefix{}, temporary(err)
		}
		if network := d.contains(addrs, e.ip); network.IsValid() {
			return network, nil
		}
	}
	return netip.Prefix{}, nil
}

// contains gives the network around the first of addrs that holds ip, or the zero prefix.
func (d *Directive) contains(addrs []netip.Addr, ip netip.Addr) netip.Prefix {
	bits := int(d.Bits6)
	if ip.Is4() {
		bits = int(d.Bits4)
	}
	for _, addr := range addrs {
		if ip.Is4() {
			addr = addr.Unmap()
		}
		if addr.Is4() != ip.Is4() {
			continue
		}
		if network, err := addr.WithZone("").Prefix(bits); err == nil && network.Contains(ip) {
			return network
		}
	}
	return netip.Prefix{}
}

// matchExists reports whether the target has an IPv4 address, whatever the client's (RFC 7208, section 5.7).
func (e *evaluation) matchExists(target string) (bool, *failure) {
	if !queryable(target) {
		return false, nil
	}
	addrs, err := e.addresses(target, true)
	if err != nil {
		return false, temporary(err)
	}
	if len(addrs) == 0 {
		return false, e.countVoid()
	}
	return true, nil
}
