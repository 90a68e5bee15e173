package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"
)

// patience is how long a client waits for one reply: longer than any fault may delay it.
const patience = 2 * time.Minute

// client is an SMTP client that says what it is told to, and can be held at any point.
type client struct {
	conn net.Conn
	text *textproto.Conn
}

// dial connects from source; the greeting is the first reply to read.
func dial(source, address string) (*client, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0)), Timeout: patience}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn, textproto.NewConn(conn)}, nil
}

func (c *client) close() { c.conn.Close() }

// expect reads a reply; any but the one that is wanted is an error.
func (c *client) expect(code int) error {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	_, _, err := c.text.ReadResponse(code)
	return err
}

func (c *client) command(code int, format string, args ...any) error {
	if err := c.text.PrintfLine(format, args...); err != nil {
		return err
	}
	if err := c.expect(code); err != nil {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	}
	return nil
}

// greet is the beginning of a session.
func (c *client) greet(helo string, at func(stage string)) error {
	if err := c.expect(220); err != nil {
		return err
	}
	at("connect")
	err := c.command(250, "EHLO %s", helo)
	at("EHLO")
	return err
}

// mail sends one message of which text is the content, with lines that end in LF.
func (c *client) mail(m message, text string, at func(stage string)) error {
	for _, step := range []struct {
		stage, line string
		code        int
	}{
		{"MAIL", "MAIL FROM:<" + m.reversePath() + ">", 250},
		{"RCPT", "RCPT TO:<" + m.recipient() + ">", 250},
		{"DATA", "DATA", 354},
	} {
		if err := c.command(step.code, "%s", step.line); err != nil {
			return err
		}
		at(step.stage)
	}
	content := strings.ReplaceAll(text, "\n", "\r\n")
	for _, part := range []struct{ text, stage string }{
		{content[:len(content)-5], "body"}, {content[len(content)-5:] + ".\r\n", "end"},
	} {
		if _, err := c.conn.Write([]byte(part.text)); err != nil {
			return err
		}
		at(part.stage)
	}
	return c.expect(250)
}

// stages are where a session can be held: once the reply to the command has come, within the
// body, and while the MTA asks the milter what to do with the message.
var stages = []string{"connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "end"}

func onwards(string) {}

// startTLS and the second EHLO behind it.
func (c *client) startTLS(helo string) error {
	if err := c.command(220, "STARTTLS"); err != nil {
		return err
	}
	secure := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}) // it sends mail, it does not judge
	if err := secure.Handshake(); err != nil {
		return err
	}
	c.conn, c.text = secure, textproto.NewConn(secure)
	return c.command(250, "EHLO %s", helo)
}

// converse has a session of some steps, each of which must succeed.
func (l *lab) converse(server, from, helo string, steps ...func(*client) error) {
	l.t.Helper()
	c, err := dial(from, server)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.close()
	steps = append([]func(*client) error{func(c *client) error { return c.greet(helo, onwards) }}, append(steps, says(221, "QUIT"))...)
	for _, step := range steps {
		if err := step(c); err != nil {
			l.t.Fatal(err)
		}
	}
}

// The steps of a conversation.
func overTLS(helo string) func(*client) error {
	return func(c *client) error { return c.startTLS(helo) }
}

func says(code int, line string) func(*client) error {
	return func(c *client) error { return c.command(code, "%s", line) }
}

func (l *lab) mail(m message) func(*client) error {
	return func(c *client) error { return c.mail(m, l.text(m), onwards) }
}
