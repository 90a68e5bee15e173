package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerscore/assess/probe/probetest"
)

// forbidden are spellings of addresses that must never draw a packet, a reason a line.
const forbidden = `
this-host          0.0.0.0 0.0.0.1 0.255.255.255 ::
private            10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1.1 192.168.255.255
shared             100.64.0.0 100.64.0.1 100.127.255.255 100.100.100.200
loopback           127.0.0.0 127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.255 ::1
link-local         169.254.0.1 169.254.1.1 169.254.255.255 fe80::1 fe80::ffff:ffff fe80::5efe:7f00:1 febf::1
metadata           169.254.169.254 169.254.169.253 169.254.170.2 fd00:ec2::254 fd20:ce::254 168.63.129.16
ietf               192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.171 192.0.0.192 192.0.0.255
documentation      192.0.2.0 192.0.2.1 198.51.100.1 203.0.113.1 203.0.113.255 2001:db8:: 2001:db8::1 2001:db8:ffff:: 3fff:: 3fff::1 3fff:fff:ffff::
as112              192.31.196.1 192.175.48.1 192.175.48.6 2001:4:112::1 2620:4f:8000::1
amt                192.52.193.1 2001:3::1
6to4-relay         192.88.99.0 192.88.99.1 192.88.99.2
benchmarking       198.18.0.0 198.18.0.1 198.19.255.255 2001:2::1
multicast          224.0.0.0 224.0.0.1 224.0.0.251 233.252.0.1 239.255.255.255 ff02::1 ff02::fb ff05::2 ff0e::1 ff00:: ffff::
reserved           240.0.0.0 240.0.0.1 247.1.2.3 255.255.255.254
broadcast          255.255.255.255
mapped             ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe ::ffff:0.0.0.0 ::ffff:192.168.1.1 ::ffff:8.8.8.8 0:0:0:0:0:ffff:7f00:0001 ::FFFF:127.0.0.1
compatible         ::127.0.0.1 ::7f00:1 ::10.0.0.1 ::a00:1 ::169.254.169.254 ::8.8.8.8 ::2 ::ffff 0:0:0:0:0:0:127.0.0.1
translated         ::ffff:0:127.0.0.1 ::ffff:0:7f00:1 ::ffff:0:a9fe:a9fe
nat64              64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1:fffe::7f00:1 64:ff9b:1:ffff:ffff::
6to4               2002:7f00:1:: 2002:7f00:1::1 2002:a00:1:: 2002:a9fe:a9fe::1 2002:c0a8:101:: 2002:808:808::1 2002::
teredo             2001:0:: 2001::1 2001:0:7f00:1:: 2001:0:53aa:64c:0:7fff:80ff:fffe 2001:0:4136:e378:8000:63bf:3fff:fdd2
orchid             2001:10::1 2001:20::1 2001:2f:ffff::1
drone-and-other    2001:30::1 2001:1::1 2001:1::2 2001:1::3 2001:1ff:ffff::
discard            100:: 100::1 100::ffff:ffff:ffff:ffff 100:0:0:1::1
srv6               5f00:: 5f00::1
unique-local       fc00:: fc00::1 fd00::1 fd12:3456:789a::1 fdff:ffff::1
site-local         fec0::1 feff::1
unassigned         1::1 200::1 400::1 1000::1 4000::1 6000::1 8000::1 a000::1 c000::1 e000::1 f000::1 1fff:ffff::1
zoned              fe80::1%eth0 2606:4700::1%lo ::1%1
`

// public are addresses next to the forbidden ones, which any mail server may have.
const public = `1.0.0.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
	169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.31.195.255 192.52.194.0 192.88.98.255 192.167.255.255 192.169.0.0
	192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 203.0.112.255 223.255.255.255 168.63.129.15 168.63.129.17
	2000::1 2001:200::1 2001:470::1 2001:db7:ffff::1 2001:db9::1 2003::1 2620:4f:7fff::1 2a00:1450:4001::1a 3ffe:ffff::1`

