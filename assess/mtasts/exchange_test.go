package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// exchange is one way a domain can announce and serve its policy.
type exchange struct {
	Domain      string
	TXT         *string
	Status      int
	ContentType string `json:"content_type"`
	Body        string
	Cert        string
	Usable      bool // a sender is to enforce the policy
	Note        string
}

func TestExchange(t *testing.T) {
	record := "v=STSv1; id=1"
	good := exchange{"good.example", &record, 200, "text/plain", goodPolicy, "good", true, ""}
	change := func(f func(*exchange)) exchange {
		e := good
		f(&e)
		return e
	}
	ca := newAuthority(t)
	for _, e := range []exchange{
		good,
		change(func(e *exchange) { e.TXT = nil; e.Usable = false }),
		change(func(e *exchange) { e.Cert = "name mismatch"; e.Usable = false }),
		change(func(e *exchange) { e.Cert = "self-signed by an unknown CA"; e.Usable = false }),
		change(func(e *exchange) { e.Status = 302; e.Usable = false }),
		change(func(e *exchange) { e.Body = strings.Replace(e.Body, "enforce", "testing", 1); e.Usable = false }),
	} {
		e.run(t, ca)
	}
}

func TestConformanceScenarios(t *testing.T) {
	var cases []exchange
	readCases(t, "scenarios.json", &cases)
	ca := newAuthority(t)
	for _, c := range cases {
		c.run(t, ca)
	}
	t.Logf("%d cases", len(cases))
}

// run discovers the policy as a sender does, from a real server on loopback.
func (e exchange) run(t *testing.T, ca *authority) {
	t.Helper()
	policy, err := e.discover(t, ca)
	if usable := err == nil && policy.Mode == Enforce; usable != e.Usable {
		t.Errorf("%s: got %+v, %v; usable should be %v (%s)", e.Domain, policy, err, e.Usable, e.Note)
	}
}

func (e exchange) discover(t *testing.T, ca *authority) (Policy, error) {
	var txts []string
	if e.TXT != nil {
		txts = append(txts, *e.TXT)
	}
	txt, err := Select(txts)
	if err != nil {
		return Policy{}, err
	}
	if _, err := ParseRecord(txt); err != nil {
		return Policy{}, err
	}
	resp, err := e.fetch(t, ca)
	if err != nil {
		return Policy{}, err
	}
	return resp.Policy()
}

func (e exchange) fetch(t *testing.T, ca *authority) (Response, error) {
	server := httptest.NewUnstartedServer(e)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, e)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes that fail on purpose
	server.StartTLS()
	defer server.Close()
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			TLSClientConfig:    &tls.Config{RootCAs: ca.pool},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			},
		},
	}
	resp, err := client.Get(PolicyURL(e.Domain))
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxPolicy+1))
	return Response{resp.StatusCode, resp.Header, body}, err
}

// ServeHTTP serves the body of the exchange; a note in angle brackets at its end
// stands for 2049 lines of padding, sent in one piece or in chunks.
func (e exchange) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, padding, long := strings.Cut(e.Body, "<followed by ")
	if long {
		body += strings.Repeat(strings.Repeat("a", 64), 2049)
	}
	if !strings.Contains(padding, "chunked") {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.Header().Set("Content-Type", e.ContentType)
	w.WriteHeader(e.Status)
	fmt.Fprint(w, body)
}

// authority is a certification authority made for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	ca := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Test CA"},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca.cert, ca.key = create(t, template, nil)
	ca.pool.AddCert(ca.cert)
	return ca
}

// issue makes the certificate of the policy host, of the quality e.Cert.
func (ca *authority) issue(t *testing.T, e exchange) tls.Certificate {
	template := &x509.Certificate{DNSNames: []string{PolicyHost(e.Domain)}}
	issuer := ca
	switch e.Cert {
	case "good":
	case "name mismatch":
		template.DNSNames = []string{"other." + e.Domain}
	case "self-signed by an unknown CA":
		issuer = nil
	default:
		t.Fatalf("unknown certificate quality %q", e.Cert)
	}
	cert, key := create(t, template, issuer)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// create signs a certificate from a template, by itself where there is no issuer.
func create(t *testing.T, template *x509.Certificate, issuer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if issuer == nil {
		issuer = &authority{cert: template, key: key}
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
