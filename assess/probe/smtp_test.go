package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// somewhere is an address that may be dialled; in these tests nobody does.
var somewhere = netip.MustParseAddr("198.41.0.4")

// piped is a dialer whose connections end at the server, without a network, so that time can be virtual.
func piped(server *probetest.SMTP) *Dialer {
	return &Dialer{Dial: func(context.Context, string, string) (net.Conn, error) {
		client, conn := net.Pipe()
		go server.Serve(conn)
		return client, nil
	}}
}

// talk holds a dialogue with a server of this configuration, in a bubble of virtual time.
func talk(server *probetest.SMTP) (facts assess.SMTPFacts, took time.Duration, err error) {
	start := time.Now()
	d := &dialogue{dialer: piped(server), ehlo: "probe.example", now: time.Now, trace: newTrace(nil)}
	facts, err = d.hold(context.Background(), somewhere, "mx.example.org")
	took = time.Since(start)
	synctest.Wait() // until the server has read all
	server.Close()
	return facts, took, err
}

type steps = map[string]probetest.Step

func TestDialogue(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	good, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}})
	must(t, err)
	rsaKey, err := probetest.RSAKey(2048)
	must(t, err)
	rsaCert, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}, Key: rsaKey})
	must(t, err)
	say, refuse := probetest.Say, func(step string, lines ...string) steps { return steps{step: probetest.Say(lines...)} }
	only := func(version uint16, suites ...uint16) steps {
		return steps{"STARTTLS": probetest.HandshakeWith(&tls.Config{
			Certificates: certs(rsaCert), MinVersion: version, MaxVersion: version, CipherSuites: suites,
		})}
	}
	present := func(chain ...[]byte) steps {
		return steps{"STARTTLS": probetest.HandshakeWith(&tls.Config{
			Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: good.PrivateKey}},
		})}
	}
	leaf := good.Certificate[0]
	const unknown = assess.TLSUnknown
	for _, tt := range []struct {
		name    string
		steps   steps
		plain   bool // without a certificate: STARTTLS is not offered
		outcome assess.StartTLSOutcome
		stage   assess.Stage
		reason  assess.Reason
		want    string // in Problem, or the version and suite
	}{
		{"good", nil, false, assess.TLSEstablished, "quit", "", "TLS 1.3 TLS_"},
		{"TLS 1.2", only(tls.VersionTLS12), false, assess.TLSEstablished, "quit", "", "TLS 1.2 TLS_ECDHE_RSA_"},
		{"TLS 1.1", only(tls.VersionTLS11), false, assess.TLSEstablished, "quit", "", "TLS 1.1 TLS_ECDHE_RSA_"},
		{"TLS 1.0", only(tls.VersionTLS10), false, assess.TLSEstablished, "quit", "", "TLS 1.0 TLS_ECDHE_RSA_"},
		{"3DES", only(tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA), false, assess.TLSEstablished, "quit", "", "TLS 1.0 TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"RC4", only(tls.VersionTLS12, tls.TLS_RSA_WITH_RC4_128_SHA), false, assess.TLSEstablished, "quit", "", "TLS 1.2 TLS_RSA_WITH_RC4_128_SHA"},
		{"one that hangs up on a large ClientHello", steps{"STARTTLS": probetest.HandshakeWithin(576)}, false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"greeting of several lines", refuse("greeting", "220-mx", "220-mx", "220 mx"), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"code that changes on the way", refuse("greeting", "554-mx", "220 mx"), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"bare LF", steps{"EHLO": say("250-mx\n250-SIZE\n250 STARTTLS\n")}, false, unknown, "starttls", assess.ReasonProtocolError, "not an SMTP reply"},
		{"QUIT unanswered", steps{"QUIT": probetest.Hangup()}, false, assess.TLSEstablished, "quit", "", "TLS 1.3"},

		{"no STARTTLS", nil, true, assess.TLSNotOffered, "ehlo", "", "does not list STARTTLS"},
		{"STARTTLS as a name", refuse("EHLO", "250-STARTTLS", "250 SIZE"), false, assess.TLSNotOffered, "ehlo", "", "does not list STARTTLS"},
		{"starttls in lower case", refuse("EHLO", "250-mx", "250 starttls"), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"HELO only", refuse("EHLO", "502 what?"), false, assess.TLSNotOffered, "ehlo", "", "502 what?"},
		{"EHLO 550", refuse("EHLO", "550 5.7.1 your name is on a list"), false, unknown, "ehlo", assess.ReasonServiceRefusal, "does not want to talk"},
		{"EHLO put off", refuse("EHLO", "421 busy"), false, unknown, "ehlo", assess.ReasonTemporaryFailure, "421 busy"},
		{"greeting 554", refuse("greeting", "554 go away"), false, unknown, "greeting", assess.ReasonServiceRefusal, "554 go away"},
		{"greeting 421", refuse("greeting", "421 busy"), false, unknown, "greeting", assess.ReasonTemporaryFailure, "421 busy"},
		{"no SMTP", refuse("greeting", "SSH-2.0-OpenSSH_9.2"), false, unknown, "greeting", assess.ReasonProtocolError, "not an SMTP reply"},
		{"hang-up at once", steps{"greeting": probetest.Hangup()}, false, unknown, "greeting", assess.ReasonConnectionClosed, "closed the connection"},
		{"hang-up at EHLO", steps{"EHLO": probetest.Hangup()}, false, unknown, "ehlo", assess.ReasonConnectionClosed, "closed the connection"},

		{"STARTTLS 454", refuse("STARTTLS", "454 no TLS now"), false, unknown, "starttls", assess.ReasonTemporaryFailure, "454 no TLS now"},
		{"STARTTLS 554", refuse("STARTTLS", "554 no"), false, assess.TLSRefused, "starttls", "", "554 no"},
		{"STARTTLS 250", refuse("STARTTLS", "250 ok"), false, assess.TLSRefused, "starttls", "", "250 ok"},
		{"injection", steps{"STARTTLS": probetest.Inject("250 STARTTLS")}, false, unknown, "starttls", assess.ReasonTextInjection, "injection"},
		{"220 and hang-up", steps{"STARTTLS": func(c *probetest.SMTPConn) bool { return c.Say("220 go") && readSome(c) && false }}, false, unknown, "handshake", assess.ReasonHandshakeCut, "the connection is cut"},
		{"220 and text", steps{"STARTTLS": func(c *probetest.SMTPConn) bool {
			return c.Say("220 go") && readSome(c) && c.Say("500 what is that?")
		}}, false, unknown, "handshake", assess.ReasonHandshakeAlert, "not TLS"},
		{"alert", steps{"STARTTLS": probetest.HandshakeWith(&tls.Config{})}, false, unknown, "handshake", assess.ReasonHandshakeAlert, "the server ends it"},
		{"EHLO inside refused", refuse("TLS EHLO", "502 no"), false, assess.TLSFailed, "tls-ehlo", "", "502 no"},
		{"EHLO inside put off", refuse("TLS EHLO", "421 busy"), false, unknown, "tls-ehlo", assess.ReasonTemporaryFailure, "421 busy"},
		{"hang-up inside", steps{"TLS EHLO": probetest.Hangup()}, false, unknown, "tls-ehlo", assess.ReasonConnectionClosed, "closed the connection"},

		{"128 lines", refuse("greeting", repeated(128, "220-x")...), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"129 lines", refuse("greeting", repeated(129, "220-x")...), false, unknown, "greeting", assess.ReasonLimitExceeded, "more than 128 lines"},
		{"line of 2 KiB", refuse("greeting", "220 "+strings.Repeat("x", 2048-6)), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"line of 2 KiB and an octet", refuse("greeting", "220 "+strings.Repeat("x", 2048-5)), false, unknown, "greeting", assess.ReasonLimitExceeded, "more than 2048 octets"},
		{"endless greeting", steps{"greeting": probetest.Endless("220-hello\r\n")}, false, unknown, "greeting", assess.ReasonLimitExceeded, "more than 128 lines"},
		{"endless EHLO", steps{"EHLO": probetest.Endless("250-" + strings.Repeat("x", 1000) + "\r\n")}, false, unknown, "ehlo", assess.ReasonLimitExceeded, "more than 65536 octets"},
		{"1 GB line", steps{"EHLO": probetest.LongLine("250 ", 1<<30)}, false, unknown, "ehlo", assess.ReasonLimitExceeded, "more than 2048 octets"},
		{"endless EHLO inside", steps{"TLS EHLO": probetest.Endless("250-" + strings.Repeat("x", 1000) + "\r\n")}, false, unknown, "tls-ehlo", assess.ReasonLimitExceeded, "more than 65536 octets"},
		{"10 certificates", present(slices.Repeat([][]byte{leaf}, 10)...), false, assess.TLSEstablished, "quit", "", "TLS 1.3"},
		{"11 certificates", present(slices.Repeat([][]byte{leaf}, 11)...), false, unknown, "handshake", assess.ReasonLimitExceeded, "chain of 11 certificates"},
		{"a chain of 70 KiB", present(padded(t, ca, 70<<10)), false, unknown, "handshake", assess.ReasonLimitExceeded, "octets"},
		{"a chain of 200 KiB", present(padded(t, ca, 200<<10)), false, unknown, "handshake", assess.ReasonLimitExceeded, "more than 131072 octets"},
		{"RSA key of 16384 bits", present(hugeKey(t, ca)), false, unknown, "handshake", assess.ReasonLimitExceeded, "RSA key larger than 8192 bits"},
		{"certificate of nonsense", present([]byte("nonsense")), false, unknown, "handshake", assess.ReasonLimitExceeded, "failed to parse certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := probetest.SMTPConfig{Certificates: certs(good), Steps: tt.steps}
				if tt.plain {
					cfg.Certificates = nil
				}
				server := probetest.UnstartedSMTP(cfg)
				facts, _, err := talk(server)
				text := facts.Problem
				if facts.TLS != nil && facts.Problem == "" {
					text = facts.TLS.Version + " " + facts.TLS.Cipher
				}
				if err != nil || facts.Outcome != tt.outcome || facts.Stage != tt.stage || facts.Reason != tt.reason || !strings.Contains(text, tt.want) {
					t.Errorf("got %q at %q, %q: %q, %v", facts.Outcome, facts.Stage, facts.Reason, text, err)
				}
				checkManners(t, server.Commands(), facts)
			})
		})
	}
}

