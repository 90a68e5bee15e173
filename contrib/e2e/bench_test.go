package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/milter/miltertest"
)

// contender is one way to check mail: a Postfix, the milters behind it, and their processes.
type contender struct {
	name    string
	address string   // of its Postfix
	sockets []string // the milters' unix sockets, in the order in which Postfix asks them
	pids    []int
}

const (
	benchSource = "10.9.0.9" // whom the contenders see
	benchDomain = "sender.example"
)

// BenchmarkMilter measures peerscore beside OpenDKIM and OpenDKIM+OpenDMARC(+SPF), through a real
// Postfix and against the bare milter sockets, interleaved, and prints medians of paired ratios.
// contrib/bench/milter calls it. PEERSCORE_BENCH_ROUNDS (5) and PEERSCORE_BENCH_MESSAGES (400) scale it.
func BenchmarkMilter(b *testing.B) {
	l := newLab(b)
	contenders := l.startContenders()
	rounds, messages := fromEnv("PEERSCORE_BENCH_ROUNDS", 5), fromEnv("PEERSCORE_BENCH_MESSAGES", 400)
	for _, size := range []int{2 << 10, 100 << 10} {
		text := l.benchMessage(size)
		for _, parallel := range []int{1, 10, 50} {
			n := messages
			if parallel == 1 {
				n /= 4
			}
			measure := func(c contender) rate { return l.throughPostfix(c, text, n, parallel) }
			compare(b, fmt.Sprintf("Postfix, %d KB, parallelism %d", size>>10, parallel), contenders, rounds, measure)
		}
		compare(b, fmt.Sprintf("bare socket, %d KB, parallelism 10", size>>10), contenders[1:], rounds, func(c contender) rate {
			return l.throughSockets(c, text, 4*messages, 10)
		})
	}
	peerscore := contenders[len(contenders)-1]
	fmt.Printf("%-40s %.1f MiB\n", "peak resident memory of peerscore", peakMemory(b, peerscore.pids[0]))
}

// rate is one measurement.
type rate struct {
	perSecond float64
	cpu       time.Duration // of the milters, a message
}

// compare runs every contender in each round, one after the other, and prints medians. The
// last contender is peerscore; ratios are its rate over the other's in the same round.
func compare(b *testing.B, what string, contenders []contender, rounds int, measure func(contender) rate) {
	b.Helper()
	results := make([][]rate, len(contenders))
	for range rounds {
		for i, c := range contenders {
			results[i] = append(results[i], measure(c))
		}
	}
	ours := results[len(results)-1]
	fmt.Printf("%s\n", what)
	for i, c := range contenders {
		var speed, ratio, cpu []float64
		for round, r := range results[i] {
			speed = append(speed, r.perSecond)
			ratio = append(ratio, ours[round].perSecond/r.perSecond)
			cpu = append(cpu, float64(r.cpu)/float64(time.Millisecond))
		}
		fmt.Printf("    %-22s %7.0f msg/s   peerscore is %5.2f times that   %.2f ms CPU a message (peerscore: %.2f of it)\n",
			c.name, median(speed), median(ratio), median(cpu), cpuShare(results[i], ours))
	}
}

