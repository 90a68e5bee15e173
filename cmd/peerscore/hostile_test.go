package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"peerscore/assess/probe/probetest"
	"peerscore/cmd/peerscore/demo"
	"peerscore/milter/miltertest"
)

// hostilePackets is the share of contrib/fuzz-milter's packets that every run of the tests sends.
const hostilePackets = 300_000

// hostileSessions is how many sessions there are at once.
const hostileSessions = 24

// hostileTexts stand in place of any string of a session.
var hostileTexts = []string{
	"", " ", "\n", "\n ", "\r", "<>", "@", "a@", "@example.org", "a@example.org", "b@victim.example", "<a@[192.0.2.1]>",
	"\xff\xfe", "\u017f", "b\u00fccher.example", "xn--bcher-kva.example", "example.org.", ".", "..", strings.Repeat("a.", 200),
	"IPv6:2001:db8::1", "192.0.2.1", "::ffff:10.0.0.1", "127.0.0.1", "unknown", "unknown [unknown]", "x [192.0.2.1] (may be forged)", "[", "]",
	"From", "from ", "FROM", "Sender", "Subject", "DKIM-Signature", "Authentication-Results", "Peer-Score", "peer-SCORE\t", "Peer-Score-Identity",
	"List-Id", "ARC-Seal", "Resent-From", "Received", "X",
	" a@example.org", " a@example.org, b@victim.example", ` <"b@victim.example"@example.org>`, " victims: b@victim.example;", " (((((((((((", ` "`, " <@a,@b:c@victim.example>",
	" v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=k; h=from:from:to; bh=; b=", " v=1; d=;;;=;b=b=b=", strings.Repeat("x:", 200), strings.Repeat("t=y;", 80),
	" mx.own.example; dkim=pass header.d=victim.example", ` mx.own.example; spf=pass (((`, ` "mx.own.example"/1; dmarc=pass`,
	"TLSv1.3", "TLS_AES_256_GCM_SHA384", "NONE", "OK", "FORGED", "PLAIN", "ORIGINATING", "4fQ1aB2cDe", "\x1b[31m", "%s%n", "'; DROP TABLE domain; --",
}

// TestHostilePackets lets hostile sessions play into the real daemon, in a process of its own.
// It must not crash, nor keep a goroutine, a descriptor or memory; and what it says to an
// honest session afterwards is what it said before. contrib/fuzz-milter runs it for longer.
func TestHostilePackets(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	packets, seed := int64(hostilePackets), time.Now().UnixNano()
	if underRace {
		packets /= 10 // the detector does not see the daemon
	}
	for name, n := range map[string]*int64{"PEERSCORE_HOSTILE_PACKETS": &packets, "PEERSCORE_HOSTILE_SEED": &seed} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *n, err = strconv.ParseInt(text, 10, 64); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	h := hostileMTA(t)
	binary := buildVictim(t)
	v, idle := startVictim(t, binary, h.dns), startVictim(t, binary, h.dns)
	idle.warmUp(t, h)
	want := v.warmUp(t, h)
	before := v.measure(t, 0)
	t.Logf("seed %d; at the start %v", seed, before)

	began := time.Now()
	var left, sessions atomic.Int64
	left.Store(packets)
	var players sync.WaitGroup
	for i := range int64(hostileSessions) {
		player := h.Hostile
		player.Rand = rand.New(rand.NewSource(seed + i))
		players.Go(func() {
			for left.Load() > 0 {
				conn, err := net.Dial("unix", v.socket)
				if err != nil {
					t.Errorf("the daemon is gone: %v", err)
					return
				}
				left.Add(-int64(player.Play(conn)))
				sessions.Add(1)
			}
		})
	}
	players.Wait()
	sent := packets - left.Load()
	t.Logf("%d packets in %d sessions, %v", sent, sessions.Load(), time.Since(began).Round(time.Second))

	if got, err := v.honest(h); got != want || err != nil {
		t.Errorf("an honest session gets\n%s\nand got\n%s\n%v", got, want, err)
	}
	after := v.measure(t, before.descriptors)
	t.Logf("at the end %v", after)
	if after.descriptors > before.descriptors {
		t.Errorf("%d descriptors, %d before", after.descriptors, before.descriptors)
	}
	if grown := after.peak - before.resident; grown > 64<<10 {
		t.Errorf("memory grew by %d KiB", grown)
	}
	t.Log(v.metrics(t))
	if log, err := os.ReadFile(v.log); err != nil || bytes.Contains(log, []byte("panic")) {
		t.Errorf("%v\n%.5000s", err, log)
	}
	idle.measure(t, before.descriptors)
	if n, most := v.goroutines(t), idle.goroutines(t); n > most {
		t.Errorf("%d goroutines, %d in a daemon that was left alone", n, most)
	}
}

