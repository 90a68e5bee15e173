package probe

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// special is what nobody's public mail or web server has as its address: the special-purpose
// registries of IANA (RFC 6890, as of October 2025), multicast, and one address of a cloud
// that answers only from inside. Some of these networks are reachable (AS112, for one), and
// none holds mail servers.
var special = prefixes(`
	0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
	192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
	192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
	224.0.0.0/4 168.63.129.16/32

	::/128 ::1/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64
	2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10`)

// unicast holds all IPv6 addresses that IANA has given to the global internet. Whatever lies
// outside is refused: IPv4 in its IPv6 spellings (::ffff:127.0.0.1, ::7f00:1), NAT64,
// multicast, and what is not assigned.
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(list string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, s := range strings.Fields(list) {
		parsed = append(parsed, netip.MustParsePrefix(s))
	}
	return parsed
}

// errForbidden is an address that is never dialled.
type errForbidden struct {
	addr netip.Addr
	why  string
}

func (e errForbidden) Error() string {
	return fmt.Sprintf("%s is never dialled: %s", e.addr, e.why)
}

// Check reports whether the address may be dialled; the error says why not. It is asked for
// each address of an answer, and again for the one that the kernel is about to connect to.
func (d *Dialer) Check(addr netip.Addr) error {
	for _, network := range d.Deny {
		if network.Contains(addr.Unmap().WithZone("")) {
			return errForbidden{addr, "it is listed in assess.deny_networks"}
		}
	}
	for _, network := range d.Allow {
		if network.Contains(addr) { // an IPv4 network does not contain IPv4-mapped addresses
			return nil
		}
	}
	for _, network := range special {
		if network.Contains(addr) {
			return errForbidden{addr, "it lies in the special-purpose network " + network.String()}
		}
	}
	switch {
	case !addr.IsValid() || addr.Zone() != "":
		return errForbidden{addr, "it is no address of the internet"}
	case addr.Is6() && !unicast.Contains(addr):
		return errForbidden{addr, "it lies outside of 2000::/3"}
	}
	for _, own := range d.Refuse {
		if own.Unmap() == addr {
			return errForbidden{addr, "it is an address of the resolver"}
		}
	}
	return checkLocal(addr)
}

// checkLocal refuses the addresses of our own interfaces, as they are now: a probe must not
// reach what trusts its own host.
func checkLocal(addr netip.Addr) error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return errForbidden{addr, "our own addresses cannot be listed: " + err.Error()}
	}
	for _, own := range addrs {
		if prefix, err := netip.ParsePrefix(own.String()); err == nil && prefix.Addr().Unmap() == addr {
			return errForbidden{addr, "it is an address of this host"}
		}
	}
	return nil
}
