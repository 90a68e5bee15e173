package milter

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// world is the DNS that most tests share.
var world = zone{
	"TXT example.org":                {"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"},
	"TXT _dmarc.example.org":         {"v=DMARC1; p=reject"},
	"TXT ed._domainkey.example.org":  {keyRecord(keys["ed"])},
	"TXT rsa._domainkey.example.org": {keyRecord(keys["rsa"])},
}

// outbound is a server of example.org, strangers are anybody else.
var (
	outbound = miltertest.Peer{Addr: netip.MustParseAddr("192.0.2.1"), Name: "out.example.org", HELO: "out.example.org", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}
	stranger = miltertest.Peer{Addr: netip.MustParseAddr("198.51.100.9"), HELO: "stranger.example.net"}
)

// fromExample is an ordinary signed message of example.org.
func fromExample(t testing.TB) miltertest.Message {
	return miltertest.Message{From: "a@example.org", To: []string{"info@own.example"}, Data: []byte(signed(t, letter("a@example.org"), "example.org", "ed"))}
}

// with gives a peer other macros.
func with(p miltertest.Peer, pairs ...string) miltertest.Peer {
	p.Macros = maps.Clone(p.Macros)
	if p.Macros == nil {
		p.Macros = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		p.Macros[pairs[i]] = pairs[i+1]
	}
	return p
}

// An MTA sends no field behind the end of the header. Where one comes nevertheless, the message is
// not evaluated, whatever the evaluation under way has read by then.
func TestLateFields(t *testing.T) {
	for name, field := range map[string]string{
		"harmless": "X-Late: x", "another author": "From: b@victim.example", "no fold": "X-Late: a\n\nb",
		"past the limits": "X-Late: " + strings.Repeat("x", maxHeader+1), "ours": "Peer-Score: forged",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, world)
			c, m := l.dial(t), fromExample(t)
			late := miltertest.Message{Data: []byte(field + "\r\n\r\n")}
			err := errors.Join(c.Connect(outbound), c.Envelope(outbound, m), c.Header(outbound, m), c.Header(outbound, late), c.Body([]byte("Here they are.\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := c.End(outbound, m)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.Inserted(); len(got) != 1 || !strings.Contains(got[0], "status=unknown") {
				t.Errorf("%q", got)
			}
			if stats := l.server.Stats(); stats.Panics > 0 || len(l.ledger.observations) > 0 {
				t.Errorf("%d panics, observations %v", stats.Panics, l.ledger.observations)
			}
		})
	}
}

// What the macros of the MTA say ends up in the observation.
func TestClient(t *testing.T) {
	plain := outbound
	plain.TLSVersion = ""
	six := outbound
	six.Addr = netip.MustParseAddr("2001:db8:1:2:3::4")
	tests := []struct {
		name string
		peer miltertest.Peer
		host string
		tls  string
		want assess.Result
	}{
		{"TLS", outbound, "192.0.2.1/32", "TLSv1.3", assess.Pass},
		{"plain text", plain, "192.0.2.1/32", "none", assess.Fail},
		{"Sendmail, plain text", with(plain, "{verify}", "NONE", "{tls_version}", "NONE"), "192.0.2.1/32", "none", assess.Fail},
		{"Sendmail, TLS", with(outbound, "{verify}", "NO"), "192.0.2.1/32", "TLSv1.3", assess.Pass},
		{"nothing told with MAIL", with(plain, "j", "", "{client_addr}", "", "{client_name}", "", "_", "out.example.org [192.0.2.1]"), "192.0.2.1/32", "", assess.Unknown},
		{"IPv6", six, "2001:db8:1:2::/64", "TLSv1.3", assess.Pass},
		{"IPv6 as Sendmail writes it", with(six, "{client_addr}", "IPv6:2001:db8:1:2:3::4"), "2001:db8:1:2::/64", "TLSv1.3", assess.Pass},
		{"address in _ only", with(outbound, "{client_addr}", "", "_", "ident@out.example.org [192.0.2.1]"), "192.0.2.1/32", "TLSv1.3", assess.Pass},
		{"mapped IPv4", with(six, "{client_addr}", "::ffff:192.0.2.77"), "192.0.2.77/32", "TLSv1.3", assess.Pass},
		{"XCLIENT", with(outbound, "{client_addr}", "192.0.2.99"), "192.0.2.99/32", "TLSv1.3", assess.Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world)
			l.send(t, tt.peer, fromExample(t))
			if len(l.ledger.observations) != 1 {
				t.Fatalf("observations %+v\n%s", l.ledger.observations, l.logged)
			}
			o := l.ledger.observations[0]
			if o.Host.String() != tt.host || o.TLSVersion != tt.tls || o.StartTLS != tt.want {
				t.Errorf("host %s, TLS %q, %v; want %s, %q, %v", o.Host, o.TLSVersion, o.StartTLS, tt.host, tt.tls, tt.want)
			}
		})
	}
}

