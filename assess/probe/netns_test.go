package probe

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// inNamespace marks the child process of TestZeroPackets.
const inNamespace = "PEERSCORE_TEST_NETNS"

// TestZeroPackets dials every forbidden address in a network namespace that would take the
// packets anywhere, and has the kernel count them.
func TestZeroPackets(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	if os.Getenv(inNamespace) != "" {
		dialForbidden(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestZeroPackets$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 { // who may then do so in a namespace of users
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		without(t, "needs iproute2")
	}
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		without(t, "needs network namespaces: "+err.Error())
	}
	for line := range strings.Lines(string(out)) {
		t.Log(strings.TrimSpace(line))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// without ends a test that cannot run here: contrib/test sees to it that it can.
func without(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("PEERSCORE_FULL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func dialForbidden(t *testing.T) {
	ip(t,
		"link set lo up",
		"link add out type veth peer name far",
		"link set out arp off", "link set far arp off", "link set far up", "link set out up",
		"addr add 5.5.5.5/24 dev out", "addr add 2a01::5/64 dev out nodad",
		"route add default via 5.5.5.1 dev out", "-6 route add default via 2a01::1 dev out",
	)
	checkCounting(t)
	addrs := append(forbiddenAddresses(t), netip.MustParseAddr("5.5.5.5"), netip.MustParseAddr("2a01::5"))
	before := packets(t)
	d := &Dialer{}
	for _, addr := range addrs {
		for _, port := range []uint16{portSMTP, portHTTP, portHTTPS} {
			if conn, err := d.DialAddress(t.Context(), addr, port); err == nil {
				conn.Close()
				t.Errorf("%s port %d is dialled", addr, port)
			}
			if d.Check(addr.Unmap()) == nil {
				continue // the kernel is asked for the IPv4 address, which is public
			}
			// The second look alone, without the first.
			bare := net.Dialer{ControlContext: d.control, Timeout: time.Second}
			conn, err := bare.DialContext(t.Context(), "tcp", netip.AddrPortFrom(addr, port).String())
			if err == nil {
				conn.Close()
			}
			if !errors.As(err, new(errForbidden)) {
				t.Errorf("%s port %d is left to the kernel: %v", addr, port, err)
			}
		}
		if after := packets(t); after != before {
			t.Fatalf("%s draws packets: %v before, %v after", addr, before, after)
		}
	}
	t.Logf("%d spellings dialled on 3 ports: 0 packets", len(addrs))
	probeForbidden(t, addrs)
}

// probeForbidden has every forbidden address in the DNS: as the address of a mail host, of a
// policy host and of a CRL host, and as the one to which a name of these changes after it had
// a public one. Public ones are beyond a route that takes no packet.
func probeForbidden(t *testing.T, addrs []netip.Addr) {
	four, six := netip.MustParseAddr("198.41.0.4"), netip.MustParseAddr("2606:4700::4")
	ip(t, "route add prohibit 198.41.0.4", "-6 route add prohibit 2606:4700::4")
	l := newLab(t)
	leaf := l.issue(probetest.Leaf{}).Leaf
	path := []*x509.Certificate{leaf, l.ca.Issuing, l.ca.Root}
	l.env.Dialer = &Dialer{}
	r := l.runner()
	before, spellings := packets(t), 0
	for i, addr := range addrs {
		if addr.Zone() != "" {
			continue // not in the DNS
		}
		spellings++
		was, record := six, "AAAA "+addr.StringExpanded()
		if addr.Is4() {
			was, record = four, "A "+addr.String()
		}
		still, rebound := fmt.Sprintf("s%d.example", i), fmt.Sprintf("r%d.example", i)
		for _, domain := range []string{still, rebound} {
			l.zone(domain, "@ MX 10 mx\n_mta-sts TXT \"v=STSv1; id=1\"\nmx "+record+"\nmta-sts "+record+"\ncrl "+record)
		}
		for _, host := range []string{"mx.", "mta-sts.", "crl."} {
			l.dns.Rebind(host+rebound, was, addr)
		}
		forget := func() { // what the cache keeps for half a minute at least
			l.env.Resolver = l.resolver()
			r.env.Resolver = l.env.Resolver
		}
		for _, domain := range []string{still, rebound, rebound} {
			forget()
			facts := probeWith(t, r, domain)
			leaf.CRLDistributionPoints = []string{fmt.Sprintf("http://crl.%s/%d.crl", domain, spellings)}
			revoked := r.crls.check(t.Context(), l.env.Resolver, path)
			r.crls.entries = nil // so that it is asked for again
			if !strings.HasPrefix(revoked.Detail, "the CRL cannot be had: ") || !strings.HasPrefix(facts.MTASTS.Fetched.Detail, "the policy cannot be had: ") {
				t.Errorf("%s, %s: %+v, %+v", domain, addr, facts.MTASTS.Fetched, revoked)
			}
		}
		forget()
		refused := probeWith(t, r, rebound)
		if h := refused.Hosts.Hosts[0]; len(h.Refused) != 1 || len(h.Sessions) > 0 || !strings.Contains(refused.MTASTS.Fetched.Detail, "is never dialled") {
			t.Errorf("%s, rebound: %+v, %+v", addr, h, refused.MTASTS.Fetched)
		}
		why := "its address " + l.env.Dialer.Check(addr).Error()
		if own := i >= len(addrs)-2; own && !strings.HasSuffix(why, "is never dialled: it is an address of this host") {
			t.Error(why)
		}
		wants(t, judged(refused, assess.StartTLS), assess.SupportUnknown, why)
		if after := packets(t); after != before {
			t.Fatalf("%s draws packets in a run: %v before, %v after", addr, before, after)
		}
	}
	t.Logf("%d spellings as mail, policy and CRL hosts, before and after rebinding: 0 packets", spellings)
}

// ip runs commands of iproute2.
func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", command, err, out)
		}
	}
}

// checkCounting shows that the counters move when something is dialled.
func checkCounting(t *testing.T) {
	before := packets(t)
	for _, address := range []string{"198.41.0.4:25", "[2606:4700::1]:25", "127.0.0.1:25"} {
		if conn, err := (&net.Dialer{Timeout: 50 * time.Millisecond}).Dial("tcp", address); err == nil {
			conn.Close()
		}
	}
	if after := packets(t); after.opened != before.opened+3 || after.sent < before.sent+3 {
		t.Fatalf("the kernel does not count: %v before, %v after", before, after)
	}
}

// tcpCount is what the kernel says of TCP in this namespace, IPv4 and IPv6 together.
type tcpCount struct{ opened, sent int }

func packets(t *testing.T) tcpCount {
	t.Helper()
	text, err := os.ReadFile("/proc/net/snmp")
	must(t, err)
	var names, values [][]byte
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); string(fields[0]) == "Tcp:" {
			names, values = values, fields
		}
	}
	value := func(name string) int {
		i := slices.IndexFunc(names, func(b []byte) bool { return string(b) == name })
		n, err := strconv.Atoi(string(values[i]))
		must(t, err)
		return n
	}
	return tcpCount{value("ActiveOpens"), value("OutSegs")}
}
