package probe

import (
	"crypto/tls"
	"fmt"
	"slices"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestStartTLS shows each outcome of a dialogue at a mail host of its own, and what it is worth:
// by the report, where only TLS 1.2 and later count, and for REQUIRETLS. TestDialogue has the
// outcomes of each step.
func TestStartTLS(t *testing.T) {
	l := newLab(t)
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	rsa, err := probetest.RSAKey(2048)
	must(t, err)
	type config = probetest.SMTPConfig
	upTo := func(version uint16) config { return config{MaxVersion: version} }
	step := func(name string, s probetest.Step) config { return config{Steps: steps{name: s}} }
	say := probetest.Say
	require := []string{"SIZE 1000", "REQUIRETLS"}
	for i, tt := range []struct {
		name                   string
		config                 config
		plain                  bool // without a certificate
		starttls, tls12, reqtl assess.Support
		say                    string // by the verdict on StartTLS
	}{
		{"TLS 1.3", config{}, false, yes, yes, no, "starttls: pass: TLS 1.3, TLS_"},
		{"TLS 1.2", upTo(tls.VersionTLS12), false, yes, yes, no, "starttls: pass: TLS 1.2, TLS_ECDHE_RSA_"},
		{"TLS 1.1 only", upTo(tls.VersionTLS11), false, yes, no, no, "speaks TLS 1.1, which RFC 8996 retires: offer TLS 1.2 and 1.3"},
		{"TLS 1.0 only", upTo(tls.VersionTLS10), false, yes, no, no, "speaks TLS 1.0, which RFC 8996 retires: offer TLS 1.2 and 1.3"},
		{"REQUIRETLS", config{TLSExtensions: require}, false, yes, yes, yes, ""},
		{"REQUIRETLS in plain text only", config{Extensions: require}, false, yes, yes, no, ""},
		{"not offered", config{}, true, no, no, no, "starttls: fail: ehlo: EHLO does not list STARTTLS"},
		{"HELO only", step("EHLO", say("502 what?")), false, no, no, no, "the server does not know EHLO"},
		{"refused", step("STARTTLS", say("554 no")), false, no, no, no, `STARTTLS is listed and refused: "554 no"`},
		{"put off", step("STARTTLS", say("454 not now")), false, unknown, unknown, unknown, `STARTTLS was put off: "454 not now"`},
		{"handshake fails", step("STARTTLS", probetest.HandshakeWith(&tls.Config{})), false, no, no, no, "handshake: the server ends it"},
		{"cut in the handshake", step("STARTTLS", func(c *probetest.SMTPConn) bool { return c.Say("220 go") && readSome(c) && false }), false, unknown, unknown, unknown, "handshake: the connection is cut; on other connections too; it counts as a failure when a later run finds the same"},
		{"no TLS after the 220", step("STARTTLS", func(c *probetest.SMTPConn) bool { return c.Say("220 go") && readSome(c) && c.Say("500 what?") }), false, no, no, no, "something that is not TLS"},
		{"injection", step("STARTTLS", probetest.Inject("250 ok")), false, unknown, unknown, unknown, "injection"},
		{"EHLO refused inside", step("TLS EHLO", say("502 no")), false, no, no, no, "refuses EHLO inside TLS"},
		{"EHLO refused inside, as a matter of policy", step("TLS EHLO", say("554 blocked")), false, unknown, unknown, unknown, `does not want to talk inside TLS: "554 blocked"`},
		{"421", step("greeting", say("421 busy")), false, unknown, unknown, unknown, `greeting: the server does not want to talk: "421 busy"`},
		{"554", step("greeting", say("554 go away")), false, unknown, unknown, unknown, "does not want to talk"},
		{"hang-up", step("EHLO", probetest.Hangup()), false, unknown, unknown, unknown, "the server closed the connection"},
		{"no SMTP", step("greeting", say("HTTP/1.1 400 Bad Request")), false, unknown, unknown, unknown, "not an SMTP reply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("s%d.example", i)
			if !tt.plain {
				tt.config.Certificates = certs(l.issue(probetest.Leaf{Names: []string{"mx." + domain}, Key: rsa}))
			}
			server := l.mailHost(i, domain, tt.config)
			facts := l.probe(domain)
			wants(t, judged(facts, assess.StartTLS), tt.starttls, tt.say)
			wants(t, judged(facts, assess.StartTLS12), tt.tls12, "")
			wants(t, judged(facts, assess.RequireTLS), tt.reqtl, "")
			server.Wait()
			if names := server.ServerNames(); slices.ContainsFunc(names, func(name string) bool { return name != "mx."+domain }) {
				t.Errorf("SNI: %q", names)
			}
			checkManners(t, server.Commands(), facts.Hosts.Hosts[0].Sessions[0])
		})
	}
}

