package resolver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

// unboundConfig has the address, the port, the modules, the trust anchor and the directory.
const unboundConfig = `
server:
	interface: %s
	port: %s
	module-config: "%s"
	trust-anchor: "%s"
	username: ""
	chroot: ""
	directory: "%s"
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	do-not-query-localhost: no
	num-threads: 1
	ede: yes
	local-zone: "2.0.192.in-addr.arpa." nodefault
remote-control:
	control-enable: no
`

// startUnbound runs a real recursive resolver in front of the name server, which it finds by
// root hints and delegations when that has port 53, and by a stub for each zone otherwise. Where Unbound is missing the test is skipped.
func startUnbound(t *testing.T, names *probetest.DNS, modules string) (addr string) {
	t.Helper()
	program, err := exec.LookPath("unbound")
	if err != nil {
		leaveOut(t, "Unbound is not installed")
	}
	addr = freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	cfg := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(unboundConfig, host, port, modules, names.TrustAnchor(), dir)
	nameServer, namePort, _ := net.SplitHostPort(names.Addr())
	if namePort == "53" {
		hints := filepath.Join(dir, "root.hints")
		text += fmt.Sprintf("server:\n\troot-hints: %q\n", hints)
		writeFile(t, hints, ". 3600 NS ns.\nns. 3600 A "+nameServer+"\n")
	} else {
		for _, zone := range append([]probetest.Zone{{Name: "."}}, zones...) {
			text += fmt.Sprintf("stub-zone:\n\tname: %q\n\tstub-addr: %s@%s\n", zone.Name, nameServer, namePort)
		}
	}
	writeFile(t, cfg, text)
	var log strings.Builder
	command := exec.Command(program, "-d", "-c", cfg)
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return addr
}

// leaveOut skips a test that cannot be run here, unless all are demanded.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("PEERSCORE_FULL") == "1" {
		t.Fatal(why)
	}
	t.Skip("left out: " + why)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddr is an address whose port was free for UDP and TCP a moment ago. It is on an address