func forbiddenAddresses(t *testing.T) []netip.Addr {
	t.Helper()
	var addrs []netip.Addr
	for line := range strings.Lines(strings.TrimSpace(forbidden)) {
		for _, s := range strings.Fields(line)[1:] {
			addr, err := netip.ParseAddr(s)
			must(t, err)
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) < 120 {
		t.Errorf("only %d spellings", len(addrs))
	}
	return addrs
}

func TestForbiddenAddresses(t *testing.T) {
	addrs := forbiddenAddresses(t)
	d := &Dialer{}
	for _, addr := range addrs {
		if d.Check(addr) == nil {
			t.Errorf("%s may be dialled", addr)
		}
		if err := d.control(t.Context(), "tcp", netip.AddrPortFrom(addr, 25).String(), nil); err == nil {
			t.Errorf("the kernel may connect to %s", addr)
		}
	}
	for _, s := range strings.Fields(public) {
		if err := d.Check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("public: %v", err)
		}
	}
	if d.Check(netip.Addr{}) == nil {
		t.Error("the zero address may be dialled")
	}
	t.Logf("%d spellings", len(addrs))
}

func TestOwnAddresses(t *testing.T) {
	resolver := netip.MustParseAddr("9.9.9.9")
	d := &Dialer{Refuse: []netip.Addr{resolver, netip.MustParseAddr("::ffff:1.1.1.1")}}
	if d.Check(resolver) == nil || d.Check(netip.MustParseAddr("1.1.1.1")) == nil {
		t.Error("the resolver may be dialled")
	}
	interfaces, err := net.InterfaceAddrs()
	must(t, err)
	for _, own := range interfaces {
		prefix := netip.MustParsePrefix(own.String())
		// Whatever network it lies in, an address of ours is none that is dialled.
		if checkLocal(prefix.Addr().Unmap()) == nil {
			t.Errorf("our own %s may be dialled", prefix.Addr())
		}
	}
	if checkLocal(somewhere) != nil {
		t.Error("an address that is not ours is taken for one")
	}
}

// What the operator allows is dialled, in the family in which it is written.
func TestAllowedNetworks(t *testing.T) {
	d := &Dialer{Allow: prefixes("127.0.0.0/8 fd00::/8 192.0.2.1/32"), Refuse: []netip.Addr{netip.MustParseAddr("127.0.0.53")}}
	for _, tt := range []struct {
		addr string
		ok   bool
	}{
		{"127.0.0.1", true}, {"127.0.0.53", true}, {"fd00::1", true}, {"192.0.2.1", true},
		{"192.0.2.2", false}, {"::ffff:127.0.0.1", false}, {"::1", false}, {"10.0.0.1", false}, {"fc00::1", false},
	} {
		if got := d.Check(netip.MustParseAddr(tt.addr)) == nil; got != tt.ok {
			t.Errorf("%s: %v", tt.addr, got)
		}
	}
}

// What the operator denies draws no packet on any port, in whatever spelling, allowed or not.
func TestDeniedNetworks(t *testing.T) {
	dialled := 0
	d := &Dialer{
		Deny: prefixes("198.41.0.0/24 2001:470::/32 10.1.0.0/16"), Allow: prefixes("10.0.0.0/8 ::ffff:0:0/96"),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			dialled++
			return nil, errors.New("nobody there")
		},
	}
	for _, tt := range []struct {
		addr string
		ok   bool
	}{
		{"198.41.0.4", false}, {"198.41.0.0", false}, {"198.41.0.255", false}, {"2001:470::1", false}, {"10.1.2.3", false}, {"::ffff:198.41.0.4", false},
		{"198.41.1.4", true}, {"2001:471::1", true}, {"10.2.0.1", true},
	} {
		addr := netip.MustParseAddr(tt.addr)
		for _, port := range []uint16{25, 80, 443} {
			dialled = 0
			_, err := d.DialAddress(t.Context(), addr, port)
			if (dialled == 1) != tt.ok || errors.As(err, &errForbidden{}) == tt.ok {
				t.Errorf("%s, port %d: dialled %d times, %v", addr, port, dialled, err)
			}
			if err := d.control(t.Context(), "tcp", netip.AddrPortFrom(addr, port).String(), nil); (err == nil) != tt.ok {
				t.Errorf("%s, port %d, in the socket: %v", addr, port, err)
			}
		}
	}
}

