package probe

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestOpenSSL has servers that every sender with OpenSSL delivers to, and that crypto/tls cannot
// finish a handshake with: what it lacks is no failure of theirs. `posttls-finger` verifies all
// of them. Behind the 220 to STARTTLS is `openssl s_server`.
func TestOpenSSL(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		without(t, "openssl is not installed")
	}
	l := newLab(t)
	l.serveCRLs()
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	for i, tt := range []struct {
		name                        string
		key                         string // "RSA", or an algorithm of openssl genpkey, then self-signed
		args                        string // of s_server
		starttls, tls12, x509, dane assess.Support
		say                         string // of STARTTLS
	}{
		{"DHE only", "RSA", "-tls1_2 -cipher DHE", yes, yes, yes, yes, "pass: TLS 1.2, TLS_DHE_RSA_WITH_AES_256_GCM_SHA384 (it answers, and peerscore's TLS library cannot go on: the server ends it: handshake failure)"},
		{"Camellia only", "RSA", "-tls1_2 -cipher CAMELLIA", yes, yes, yes, yes, "_CAMELLIA_"},
		{"X448 only", "RSA", "-groups X448", yes, yes, yes, yes, "pass: TLS 1.3"},
		{"X448 only, TLS 1.2", "RSA", "-tls1_2 -groups X448 -cipher ECDHE", yes, yes, yes, yes, "pass: TLS 1.2"},
		{"X448 only, TLS 1.3", "RSA", "-tls1_3 -groups X448", yes, yes, unknown, unknown, "pass: TLS 1.3"},
		{"DHE only, TLS 1.3", "RSA", "-tls1_3 -groups ffdhe2048", yes, yes, unknown, unknown, "pass: TLS 1.3"},
		{"Ed448", "ed448", "", yes, yes, no, yes, "pass: TLS 1.3"},
		{"Ed448, TLS 1.3", "ed448", "-tls1_3", yes, yes, unknown, unknown, "pass: TLS 1.3"},
		{"TLS 1.0, DHE only", "RSA", "-tls1 -cipher DHE:@SECLEVEL=0", yes, no, yes, yes, "pass: TLS 1.0, TLS_DHE_RSA_"},
		{"anonymous only", "RSA", "-tls1_2 -cipher aNULL:@SECLEVEL=0", no, no, unknown, no, "the server ends it: handshake failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := "o" + string(rune('a'+i)) + ".example"
			dir := t.TempDir()
			certificate := l.certificateFile(dir, tt.key, "mx."+domain)
			front := l.front(startServer(t, dir, strings.Fields(tt.args)))
			l.mailHost(i, domain, probetest.SMTPConfig{Certificates: certs(l.issue(probetest.Leaf{})), Steps: steps{"STARTTLS": front}}, "_25._tcp.mx TLSA "+tlsa(certificate))
			facts := l.probe(domain)
			wants(t, judged(facts, assess.StartTLS), tt.starttls, tt.say)
			wants(t, judged(facts, assess.StartTLS12), tt.tls12, "")
			wants(t, judged(facts, assess.X509), tt.x509, "")
			wants(t, judged(facts, assess.DANE), tt.dane, "")
			if outcome := facts.Hosts.Hosts[0].Sessions[0].Outcome; outcome == assess.TLSAnswered {
				wants(t, judged(facts, assess.RequireTLS), unknown, "EHLO inside TLS was not asked: it answers, and peerscore's TLS library cannot go on")
			}
		})
	}
}

// certificateFile makes server.pem: of the laboratory's CA over an RSA key, or self-signed with
// openssl over a key of a kind that Go cannot make.
func (l *lab) certificateFile(dir, algorithm, name string) tls.Certificate {
	l.t.Helper()
	file := filepath.Join(dir, "server.pem")
	if algorithm != "RSA" {
		out, err := exec.Command("openssl", "req", "-x509", "-newkey", algorithm, "-noenc", "-keyout", file, "-out", file+".cert",
			"-subj", "/CN="+name, "-addext", "subjectAltName=DNS:"+name).CombinedOutput()
		if err != nil {
			l.t.Fatalf("openssl: %v\n%s", err, out)
		}
		text, err := os.ReadFile(file + ".cert")
		must(l.t, err)
		key, err := os.ReadFile(file)
		must(l.t, err)
		must(l.t, os.WriteFile(file, append(key, text...), 0o600))
		block, _ := pem.Decode(text)
		leaf, err := x509.ParseCertificate(block.Bytes)
		must(l.t, err)
		return tls.Certificate{Leaf: leaf}
	}
	certificate := l.issue(probetest.Leaf{Names: []string{name}, Key: l.rsa()})
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	must(l.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range certificate.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	must(l.t, os.WriteFile(file, text, 0o600))
	return certificate
}

// startServer runs `openssl s_server` until the test ends, and returns its address.
func startServer(t *testing.T, dir string, args []string) string {
	t.Helper()
	file := filepath.Join(dir, "server.pem")
	cmd := exec.Command("openssl", append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", file, "-key", file, "-cert_chain", file, "-naccept", "10"}, args...)...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	_, err = cmd.StdinPipe() // which stays open: at its end the server would stop
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go io.Copy(io.Discard, out)
			return address
		}
	}
	t.Fatalf("openssl s_server %q does not start", args)
	return ""
}

// front answers STARTTLS with 220 and leaves the rest to a server that speaks TLS at once.
func (l *lab) front(address string) probetest.Step {
	return func(c *probetest.SMTPConn) bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			l.t.Error(err)
			return false
		}
		defer conn.Close()
		if !c.Say("220 go ahead") {
			return false
		}
		go func() {
			io.Copy(conn, c.Conn)
			conn.Close()
		}()
		io.Copy(c.Conn, conn)
		return false
	}
}