// go-milter cannot read the address that Sendmail sends for IPv6; the macros have it.
func TestAddressThatGoMilterLoses(t *testing.T) {
	c := connected("out.example.org", "tcp6", "<nil>", macros{"_": "out.example.org [IPv6:2001:db8::9]"})
	if got := c.addr.String(); got != "2001:db8::9" {
		t.Errorf("address %s", got)
	}
	c = connected("out.example.org", "tcp4", "192.0.2.1", nil) // and all of it where there are no macros
	if got := c.addr.String(); got != "192.0.2.1" || c.local {
		t.Errorf("address %s", got)
	}
}

// With MAIL comes what has changed since the connection: the name by XCLIENT, and whether
// anything is told of TLS, which any one macro shows.
func TestMacrosOfMAIL(t *testing.T) {
	tests := []struct {
		macros macros
		name   string
		tls    assess.Result
	}{
		{nil, "out.example.org", assess.Unknown},
		{macros{"j": "mx.own.example"}, "out.example.org", assess.Fail},
		{macros{"{verify}": "NONE"}, "out.example.org", assess.Fail},
		{macros{"{client_addr}": "192.0.2.1"}, "out.example.org", assess.Fail},
		{macros{"{client_name}": "other.example.org"}, "other.example.org", assess.Unknown},
		{macros{"{client_name}": "unknown"}, "", assess.Unknown},
		{macros{"{tls_version}": "TLSv1.3"}, "out.example.org", assess.Pass},
	}
	for _, tt := range tests {
		c := connected("out.example.org", "tcp4", "192.0.2.1", nil)
		if c.readMail(tt.macros); c.name != tt.name || c.startTLS != tt.tls {
			t.Errorf("%v: name %q, TLS %v", tt.macros, c.name, c.startTLS)
		}
	}
}

// Macros are text from strangers, of any length.
func TestMacroLength(t *testing.T) {
	if got := (macros{"{cipher}": strings.Repeat("x", 5*maxMacro)}).get("{cipher}"); len(got) != maxMacro {
		t.Errorf("%d bytes are kept", len(got))
	}
}

func TestConfirmedName(t *testing.T) {
	tests := []struct {
		name   string
		macros macros
		host   string
		want   string
	}{
		{"Postfix", macros{"{client_name}": "Out.Example.ORG", "_": "out.example.org [192.0.2.1]"}, "out.example.org", "out.example.org"},
		{"Postfix, not confirmed", macros{"{client_name}": "unknown", "_": "unknown [192.0.2.1]"}, "unknown", ""},
		{"Sendmail", macros{"_": "out.example.org [192.0.2.1]", "{client_resolve}": "OK"}, "out.example.org", "out.example.org"},
		{"Sendmail, forged", macros{"_": "out.example.org [192.0.2.1] (may be forged)"}, "out.example.org", ""},
		{"Sendmail, forged by its own word", macros{"{client_resolve}": "FORGED"}, "out.example.org", ""},
		{"Sendmail, no name", macros{"_": "[192.0.2.1]"}, "[192.0.2.1]", ""},
	}
	for _, tt := range tests {
		if c := connected(tt.host, "tcp4", "192.0.2.1", tt.macros); c.name != tt.want {
			t.Errorf("%s: name %q, want %q", tt.name, c.name, tt.want)
		}
	}
}