// checkManners holds the promises that do not depend on what the server does.
func checkManners(t *testing.T, commands []string, facts assess.SMTPFacts) {
	t.Helper()
	for _, command := range commands {
		if command != "EHLO probe.example" && command != "STARTTLS" && command != "QUIT" {
			t.Errorf("it sends %q", command)
		}
	}
	inOrder := facts.Outcome == assess.TLSEstablished || facts.Outcome == assess.TLSNotOffered || facts.Outcome == assess.TLSRefused ||
		strings.Contains(facts.Problem, " was put off: ") || strings.Contains(facts.Problem, "does not want to talk: ")
	if inOrder && (len(commands) == 0 || commands[len(commands)-1] != "QUIT") {
		t.Errorf("it does not end with QUIT: %q", commands)
	}
}

func readSome(c *probetest.SMTPConn) bool {
	_, err := c.Read(make([]byte, 4096))
	return err == nil
}

// repeated is a reply of n lines.
func repeated(n int, line string) []string {
	lines := slices.Repeat([]string{line}, n)
	lines[n-1] = strings.Replace(line, "-", " ", 1)
	return lines
}

// padded is a certificate of so many octets.
func padded(t *testing.T, ca *probetest.CA, octets int) []byte {
	certificate, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}, Change: func(c *x509.Certificate) {
		c.Subject.OrganizationalUnit = []string{strings.Repeat("x", octets)}
	}})
	must(t, err)
	return certificate.Certificate[0]
}

