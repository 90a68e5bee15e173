package probe

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

// gzipped is so many octets of zeros in few.
func gzipped(t *testing.T, octets int64) string {
	t.Helper()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, octets)
	must(t, err)
	must(t, z.Close())
	return bomb.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// raw says something before it is asked, again and again.
func raw(head, again string, pause time.Duration) peer {
	return func(c net.Conn) {
		if _, err := request(c); err != nil {
			return
		}
		text(head)(c)
		endless(again, pause)(c)
	}
}

// TestHostilePolicyHosts has what a policy host may do. A policy that no sender can use is a
// fault; one that we could not get is unknown.
func TestHostilePolicyHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const unknown, fail, s = assess.Unknown, assess.Fail, time.Second
	bomb := gzipped(t, 100<<20)
	var peers []hostile
	for _, tt := range []struct {
		name   string
		policy peer
		within time.Duration
		result assess.Result
		say    string
	}{
		{"tarpit", func(c net.Conn) { request(c); io.Copy(io.Discard, c) }, webTimeout, unknown, "the policy cannot be had: the server did not answer in full within 30 s"},
		{"an octet a second", raw(ok+"\r\n", "x", s), webTimeout, unknown, "the policy cannot be had: the server did not answer in full within 30 s"},
		{"an octet of the header a second", raw(ok+"X: ", "x", s), webTimeout, unknown, "the policy cannot be had: the server did not answer in full within 30 s"},
		{"endless header", raw(ok, "X-Field: "+strings.Repeat("x", 1000)+"\r\n", 0), s, unknown, "the policy cannot be had: the server sends more than 16384 octets of header"},
		{"endless field", raw(ok+"X: ", strings.Repeat("x", 1000), 0), s, unknown, "the policy cannot be had: the server sends more than 16384 octets of header"},
		{"endless interim responses", raw("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0), s, unknown, "the policy cannot be had: the server sends more than 16384 octets of header"},
		{"endless body", response(ok, endless(strings.Repeat("mx: a.example\r\n", 100), 0)), s, fail, "past a limit: a body of more than 65536 octets"},
		{"1 GB announced", response(ok+"Content-Length: 1073741824", endless(strings.Repeat("x", 1000), 0)), s, fail, "past a limit: a body of more than 65536 octets"},
		{"endless chunks", response(ok+"Transfer-Encoding: chunked", endless("1\r\nx\r\n", 0)), s, fail, "past a limit: "},
		{"endless chunk extensions", response(ok+"Transfer-Encoding: chunked", endless("1;"+strings.Repeat("x", 1000), 0)), s, unknown, "the policy cannot be had: "},
		{"endless trailer", response(ok+"Transfer-Encoding: chunked", func(w io.Writer) {
			text("1\r\nx\r\n0\r\n")(w)
			endless("X-Field: x\r\n", 0)(w)
		}), s, unknown, "the policy cannot be had: "},
		{"less than announced", response(ok+"Content-Length: 1000", text("version: STSv1\r\n")), s, unknown, "the policy cannot be had: the server closed the connection"},
		{"gzip bomb", response(ok+"Content-Encoding: gzip\r\nContent-Length: "+fmt.Sprint(len(bomb)), text(bomb)), s, fail, ""},
		{"small gzip bomb", response(ok+"Content-Encoding: gzip\r\nContent-Length: 60000", text(bomb[:60000])), s, fail, "policy is compressed"},
		{"redirect", response("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:25/\r\nContent-Length: 0", text("")), s, fail, "redirect"},
		{"redirect to itself", response("HTTP/1.1 301 Moved Permanently\r\nLocation: https://mta-sts.hostile.example/.well-known/mta-sts.txt\r\nContent-Length: 0", text("")), s, fail, "redirect"},
		{"switching protocols", response("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade", endless("x", 0)), s, fail, ""},
		{"no HTTP", func(c net.Conn) { request(c); text("220 mx ESMTP\r\n")(c) }, s, unknown, "the policy cannot be had: the server does not speak HTTP/1.1: "},
		{"503", response("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0", text("")), s, unknown, "503"},
	} {
		peers = append(peers, hostile{name: tt.name, policy: tt.policy, within: tt.within + s, standard: assess.MTASTS, result: tt.result, say: tt.say})
	}
	runHostile(t, peers)
}

// TestHostileTLSOfPolicyHosts has what a policy host may do before it is asked anything.
func TestHostileTLSOfPolicyHosts(t *testing.T) {
	dns := zoneServer(t)
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	for _, tt := range []struct {
		name string
		peer peer
		say  string
	}{
		{"nobody there", nil, "the policy cannot be had: "},
		{"silence", func(c net.Conn) { io.Copy(io.Discard, c) }, "the policy cannot be had: "},
		{"plain text", func(c net.Conn) { text("HTTP/1.1 200 OK\r\n\r\n")(c); io.Copy(io.Discard, c) }, "the policy cannot be had: "},
		{"key of 16384 bits", presenting(hugeKey(t, ca)), "RSA key larger than 8192 bits"},
		{"certificate of 200 KiB", presenting(padded(t, ca, 200<<10)), "the policy host's certificate"},
		{"certificate of 300 KiB", presenting(padded(t, ca, 300<<10)), "the policy cannot be had: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, dns)
				defer s.talking.Wait()
				s.put("5.6.7.43:443", tt.peer)
				s.zone("hostile.example", "mta-sts A 5.6.7.43\n_mta-sts TXT \"v=STSv1; id=1\"")
				before := allocated()
				facts, took := s.probe(s.runner(), "hostile.example")
				if grown := allocated() - before; took > webTimeout+time.Second || grown > maxHostileOctets {
					t.Errorf("it took %s and %d octets", took, grown)
				}
				if got := facts.MTASTS.Fetched; got.Result == assess.Pass || !strings.Contains(got.Detail, tt.say) {
					t.Errorf("%+v", got)
				}
				t.Logf("%s: %+v", took, facts.MTASTS.Fetched)
			})
		})
	}
}