// Session state survives a message, an abort and a second EHLO; message state survives none.
func TestStateWithinOneSession(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	if err := c.Connect(outbound); err != nil {
		t.Fatal(err)
	}
	forged := miltertest.Message{From: "", To: []string{"a@own.example"}, Data: []byte("From: a@example.org\r\nPeer-Score: mine\r\nPeer-Score: mine\r\nList-Id: <x>\r\n\r\nbody\r\n")}

	// A message that is given up in the middle of its header, then one in the middle of its body.
	for _, step := range []func() error{
		func() error { return c.Envelope(outbound, forged) },
		func() error { return c.Header(outbound, forged) },
		c.Abort,
		func() error { return c.Envelope(outbound, fromExample(t)) },
		func() error { return c.Header(outbound, fromExample(t)) },
		func() error { return c.Body([]byte("half a ")) },
		c.Abort,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	// Sendmail sends no abort between messages.
	for range 3 {
		answer := play(t, c, outbound, fromExample(t))
		if len(answer.Changes) != 1 {
			t.Errorf("changes %+v of a message without forged fields", answer.Changes)
		}
	}
	for _, o := range l.ledger.observations {
		if o.TLSVersion != "TLSv1.3" || o.DKIM != assess.Pass || o.SPF != assess.Pass || o.Host != netip.MustParsePrefix("192.0.2.1/32") {
			t.Errorf("observation %+v", o)
		}
	}
	if s := l.server.Stats(); len(l.ledger.observations) != 3 || s.Messages["spf-dkim"] != 3 || s.Messages["aborted"] != 2 || s.Sessions != 1 {
		t.Errorf("%d observations, stats %+v", len(l.ledger.observations), s)
	}
}

// Whatever ends a message before its end ends all that was begun for it, at once: nothing of it
// is written down, nothing of it is in what follows (milter/attribution.md, row "aborted").
func TestGivenUp(t *testing.T) {
	again := miltertest.Message{From: "b@example.org", Data: []byte(letter("b@example.org"))}
	tests := []struct {
		name string
		by   func(*miltertest.Client) error
		row  string // of what the end of a message then finds; "" for no message
	}{
		{"RSET", func(c *miltertest.Client) error { return c.Abort() }, ""},
		{"the next MAIL", func(c *miltertest.Client) error {
			return errors.Join(c.Envelope(outbound, again), c.Header(outbound, again))
		}, "spf-only"},
		{"a new session on the connection", func(c *miltertest.Client) error { return c.Connect(outbound) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world)
			c := l.dial(t)
			m := fromExample(t)
			if err := c.Connect(outbound); err != nil {
				t.Fatal(err)
			}
			play(t, c, outbound, m)
			before := runtime.NumGoroutine()
			for range 10 {
				for _, step := range []func() error{
					func() error { return c.Envelope(outbound, m) },
					func() error { return c.Header(outbound, m) },
					func() error { return c.Body([]byte("half a ")) },
					func() error { return tt.by(c) },
					func() error { _, err := c.End(outbound, again); return err },
				} {
					if err := step(); err != nil {
						t.Fatal(err)
					}
				}
			}
			settle(t, before)
			s := l.server.Stats()
			if s.Messages["aborted"] != 10 || s.Messages["spf-dkim"] != 1 || tt.row != "" && s.Messages[tt.row] != 10 {
				t.Errorf("stats %+v", s)
			}
			if n, want := len(l.ledger.observations), 1+int(s.Messages["spf-only"]); n != want {
				t.Errorf("%d observations, want %d", n, want)
			}
		})
	}
}

// STARTTLS between two messages: the first counts as plain text, the second does not.
func TestStartTLSBetweenMessages(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	plain := outbound
	plain.TLSVersion = ""
	if err := c.Connect(plain); err != nil {
		t.Fatal(err)
	}
	play(t, c, plain, fromExample(t))
	if err := errors.Join(c.Abort(), c.HELO(outbound.HELO, map[string]string{"{tls_version}": "TLSv1.2", "{cipher}": "X"})); err != nil {
		t.Fatal(err)
	}
	play(t, c, plain, fromExample(t)) // the TLS macros were gone after EHLO
	var seen []string
	for _, o := range l.ledger.observations {
		seen = append(seen, o.TLSVersion)
	}
	if !slices.Equal(seen, []string{"none", "TLSv1.2"}) {
		t.Errorf("TLS %q", seen)
	}
}

// Nothing of one client is believed of the next on the same connection.
func TestNextClient(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	plain := outbound
	plain.TLSVersion, plain.Addr, plain.Name = "", netip.MustParseAddr("192.0.2.2"), ""
	login := outbound
	login.Login = "anna"
	for _, p := range []miltertest.Peer{login, outbound, plain} {
		if err := c.Connect(p); err != nil {
			t.Fatal(err)
		}
		play(t, c, p, fromExample(t))
	}
	o := l.ledger.observations
	if len(o) != 2 || o[0].TLSVersion != "TLSv1.3" || o[1].TLSVersion != "none" || o[1].Host.String() != "192.0.2.2/32" {
		t.Errorf("%+v", o)
	}
}

// The end of a message that never began is answered, and means nothing.
func TestEndWithoutMessage(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	answer, err := c.End(outbound, miltertest.Message{})
	if err != nil || answer.Code != 'c' || len(answer.Changes) > 0 {
		t.Errorf("%+v, %v", answer, err)
	}
	play(t, c, outbound, fromExample(t)) // and no EHLO either
}

