package probetest

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"time"
)

// Say is a reply of other lines than usual.
func Say(lines ...string) Step {
	return func(c *SMTPConn) bool { return c.Say(lines...) }
}

// Hangup ends the connection, after some last lines.
func Hangup(lines ...string) Step {
	return func(c *SMTPConn) bool {
		if len(lines) > 0 {
			c.Say(lines...)
		}
		return false
	}
}

// Silence says nothing at all until the client gives up: a tarpit.
func Silence(c *SMTPConn) bool {
	for {
		if _, err := c.r.ReadByte(); err != nil {
			return false
		}
	}
}

// Drip says one octet each pause.
func Drip(text string, pause time.Duration) Step {
	return func(c *SMTPConn) bool {
		for i := range len(text) {
			time.Sleep(pause)
			if _, err := c.Write([]byte(text[i : i+1])); err != nil {
				return false
			}
		}
		return true
	}
}

// Endless says the same again and again, as fast as the client reads.
func Endless(text string) Step {
	return func(c *SMTPConn) bool {
		block := []byte(strings.Repeat(text, 1+(16<<10)/len(text)))
		for {
			if _, err := c.Write(block); err != nil {
				return false
			}
		}
	}
}

// LongLine is a reply on one line of so many octets.
func LongLine(prefix string, octets int) Step {
	return func(c *SMTPConn) bool {
		block := []byte(strings.Repeat("x", 64<<10))
		if _, err := c.Write([]byte(prefix)); err != nil {
			return false
		}
		for sent := len(prefix); sent < octets; sent += len(block) {
			if _, err := c.Write(block[:min(len(block), octets-sent)]); err != nil {
				return false
			}
		}
		return c.Say("")
	}
}

// Inject answers STARTTLS with 220 and more plain text in the same segment, as somebody on the
// path may (CVE-2011-0411), and then goes on as if nothing had happened.
func Inject(lines ...string) Step {
	return func(c *SMTPConn) bool {
		return c.Say(append([]string{"220 go ahead"}, lines...)...) && c.handshake(c.server.tls)
	}
}

// SilentHandshake answers STARTTLS with 220 and then says nothing.
func SilentHandshake(c *SMTPConn) bool { return c.Say("220 go ahead") && Silence(c) }

// HandshakeWith answers STARTTLS with 220 and handshakes as configured. The dialogue inside goes on as usual.
func HandshakeWith(cfg *tls.Config) Step {
	return func(c *SMTPConn) bool { return c.Say("220 go ahead") && c.handshake(cfg) }
}

// HandshakeWithin hangs up on a ClientHello of more octets, as old servers and firewalls do.
func HandshakeWithin(octets int) Step {
	return func(c *SMTPConn) bool {
		if !c.Say("220 go ahead") {
			return false
		}
		record, err := c.r.Peek(5)
		if err != nil || int(record[3])<<8|int(record[4]) > octets {
			return false
		}
		c.Conn = peeked{c.Conn, c.r}
		return c.handshake(c.server.tls)
	}
}

// peeked is a connection of which something was looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// After waits before a step.
func After(pause time.Duration, step Step) Step {
	return func(c *SMTPConn) bool {
		time.Sleep(pause)
		return step(c)
	}
}