func cpuShare(theirs, ours []rate) float64 {
	var share []float64
	for i := range theirs {
		if theirs[i].cpu > 0 {
			share = append(share, float64(ours[i].cpu)/float64(theirs[i].cpu))
		}
	}
	return median(share)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// startContenders starts name servers, four Postfixes and their milters. All of Postfix's
// deliveries end in the discard transport.
func (l *lab) startContenders() []contender {
	l.startDNS([]zone{
		{name: benchDomain, records: l.newDKIMKey() + "@ MX 10 mx\nmx A " + benchSource + "\n@ TXT \"v=spf1 ip4:" + benchSource + " -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n"},
		{name: ownDomain, records: "mx A 127.0.0.25\n"},
		{name: "10.in-addr.arpa", records: "9.0.9 PTR mx." + benchDomain + ".\n"},
	})
	dkimSocket, dkim := l.startOpenDKIM("opendkim")
	chainDKIM, chain1 := l.startOpenDKIM("chain-opendkim")
	chainDMARC, chain2 := l.startOpenDMARC("chain-opendmarc")
	oursSocket := filepath.Join(l.dir, "peerscore.sock")
	ours := l.startDaemon("milter.listen = \"unix:"+oursSocket+"\"", "milter.socket_mode = \"0666\"", "assess.enabled = false", "log.level = \"warn\"")
	contenders := []contender{
		{name: "no milter", address: "127.0.0.40"},
		{name: "OpenDKIM", address: "127.0.0.41", sockets: []string{dkimSocket}, pids: []int{dkim}},
		{name: "OpenDKIM+OpenDMARC+SPF", address: "127.0.0.42", sockets: []string{chainDKIM, chainDMARC}, pids: []int{chain1, chain2}},
		{name: "peerscore", address: "127.0.0.43", sockets: []string{oursSocket}, pids: []int{ours.cmd.Process.Pid}},
	}
	for i, c := range contenders {
		var milters []string
		for _, socket := range c.sockets {
			milters = append(milters, "unix:"+socket)
		}
		l.startPostfix(fmt.Sprintf("postfix%d", i), c.address, []string{
			"smtpd_milters = " + strings.Join(milters, ", "), "virtual_transport = discard:", "milter_default_action = tempfail",
		})
		// The kernel chooses 127.0.0.1 as the source of a connection to loopback unless told otherwise.
		l.run("", "ip", "route", "replace", "local", c.address, "dev", "lo", "src", benchSource, "table", "local")
	}
	return contenders
}

func (l *lab) startOpenDKIM(name string) (socket string, pid int) {
	dir := l.subdir(name)
	socket = filepath.Join(dir, "socket")
	l.write(dir, "conf", "Mode v\nSocket local:"+socket+"\nUMask 000\nUserID root\nSyslog no\nNameservers "+unboundAddress+"\nInternalHosts 192.0.2.1\nAlwaysAddARHeader yes\nAuthservID "+ownHost+"\nOn-Default accept\n")
	cmd := l.start(name, "opendkim", "-f", "-x", filepath.Join(dir, "conf"))
	l.waitFor(name, func() bool { return exists(socket) })
	return socket, cmd.Process.Pid
}

func (l *lab) startOpenDMARC(name string) (socket string, pid int) {
	dir := l.subdir(name)
	socket = filepath.Join(dir, "socket")
	l.write(dir, "ignore", "192.0.2.1\n")
	l.write(dir, "conf", "Socket local:"+socket+"\nUMask 000\nUserID root\nSyslog no\nAuthservID "+ownHost+"\nTrustedAuthservIDs "+ownHost+"\nSPFSelfValidate true\nSPFIgnoreResults true\nIgnoreHosts "+filepath.Join(dir, "ignore")+"\n")
	cmd := l.start(name, "opendmarc", "-f", "-c", filepath.Join(dir, "conf"))
	l.waitFor(name, func() bool { return exists(socket) })
	return socket, cmd.Process.Pid
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// benchMessage is a signed message of about size octets.
func (l *lab) benchMessage(size int) string {
	line := strings.Repeat("All work and no play makes a dull message body. ", 1)[:47] + "\n"
	body := strings.Repeat(line, max(1, (size-1200)/len(line)))
	text := l.text(message{id: fmt.Sprintf("bench%d@%s", size, benchDomain), from: "bench@" + benchDomain, sign: selector + " " + benchDomain, body: body})
	return text
}

// throughPostfix sends n messages with Postfix's own smtp-source.
func (l *lab) throughPostfix(c contender, text string, n, parallel int) rate {
	file := filepath.Join(l.dir, "bench.eml")
	l.write(l.dir, "bench.eml", text)
	before, begin := cpuOf(l.t, c.pids), time.Now()
	l.run("", "smtp-source", "-F", file, "-m", strconv.Itoa(n), "-s", strconv.Itoa(parallel), "-M", "mx."+benchDomain,
		"-f", "bench@"+benchDomain, "-t", "user@"+ownDomain, net.JoinHostPort(c.address, "25"))
	elapsed := time.Since(begin)
	return rate{float64(n) / elapsed.Seconds(), (cpuOf(l.t, c.pids) - before) / time.Duration(n)}
}

// throughSockets replays n messages against the bare milter sockets, each message through all of them.
func (l *lab) throughSockets(c contender, text string, n, parallel int) rate {
	l.t.Helper()
	m := benchSession(text)
	before, begin := cpuOf(l.t, c.pids), time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	var wait sync.WaitGroup
	for range parallel {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				for _, socket := range c.sockets {
					if err := replay(socket, m); err != nil {
						l.t.Error(c.name, err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
	return rate{float64(n) / time.Since(begin).Seconds(), (cpuOf(l.t, c.pids) - before) / time.Duration(n)}
}

var benchPeer = miltertest.Peer{
	Addr: netip.MustParseAddr(benchSource), Name: "mx." + benchDomain, HELO: "mx." + benchDomain,
	TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
}

func benchSession(text string) miltertest.Message {
	return miltertest.Message{
		QueueID: "4bench", From: "bench@" + benchDomain, To: []string{"user@" + ownDomain},
		Data: []byte(strings.ReplaceAll(text, "\n", "\r\n")),
	}
}

// replay is one SMTP session with one message, as Postfix would have it.
func replay(socket string, m miltertest.Message) error {
	client, err := miltertest.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Connect(benchPeer); err != nil {
		return err
	}
	answer, err := client.Send(benchPeer, m)
	if err != nil {
		return err
	}
	if answer.Code != 'c' && answer.Code != 'a' {
		return fmt.Errorf("answered %q", answer.Code)
	}
	return client.Quit()
}

// cpuOf is the processor time that processes have used so far.
func cpuOf(t testing.TB, pids []int) time.Duration {
	t.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var total time.Duration
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, field := range fields[11:13] { // utime, stime
			ticks, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			total += time.Duration(ticks) * tick
		}
	}
	return total
}

// peakMemory is VmHWM in MiB.
func peakMemory(t testing.TB, pid int) float64 {
	t.Helper()
	out, err := exec.Command("sed", "-n", "s/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p", fmt.Sprintf("/proc/%d/status", pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	kilobytes, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return float64(kilobytes) / 1024
}
