package probe

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// inTurn is a dialer whose connections end at one server after the other; the last one stays.
func inTurn(servers []*probetest.SMTP, dialled *int) *Dialer {
	return &Dialer{Dial: func(context.Context, string, string) (net.Conn, error) {
		client, conn := net.Pipe()
		go servers[min(*dialled, len(servers)-1)].Serve(conn)
		*dialled++
		return client, nil
	}}
}

// TestTalks has what a lossy network, a daemon that restarts and a server that wants something
// else make of handshakes: each word is what becomes of one connection, the last one of all
// further. What may have been the network is suspected at most, and held against the server when
// the next run finds the same.
func TestTalks(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	good, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}})
	must(t, err)
	after220 := func(then func(c *probetest.SMTPConn) bool) probetest.Step {
		return func(c *probetest.SMTPConn) bool { return c.Say("220 go") && readSome(c) && then(c) }
	}
	behaviours := map[string]steps{
		"good": nil,
		"cut":  {"STARTTLS": after220(func(*probetest.SMTPConn) bool { return false })},
		"cut-later": {"STARTTLS": after220(func(c *probetest.SMTPConn) bool {
			_, err := c.Write([]byte{22, 3, 3, 0, 90, 2, 0})
			return err == nil && false
		})},
		"alert":       {"STARTTLS": after220(func(c *probetest.SMTPConn) bool { _, err := c.Write([]byte{21, 3, 3, 0, 2, 2, 40}); return err == nil })},
		"internal":    {"STARTTLS": after220(func(c *probetest.SMTPConn) bool { _, err := c.Write([]byte{21, 3, 3, 0, 2, 2, 80}); return err == nil })},
		"text":        {"STARTTLS": after220(func(c *probetest.SMTPConn) bool { return c.Say("500 what is that?") })},
		"silent":      {"STARTTLS": probetest.SilentHandshake},
		"cut-at-220":  {"STARTTLS": probetest.Hangup()},
		"cut-at-EHLO": {"EHLO": probetest.Hangup()},
		"no-greeting": {"greeting": probetest.Hangup()},
		"busy":        {"greeting": probetest.Say("421 busy")},
		"454":         {"STARTTLS": probetest.Say("454 TLS not available due to local problem")},
		"cut-inside":  {"TLS EHLO": probetest.Hangup()},
		"plain":       {"EHLO": probetest.Say("250 mx")},
		// Senders with OpenSSL take these two.
		"signs-with-SHA-1": {"STARTTLS": oldServer(good, false)},
		"echoes-session":   {"STARTTLS": oldServer(good, true)},
	}
	const unknown, yes, no = assess.TLSUnknown, assess.TLSEstablished, assess.TLSFailed
	for _, tt := range []struct {
		connections string
		outcome     assess.StartTLSOutcome
		suspect     bool
		dialled     int
		say         string
		next        assess.StartTLSOutcome // of a run a week later that meets the same
	}{
		{"good", yes, false, 1, "", yes},
		{"cut good", yes, false, 2, "", yes},
		{"cut-later good", yes, false, 2, "", yes},
		{"cut", unknown, true, 3, "handshake: the connection is cut; on other connections too; it counts as a failure when a later run finds the same", no},
		{"cut-later", unknown, true, 3, "when a later run finds the same", no},
		{"cut cut good", assess.TLSAnswered, false, 3, "it answers, and peerscore's TLS library cannot go on: the connection is cut", assess.TLSAnswered},
		{"cut alert", unknown, true, 3, "when a later run finds the same", no},
		{"cut plain", assess.TLSNotOffered, false, 2, "EHLO does not list STARTTLS", assess.TLSNotOffered},
		{"cut busy", unknown, false, 2, `handshake: the connection is cut; on another connection greeting: the server does not want to talk: "421 busy"`, unknown},
		{"cut silent", unknown, false, 2, "handshake: the connection is cut; on another connection handshake: timeout", unknown},
		{"cut cut silent", unknown, false, 3, "on another connection handshake: timeout", unknown},
		{"alert", no, false, 2, "the server ends it: handshake failure", no},
		{"alert cut", unknown, true, 2, "when a later run finds the same", no},
		{"alert good", assess.TLSAnswered, false, 2, "it answers, and peerscore's TLS library cannot go on: the server ends it: handshake failure", assess.TLSAnswered},
		{"internal", unknown, true, 3, "the server ends it: internal error; on other connections too; it counts as a failure when a later run finds the same", no},
		{"internal good", yes, false, 2, "", yes},
		{"alert internal", unknown, true, 2, "when a later run finds the same", no},
		{"signs-with-SHA-1", assess.TLSAnswered, false, 2, "cannot go on: certificate used with invalid signature algorithm", assess.TLSAnswered},
		{"echoes-session", assess.TLSAnswered, false, 2, "cannot go on: server echoed TLS 1.3 compatibility session ID", assess.TLSAnswered},
		{"alert no-greeting", unknown, false, 2, "on another connection greeting: the server closed the connection", unknown},
		{"text", no, false, 2, "something that is not TLS", no},
		{"silent", unknown, false, 1, "handshake: timeout", unknown},
		{"cut-at-220", unknown, false, 1, "starttls: the server closed the connection", unknown},
		{"cut-at-EHLO", unknown, false, 1, "ehlo: the server closed the connection", unknown},
		{"no-greeting", unknown, false, 1, "greeting: the server closed the connection", unknown},
		{"454", unknown, false, 1, "454 TLS not available", unknown},
		{"cut-inside", unknown, false, 1, "tls-ehlo: the server closed the connection", unknown},
	} {
		t.Run(tt.connections, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var servers []*probetest.SMTP
				for word := range strings.FieldsSeq(tt.connections) {
					servers = append(servers, probetest.UnstartedSMTP(probetest.SMTPConfig{Certificates: certs(good), Steps: behaviours[word], MaxVersion: tls.VersionTLS12}))
				}
				memory := NewMemory()
				for run, want := range []assess.StartTLSOutcome{tt.outcome, tt.next} {
					dialled := 0
					dialer := inTurn(servers, &dialled)
					facts := newGate(memory, DefaultLimits()).session(t.Context(), visit{addr: somewhere, name: "mx.example.org"}, func(ctx context.Context, more again) (assess.SMTPFacts, error) {
						return talks{somewhere, "mx.example.org", func() *dialogue {
							return &dialogue{dialer: dialer, ehlo: "probe.example", now: time.Now, trace: newTrace(nil)}
						}, more}.hold(ctx)
					})
					if facts.Outcome != want || (facts.Suspect != "") != tt.suspect || dialled != tt.dialled || !strings.Contains(facts.Problem, tt.say) {
						t.Errorf("run %d: %q, suspected %q, after %d connections: %q", run, facts.Outcome, facts.Suspect, dialled, facts.Problem)
					}
					if len(facts.Greeting) == 0 && tt.outcome == yes {
						t.Error("it brought nothing")
					}
					time.Sleep(8 * 24 * time.Hour)
				}
				for _, server := range servers {
					server.Close()
				}
			})
		})
	}
}