func TestPorts(t *testing.T) {
	dialled := ""
	d := &Dialer{
		Ports: map[uint16]uint16{25: 2525},
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			dialled = network + " " + address
			return nil, errors.New("nobody there")
		},
	}
	for _, tt := range []struct {
		port uint16
		want string
	}{{25, "tcp 198.41.0.4:2525"}, {80, "tcp 198.41.0.4:80"}, {443, "tcp 198.41.0.4:443"}, {587, ""}, {2525, ""}, {22, ""}, {0, ""}, {8080, ""}} {
		dialled = ""
		if _, err := d.DialAddress(t.Context(), somewhere, tt.port); err == nil || dialled != tt.want {
			t.Errorf("port %d: dialled %q, %v", tt.port, dialled, err)
		}
	}
	// The socket's control function allows what is mapped and nothing else.
	for _, tt := range []struct {
		address string
		ok      bool
	}{{"198.41.0.4:2525", true}, {"198.41.0.4:25", false}, {"198.41.0.4:80", true}, {"198.41.0.4:22", false}, {"127.0.0.1:80", false}, {"host:80", false}} {
		if got := d.control(t.Context(), "tcp", tt.address, nil) == nil; got != tt.ok {
			t.Errorf("%s: %v", tt.address, got)
		}
	}
}

// An address that was fine when it was looked up, and is not when the kernel connects, is not
// reached: the control function has the last word.
func TestControlHasLastWord(t *testing.T) {
	server, err := probetest.NewSMTP(probetest.SMTPConfig{})
	must(t, err)
	defer server.Close()
	dialer := net.Dialer{ControlContext: (&Dialer{Ports: map[uint16]uint16{25: portOf(t, server.Addr())}}).control}
	if _, err := dialer.DialContext(t.Context(), "tcp", server.Addr()); !errors.As(err, &errForbidden{}) {
		t.Errorf("got %v", err)
	}
	if total, _ := server.Connections(); total != 0 {
		t.Errorf("%d connections", total)
	}
}

func TestAlternate(t *testing.T) {
	addrs := func(s string) []netip.Addr {
		var list []netip.Addr
		for _, field := range strings.Fields(s) {
			list = append(list, netip.MustParseAddr(field))
		}
		return list
	}
	for _, tt := range []struct{ four, six, want string }{
		{"1.1.1.1 1.1.1.2", "2606::1 2606::2", "1.1.1.1 2606::1 1.1.1.2 2606::2"},
		{"1.1.1.1", "2606::1 2606::2", "1.1.1.1 2606::1 2606::2"},
		{"1.1.1.1 1.1.1.1", "", "1.1.1.1"},
		{"", "", ""},
	} {
		if got := alternate(addrs(tt.four), addrs(tt.six)); !slices.Equal(got, addrs(tt.want)) {
			t.Errorf("%s and %s: %v", tt.four, tt.six, got)
		}
	}
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		n, hosts int
		want     []int
	}{{5, 1, []int{5}}, {5, 2, []int{3, 2}}, {5, 3, []int{2, 2, 1}}, {5, 5, []int{1, 1, 1, 1, 1}}, {5, 10, []int{1, 1, 1, 1, 1, 0, 0, 0, 0, 0}}} {
		var got []int
		for i := range tt.hosts {
			got = append(got, share(tt.n, i, tt.hosts))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d over %d hosts: %v", tt.n, tt.hosts, got)
		}
	}
}