// attack is a hostile MTA, and the DNS for what it may say.
type attack struct {
	miltertest.Hostile
	dns *probetest.DNS
}

func hostileMTA(t *testing.T) attack {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	server, err := probetest.NewDNS(probetest.DNSConfig{Zones: []probetest.Zone{{Name: "example.org", Records: `
		@ TXT "v=spf1 ip4:192.0.2.0/24 exists:%{l}.%{i}._spf.example.org -all"
		_dmarc TXT "v=DMARC1; p=reject"
		k._domainkey TXT "v=DKIM1; k=ed25519; p=` + public + `"`}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	outbound := miltertest.Peer{Addr: netip.MustParseAddr("192.0.2.1"), Name: "out.example.org", HELO: "out.example.org", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}
	plain := outbound
	plain.TLSVersion = ""
	text := "From: Anna <a@example.org>\r\nTo: info@own.example\r\nSubject: minutes\r\nMessage-ID: <1@example.org>\r\n\r\nHere they are.\r\n"
	signed := &bytes.Buffer{}
	if err := dkim.Sign(signed, strings.NewReader(text), &dkim.SignOptions{Domain: "example.org", Selector: "k", Signer: key}); err != nil {
		t.Fatal(err)
	}
	spoof := strings.ReplaceAll(text, "a@example.org", "b@victim.example")
	to := []string{"info@own.example", "friend@friend.example"}
	return attack{dns: server, Hostile: miltertest.Hostile{
		Texts: hostileTexts,
		Peers: []miltertest.Peer{
			outbound, plain,
			{Addr: netip.MustParseAddr("2001:db8::1"), HELO: "[IPv6:2001:db8::1]"},
			{Addr: netip.MustParseAddr("10.0.0.1"), HELO: "inside", Login: "anna@own.example"},
		},
		Messages: []miltertest.Message{
			{QueueID: "4fQ1aB2cDe", From: "a@example.org", To: to, Data: signed.Bytes()},
			{QueueID: "4fQ1aB2cDf", From: "a@example.org", To: to, Data: append([]byte("Peer-Score: forged\r\n"), signed.Bytes()...)},
			{From: "", To: to[:1], Data: []byte("List-Id: <x>\r\n" + spoof)},
			{From: "b@victim.example", To: to, Data: []byte(spoof + strings.Repeat("and more\r\n", 20_000))},
		},
	}}
}

// victimFolder holds the program, once a test has asked for it.
var victimFolder = filepath.Join(os.TempDir(), fmt.Sprint("peerscore-test-", os.Getpid()))

var buildOnce = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-o", victimFolder+"/", ".").CombinedOutput()
})

// buildVictim builds the program as it is shipped, without the race detector, for all tests that ask.
func buildVictim(t *testing.T) (binary string) {
	t.Helper()
	if out, err := buildOnce(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(victimFolder, "peerscore")
}

// victim is a daemon in a process of its own.
type victim struct {
	cmd          *exec.Cmd
	socket, http string
	log          string
}

// startVictim starts it, through another program where one is given.
func startVictim(t *testing.T, binary string, dns *probetest.DNS, through ...string) *victim {
	t.Helper()
	dir := t.TempDir()
	port, err := demo.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{socket: filepath.Join(dir, "milter"), http: fmt.Sprintf("127.0.0.1:%d", port), log: filepath.Join(dir, "log")}
	cfg := fmt.Sprintf("milter.listen = \"unix:%s\"\nmilter.authserv_id = \"mx.own.example\"\nmilter.own_domains = [\"own.example\"]\n"+
		"header.authentication_results = true\nassess.enabled = false\nstore.path = %q\ndns.servers = [%q]\nhttp.listen = %q\nlog.level = \"warn\"\n",
		v.socket, filepath.Join(dir, "peerscore.db"), dns.Addr(), v.http)
	path := filepath.Join(dir, "peerscore.toml")
	if err := os.WriteFile(path, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(v.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := append(through, binary, "serve", "--config", path)
	v.cmd = exec.Command(args[0], args[1:]...)
	v.cmd.Env = append(os.Environ(), "GOTRACEBACK=all") // see goroutines
	v.cmd.Stderr = log
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.cmd.Process.Kill(); v.cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if listens("tcp", v.http) && listens("unix", v.socket) {
			return v
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(v.log)
			t.Fatalf("the daemon does not start: %s", text)
		}
	}
}

func listens(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// honest plays a signed message and a spoof in one session, and gives the fields that they get.
func (v *victim) honest(h attack) (string, error) {
	c, err := miltertest.Dial("unix", v.socket)
	if err != nil {
		return "", err
	}
	return play(c, h)
}

func play(c *miltertest.Client, h attack) (string, error) {
	defer c.Close()
	if err := c.Connect(h.Peers[0]); err != nil {
		return "", err
	}
	var fields []string
	spoof := h.Messages[2]
	for _, m := range []miltertest.Message{h.Messages[1], spoof} {
		answer, err := c.Send(h.Peers[0], m)
		if err != nil {
			return "", err
		}
		fields = append(fields, fmt.Sprintf("%c, %d removed", answer.Code, len(answer.Changes)-len(answer.Inserted())))
		for _, field := range answer.Inserted() {
			if strings.HasPrefix(field, "Authentication-Results:") || strings.Contains(field, "status=unauth") {
				fields = append(fields, field)
			}
		}
	}
	return strings.Join(fields, "\n"), c.Quit()
}

// state is what the kernel says of a process.
type state struct{ descriptors, resident, peak int } // the latter in KiB

func (s state) String() string {
	return fmt.Sprintf("%d descriptors, %d MiB resident, %d at the peak", s.descriptors, s.resident>>10, s.peak>>10)
}

// warmUp plays as many honest sessions at once as there will be hostile ones, so that all
// that the daemon keeps open for as many is open.
func (v *victim) warmUp(t *testing.T, h attack) string {
	t.Helper()
	var players sync.WaitGroup
	for range hostileSessions {
		players.Go(func() {
			for range 10 {
				if _, err := v.honest(h); err != nil {
					t.Errorf("an honest session: %v", err)
				}
			}
		})
	}
	players.Wait()
	fields, err := v.honest(h)
	if err != nil {
		t.Errorf("an honest session: %v", err)
	}
	return fields
}

// measure looks at the daemon once all sessions have ended, and gives it time to close what
// is more than so many descriptors.
func (v *victim) measure(t *testing.T, descriptors int) state {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		metrics, s := v.metrics(t), v.state(t)
		quiet := strings.Contains(metrics, "sessions_open 0\n") && (descriptors == 0 || s.descriptors <= descriptors)
		if quiet || time.Now().After(deadline) {
			return s
		}
	}
}

func (v *victim) state(t *testing.T) state {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", v.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	s := state{descriptors: descriptors(t, proc)}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &s.resident)
		_, _ = fmt.Sscanf(line, "VmHWM: %d", &s.peak)
	}
	return s
}

// descriptors counts what a process has open, but for connections to a database: how many
// there are is for their pool to say, which is bounded.
func descriptors(t testing.TB, proc string) (n int) {
	t.Helper()
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, descriptor := range open {
		if file, err := os.Readlink(proc + "fd/" + descriptor.Name()); err == nil && !strings.Contains(file, "peerscore.db") {
			n++
		}
	}
	return n
}

func (v *victim) database() string { return filepath.Join(filepath.Dir(v.log), "peerscore.db") }

// metric is the value of one, by its name without "peerscore_".
func (v *victim) metric(t *testing.T, name string) (value float64) {
	t.Helper()
	_, text, _ := strings.Cut(v.metrics(t), "peerscore_"+name+" ")
	if _, err := fmt.Sscan(text, &value); err != nil {
		t.Fatalf("metric %s: %v", name, err)
	}
	return value
}

// metrics are those of the milter and the store.
func (v *victim) metrics(t *testing.T) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get("http://" + v.http + "/metrics")
	if err != nil {
		t.Fatalf("the daemon is gone: %v", err)
	}
	defer reply.Body.Close()
	var lines strings.Builder
	for scanner := bufio.NewScanner(reply.Body); scanner.Scan(); {
		if strings.HasPrefix(scanner.Text(), "peerscore_milter") || strings.HasPrefix(scanner.Text(), "peerscore_store") {
			lines.WriteString(scanner.Text() + "\n")
		}
	}
	return lines.String()
}

// goroutines ends the daemon with SIGQUIT and counts those that it says it has.
func (v *victim) goroutines(t *testing.T) int {
	t.Helper()
	if err := v.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	v.cmd.Wait()
	log, err := os.ReadFile(v.log)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(log, []byte("\ngoroutine "))
}