// Row "internal" of milter/attribution.md: mail of our own is not judged; it teaches whom we write to.
func TestOwnMail(t *testing.T) {
	submission := stranger
	submission.Login = "anna@own.example"
	inside, loopback, loopback6 := stranger, stranger, stranger
	inside.Addr, loopback.Addr, loopback6.Addr = netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	tests := []struct {
		name    string
		peer    miltertest.Peer
		kept    bool // fields that are there already
		learned bool
	}{
		{"SASL", submission, false, true},
		{"SASL over a relay in front", with(stranger, "{auth_type}", "PLAIN"), false, true},
		{"submission service", with(stranger, "{daemon_name}", "ORIGINATING"), false, true},
		{"internal host", inside, false, true},
		{"local submission", miltertest.Peer{Macros: map[string]string{"{client_addr}": "", "_": "root@localhost"}}, false, true},
		{"content filter", loopback, true, true},
		{"content filter over IPv6", loopback6, true, true},
		{"stranger", stranger, false, false},
		{"stranger without an address", with(miltertest.Peer{}, "{client_addr}", "unknown", "_", "unknown [unknown]"), false, false},
	}
	text := letter("anna@own.example", "Peer-Score: mx.own.example; domain=x.example")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world)
			got := l.send(t, tt.peer, miltertest.Message{From: "anna@own.example", Data: []byte(text), To: []string{
				"friend@example.org", "other@Example.ORG", "colleague@own.example", "x@sub.own.example", "root@localhost", "broken", "x@b\u00fccher.example"}})
			fields := values(got, "Peer-Score")
			if kept := slices.Contains(fields, "mx.own.example; domain=x.example"); kept != tt.kept {
				t.Errorf("Peer-Score %q", fields)
			}
			if tt.learned != (len(fields) == 0 || tt.kept) {
				t.Errorf("Peer-Score %q", fields)
			}
			want := []dnsname.Domain{"example.org", "xn--bcher-kva.example"}
			if !tt.learned {
				want = nil
			}
			if !slices.Equal(l.ledger.learned, want) {
				t.Errorf("learned %q, want %q", l.ledger.learned, want)
			}
			if len(l.ledger.observations) > 0 {
				t.Errorf("observations %+v", l.ledger.observations)
			}
		})
	}
}

func TestRecipientsAreBounded(t *testing.T) {
	l := newLab(t, world)
	m := fromExample(t)
	for i := range 3 * maxRecipients {
		m.To = append(m.To, fmt.Sprintf("x@d%d.example", i))
	}
	own := outbound
	own.Login = "anna"
	l.send(t, own, m)
	if n := len(l.ledger.learned); n != maxRecipients {
		t.Errorf("%d domains learned, want %d", n, maxRecipients)
	}
}

// Learning can be switched off while a session is open; the message after that obeys.
func TestPolicyChanges(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	own := outbound
	own.Login = "anna"
	m := fromExample(t)
	m.To = []string{"x@friend.example"}
	play(t, c, own, m)
	p := *l.server.policy.Load()
	p.LearnRecipients = false
	l.server.SetPolicy(p)
	play(t, c, own, m)
	if len(l.ledger.learned) != 1 {
		t.Errorf("learned %q", l.ledger.learned)
	}
}

// A store that fails costs the observation, not the mail nor its header.
func TestRecorderFails(t *testing.T) {
	l := newLab(t, world)
	l.ledger.err = errors.New("disk full")
	got := l.send(t, outbound, fromExample(t))
	if v := values(got, "Peer-Score"); len(v) != 1 || l.server.Stats().NotRecorded != 1 {
		t.Errorf("Peer-Score %q, stats %+v", v, l.server.Stats())
	}
	if line := l.logged.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, `problem="not recorded: disk full"`) {
		t.Errorf("log %q", line)
	}
}

// The log has one line a message, and never a local part.
func TestLog(t *testing.T) {
	l := newLab(t, world)
	m := fromExample(t)
	m.From, m.To, m.QueueID = "l0cal@example.org", []string{"s3cret@own.example"}, "QUEUE\x1b[31m"
	m.Data = regexp.MustCompile(`\bt=\d+`).ReplaceAll([]byte(signed(t, letter("hidd3n@example.org"), "example.org", "ed")), []byte("t=hidd3n"))
	l.send(t, outbound, m)
	line := l.logged.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, `queue="QUEUE\x1b[31m" row=spf-only domain=example.org`) || !strings.Contains(line, `problem="dkim: malformed time"`) {
		t.Errorf("log %q", line)
	}
	for _, local := range []string{"l0cal", "s3cret", "hidd3n"} {
		if strings.Contains(line, local) {
			t.Errorf("%q is in the log: %s", local, line)
		}
	}
}

// Nor does the log quote what is wrong with a signature.
func TestLogOfBrokenTags(t *testing.T) {
	own := string(fromExample(t).Data)
	for tag, want := range map[string]string{"hidd3n": "malformed tag list", "hidd3n=; hidd3n=": "a tag occurs twice", strings.Repeat("hidd3n", 30): "malformed tag list"} {
		l := newLab(t, world)
		l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(edit(own, " d=example.org", " d=example.org; "+tag))})
		if line := l.logged.String(); !strings.Contains(line, `problem="dkim: `+want+`"`) || strings.Contains(line, "hidd3n") {
			t.Errorf("log %q, want %q", line, want)
		}
	}
}