// What the kernel says of a connection that broke in the handshake is no word of the server's.
func TestCutHandshake(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNABORTED, syscall.ECONNREFUSED} {
		d := &dialogue{meter: &meter{}}
		err := d.handshakeError(&net.OpError{Op: "read", Net: "tcp", Err: number})
		if outcome, reason := outcomeOf(err); outcome != assess.TLSUnknown || reason != assess.ReasonHandshakeCut {
			t.Errorf("%v: %q, %q", number, outcome, reason)
		}
	}
}

// oldServer answers as servers of TLS 1.2 do that sign with SHA-1 whatever is offered or, with
// echo, send the session ID back that TLS 1.3 fills in.
func oldServer(certificate tls.Certificate, echo bool) probetest.Step {
	return func(c *probetest.SMTPConn) bool {
		hello := make([]byte, 4096)
		if !c.Say("220 go") {
			return false
		}
		if n, err := c.Read(hello); err != nil || n < 76 {
			return false
		}
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return false
		}
		var b cryptobyte.Builder
		message := func(kind uint8, body func(*cryptobyte.Builder)) {
			b.AddBytes([]byte{recordHandshake, 3, 3})
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(kind)
				b.AddUint24LengthPrefixed(body)
			})
		}
		message(messageServerHello, func(b *cryptobyte.Builder) {
			b.AddUint16(tls.VersionTLS12)
			b.AddBytes(make([]byte, 32))
			session := hello[44:76] // behind record, message, version and random
			if !echo {
				session = nil
			}
			prefixed8(b, session)
			b.AddUint16(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
			b.AddUint8(0)
		})
		message(messageCertificate, func(b *cryptobyte.Builder) {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, der := range certificate.Certificate {
					b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
				}
			})
		})
		message(12, func(b *cryptobyte.Builder) { // ServerKeyExchange
			b.AddBytes([]byte{3, 0, byte(tls.CurveP256)})
			prefixed8(b, key.PublicKey().Bytes())
			b.AddUint16(uint16(tls.ECDSAWithSHA1))
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 70)) })
		})
		message(messageServerHelloDone, func(*cryptobyte.Builder) {})
		go io.Copy(io.Discard, c.Conn) // a pipe holds nothing, and both may write at once
		_, err = c.Write(b.BytesOrPanic())
		return err == nil
	}
}
