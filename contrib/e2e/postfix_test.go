package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	ownDomain = "own.example"    // whose mail the Postfix under test receives
	ownHost   = "mx.own.example" // its name
)

// postfix is one Postfix instance with its own configuration, queue and log.
type postfix struct {
	l       *lab
	conf    string // configuration directory
	mail    string // where delivered messages arrive, a maildir
	address string
}

const milterInet = "inet:127.0.0.1:8894"

// documented is contrib/postfix/main.cf, whose setting is the very one that the README shows,
// with another socket where the test needs one.
func (l *lab) documented(socket string) string {
	l.t.Helper()
	found := regexp.MustCompile(`(?m)^smtpd_milters = .*\n(?:[ \t].*\n)*`)
	cfg := l.read("../postfix", "main.cf")
	setting := found.FindString(cfg)
	readme := found.FindString(strings.ReplaceAll(l.read("../..", "README.md"), "\n    ", "\n"))
	if words := strings.Fields(setting); len(words) == 0 || !slices.Equal(words, strings.Fields(readme)) {
		l.t.Fatalf("contrib/postfix/main.cf has %q, README.md %q", setting, readme)
	}
	if !strings.Contains(setting, milterInet) {
		l.t.Fatalf("%q names another socket than %s", setting, milterInet)
	}
	return strings.Replace(cfg, milterInet, socket, 1)
}

// startPostfix runs a real Postfix on address:25. Settings come after the defaults of the
// laboratory and win; services are appended to master.cf.
func (l *lab) startPostfix(name, address string, settings []string, services ...string) *postfix {
	l.t.Helper()
	p := &postfix{l: l, conf: l.subdir(name + "/etc"), mail: l.subdir(name + "/mail"), address: address}
	queue, data := l.subdir(name+"/spool"), l.subdir(name+"/lib")
	l.chown(data, "postfix")
	if err := os.Chown(p.mail, 65534, 65534); err != nil {
		l.t.Fatal(err)
	}
	main := overridden([]string{
		"compatibility_level = 3.6",
		"queue_directory = " + queue,
		"data_directory = " + data,
		"mail_owner = postfix",
		"setgid_group = postdrop",
		"maillog_file_prefixes = /var, /dev/stdout, " + l.dir,
		"maillog_file = " + filepath.Join(l.dir, name+".log"),
		"myhostname = " + ownHost,
		"myorigin = " + ownDomain,
		"mydestination =",
		"inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4",
		"mynetworks = 127.0.0.1/32",
		"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination",
		"virtual_mailbox_domains = " + ownDomain,
		"virtual_mailbox_maps = static:inbox/",
		"virtual_mailbox_base = " + p.mail,
		"virtual_uid_maps = static:65534",
		"virtual_gid_maps = static:65534",
		"smtpd_client_connection_count_limit = 0",
		"smtpd_tls_security_level = may",
		"smtpd_peername_lookup = yes",
		"in_flow_delay = 0",
		"alias_maps =",
		"alias_database =",
	}, settings)
	l.write(p.conf, "main.cf", strings.Join(main, "\n")+"\n")
	l.write(p.conf, "master.cf", fmt.Sprintf(`%s:25 inet n - n - 100 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
%s`, address, strings.Join(append(services, ""), "\n")))
	if out, err := l.try("", "postfix", "-c", p.conf, "start"); err != nil {
		l.t.Fatalf("Postfix does not start: %v\n%s\n%s", err, out, tail(filepath.Join(l.dir, name+".log"), 4000))
	}
	l.t.Cleanup(func() {
		l.try("", "postfix", "-c", p.conf, "abort")
		if l.t.Failed() {
			l.t.Logf("%s said:\n%s", name, tail(filepath.Join(l.dir, name+".log"), 6000))
		}
	})
	l.waitFor("Postfix on "+address, func() bool { return listens(address + ":25") })
	return p
}

// overridden are the lines "name = value" of base, but for those that over sets. Postfix would
// take the last line too, but warns of the first in every process, and the warnings of postlogd
// go to postlogd: where they fill its socket, Postfix stands still.
func overridden(base, over []string) []string {
	name := func(line string) string {
		before, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(before)
	}
	set := map[string]bool{}
	for _, line := range over {
		set[name(line)] = true
	}
	kept := slices.DeleteFunc(base, func(line string) bool { return set[name(line)] })
	return append(kept, over...)
}

func (l *lab) chown(path, user string) {
	l.t.Helper()
	l.run("", "chown", user, path)
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// delivered returns the messages that arrived so far, each whole, by the value of their
// Message-ID without the angle brackets.
func (p *postfix) delivered() map[string]string { return first(p.arrivals()) }

func first(arrivals map[string][]string) map[string]string {
	messages := map[string]string{}
	for id, copies := range arrivals {
		messages[id] = copies[0]
	}
	return messages
}

// arrivals are the delivered messages by Message-ID, each as often as it arrived.
func (p *postfix) arrivals() map[string][]string {
	p.l.t.Helper()
	return p.l.arrivals(p.files())
}

// arrivals reads each file once: it is asked for thousands of them again and again.
func (l *lab) arrivals(files []string) map[string][]string {
	l.t.Helper()
	messages := map[string][]string{}
	for _, file := range files {
		m, ok := l.arrived[file]
		if !ok {
			m = arrival{text: l.read("", file)}
			m.id = between(strings.ToLower("\n"+m.text), "\nmessage-id: <", ">")
			l.arrived[file] = m
		}
		messages[m.id] = append(messages[m.id], m.text)
	}
	return messages
}

func (p *postfix) files() []string {
	p.l.t.Helper()
	return p.l.glob(filepath.Join(p.mail, "inbox/new/*"))
}

func (l *lab) glob(pattern string) []string {
	l.t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}