// Both families are asked, and a host is as good as the worse of its addresses that answer.
func TestStartTLSAddresses(t *testing.T) {
	l := newLab(t)
	good := probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx.good.example", "mx.half.example", "mx.old.example"}}))}
	l.serveSMTP("127.1.1.1", good)
	l.serveSMTP("127.1.2.1", probetest.SMTPConfig{})
	l.env.Dialer = elsewhere(l, map[string]string{
		"192.0.1.4": "127.1.1.1", "2a00:4::1": "127.1.1.1",
		"192.0.1.5": "127.1.1.1", "2a00:5::1": "127.1.2.1",
		"192.0.1.6": "127.1.1.1",
	})
	l.zone("good.example", "@ MX 10 mx\n mx A 192.0.1.4\n mx AAAA 2a00:4::1")
	l.zone("half.example", "@ MX 10 mx\n mx A 192.0.1.5\n mx AAAA 2a00:5::1")
	l.zone("old.example", "@ MX 10 mx\n mx A 192.0.1.6\n mx AAAA 2a00:6::1")
	for _, tt := range []struct {
		domain  string
		support assess.Support
		say     string
	}{
		{"good.example", assess.SupportYes, "[192.0.1.4] starttls: pass"},
		{"half.example", assess.SupportNo, "[2a00:5::1] starttls: fail: ehlo: EHLO does not list STARTTLS"},
		{"old.example", assess.SupportYes, "[192.0.1.6] starttls: pass"}, // nobody answers at the other
	} {
		facts := l.probe(tt.domain)
		if n := len(facts.Hosts.Hosts[0].Sessions); n != 2 {
			t.Errorf("%s: %d dialogues", tt.domain, n)
		}
		wants(t, judged(facts, assess.StartTLS), tt.support, tt.say)
	}
}

// TestMX shows how the MX host is found (RFC 5321, section 5.1, RFC 7505), and what becomes of those
// that cannot be asked.
func TestMX(t *testing.T) {
	l := newLab(t)
	l.serveSMTP("127.1.1.1", probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{Names: []string{"mx.a.example"}}))})
	must(t, l.dns.Set(probetest.Zone{Name: "bogus.example", Bogus: true, Records: "@ MX 10 mx.a.example."}))
	l.dns.Fail("lost.example MX", probetest.ServFail)
	l.dns.Fail("mx.unlucky.example *", probetest.ServFail)
	for _, tt := range []struct {
		domain, records string
		support         assess.Support
		hosts, say      string
	}{
		{"a.example", "@ MX 10 mx\n mx A 127.1.1.1", assess.SupportYes, "[mx.a.example]", ""},
		{"implicit.example", "@ A 127.1.1.1", assess.SupportYes, "[implicit.example]", ""},
		{"null.example", "@ MX 0 .\n @ A 127.1.1.1", assess.SupportUnknown, "[]", ""},
		{"order.example", "@ MX 20 mx.a.example.\n @ MX 10 mx\n mx A 127.1.1.1", assess.SupportYes, "[mx.order.example mx.a.example]", ""},
		{"alias.example", "@ MX 10 mx\n mx CNAME mx.a.example.", assess.SupportYes, "[mx.alias.example]", "mx.alias.example is an alias of mx.a.example: MX records must name the host itself"},
		{"private.example", "@ MX 10 mx\n mx A 10.0.0.1", assess.SupportUnknown, "[mx.private.example]", "its address 10.0.0.1 is never dialled: it lies in the special-purpose network 10.0.0.0/8"},
		{"empty.example", "@ MX 10 mx", assess.SupportUnknown, "[mx.empty.example]", "it has no address"},
		{"unlucky.example", "@ MX 10 mx\n mx A 127.1.1.1", assess.SupportUnknown, "[mx.unlucky.example]", "its addresses are not known: SERVFAIL"},
		{"lost.example", "@ MX 10 mx", assess.SupportUnknown, "[]", "its mail hosts are not known: SERVFAIL"},
		{"bogus.example", "", assess.SupportUnknown, "[]", "its mail hosts are not known: DNSSEC validation failed"},
		{"missing.example", "", assess.SupportUnknown, "[]", "its mail hosts are not known: the name does not exist"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			if tt.records != "" {
				l.zone(tt.domain, tt.records)
			}
			facts := l.probe(tt.domain)
			var hosts []string
			for _, h := range facts.Hosts.Hosts {
				hosts = append(hosts, h.Name)
			}
			if fmt.Sprint(hosts) != tt.hosts {
				t.Errorf("hosts %v, want %s", hosts, tt.hosts)
			}
			wants(t, judged(facts, assess.StartTLS), tt.support, tt.say)
		})
	}
}
