package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

// BenchmarkBulk assesses lists of domains, as `assess -f FILE --json` does, in a process of its
// own with a database on disk, every server 40 ms away. It prints domains a second, the memory of that
// process on the way, and connections for each MX address. contrib/bench/assess calls it;
// PEERSCORE_BENCH_DOMAINS (6000) scales it.
//
// The list is what lists are like: three in five domains are with one of 20 providers that have
// 3 MX hosts each, the others have a mail server of their own; one in four is signed, one
// in twenty has an MTA-STS policy. In the second run one in a hundred of the servers is a
// tarpit, down to the end of the list: then the last result comes a greeting's patience later.
func BenchmarkBulk(b *testing.B) {
	n := 6000
	if s := os.Getenv("PEERSCORE_BENCH_DOMAINS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(b, err)
	}
	b.Run("honest", func(b *testing.B) { benchmarkBulk(b, n, 0) })
	b.Run("tarpits", func(b *testing.B) { benchmarkBulk(b, n, 250) })
}

// benchmarkBulk runs over a list of n domains in which one of so many is on a tarpit of its own.
func benchmarkBulk(b *testing.B, n, oneIn int) {
	l := newListLab(b, 40*time.Millisecond)
	tarpits := l.populate(n, oneIn)
	args := []string{"--config", l.start(), "--json", "assess", "-f", l.write("domains", strings.Join(l.domains, "\n"))}
	b.ResetTimer()
	r := l.measure(append(args, strings.Fields(os.Getenv("PEERSCORE_BENCH_FLAGS"))...)...)
	all, most := l.connections()
	rate := float64(n-tarpits) / r.honest.Seconds()
	fmt.Printf("\n%d domains in %.1f s: %.0f a second, %.2f times the 250 aimed at\n", n-tarpits, r.honest.Seconds(), rate, rate/250)
	if tarpits > 0 {
		fmt.Printf("  and %d on tarpits, the last of them after %.1f s: %.0f a second in all\n", tarpits, r.last.Seconds(), float64(n)/r.last.Seconds())
	}
	fmt.Printf("  resident memory at 25, 50, 75 and 100 %%: %s MiB, %s at the most; processor time %.1f ms a domain\n",
		strings.Join(r.memory, ", "), r.peak, r.processor.Seconds()*1000/float64(n))
	fmt.Printf("  %d connections to %d MX addresses, at most %d to any of them\n", all, len(l.servers), most)
	if most > 1 {
		b.Errorf("%d connections to one MX address", most)
	}
	b.ReportMetric(rate, "domains/s")
}

// populate makes n domains and their mail servers, and tells how many of these are tarpits.
func (l *listLab) populate(n, oneIn int) (tarpits int) {
	var shared []string // records of the providers
	for p := range 20 {
		provider := fmt.Sprintf("provider%d.example", p)
		zone := ""
		records := ""
		for host := range 3 {
			name := fmt.Sprintf("mx%d.%s", host, provider)
			zone += fmt.Sprintf("mx%d A %s\n", host, l.mail(probetest.SMTPConfig{}, name))
			records += fmt.Sprintf("@ MX %d %s.\n", host, name)
		}
		l.zones = append(l.zones, probetest.Zone{Name: provider, Signed: p%2 == 0, Records: zone})
		shared = append(shared, records)
	}
	for i := range n {
		name := fmt.Sprintf("domain%d.example", i)
		records := shared[i/5%len(shared)]
		if i%5 >= 3 {
			cfg := probetest.SMTPConfig{}
			if oneIn > 0 && i%oneIn == 4 {
				cfg.Steps = map[string]probetest.Step{"greeting": probetest.Silence}
				tarpits++
			}
			records = "@ MX 10 mx\nmx A " + l.mail(cfg, "mx."+name)
		}
		if i%20 == 0 {
			records += "\n" + l.policy(name)
		}
		l.domain(name, i%4 == 0, records)
	}
	return tarpits
}

// measurement is one run over a list.
type measurement struct {
	last, honest time.Duration // until the last result, and the last of those that no tarpit held up
	memory       []string      // MiB, at each quarter
	peak         string        // MiB
	processor    time.Duration
}

// measure runs the command and looks at it as its results come.
func (l *listLab) measure(args ...string) (m measurement) {
	l.t.Helper()
	cmd := l.command(args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(l.t, err)
	began := time.Now()
	must(l.t, cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	seen := 0
	for lines.Scan() {
		m.last = time.Since(began)
		if !bytes.Contains(lines.Bytes(), []byte("greeting: timeout")) {
			m.honest = m.last
		}
		seen++
		if quarter := len(l.domains) / 4; seen%quarter == 0 && seen < 4*quarter || seen == len(l.domains)-1 {
			// rusage would count the laboratory's memory too: it is kept across execve.
			m.peak = memoryOf(l.t, cmd.Process.Pid, "VmHWM:")
			m.memory = append(m.memory, memoryOf(l.t, cmd.Process.Pid, "VmRSS:")) // before the last one: after it the process ends
		}
	}
	must(l.t, lines.Err())
	must(l.t, cmd.Wait())
	if seen != len(l.domains) {
		l.t.Errorf("%d results for %d domains", seen, len(l.domains))
	}
	m.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return m
}

// memoryOf is a line of a process's status (proc_pid_status(5)) in MiB.
func memoryOf(t testing.TB, pid int, line string) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, found := strings.Cut(string(status), line)
	if !found {
		return "?" // it has ended
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return strconv.Itoa(kib >> 10)
}
