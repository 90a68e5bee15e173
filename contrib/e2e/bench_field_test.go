package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

const (
	benchSource = "10.9.0.9" // whom the contenders see
	benchDomain = "sender.example"
)

// contender is one way to check mail: a Postfix, the milters behind it, and their processes.
type contender struct {
	name    string
	postfix *postfix
	sockets []string // the milters' unix sockets, in the order in which Postfix asks them
	pids    []int
	proof   []string // what a message shows that it has checked
	sent    *atomic.Int64
}

// field are the contenders, and the daemon behind the last.
type field struct {
	alone, dkim, chain, peerscore contender
	daemon                        *daemon
}

func (f field) all() []contender { return []contender{f.alone, f.dkim, f.chain, f.peerscore} }

// startContenders starts name servers, four Postfixes and their milters, all on unix sockets,
// since libmilter stalls over TCP. What the Postfixes accept ends in the discard transport, but
// for mail to "check".
func (l *lab) startContenders() field {
	l.startDNS([]zone{
		// libunbound, inside OpenDKIM, would not ask for names below .test.
		{name: benchDomain, records: l.newDKIMKey() + "@ MX 10 mx\nmx A " + benchSource + "\n@ TXT \"v=spf1 ip4:" + benchSource + " -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n"},
		{name: ownDomain, records: "mx A 127.0.0.25\n"},
		{name: "10.in-addr.arpa", records: "9.0.9 PTR mx." + benchDomain + ".\n"},
	})
	dkimSocket, dkim := l.startOpenDKIM("opendkim", ownHost)
	chainDKIM, chain1 := l.startOpenDKIM("chain-opendkim", ownHost)
	chainDMARC, chain2 := l.startOpenDMARC("chain-opendmarc", ownHost)
	socket := filepath.Join(l.dir, "peerscore.sock")
	process := l.startDaemon("milter.listen = \"unix:"+socket+"\"",
		"milter.socket_mode = \"0666\"", "header.authentication_results = true", "assess.enabled = false", "log.level = \"warn\"")
	// A peer with scores, so that each message gets all the headers there are.
	if out, err := process.cli("assess", benchDomain); err != nil {
		l.t.Fatalf("assess %s: %v\n%s", benchDomain, err, out)
	}
	return field{
		alone: l.enter(contender{name: "no milter"}, "127.0.0.40"),
		dkim:  l.enter(contender{name: "OpenDKIM", sockets: []string{dkimSocket}, pids: []int{dkim}, proof: []string{"dkim=pass"}}, "127.0.0.41"),
		chain: l.enter(contender{
			name: "the chain", sockets: []string{chainDKIM, chainDMARC}, pids: []int{chain1, chain2}, proof: []string{"dkim=pass", "spf=pass", "dmarc=pass"},
		}, "127.0.0.42"),
		peerscore: l.enter(contender{
			name: "peerscore", sockets: []string{socket}, pids: []int{process.cmd.Process.Pid},
			proof: []string{"dkim=pass", "spf=pass", "dmarc=pass", "Peer-Score: " + ownHost + "; domain=" + benchDomain + "; proof=dkim+spf", "Peer-Score-Integrity: *"},
		}, "127.0.0.43"),
		daemon: process,
	}
}

// enter gives a contender its Postfix.
func (l *lab) enter(c contender, address string) contender {
	var milters []string
	for _, socket := range c.sockets {
		milters = append(milters, "unix:"+socket)
	}
	c.sent = new(atomic.Int64)
	c.postfix = l.startPostfix("postfix-"+strings.ReplaceAll(c.name, " ", "-"), address, []string{
		"smtpd_milters = " + strings.Join(milters, ", "), "milter_default_action = tempfail",
		"virtual_transport = discard:", "transport_maps = inline:{check@" + ownDomain + "=virtual:}",
	})
	// The kernel chooses 127.0.0.1 as the source of a connection to loopback unless told otherwise.
	l.run("", "ip", "route", "replace", "local", address, "dev", "lo", "src", benchSource, "table", "local")
	return c
}

func (l *lab) startOpenDKIM(name, servID string) (socket string, pid int) {
	dir := l.subdir(name)
	socket = filepath.Join(dir, "socket")
	l.write(dir, "conf", "Mode v\nSocket local:"+socket+"\nUMask 000\nUserID root\nSyslog no\nNameservers "+unboundAddress+"\nInternalHosts 192.0.2.1\nAlwaysAddARHeader yes\nAuthservID "+servID+"\nOn-Default accept\n")
	cmd := l.start(name, "opendkim", "-f", "-x", filepath.Join(dir, "conf"))
	l.waitFor(name, func() bool { return exists(socket) })
	return socket, cmd.Process.Pid
}

func (l *lab) startOpenDMARC(name, servID string) (socket string, pid int) {
	dir := l.subdir(name)
	socket = filepath.Join(dir, "socket")
	l.write(dir, "ignore", "192.0.2.1\n")
	l.write(dir, "conf", "Socket local:"+socket+"\nUMask 000\nUserID root\nSyslog no\nAuthservID "+servID+"\nTrustedAuthservIDs "+ownHost+","+dkimID+"\nSPFSelfValidate true\nSPFIgnoreResults true\nIgnoreHosts "+filepath.Join(dir, "ignore")+"\n")
	cmd := l.start(name, "opendmarc", "-f", "-c", filepath.Join(dir, "conf"))
	l.waitFor(name, func() bool { return exists(socket) })
	return socket, cmd.Process.Pid
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// benchMessage is a message of about size octets, signed relaxed/relaxed as most mail is.
func (l *lab) benchMessage(size int) string {
	const line = "All work and no play makes a dull message body.\n"
	return l.text(message{
		id: fmt.Sprintf("bench%d@%s", size, benchDomain), from: "bench@" + benchDomain, sign: selector + " " + benchDomain, canon: "relaxed",
		body: strings.Repeat(line, max(1, (size-1200)/len(line))),
	})
}

// checkContenders has each contender deliver one message and looks for what it adds: all
// really check, and none adds what another should.
func (l *lab) checkContenders(f field, text string) {
	for _, c := range f.all() {
		l.throughPostfix(c, text, "check", 1, 1)
		var delivered string
		l.waitFor("a message past "+c.name, func() bool {
			for _, delivered = range c.postfix.delivered() {
				return true
			}
			return false
		})
		header, _, _ := strings.Cut(delivered, "\n\n")
		for _, proof := range c.proof {
			if !strings.Contains(header, proof) {
				l.t.Errorf("%s: no %q in\n%s", c.name, proof, header)
			}
		}
		if len(c.proof) == 0 && strings.Contains(header, "=pass") {
			l.t.Errorf("%s: somebody checked this:\n%s", c.name, header)
		}
	}
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// checkRecorded kills the daemon once it has answered the last message and counts what is on
// disk: every message that it ever answered.
func (l *lab) checkRecorded(f field) {
	f.daemon.kill()
	if got, sent := f.daemon.show(benchDomain).Sessions.Credited, int(f.peerscore.sent.Load()); got != sent {
		l.t.Errorf("%d observations on disk of %d messages", got, sent)
	}
}