func TestDialogueTimes(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	good, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}})
	must(t, err)
	silence := func(step string) steps { return steps{step: probetest.Silence} }
	slow := func(pause time.Duration, step probetest.Step) probetest.Step { return probetest.After(pause, step) }
	const s = time.Second
	for _, tt := range []struct {
		name  string
		steps steps
		stage assess.Stage
		took  time.Duration
	}{
		{"silent greeting", silence("greeting"), "greeting", greetingTimeout},
		{"silent EHLO", silence("EHLO"), "ehlo", commandTimeout},
		{"silent STARTTLS", silence("STARTTLS"), "starttls", commandTimeout},
		{"silent handshake", steps{"STARTTLS": probetest.SilentHandshake}, "handshake", handshakeTimeout},
		{"silent EHLO inside", silence("TLS EHLO"), "tls-ehlo", commandTimeout},
		{"an octet a second", steps{"greeting": probetest.Drip("220 "+strings.Repeat("x", 100), s)}, "greeting", greetingTimeout},
		{"an octet a second inside", steps{"TLS EHLO": probetest.Drip("250 "+strings.Repeat("x", 100), s)}, "tls-ehlo", commandTimeout},
		{"slow at every step", steps{
			"greeting": slow(14*s, probetest.Say("220 mx")),
			"EHLO":     slow(9*s, probetest.Say("250-mx", "250 STARTTLS")),
			"STARTTLS": slow(9*s, func(c *probetest.SMTPConn) bool {
				return c.Say("220 go") && slow(9*s, probetest.HandshakeWith(&tls.Config{Certificates: certs(good)}))(c)
			}),
		}, "handshake", 41 * s},
		{"the whole dialogue", steps{
			"greeting": slow(14*s, probetest.Say("220 mx")),
			"EHLO":     slow(9*s, probetest.Say("250-mx", "250 STARTTLS")),
			"STARTTLS": slow(9*s, probetest.HandshakeWith(&tls.Config{Certificates: certs(good), GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				time.Sleep(9 * s)
				return nil, nil
			}})),
			"TLS EHLO": probetest.Silence,
		}, "tls-ehlo", dialogueTimeout - farewellTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				facts, took, err := talk(probetest.UnstartedSMTP(probetest.SMTPConfig{Certificates: certs(good), Steps: tt.steps}))
				if err != nil || facts.Outcome != assess.TLSUnknown || facts.Stage != tt.stage || facts.Reason != assess.ReasonSMTPTimeout {
					t.Errorf("got %q at %q: %q, %v", facts.Outcome, facts.Stage, facts.Problem, err)
				}
				if !strings.HasSuffix(facts.Problem, ": timeout") && tt.name != "slow at every step" {
					t.Errorf("problem: %q", facts.Problem)
				}
				// The farewell to a server that does not read takes up to a second more.
				if took < tt.took || took > min(tt.took+farewellTimeout, dialogueTimeout) {
					t.Errorf("it took %v, not %v", took, tt.took)
				}
			})
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{now: time.Now, trace: newTrace(nil), dialer: &Dialer{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
		start := time.Now()
		facts, err := d.hold(t.Context(), somewhere, "mx.example.org")
		if err != nil || facts.Problem != "connect: timeout" || time.Since(start) != connectTimeout {
			t.Errorf("got %q after %v, %v", facts.Problem, time.Since(start), err)
		}
	})
}

// What is no fault of the peer's must not be remembered as one.
func TestOurs(t *testing.T) {
	for _, tt := range []struct {
		err  error
		ours bool
	}{
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, true},
		{&net.OpError{Op: "dial", Err: syscall.EMFILE}, true},
		{&net.OpError{Op: "dial", Err: syscall.EPERM}, true},
		{errForbidden{somewhere, "no"}, true},
		{errRunOver, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, false},
		{context.DeadlineExceeded, false},
		{errors.New("whatever"), false},
	} {
		if got := ours(tt.err) != nil; got != tt.ours {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		server := probetest.UnstartedSMTP(probetest.SMTPConfig{Steps: steps{"greeting": probetest.Silence}})
		defer server.Close()
		d := &dialogue{dialer: piped(server), ehlo: "probe.example", now: time.Now, trace: newTrace(nil)}
		facts, err := d.hold(ctx, somewhere, "mx.example.org")
		if !errors.Is(err, errRunOver) || facts.Reason != assess.ReasonRunOver || facts.Problem != "greeting: the run was over" {
			t.Errorf("a run that ends: %q, %v", facts.Problem, err)
		}
	})
}
