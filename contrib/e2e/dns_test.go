package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	nsdAddress     = "127.0.0.53" // authoritative for everything, the root included
	nsdAddress2    = "127.0.0.54" // the same under another address, ns2.example
	unboundAddress = "127.0.0.1"
)

// zone is one DNS zone of the laboratory. Records are lines of a zone file, relative to it.
type zone struct {
	name    string // without the trailing dot
	signed  bool
	bogus   bool // the parent's DS belongs to another key
	records string
}

// startDNS serves the zones under a signed root and a signed TLD "example" and starts a
// resolver that validates from that root.
func (l *lab) startDNS(zones []zone) {
	l.t.Helper()
	dir := l.subdir("dns")
	var delegations strings.Builder
	conf := fmt.Sprintf(`server:
  ip-address: %s
  ip-address: %s
  do-ip6: no
  username: ""
  zonesdir: "%s"
  database: ""
  pidfile: "%s/nsd.pid"
  xfrdfile: "%s/xfrd.state"
  xfrdir: "%s"
  zonelistfile: "%s/zone.list"
  verbosity: 0
remote-control:
  control-enable: no
`, nsdAddress, nsdAddress2, dir, dir, dir, dir, dir)
	serve := func(name, file string) {
		conf += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name, file)
	}
	for _, z := range zones {
		file, ds := l.writeZone(dir, z)
		serve(z.name, file)
		if strings.HasSuffix(z.name, ".example") {
			fmt.Fprintf(&delegations, "%s. NS ns.example.\n%s", z.name, ds)
		}
	}
	tldFile, tldDS := l.writeZone(dir, zone{name: "example", signed: true, records: "ns A " + nsdAddress + "\nns2 A " + nsdAddress2 + "\n" + delegations.String()})
	serve("example", tldFile)
	reverse := "10.in-addr.arpa. NS ns.example.\n"
	rootFile, rootDS := l.writeZone(dir, zone{name: ".", signed: true, records: "example. NS ns.example.\nns.example. A " + nsdAddress + "\n" + tldDS + reverse})
	serve(".", rootFile)
	l.write(dir, "nsd.conf", conf)
	l.write(dir, "root.key", rootDS)
	l.write(dir, "root.hints", ". 3600 IN NS ns.example.\nns.example. 3600 IN A "+nsdAddress+"\n")
	l.write(dir, "unbound.conf", fmt.Sprintf(`server:
  interface: %s
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  incoming-num-tcp: 200
  do-daemonize: no
  do-ip6: no
  chroot: ""
  username: ""
  directory: "%s"
  pidfile: "%s/unbound.pid"
  use-syslog: no
  logfile: ""
  root-hints: "%s/root.hints"
  trust-anchor-file: "%s/root.key"
  module-config: "validator iterator"
  ede: yes
  qname-minimisation: no
  local-zone: "10.in-addr.arpa." nodefault
remote-control:
  control-enable: no
`, unboundAddress, dir, dir, dir, dir))
	l.start("nsd", "nsd", "-d", "-c", filepath.Join(dir, "nsd.conf"))
	l.waitFor("NSD", func() bool { return udpAnswers(nsdAddress) })
	l.startUnbound()
	l.waitFor("Unbound", func() bool { return udpAnswers(unboundAddress) })
}

// startUnbound starts the resolver with an empty cache.
func (l *lab) startUnbound() {
	l.t.Helper()
	l.unbound = l.start("unbound", "unbound", "-d", "-c", filepath.Join(l.dir, "dns", "unbound.conf"))
}

// writeZone writes and, where asked, signs one zone; it returns the file to serve and the DS
// records for the parent.
func (l *lab) writeZone(dir string, z zone) (file, ds string) {
	origin := strings.TrimSuffix(z.name, ".") + "."
	base := "zone." + strings.ReplaceAll(z.name, "/", "_")
	l.write(dir, base, fmt.Sprintf("$ORIGIN %s\n$TTL 300\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n@ NS ns.example.\n%s", origin, z.records))
	if !z.signed {
		return base, ""
	}
	key := strings.TrimSpace(l.run(dir, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", origin))
	l.run(dir, "ldns-signzone", "-o", origin, "-f", base+".signed", base, key)
	text := l.read(dir, key+".ds")
	if z.bogus {
		other := strings.TrimSpace(l.run(dir, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", origin))
		text = l.read(dir, other+".ds")
	}
	return base + ".signed", text
}

// udpAnswers asks for the root's SOA.
func udpAnswers(server string) bool {
	conn, err := net.Dial("udp", net.JoinHostPort(server, "53"))
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
	query := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1}
	if _, err := conn.Write(query); err != nil {
		return false
	}
	answer := make([]byte, 1232)
	n, err := conn.Read(answer)
	return err == nil && n > 12 && answer[3]&0x0f == 0 && answer[7] > 0
}

func TestResolverValidates(t *testing.T) {
	l := newLab(t)
	l.startDNS([]zone{
		{name: "signed.example", signed: true, records: "@ TXT \"here\"\n"},
		{name: "plain.example", records: "@ TXT \"here\"\n"},
		{name: "bogus.example", signed: true, bogus: true, records: "@ TXT \"here\"\n"},
	})
	for name, want := range map[string]string{
		"signed.example": "rcode: NOERROR ad",
		"plain.example":  "rcode: NOERROR",
		"bogus.example":  "rcode: SERVFAIL",
	} {
		out := l.run("", "drill", "-D", "@"+unboundAddress, name, "TXT")
		status := "rcode: " + between(out, "rcode: ", ",")
		if strings.Contains(between(out, "flags: ", ";"), "ad") {
			status += " ad"
		}
		if status != want {
			t.Errorf("%s: %q, want %q", name, status, want)
		}
	}
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

func (l *lab) write(dir, name, content string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) read(dir, name string) string {
	l.t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(content)
}
