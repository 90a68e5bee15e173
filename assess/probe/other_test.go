package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestTwoCertificates has hosts with a certificate for each kind of key, as Postfix and others
// make easy: a sender may get either, whichever we did. They are asked for both where TLSA
// records or an enforced policy make it count, and pass when each does.
func TestTwoCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newLab(t)
	l.serveCRLs()
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for i, tt := range []struct {
		name     string
		servers  string // "rsa", "ecdsa": the certificates in the server's order; a star has no TLSA record, an exclamation mark is self-signed
		tlsa     bool
		policy   bool // an MTA-STS policy in mode enforce
		min, max uint16
		dane     assess.Support
		x509     assess.Support
		known    bool // all certificates
		dialled  int
		say      string // of DANE, or of x509 where there is no TLSA record
	}{
		{"one", "rsa", true, false, 0, 0, yes, yes, true, 2, "tlsa: pass"},
		{"one, ECDSA", "ecdsa", true, false, 0, 0, yes, yes, true, 2, "tlsa: pass"},
		{"one, TLS 1.2 only", "rsa", true, false, 0, tls.VersionTLS12, yes, yes, true, 2, "tlsa: pass"},
		{"one, TLS 1.3 only", "rsa", true, false, tls.VersionTLS13, 0, yes, yes, true, 2, "tlsa: pass"},
		{"one, P-256 only", "rsa", true, false, 0, 0, yes, yes, true, 2, "tlsa: pass"},
		{"one, P-384 only", "rsa", true, false, 0, 0, yes, yes, true, 2, "tlsa: pass"},
		{"one, P-521 only", "rsa", true, false, 0, 0, yes, yes, true, 3, "tlsa: pass"},
		{"one, P-521 and TLS 1.3 only", "rsa", true, false, tls.VersionTLS13, 0, unknown, yes, false, 3, "it speaks TLS 1.3 only, and no group that was offered with a key"},
		{"two, P-384 only", "rsa ecdsa*", true, false, 0, 0, unknown, yes, false, 3, "there is one, which TLS 1.3 encrypts"},
		{"both match", "rsa ecdsa", true, false, 0, 0, yes, yes, true, 3, "tlsa: pass"},
		{"ECDSA without a record", "rsa ecdsa*", true, false, 0, 0, no, yes, true, 3, "its other certificate, with the key "},
		{"RSA without a record", "rsa* ecdsa", true, false, 0, 0, no, yes, true, 3, "it does not match the server's certificate"},
		{"in the other order", "ecdsa rsa*", true, false, 0, 0, no, yes, true, 3, "it does not match the server's certificate"},
		{"TLS 1.2 only", "rsa ecdsa*", true, false, 0, tls.VersionTLS12, no, yes, true, 2, "it does not match the server's certificate"},
		{"TLS 1.3 only", "rsa ecdsa*", true, false, tls.VersionTLS13, 0, unknown, yes, false, 3, "whether it has another certificate, with another kind of key, is not known: there is one, which TLS 1.3 encrypts"},
		{"the second is self-signed", "rsa ecdsa!", true, false, 0, 0, yes, no, true, 3, "tlsa: pass"},
		{"a policy", "rsa ecdsa!", false, true, 0, 0, no, no, true, 3, "trusted: fail: its other certificate, with the key ECDSA P-256, seen 2"},
		{"a policy, in order", "rsa ecdsa", false, true, 0, 0, no, yes, true, 3, "trusted: pass: issued by"},
		{"nothing depends on it", "rsa ecdsa!", false, false, 0, 0, no, yes, false, 1, "trusted: pass: issued by"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("two%d.example", i)
			var chains []tls.Certificate
			var records []string
			for word := range strings.FieldsSeq(tt.servers) {
				leaf := probetest.Leaf{Names: []string{"mx." + domain}, SelfSigned: strings.HasSuffix(word, "!")}
				if strings.HasPrefix(word, "rsa") {
					leaf.Key = l.rsa()
				}
				certificate := l.issue(leaf)
				chains = append(chains, certificate)
				if tt.tlsa && !strings.HasSuffix(word, "*") {
					records = append(records, "_25._tcp.mx TLSA "+tlsa(certificate))
				}
			}
			if tt.policy {
				records = append(records, `_mta-sts TXT "v=STSv1; id=1"`, "mta-sts A 127.2.0.1")
				text := "version: STSv1\nmode: enforce\nmx: mx." + domain + "\nmax_age: 604800\n"
				l.ports[portHTTPS] = 0
				l.servePolicy("127.2.0.1", l.issue(probetest.Leaf{Names: []string{"mta-sts." + domain}}), "mta-sts."+domain+"/.well-known/mta-sts.txt",
					func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
			}
			cfg := probetest.SMTPConfig{Certificates: chains, MinVersion: tt.min, MaxVersion: tt.max}
			for group, id := range map[string]tls.CurveID{"P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521} {
				if strings.Contains(tt.name, group) {
					cfg.Steps = steps{"STARTTLS": probetest.HandshakeWith(&tls.Config{Certificates: chains, CurvePreferences: []tls.CurveID{id}, MinVersion: tt.min})}
				}
			}
			server := l.mailHost(i, domain, cfg, records...)
			facts := l.probe(domain)
			dane, x509 := judged(facts, assess.DANE), judged(facts, assess.X509)
			say := tt.say
			if !tt.tlsa {
				wants(t, x509, tt.x509, say)
				say = ""
			}
			wants(t, dane, tt.dane, say)
			wants(t, x509, tt.x509, "")
			if tt.policy {
				wants(t, judged(facts, assess.MTASTS), tt.x509, "")
			}
			if known := facts.Hosts.Hosts[0].CertificatesKnown(); known != tt.known {
				t.Errorf("all certificates are known: %v", known)
			}
			if n, _ := server.Connections(); n != tt.dialled {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A server that cuts the connection when it is offered the other kind of key may have none, or
// be badly connected: a later run tells. What it showed serves for as long as its dialogue.
func TestOtherCertificateUntold(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	rsaKey, err := probetest.RSAKey(2048)
	must(t, err)
	good, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example.org"}, Key: rsaKey})
	must(t, err)
	cut := steps{"STARTTLS": func(c *probetest.SMTPConn) bool { return c.Say("220 go") && readSome(c) && false }}
	busy := steps{"greeting": probetest.Say("421 busy")}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		steps   steps
		visits  []time.Duration // after which the other certificate is wanted
		results string          // u(nknown), n(one), in the end
		dialled int
	}{
		{"cut, and cut again a day later", cut, []time.Duration{0, time.Hour, day}, "uun", 4},
		{"cut, and a new dialogue in between", cut, []time.Duration{0, 8 * day}, "un", 4},
		{"busy", busy, []time.Duration{0, time.Hour, day}, "uuu", 2},
		{"none", nil, []time.Duration{0, 6 * day}, "nn", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := probetest.UnstartedSMTP(probetest.SMTPConfig{Certificates: certs(good)})
				second := probetest.UnstartedSMTP(probetest.SMTPConfig{Certificates: certs(good), Steps: tt.steps})
				memory, dialled, got := NewMemory(), 0, ""
				for _, after := range tt.visits {
					time.Sleep(after)
					server, g := first, newGate(memory, DefaultLimits())
					begin := func() *dialogue {
						return &dialogue{dialer: piped(server), ehlo: "probe.example", now: time.Now, trace: newTrace(nil)}
					}
					v := visit{addr: somewhere, name: "mx.example.org"}
					facts := g.session(t.Context(), v, func(ctx context.Context, more again) (assess.SMTPFacts, error) {
						return talks{v.addr, v.name, begin, more}.hold(ctx)
					})
					server, v.known = second, &facts
					facts = g.session(t.Context(), v, func(ctx context.Context, more again) (assess.SMTPFacts, error) {
						return talks{v.addr, v.name, func() *dialogue { dialled++; return begin() }, more}.other(ctx, facts)
					})
					got += facts.Other.Shown.Result.String()[:1]
					if facts.Outcome != assess.TLSEstablished {
						t.Errorf("the first dialogue is forgotten: %+v", facts)
					}
				}
				if got != tt.results || dialled != tt.dialled {
					t.Errorf("%s after %d dialogues", got, dialled)
				}
				first.Close()
				second.Close()
			})
		})
	}
}
