package probe

import (
	"bytes"
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
)

// inNamespace marks the child process of TestZeroPackets.
const inNamespace = "PEERSCORE_TEST_NETNS"

// TestZeroPackets dials every forbidden address in a network namespace that would take the
// packets anywhere, and has the kernel count them.
func TestZeroPackets(t *testing.T) {
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
	for _, command := range []string{
		"link set lo up",
		"link add out type veth peer name far",
		"link set out arp off", "link set far arp off", "link set far up", "link set out up",
		"addr add 5.5.5.5/24 dev out", "addr add 2a01::5/64 dev out nodad",
		"route add default via 5.5.5.1 dev out", "-6 route add default via 2a01::1 dev out",
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", command, err, out)
		}
	}
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
	}
	if after := packets(t); after != before {
		t.Errorf("packets: %v before, %v after", before, after)
	}
	runForbidden(t, addrs)
	t.Logf("%d addresses on 3 ports, and one run: 0 packets", len(addrs))
}

// runForbidden is a whole run on a domain that has them all.
func runForbidden(t *testing.T, addrs []netip.Addr) {
	l := newLab(t)
	var records strings.Builder
	for i, chunk := range slices.Collect(slices.Chunk(addrs, len(addrs)/10+1)) {
		fmt.Fprintf(&records, "@ MX %d mx%d\n", i, i)
		for _, addr := range chunk {
			switch {
			case addr.Is4():
				fmt.Fprintf(&records, "mx%d A %s\n", i, addr)
			case addr.Zone() == "":
				fmt.Fprintf(&records, "mx%d AAAA %s\n", i, addr.StringExpanded())
			}
		}
	}
	records.WriteString("mta-sts A 169.254.169.254\nmta-sts AAAA fd00:ec2::254\n_mta-sts TXT \"v=STSv1; id=1\"\n")
	l.zone("forbidden.example", records.String())
	l.env.Dialer = &Dialer{}
	before := packets(t)
	facts := l.probe("forbidden.example")
	if after := packets(t); after != before {
		t.Errorf("packets in a run: %v before, %v after", before, after)
	}
	refused := 0
	for _, h := range facts.Hosts.Hosts {
		refused += len(h.Refused)
		if len(h.Sessions) > 0 {
			t.Errorf("%s was asked: %+v", h.Name, h.Sessions)
		}
	}
	if refused < 120 || facts.MTASTS.Fetched.Detail == "" {
		t.Errorf("%d addresses refused; policy: %+v", refused, facts.MTASTS.Fetched)
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
