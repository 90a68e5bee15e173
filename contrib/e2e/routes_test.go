package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// route is one way on which mail reaches Postfix, and what peerscore makes of it. Mail from
// outside is from <name>.example, mail of our own goes there.
type route struct {
	name     string
	own      bool
	from, to string // addresses
	preamble string // what a proxy says first
	login    bool
	xclient  string // the address that a proxy gives
	plain    bool

	passes []string // what the daemon says each time that the message comes by, latest first
	score  string   // within Peer-Score; "" for no field of ours
	known  bool     // <name>.example is a peer afterwards
}

const (
	routePeer  = "10.4.0.1" // in everybody's SPF record
	routePeer6 = "2001:db8:4::1"
	routeUser  = "10.5.0.1" // permitted by Postfix, unknown to peerscore
	routeLocal = "10.6.0.1" // in milter.internal_hosts
	routeProxy = "127.0.0.1"
)

var routes = []route{
	{name: "direct", from: routePeer, to: ":25",
		passes: []string{"row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=direct.example", known: true},
	{name: "plain", from: routePeer, to: ":25", plain: true,
		passes: []string{"row=spf-only client=10.4.0.1 tls=none"}, score: "domain=plain.example", known: true},
	{name: "xclient", from: routeProxy, to: ":25", xclient: routePeer,
		passes: []string{"row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=xclient.example", known: true},
	{name: "xclient6", from: routeProxy, to: ":25", xclient: "IPV6:" + routePeer6,
		passes: []string{"row=spf-only client=2001:db8:4::1 tls=TLSv1.3"}, score: "domain=xclient6.example", known: true},
	{name: "proxy", from: routeProxy, to: ":2526", preamble: "PROXY TCP4 " + routePeer + " 127.0.0.25 4321 25\r\n",
		passes: []string{"row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=proxy.example", known: true},
	{name: "proxy6", from: routeProxy, to: ":2526", preamble: "PROXY TCP6 " + routePeer6 + " 2001:db8:25::25 4321 25\r\n",
		passes: []string{"row=spf-only client=2001:db8:4::1 tls=TLSv1.3"}, score: "domain=proxy6.example", known: true},
	{name: "postscreen", from: routeProxy, to: ":2527", preamble: "PROXY TCP4 " + routePeer + " 127.0.0.25 4321 25\r\n",
		passes: []string{"row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=postscreen.example", known: true},
	// The filter gives the message back from loopback: it is neither credited nor marked again.
	{name: "filter", from: routePeer, to: ":2528",
		passes: []string{"row=internal client=127.0.0.1 tls=none", "row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=filter.example", known: true},
	// In front of smtpd_proxy_filter Postfix shows milters the envelope only; behind it, the filter is the client.
	{name: "proxyfilter", from: routePeer, to: ":2529",
		passes: []string{"row=internal client=127.0.0.1 tls=none"}},
	{name: "login", own: true, from: routeUser, to: ":587", login: true,
		passes: []string{"row=internal client=10.5.0.1 tls=TLSv1.3"}, known: true},
	{name: "submission", own: true, from: routeUser, to: ":588", // milter_macro_daemon_name says so
		passes: []string{"row=internal client=10.5.0.1 tls=TLSv1.3"}, known: true},
	{name: "internal", own: true, from: routeLocal, to: ":25",
		passes: []string{"row=internal client=10.6.0.1 tls=TLSv1.3"}, known: true},
	{name: "sendmail", own: true, // the command; non_smtpd_milters
		passes: []string{"row=internal client=127.0.0.1 tls=none"}, known: true},
}

// TestPostfixRoutes sends mail on every way into a chrooted Postfix that reaches an
// unprivileged daemon over a unix socket for the group postfix.
func TestPostfixRoutes(t *testing.T) {
	l := newLab(t)
	l.startRouteDNS()
	p, d := l.startChrooted()
	ids := l.sendSession(d)
	for _, r := range routes {
		l.sendOn(r, p)
		ids = append(ids, r.name)
	}
	l.waitFor("delivery", func() bool { return len(p.arrivals()) == len(ids) })
	d.kill() // its socket stays behind
	d.start()
	l.sendOn(route{name: "again", from: routePeer, to: ":25"}, p)
	l.waitFor("delivery", func() bool { return len(p.arrivals()) == len(ids)+1 })
	mail := p.arrivals()
	for _, r := range append(routes, route{name: "again", passes: []string{"row=spf-only client=10.4.0.1 tls=TLSv1.3"}, score: "domain=again.example", known: true}) {
		if len(mail[r.name]) != 1 {
			t.Errorf("%s: delivered %d times", r.name, len(mail[r.name]))
			continue
		}
		text := mail[r.name][0]
		if got := d.passes(text); !slices.Equal(got, r.passes) {
			t.Errorf("%s: the daemon saw %q, want %q", r.name, got, r.passes)
		}
		l.checkScoreFields(r.name, text, r.score)
		if p, err := d.tryShow(r.name + ".example"); (err == nil) != r.known || p.Sessions.Credited > 1 {
			t.Errorf("%s.example: %v, %+v", r.name, err, p.Sessions)
		}
	}
	l.checkSession(d, mail)
	l.checkPrivacy(d)
}

// startRouteDNS has a zone for each route that is a peer's, and for those of the long session.
func (l *lab) startRouteDNS() {
	l.t.Helper()
	zones := []zone{
		{name: ownDomain, records: "mx A " + receiver + "\n"},
		{name: "10.in-addr.arpa", records: "1.0.4 PTR mail.peer.example.\n"},
		{name: "peer.example", records: "mail A " + routePeer + "\n"},
	}
	for _, name := range []string{"again", "first", "second", "third", "dropped", "cut"} {
		zones = append(zones, zone{name: name + ".example", records: "@ TXT \"v=spf1 ip4:" + routePeer + " ip6:" + routePeer6 + " -all\"\n"})
	}
	for _, r := range routes {
		zones = append(zones, zone{name: r.name + ".example", records: "@ TXT \"v=spf1 ip4:" + routePeer + " ip6:" + routePeer6 + " -all\"\n"})
	}
	l.startDNS(zones)
}

// startChrooted runs Postfix as Debian does, its services in the queue directory, and the
// daemon as its systemd unit does, without privileges but in the group postfix.
func (l *lab) startChrooted() (*postfix, *daemon) {
	l.t.Helper()
	for _, file := range []string{"resolv.conf", "hosts", "nsswitch.conf", "services"} {
		l.write(l.subdir("postfix/spool/etc"), file, l.read("/etc", file))
	}
	group := strings.TrimSpace(l.run("", "id", "-g", "postfix"))
	sockets := l.subdir("postfix/spool/peerscore")
	l.run("", "chown", "nobody:postfix", sockets)
	l.run("", "chmod", "0750", sockets)
	l.run("", "chown", "nobody", l.subdir("state"))
	d := l.newDaemon("milter.listen = \"unix:"+filepath.Join(sockets, "socket")+"\"", "milter.socket_group = \"postfix\"",
		"milter.internal_hosts = [\""+routeLocal+"\"]", "assess.enabled = false")
	d.program = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=" + group}, d.program...)
	d.start()
	if got := l.run(sockets, "stat", "-c", "%a %U %G", "socket"); got != "660 nobody postfix\n" {
		l.t.Errorf("the socket is %s", got)
	}

	l.makeOwnCertificate()
	l.addUser("postfix/etc/sasl/smtpd.conf", "postfix/spool/etc/sasldb2")
	l.chown(filepath.Join(l.dir, "postfix/spool/etc/sasldb2"), "postfix")
	inside := []string{ownDomain}
	for _, r := range routes {
		if r.own {
			inside = append(inside, r.name+".example")
		}
	}
	settings := []string{
		l.documented("unix:peerscore/socket"), "smtpd_tls_chain_files = " + filepath.Join(l.dir, "own.pem"),
		"smtpd_authorized_xclient_hosts = " + routeProxy,
		"mynetworks = 127.0.0.1 " + routeUser + " " + routeLocal,
		"virtual_mailbox_domains = " + strings.Join(inside, " "),
		"postscreen_access_list = static:permit",
		"inet_protocols = all",
	}
	p := l.startPostfix("postfix", receiver, settings,
		"127.0.0.25:2526 inet n - y - - smtpd -o smtpd_upstream_proxy_protocol=haproxy",
		"127.0.0.25:2527 inet n - y - 1 postscreen -o postscreen_upstream_proxy_protocol=haproxy",
		"smtpd pass - - y - - smtpd",
		"127.0.0.25:2528 inet n - y - - smtpd -o content_filter=smtp:[127.0.0.1]:10026",
		"127.0.0.25:2529 inet n - y - - smtpd -o smtpd_proxy_filter=127.0.0.1:10026",
		"127.0.0.1:10026 inet n - y - - smtpd -o myhostname=filter."+ownDomain,
		"127.0.0.25:587 inet n - y - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_local_domain="+ownDomain,
		"127.0.0.25:588 inet n - y - - smtpd -o milter_macro_daemon_name=ORIGINATING",
	)
	l.run("", "postconf", "-c", p.conf, "-F", "127.0.0.25:25/inet/chroot=y", "cleanup/unix/chroot=y")
	l.run("", "postfix", "-c", p.conf, "reload")
	return p, d
}

const userPassword = "correct horse" // of someone@own.example, who may submit

// addUser makes the user known to Cyrus SASL by a database. The file of settings tells a server
// of it; it has more lines where the database is not where Debian has it.
func (l *lab) addUser(settings, database string, more ...string) {
	l.t.Helper()
	l.subdir(filepath.Dir(settings))
	l.subdir(filepath.Dir(database))
	cmd := exec.Command("saslpasswd2", "-p", "-c", "-f", filepath.Join(l.dir, database), "-u", ownDomain, "someone")
	cmd.Stdin = strings.NewReader(userPassword)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	lines := append([]string{"pwcheck_method: auxprop", "auxprop_plugin: sasldb", "mech_list: PLAIN"}, more...)
	l.write(l.dir, settings, strings.Join(lines, "\n")+"\n")
}

func (r route) message() message {
	m := message{id: r.name, from: "secret.sender@" + r.name + ".example", source: r.from, helo: "mail.peer.example"}
	if r.own {
		m.from, m.rcpt = "secret.sender@"+ownDomain, "secret.recipient@"+r.name+".example"
	}
	return m
}

// sendOn sends a message on a route; it must be accepted.
func (l *lab) sendOn(r route, p *postfix) {
	l.t.Helper()
	m := r.message()
	if r.to == "" {
		l.submit(p.conf, m)
		return
	}
	c, err := dial(r.from, receiver+r.to)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.close()
	fmt.Fprint(c.conn, r.preamble)
	steps := []func() error{func() error { return c.greet(m.helo, onwards) }}
	if r.xclient != "" {
		steps = append(steps, func() error { return c.command(220, "XCLIENT NAME=mail.peer.example ADDR=%s", r.xclient) },
			func() error { return c.command(250, "EHLO %s", m.helo) })
	}
	if !r.plain {
		steps = append(steps, func() error { return c.startTLS(m.helo) })
	}
	if r.login {
		secret := base64.StdEncoding.EncodeToString([]byte("\x00someone@" + ownDomain + "\x00" + userPassword))
		steps = append(steps, func() error { return c.command(235, "AUTH PLAIN %s", secret) })
	}
	steps = append(steps, func() error { return c.mail(m, l.text(m), onwards) }, func() error { return c.command(221, "QUIT") })
	for _, step := range steps {
		if err := step(); err != nil {
			l.t.Fatalf("%s: %v", r.name, err)
		}
	}
}

// sendSession has three messages, and one that is given up, in one session that turns to TLS
// after the first and goes on when the daemon reads its configuration again. Another session
// ends in the middle of a message.
func (l *lab) sendSession(d *daemon) (ids []string) {
	l.t.Helper()
	const helo = "mail.peer.example"
	mail := func(name string) func(*client) error {
		ids = append(ids, name)
		return l.mail(route{name: name}.message())
	}
	l.converse(receiver+":25", routePeer, helo,
		mail("first"), overTLS(helo), mail("second"),
		says(250, "MAIL FROM:<secret.sender@dropped.example>"), says(250, "RCPT TO:<user@"+ownDomain+">"), says(250, "RSET"),
		d.reload, mail("third"),
	)
	c, err := dial(routePeer, receiver+":25")
	if err == nil {
		defer c.close()
		err = c.greet(helo, onwards)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	cut := route{name: "cut"}.message()
	if err := c.mail(cut, l.text(cut), func(stage string) {
		if stage == "body" {
			c.close()
		}
	}); err == nil {
		l.t.Error("the message that was cut off is accepted")
	}
	return ids
}

// checkSession looks at what each message of the session left.
func (l *lab) checkSession(d *daemon, mail map[string][]string) {
	l.t.Helper()
	for name, tls := range map[string]string{"first": "none", "second": "TLSv1.3", "third": "TLSv1.3"} {
		text := mail[name][0]
		if got := d.passes(text); !slices.Equal(got, []string{"row=spf-only client=10.4.0.1 tls=" + tls}) {
			l.t.Errorf("%s: the daemon saw %q over %s", name, got, tls)
		}
		l.checkScoreFields(name, text, "domain="+name+".example")
		passed := d.text("SELECT starttls_passed || ' ' || starttls_failed FROM tally JOIN domain ON id = domain_id WHERE name = '" + name + ".example'")
		if want := map[string]string{"none": "0 1", "TLSv1.3": "1 0"}[tls]; passed != want {
			l.t.Errorf("%s: StartTLS passed and failed %s, want %s", name, passed, want)
		}
	}
	for _, name := range []string{"dropped.example", "cut.example", ownDomain} {
		if _, err := d.tryShow(name); err == nil {
			l.t.Errorf("%s is known", name)
		}
	}
}

// checkPrivacy looks for local parts in all that the daemon writes.
func (l *lab) checkPrivacy(d *daemon) {
	l.t.Helper()
	d.stop()
	files, err := filepath.Glob(d.db + "*")
	if err != nil || len(files) == 0 {
		l.t.Fatal("no database: ", err)
	}
	for _, file := range append(files, filepath.Join(l.dir, "peerscore.log")) {
		content, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		if strings.Contains(string(content), "secret.") {
			l.t.Errorf("%s holds a local part", file)
		}
	}
}
