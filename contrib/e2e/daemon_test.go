package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const receiver = "127.0.0.25" // the Postfix under test

// daemon is one `peerscore serve`.
type daemon struct {
	l       *lab
	cmd     *exec.Cmd
	program []string // the binary, after what starts it
	config  string
	db      string
}

// startDaemon runs peerscore with the laboratory's settings and those of the test, which are
// TOML lines of dotted keys and win.
func (l *lab) startDaemon(settings ...string) *daemon {
	l.t.Helper()
	d := l.newDaemon(settings...)
	d.start()
	return d
}

func (l *lab) newDaemon(settings ...string) *daemon {
	l.t.Helper()
	d := &daemon{l: l, program: []string{os.Getenv(binary)}, config: filepath.Join(l.dir, "peerscore.toml"), db: filepath.Join(l.subdir("state"), "peerscore.db")}
	l.write(l.dir, "peerscore.toml", strings.Join(overridden([]string{
		fmt.Sprintf("store.path = %q", d.db),
		"assess.allow_networks = [\"10.0.0.0/8\"]",
		fmt.Sprintf("assess.ehlo = %q", ownHost),
		"milter.internal_hosts = [\"127.0.0.1\"]", // the peers have private addresses, which are internal by default
		fmt.Sprintf("milter.own_domains = [%q]", ownDomain),
	}, settings), "\n")+"\n")
	return d
}

// start runs the daemon and waits until it says that it is ready, as systemd does.
func (d *daemon) start() {
	d.l.t.Helper()
	path := filepath.Join(d.l.dir, "notify")
	os.Remove(path)
	socket, err := net.ListenPacket("unixgram", path)
	if err != nil {
		d.l.t.Fatal(err)
	}
	defer socket.Close()
	os.Chmod(path, 0o777)
	command := slices.Concat([]string{"NOTIFY_SOCKET=" + path}, d.program, []string{"serve", "--config", d.config})
	d.cmd = d.l.start("peerscore", "env", command...)
	socket.SetReadDeadline(time.Now().Add(30 * time.Second))
	message := make([]byte, 100)
	if n, _, err := socket.ReadFrom(message); err != nil || string(message[:n]) != "READY=1" {
		d.l.t.Fatalf("peerscore does not start: %q, %v", message[:n], err)
	}
}

// stop ends the daemon as systemd does.
func (d *daemon) stop() {
	d.l.t.Helper()
	d.signal(syscall.SIGTERM)
	d.stopped()
}

func (d *daemon) signal(s syscall.Signal) { d.cmd.Process.Signal(s) }

// stopped waits for the end after SIGTERM.
func (d *daemon) stopped() {
	d.l.t.Helper()
	if err := d.cmd.Wait(); err != nil {
		d.l.t.Errorf("the daemon did not stop cleanly: %v", err)
	}
}

// reload has the daemon read its configuration again. It is a step of a conversation.
func (d *daemon) reload(*client) error {
	d.l.t.Helper()
	d.signal(syscall.SIGHUP)
	d.l.waitFor("the configuration", func() bool {
		return strings.Contains(d.l.read(d.l.dir, "peerscore.log"), "configuration reloaded")
	})
	return nil
}

// kill ends the daemon as the OOM killer does.
func (d *daemon) kill() {
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	d.cmd.Wait()
}

// peer is what `peerscore show --json` says, as far as the tests look at it.
type peer struct {
	Status string `json:"status"`
	Basis  string `json:"basis"`
	Scores map[string]struct {
		Stars   *float64 `json:"stars"`
		Partial bool     `json:"partial"`
	} `json:"scores"`
	Standards map[string]struct {
		Support string `json:"support"`
		Tests   []struct {
			Subject, Address, Direction, Test, Result, Detail string
		} `json:"tests"`
	} `json:"standards"`
	Sessions struct {
		Credited, Hosts, Unauthenticated int
	} `json:"sessions"`
}

// show asks the CLI; it fails the test unless the domain is known.
func (d *daemon) show(domain string) peer {
	d.l.t.Helper()
	p, err := d.tryShow(domain)
	if err != nil {
		d.l.t.Fatalf("show %s: %v", domain, err)
	}
	return p
}

func (d *daemon) tryShow(domain string) (p peer, err error) {
	out, err := d.cli("show", "--json", domain)
	if err != nil {
		return p, fmt.Errorf("%w: %s", err, out)
	}
	return p, json.Unmarshal([]byte(out), &p)
}

func (d *daemon) cli(args ...string) (string, error) {
	return d.l.try("", d.program[len(d.program)-1], append([]string{"--config", d.config}, args...)...)
}

// stars is a score as a test table writes it: "4.5", "-" for none, with a "p" behind for partial.
func (p peer) stars(category string) string {
	s := p.Scores[category]
	out := "-"
	if s.Stars != nil {
		out = fmt.Sprintf("%g", *s.Stars)
	}
	if s.Partial {
		out += "p"
	}
	return out
}

var (
	receivedID = regexp.MustCompile(`(?m)^Received: (?:.*\n[ \t])*?.*\bid ([0-9A-Za-z]+)`)
	messageLog = regexp.MustCompile(`msg=message queue=(\S+) (row=\S+) .*(client=\S+) (tls=\S+) `)
)

// passes are what the daemon logged of a delivered message, latest first: the queue ids are in
// its Received fields.
func (d *daemon) passes(text string) (said []string) {
	d.l.t.Helper()
	log := messageLog.FindAllStringSubmatch(d.l.read(d.l.dir, "peerscore.log"), -1)
	for _, id := range receivedID.FindAllStringSubmatch(text, -1) {
		for _, line := range log {
			if line[1] == id[1] {
				said = append(said, strings.Join(line[2:], " "))
			}
		}
	}
	return said
}

var shownStars = regexp.MustCompile(`\b(?:confidentiality|identity|integrity)=[\d.]*[1-9]`)

// checkScoreFields looks at the fields of ours that a delivered message carries: none where
// score is empty, else one Peer-Score with these words in it, and a bar for each of its stars.
func (l *lab) checkScoreFields(id, text, score string) {
	l.t.Helper()
	fields := scoreFields.FindAllString(text, -1)
	for i, f := range fields {
		fields[i] = strings.Join(strings.Fields(f), " ")
	}
	switch {
	case score == "" && len(fields) == 0:
	case score == "" || len(fields) == 0 || !strings.Contains(fields[0], score) || len(fields) != 1+len(shownStars.FindAllString(fields[0], -1)):
		l.t.Errorf("%s carries %d score fields, want %q and its bars:\n%s", id, len(fields), score, strings.Join(fields, "\n"))
	}
}
