package e2e

import (
	"bufio"
	"encoding/base64"
	wire "encoding/binary"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"testing"
)

// tap stands between an MTA and the daemon and keeps the macros that the MTA sends.
type tap struct {
	mu   sync.Mutex
	last session // of the last session that came to MAIL
}

// session is the macros of one session by the code of the command that they come with.
type session map[byte]map[string]string

// tapMilter listens where the daemon would and passes everything on to where it is.
func (l *lab) tapMilter(process string) *tap {
	l.t.Helper()
	ln, err := net.Listen("tcp", strings.TrimPrefix(milterInet, "inet:"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { ln.Close() })
	t := &tap{}
	go func() {
		for {
			mta, err := ln.Accept()
			if err != nil {
				return // the test is over
			}
			go t.pass(mta, process)
		}
	}()
	return t
}

// pass serves one milter session.
func (t *tap) pass(mta net.Conn, process string) {
	defer mta.Close()
	conn, err := net.Dial("tcp", process)
	if err != nil {
		return
	}
	defer conn.Close()
	go io.Copy(mta, conn)
	r, macros := bufio.NewReader(mta), session{}
	for {
		packet, err := r.Peek(4)
		if err != nil {
			return
		}
		packet = make([]byte, 4+wire.BigEndian.Uint32(packet))
		if _, err := io.ReadFull(r, packet); err != nil {
			return
		}
		if len(packet) > 6 && packet[4] == 'D' {
			macros.note(packet[5], strings.Split(string(packet[6:]), "\x00"))
		}
		if packet[4] == 'M' {
			t.keep(macros)
		}
		if _, err := conn.Write(packet); err != nil {
			return
		}
	}
}

func (s session) note(command byte, strings []string) {
	s[command] = map[string]string{}
	for i := 0; i+1 < len(strings); i += 2 {
		s[command][strings[i]] = strings[i+1]
	}
}

func (t *tap) keep(s session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = session{'C': s['C'], 'H': s['H'], 'M': s['M']}
}

func (t *tap) told(command byte, macro string) (value string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	value, ok = t.last[command][macro]
	return value, ok
}

// TestMacros holds both MTAs to the macros that the daemon asks for: neither configuration in
// contrib names one, and neither MTA sends {verify} or the client with MAIL by itself.
func TestMacros(t *testing.T) {
	l := newLab(t)
	l.startDNS([]zone{{name: ownDomain, records: "mx A " + receiver + "\n"}})
	l.makeOwnCertificate()
	l.addUser("sasl/Sendmail.conf", "sasl/sasldb2", "sasldb_path: "+l.dir+"/sasl/sasldb2")
	l.write(l.subdir("postfix/etc/sasl"), "smtpd.conf", l.read(l.subdir("sasl"), "Sendmail.conf"))
	l.chown(l.dir+"/sasl/sasldb2", "postfix")
	l.cover("/usr/lib/sasl2", l.subdir("sasl"))
	tap := l.tapMilter("127.0.0.1:8896")
	l.startDaemon(`milter.listen = "inet:8896@127.0.0.1"`)
	l.waitFor("the daemon behind the tap", func() bool { return listens("127.0.0.1:8896") })
	l.startReceiver("smtpd_sasl_auth_enable = yes", "smtpd_sasl_local_domain = "+ownDomain)
	l.startSendmail("sendmail", "own.pem")

	const notTold, helo = "-", "mail.gold.example"
	secret := base64.StdEncoding.EncodeToString([]byte("\x00someone@" + ownDomain + "\x00" + userPassword))
	for _, c := range []struct {
		what, server, from string
		plain, login       bool
		want               string // "command macro pattern", "-" for a macro that is not sent
	}{
		{what: "Sendmail, TLS", server: sendmailReceiver + ":25", from: "10.2.1.1",
			want: "C {client_addr} 10.2.1.1, H {tls_version} TLSv1.3, H {verify} NO, M {tls_version} TLSv1.3, M {cipher} TLS_*, M {verify} NO, M j " + ownHost + ", M {daemon_name} MTA, M {auth_type} -"},
		{what: "Sendmail, plain text", server: sendmailReceiver + ":25", from: "10.2.1.1", plain: true,
			want: "M {tls_version} -, M {verify} -, M {client_addr} 10.2.1.1"},
		{what: "Sendmail, IPv6", server: "[" + sendmailReceiver6 + "]:25", from: source6,
			want: "C {client_addr} IPv6:2001:db8:2:0:0:0:0:1, M {client_addr} IPv6:2001:db8:2:0:0:0:0:1, M {daemon_name} MTA6"},
		{what: "Sendmail, submission", server: sendmailReceiver + ":587", from: "10.2.1.1", login: true,
			want: "M {auth_type} PLAIN, M {auth_authen} someone@own.example, M {daemon_name} MSA"},
		{what: "Postfix, TLS", server: receiver + ":25", from: "10.2.1.1",
			want: "C {client_addr} 10.2.1.1, H {tls_version} TLSv1.3, M {tls_version} TLSv1.3, M {cipher} TLS_*, M {client_addr} 10.2.1.1, M {client_name} unknown, M j " + ownHost},
		{what: "Postfix, plain text", server: receiver + ":25", from: "10.2.1.1", plain: true,
			want: "M {tls_version} -, M {client_addr} 10.2.1.1"},
		{what: "Postfix, login", server: receiver + ":25", from: "10.2.1.1", login: true,
			want: "M {auth_type} PLAIN, M {auth_authen} someone@own.example"},
	} {
		var steps []func(*client) error
		if !c.plain {
			steps = append(steps, overTLS(helo))
		}
		if c.login {
			steps = append(steps, says(235, "AUTH PLAIN "+secret))
		}
		l.converse(c.server, c.from, helo, append(steps, l.mail(message{id: "macros", from: "someone@gold.example"}))...)
		for _, w := range strings.Split(c.want, ", ") {
			f := strings.Fields(w)
			got, ok := tap.told(f[0][0], f[1])
			if !ok {
				got = notTold
			}
			if match, err := path.Match(f[2], got); err != nil || !match {
				t.Errorf("%s: %s comes with %s as %q, want %s", c.what, f[1], f[0], got, f[2])
			}
		}
	}
}
