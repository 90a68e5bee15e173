package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

// smallLab has five domains on one mail server, one of them internationalised, and one on a tarpit.
func smallLab(t *testing.T) (l *listLab, cfg string, tarpit *probetest.SMTP) {
	t.Helper()
	l = newListLab(t, 0)
	l.mail(probetest.SMTPConfig{}, "mx.a.example")
	for _, name := range []string{"a.example", "b.example", "c.example", "d.example", "xn--bcher-kva.example"} {
		l.domain(name, false, "@ MX 10 mx.a.example.\nmx A 127.1.0.1")
	}
	slow := l.mail(probetest.SMTPConfig{Steps: map[string]probetest.Step{"greeting": probetest.Silence}}, "mx.tarpit.example")
	l.domain("tarpit.example", false, "@ MX 10 mx\nmx A "+slow)
	return l, l.start(), l.servers[1]
}

// assessed runs `assess -f -` on a list and returns the domains of its JSON lines, sorted.
func (l *listLab) assessed(cfg string, list io.Reader, flags ...string) (domains []string, stderr string, state *os.ProcessState) {
	l.t.Helper()
	cmd := l.command(append([]string{"--config", cfg, "--json", "assess", "-f", "-"}, flags...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = list, &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		domains = append(domains, domainOf(l.t, line))
	}
	slices.Sort(domains)
	return domains, errs.String(), cmd.ProcessState
}

func domainOf(t testing.TB, line string) string {
	t.Helper()
	var result struct{ Domain string }
	if err := json.Unmarshal([]byte(line), &result); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	return result.Domain
}

func TestAssessList(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l, cfg, _ := smallLab(t)
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, list string
		want       string
		stderr     string // a regular expression
		status     int
	}{
		{"one a line", "a.example\nb.example\n", "a.example b.example", `^$`, 0},
		{"no end of the last line", "a.example\nb.example", "a.example b.example", `^$`, 0},
		{"blank lines and comments", "\n# a list\n  \t\na.example # the first\n#b.example\n", "a.example", `^$`, 0},
		{"CRLF and a byte order mark", "\ufeffa.example\r\n\r\nb.example\r\n", "a.example b.example", `^$`, 0},
		{"blanks", "  a.example\t\n", "a.example", `^$`, 0},
		{"duplicates", "a.example\nA.Example.\nuser@a.example\n<x@a.example>\na.example", "a.example", `^$`, 0},
		{"internationalised, twice", "bücher.example\nXN--BCHER-KVA.example\nBÜCHER。example\n", "xn--bcher-kva.example", `^$`, 0},
		{"malformed", "a.example\nnot a domain\nb.example\n\x1b[31m.example\n192.0.2.1\nco.uk\nc.example\n", "a.example b.example c.example",
			`^peerscore: line 2: .*\n.* line 4: [^\x1b]*\n.* line 5: .*IP address\n.* line 6: .*public suffix\npeerscore: 4 lines are not valid domains\n$`, 2},
		{"not text", "a.example\n\xff\xfe\x00.example\n\x00\nb.example\n", "a.example b.example", `line 2: .*\n.*line 3: `, 2},
		{"a long line", "a.example\n" + long + "\nb.example\n", "a.example b.example", `^peerscore: line 2: longer than 4096 octets\n`, 2},
		{"a long line at the end", "a.example\n" + long, "a.example", `line 2: longer than`, 2},
		{"a long comment", "a.example #" + long + "\n#" + long + "\nb.example\n", "a.example b.example", `^$`, 0},
		{"nothing", "", "", `^$`, 0},
		{"no domain at all", "#\nlocalhost\n", "", `^peerscore: line 2: .*\npeerscore: 1 lines are not valid domains\n$`, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, stderr, state := l.assessed(cfg, strings.NewReader(c.list))
			if strings.Join(got, " ") != c.want || state.ExitCode() != c.status || !regexp.MustCompile(c.stderr).MatchString(stderr) {
				t.Errorf("status %d, domains %q, %q", state.ExitCode(), got, stderr)
			}
		})
	}
}