// presenting is a TLS server with a certificate that it cannot use.
func presenting(der []byte) peer {
	key, err := probetest.RSAKey(2048)
	if err != nil {
		panic(err)
	}
	return secured(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, func(net.Conn) {})
}

// TestHostileCRLHosts has what stands where a certificate says that its CRL is. Whether it was
// revoked is then unknown, and the certificate is as good as the other tests say.
func TestHostileCRLHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const s = time.Second
	pkix := "HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\n"
	bomb := gzipped(t, 100<<20)
	var peers []hostile
	for _, tt := range []struct {
		name   string
		crl    peer
		within time.Duration
		say    string
	}{
		{"tarpit", func(c net.Conn) { io.Copy(io.Discard, c) }, webTimeout, "the CRL cannot be had: the server did not answer in full within 30 s"},
		{"an octet a second", raw(pkix+"\r\n", "\x30", s), webTimeout, "the CRL cannot be had: the server did not answer in full within 30 s"},
		{"endless header", raw(pkix, "X-Field: "+strings.Repeat("x", 1000)+"\r\n", 0), s, "more than 16384 octets of header"},
		{"endless body", response(pkix, endless(strings.Repeat("\x30", 1<<15), 0)), s, "past a limit: a body of more than 10485760 octets"},
		{"11 MiB", response(pkix+"Content-Length: 11534336", text(strings.Repeat("\x30", 11<<20))), s, "past a limit: a body of more than 10485760 octets"},
		{"10 MiB of nonsense", response(pkix+"Content-Length: 10485760", text(strings.Repeat("\x30", 10<<20))), s, "the CRL cannot be read"},
		{"gzip bomb", response(pkix+"Content-Encoding: gzip\r\nContent-Length: "+fmt.Sprint(len(bomb)), text(bomb)), s, "the CRL cannot be read"},
		{"wrong type", response("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21", text("<html>not here</html>")), s, "the CRL cannot be read"},
		{"redirect to the metadata service", response("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0", text("")), s, "the CRL cannot be had: status 302"},
		{"hang-up", func(c net.Conn) { request(c) }, s, "the CRL cannot be had: the server closed the connection"},
	} {
		leaf := probetest.Leaf{CRLs: []string{"http://crl.hostile.example/list.crl"}}
		peers = append(peers, hostile{name: tt.name, crl: tt.crl, leaf: leaf, within: tt.within + s, standard: assess.X509, result: assess.Unknown, say: tt.say})
	}
	// Where no packet may go.
	for name, tt := range map[string]struct{ url, say string }{
		"on loopback":              {"http://loop.hostile.example/list.crl", "127.0.0.1 is never dialled"},
		"at the metadata service":  {"http://meta.hostile.example/list.crl", "169.254.169.254 is never dialled"},
		"of more than 2048 octets": {"http://crl.hostile.example/" + strings.Repeat("x", 2048), "past a limit: a URL of "},
		"over LDAP":                {"ldap://crl.hostile.example/list", `it is not http but "ldap"`},
		"in a file":                {"file:///etc/passwd", `it is not http but "file"`},
		"on the mail port":         {"http://crl.hostile.example:25/list.crl", "it is on port"},
	} {
		peers = append(peers, hostile{
			name: name, records: "@ MX 10 mx\nloop A 127.0.0.1\nmeta A 169.254.169.254",
			leaf: probetest.Leaf{CRLs: []string{tt.url}}, within: s, standard: assess.X509, result: assess.Unknown, say: tt.say,
		})
	}
	runHostile(t, peers)
}
