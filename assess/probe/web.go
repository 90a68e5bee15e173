package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/resolver"
)

// Limits on one exchange with a web server.
const (
	webTimeout   = 30 * time.Second // lookup and connecting included
	maxHeader    = 16 << 10         // octets of the response header
	maxOverhead  = 512 << 10        // octets on the wire besides the body: header, certificates, framing
	maxWebAddrs  = 5                // addresses tried
	maxURLLength = 2 << 10
)

// web fetches what mail servers' administrators publish over HTTP: one GET over HTTP/1.1,
// without redirects, compression, cookies or a proxy, from an address that may be dialled.
type web struct {
	dialer *Dialer
	roots  *x509.CertPool // for https
	shares *shares
	now    func() time.Time
}

type webResponse struct {
	status int
	header http.Header
	body   []byte
}

// errNoAddress is a host without an address that could be dialled.
type errNoAddress struct {
	reason    string
	temporary bool // it may have one tomorrow
}

func (e errNoAddress) Error() string { return e.reason }

// get fetches a URL. A body of more than limit octets is an error that wraps errLimit; the
// certificate of an https host is verified (RFC 9525) and the error says so when it fails.
func (w *web) get(ctx context.Context, dns *resolver.Resolver, rawURL string, limit int64) (webResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, webTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return webResponse{}, err
	}
	request.Header.Set("User-Agent", "peerscore")
	transport := w.transport(dns, limit)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return webResponse{}, webProblem(ctx, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return webResponse{}, webProblem(ctx, err)
	case int64(len(body)) > limit:
		return webResponse{}, fmt.Errorf("%w: a body of more than %d octets", errLimit, limit)
	}
	return webResponse{response.StatusCode, response.Header, body}, nil
}

// webProblem puts into plain words what net/http and the context say in theirs.
func webProblem(ctx context.Context, err error) error {
	const broken = "net/http: HTTP/1.x transport connection broken: "
	text := err.Error()
	switch {
	case errors.Is(err, errLimit):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("the server did not answer in full within %.0f s", webTimeout.Seconds())
	case strings.Contains(text, "server response headers exceeded"):
		return fmt.Errorf("the server sends more than %d octets of header", maxHeader)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server closed the connection before the end of its answer")
	case strings.HasPrefix(text, broken):
		return errors.New("the server does not speak HTTP/1.1: " + strings.TrimPrefix(text, broken))
	}
	return err
}

func (w *web) transport(dns *resolver.Resolver, limit int64) *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Protocols:              http1,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, VerifyConnection: w.verify,
			Time: w.now, MinVersion: tls.VersionTLS12, CurvePreferences: usualCurves,
		},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := w.dial(ctx, dns, address)
			if err != nil {
				return nil, err
			}
			return &meter{Conn: conn, limit: limit + maxOverhead}, nil
		},
	}
}

// verify judges the certificate of an https host as that of an MX host is judged, but for the
// common name, which counts for nothing here (RFC 8461, section 3.3). What we cannot judge is an
// error of another kind.
func (w *web) verify(state tls.ConnectionState) error {
	invalid := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	if reason := pkix.Oversized(presentedChain(state)); reason != "" {
		return errors.New("whether the policy host's certificate is valid is not known: " + reason)
	}
	c := chain{
		certs: state.PeerCertificates, host: state.ServerName, roots: w.roots, now: w.now(),
		usage: pkix.ServerUsage(tls.CipherSuiteName(state.CipherSuite)),
	}
	if err := c.certs[0].VerifyHostname(c.host); err != nil {
		return invalid(err)
	}
	trusted, _ := c.trusted()
	for _, check := range []assess.Check{c.dated(), trusted} {
		switch check.Result {
		case assess.Fail:
			return invalid(errors.New(check.Detail))
		case assess.Unknown:
			return errors.New("whether the policy host's certificate is valid is not known: " + check.Detail)
		}
	}
	return nil
}

// dial looks a host up and connects to the first of its addresses that lets us.
func (w *web) dial(ctx context.Context, dns *resolver.Resolver, address string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := hostAddresses(ctx, dns, host)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, addr := range addrs[:min(len(addrs), maxWebAddrs)] {
		var conn net.Conn
		if err = w.shares.takeWeb(ctx, addr); err == nil {
			conn, err = w.dialer.DialAddress(ctx, addr, uint16(port))
		}
		if err == nil {
			return conn, nil
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// hostAddresses looks up the addresses of a web server, IPv4 first.
func hostAddresses(ctx context.Context, dns *resolver.Resolver, host string) ([]netip.Addr, error) {
	six := make(chan resolver.Answer, 1)
	go func() { six <- dns.Query(ctx, host, resolver.AAAA) }()
	v4 := dns.Query(ctx, host, resolver.A)
	v6 := <-six
	addrs := append(append([]netip.Addr(nil), v4.Addrs...), v6.Addrs...)
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case v4.Status == resolver.Failed:
		return nil, errNoAddress{fmt.Sprintf("%s cannot be looked up: %s", host, v4.Reason), true}
	case v6.Status == resolver.Failed:
		return nil, errNoAddress{fmt.Sprintf("%s cannot be looked up: %s", host, v6.Reason), true}
	}
	return nil, errNoAddress{host + " has no address", false}
}

// checkCRLURL says why a distribution point is not asked, if it is not: only plain HTTP on
// port 80 of a DNS name is.
func checkCRLURL(rawURL string) error {
	if len(rawURL) > maxURLLength {
		return fmt.Errorf("%w: a URL of %d octets", errLimit, len(rawURL))
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("it is no URL")
	}
	_, isAddress := netip.ParseAddr(strings.Trim(u.Hostname(), "[]"))
	switch {
	case u.Scheme != "http":
		return fmt.Errorf("it is not http but %.20q", u.Scheme)
	case u.Port() != "" && u.Port() != "80":
		return fmt.Errorf("it is on port %.10q", u.Port())
	case u.User != nil:
		return errors.New("it has a user name")
	case isAddress == nil || !strings.Contains(u.Hostname(), "."):
		return errors.New("its host is no DNS name")
	}
	return nil
}
