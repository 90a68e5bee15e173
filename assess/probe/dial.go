package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// connectTimeout bounds one TCP connection attempt.
const connectTimeout = 10 * time.Second

// The ports that are dialled. There are no others.
const (
	portSMTP  = 25
	portHTTP  = 80
	portHTTPS = 443
)

// Dialer connects to public mail and web servers and to nothing else. It takes addresses,
// never names, goes through no proxy, and looks at the address twice: before it dials, and in
// the socket's control function, when the kernel is about to connect.
type Dialer struct {
	Deny   []netip.Prefix // never dialled, whatever Allow says: assess.deny_networks
	Allow  []netip.Prefix // dialled whatever the registries say: assess.allow_networks
	Refuse []netip.Addr   // the resolver's addresses

	// Ports replaces ports 25, 80 and 443 for laboratories that may not listen there. No
	// configuration reaches it.
	Ports map[uint16]uint16
	// Dial replaces the connecting itself, for laboratories without a network; nil is net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// DialAddress connects to one of the three ports of an address. The error is an address that
// is never dialled, or the network's.
func (d *Dialer) DialAddress(ctx context.Context, addr netip.Addr, port uint16) (net.Conn, error) {
	if port != portSMTP && port != portHTTP && port != portHTTPS {
		return nil, fmt.Errorf("port %d is never dialled", port)
	}
	if err := d.Check(addr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{ControlContext: d.control}).DialContext
	}
	return dial(ctx, "tcp", netip.AddrPortFrom(addr, d.port(port)).String())
}

func (d *Dialer) port(port uint16) uint16 {
	if replaced, ok := d.Ports[port]; ok {
		return replaced
	}
	return port
}

// control has the last word before the kernel connects.
func (d *Dialer) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	if port := ap.Port(); port != d.port(portSMTP) && port != d.port(portHTTP) && port != d.port(portHTTPS) {
		return fmt.Errorf("port %d is never dialled", port)
	}
	return d.Check(ap.Addr())
}