// TestAssessEndlessList shows that a list is not kept: neither a line of 1 GB nor many lines.
func TestAssessEndlessList(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l, cfg, _ := smallLab(t)
	const most = 512 << 10 // KiB
	// Linux counts the peak of the process that starts another as the other's too (getrusage(2)).
	debug.FreeOSMemory()
	must(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	for _, c := range []struct {
		name   string
		list   io.Reader
		stderr string
	}{
		{"a line of 1 GB", io.MultiReader(strings.NewReader("a.example\n"), io.LimitReader(repeated(strings.Repeat("x", 4096)), 1<<30), strings.NewReader("\nb.example\n")),
			"peerscore: line 2: longer than 4096 octets\npeerscore: 1 lines are not valid domains\n"},
		{"2 million blank lines", io.MultiReader(strings.NewReader("a.example\n"), io.LimitReader(repeated("\n\n\n\n\n\n\n\n"), 2_000_000), strings.NewReader("\nb.example\n")), ""},
		{"50,000 times two domains", io.LimitReader(repeated("a.example\nb.example\n"), 50_000*20), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, stderr, state := l.assessed(cfg, c.list)
			if !slices.Equal(got, []string{"a.example", "b.example"}) || stderr != c.stderr {
				t.Errorf("domains %q, %q", got, stderr)
			}
			if peak := state.SysUsage().(*syscall.Rusage).Maxrss; peak > most {
				t.Errorf("%d MiB at the most", peak>>10)
			}
		})
	}
}

// repeated reads as a text without end.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for n == 0 || len(p)-n >= len(r) {
		n += copy(p[n:], r)
	}
	return n, nil
}

// TestAssessInterrupted breaks off a run whose list has not come to its end, and begins again.
func TestAssessInterrupted(t *testing.T) {
	l, cfg, tarpit := smallLab(t)
	cmd := l.command("--config", cfg, "--json", "assess", "-f", "-")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	must(t, cmd.Start())
	_, err = io.WriteString(in, "a.example\ntarpit.example\nb.example\n")
	must(t, err)
	var got []string
	for lines := bufio.NewScanner(out); len(got) < 2 && lines.Scan(); {
		got = append(got, domainOf(t, lines.Text())) // as they come: the list is not at its end
	}
	for n := 0; n == 0; n, _ = tarpit.Connections() {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	must(t, cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitUnavailable {
		t.Errorf("interrupted: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if want := "peerscore: interrupted after 2 domains; --skip-fresh goes on from there\n"; stderr.String() != want {
		t.Errorf("%q", &stderr)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("%q before the interruption", got)
	}
	rest, errs, _ := l.assessed(cfg, strings.NewReader("a.example\nb.example\nc.example\nd.example\n"), "--skip-fresh")
	if !slices.Equal(rest, []string{"c.example", "d.example"}) || errs != "" {
		t.Errorf("started again: %q, %q", rest, errs)
	}
	if n := sumOf(l.servers[0].Connections()); n != 1 {
		t.Errorf("%d connections to an address in two runs", n)
	}
}

func sumOf(total, _ int) int { return total }

// TestAssessFullDisk ends at the first result that cannot be written, whatever the list has to come.
func TestAssessFullDisk(t *testing.T) {
	l, cfg, _ := smallLab(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()
	cmd := l.command("--config", cfg, "assess", "-f", "-")
	in, err := cmd.StdinPipe()
	must(t, err)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	must(t, cmd.Start())
	_, err = io.WriteString(in, "a.example\n")
	must(t, err)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitUnavailable {
		t.Errorf("%v", err)
	}
	if want := "peerscore: cannot write the output: write /dev/stdout: no space left on device\n"; stderr.String() != want {
		t.Errorf("%q", &stderr)
	}
}

// What assess.deny_networks lists is not dialled, and what was measured there before stands.
func TestAssessDeniedNetworks(t *testing.T) {
	l := newListLab(t, 0)
	l.domain("org.example", false, "@ MX 10 mx", "mx A "+l.mail(probetest.SMTPConfig{}, "mx.org.example"))
	open := l.start()
	text, err := os.ReadFile(open)
	must(t, err)
	denied := l.write("deny.toml", strings.Replace(string(text), "[assess]", "[assess]\n\t\tdeny_networks = [\"127.1.0.0/16\"]", 1))
	for _, tt := range []struct {
		config      string
		connections int
	}{{denied, 0}, {open, 1}, {denied, 1}} {
		out, err := l.command("assess", "--config", tt.config, "--json", "org.example").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if all, _ := l.connections(); all != tt.connections {
			t.Errorf("%d connections, want %d", all, tt.connections)
		}
		if says := strings.Contains(string(out), "assess.deny_networks"); says != (tt.config == denied) {
			t.Errorf("with %s: %s", tt.config, out)
		}
	}
}