// of this process, where no client's port comes in between.
func freeAddr(t *testing.T) string {
	t.Helper()
	id := os.Getpid()
	s, err := probetest.NewDNS(probetest.DNSConfig{Addr: fmt.Sprintf("127.53.%d.%d:0", id>>8&0xff, id&0xff)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Addr()
}

// testUntil repeats the self-test until the resolver has come up and it can be carried out.
func testUntil(t *testing.T, r *Resolver) Validation {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if v := r.SelfTest(ctx); v.Validates != ValidatesUnknown {
			return v
		}
	}
	t.Fatal("Unbound did not come up")
	return Validation{}
}

// questions for the comparison of validators: every kind of answer and of denial.
var questions = []string{
	"signed.example TXT", "signed.example MX", "signed.example A", "signed.example SOA", "signed.example DNSKEY",
	"a.mx.signed.example A", "a.mx.signed.example AAAA", "_25._tcp.a.mx.signed.example TLSA", "alias.signed.example A",
	"alias.signed.example CNAME", "alias.signed.example MX", "www.signed.example A", "www.signed.example CNAME",
	"_domainkey.signed.example TXT", "_domainkey.plain.example TXT", "nothing.signed.example MX", "x.nothing.signed.example A",
	"mx.signed.example A", "sub.signed.example SOA", "plain.example SOA", "plain.example DS", "a.plain.example A", "null.plain.example MX",
	"w.wild.example TXT", "w.wild.example MX", "x.w.wild.example TXT", "a.plain.example TXT", "nowhere A", "nowhere.else.example TXT",
	"1.2.0.192.in-addr.arpa PTR", "expired.example TXT", "expired.example SOA", "bogus.example TXT", "bogus.example MX", "nothing.bogus.example A", "island.plain.example TXT",
	"below.bogus.example TXT", "large.example TXT",
}

// TestUnbound shows that a real validator and the embedded one give the same answers, secure,
// insecure and bogus. The zones that it validates have real signatures and denials.
func TestUnbound(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	embedded := tested(t, Config{}, serve(t, probetest.DNSConfig{}).Addr())
	for _, addr := range []string{"127.0.0.1:0", "127.0.0.153:53"} {
		t.Run(addr, func(t *testing.T) {
			names, err := probetest.NewDNS(probetest.DNSConfig{Addr: addr, Zones: zones, Authoritative: true})
			if err != nil {
				leaveOut(t, err.Error()) // port 53 is not for everybody
			}
			defer names.Close()
			unbound := newResolver(t, Config{Timeout: 5 * time.Second}, startUnbound(t, names, "validator iterator"))
			if v := testUntil(t, unbound); v.Validates != ValidatesYes {
				t.Fatalf("self-test: %+v", v)
			}
			compare(t, unbound, embedded)
		})
	}
}

func compare(t *testing.T, unbound, embedded *Resolver) {
	t.Helper()
	seen := map[Security]int{}
	for _, question := range questions {
		name, mnemonic, _ := strings.Cut(question, " ")
		rtype := parseType(t, mnemonic)
		want, got := embedded.Query(ctx, name, rtype), unbound.Query(ctx, name, rtype)
		if rtype == DNSKEY {
			want.Records, got.Records = nil, nil // each server has its own key
		}
		if sorted(want) != sorted(got) {
			t.Errorf("%s\nUnbound  %q (%s)\nembedded %q (%s)", question, summary(got), got.EDE, summary(want), want.EDE)
		}
		seen[got.Security]++
	}
	t.Logf("%d answers secure, %d insecure, %d suspect, %d bogus, %d indeterminate", seen[Secure], seen[Insecure], seen[Suspect], seen[Bogus], seen[Indeterminate])
	if bogus := unbound.Query(ctx, "bogus.example", TXT); !strings.HasPrefix(bogus.EDE, "DNSSEC Bogus") {
		t.Errorf("EDE of a bogus answer = %q", bogus.EDE)
	}
}

// TestUnboundWithoutKeys has a name server that does not give out the keys of a sound zone, as when
// the packets with them are lost: the zone is not bogus for that, and secure once they come.
func TestUnboundWithoutKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	names := serve(t, probetest.DNSConfig{Authoritative: true})
	names.Fail("signed.example DNSKEY", probetest.ServFail)
	unbound := newResolver(t, Config{Timeout: 10 * time.Second}, startUnbound(t, names, "validator iterator"))
	testUntil(t, unbound)
	if got := unbound.Query(ctx, "signed.example", TXT); got.Status != Failed || got.Security != Suspect {
		t.Errorf("without its keys: %q (%s)", summary(got), got.EDE)
	}
	names.Fail("signed.example DNSKEY", "")
	again := newResolver(t, Config{Timeout: 10 * time.Second}, startUnbound(t, names, "validator iterator"))
	testUntil(t, again)
	if got := again.Query(ctx, "signed.example", TXT); got.Security != Secure {
		t.Errorf("once the resolver has forgotten: %q (%s)", summary(got), got.EDE)
	}
}

// TestUnboundIterator shows that nothing is known of the same zones through a resolver that does not validate.
func TestUnboundIterator(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	names := serve(t, probetest.DNSConfig{Authoritative: true})
	r := newResolver(t, Config{Timeout: 5 * time.Second}, startUnbound(t, names, "iterator"))
	if v := testUntil(t, r); v.Validates != ValidatesNo {
		t.Errorf("self-test: %+v", v)
	}
	for _, name := range []string{"signed.example", "bogus.example", "plain.example", "nothing.signed.example"} {
		if got := r.Query(ctx, name, TXT); got.Security != Indeterminate || got.Status == Failed {
			t.Errorf("%s: %q", name, summary(got))
		}
	}
}
