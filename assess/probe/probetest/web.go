package probetest

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// WebConfig is a web server: a policy host with certificates, a CRL host without.
type WebConfig struct {
	Addr         string            // "127.0.0.1:0" when empty
	Certificates []tls.Certificate // chosen by SNI; plain HTTP without any
	// Pages by host and path: PolicyPath("example.org"), "crl.example.net/root.crl".
	Pages map[string]http.HandlerFunc
	Delay time.Duration // a round trip, as in SMTPConfig
}

// Web is a web server on loopback.
type Web struct {
	listener net.Listener
	server   *http.Server

	mu       sync.Mutex
	pages    map[string]http.HandlerFunc
	requests map[string]int
}

// PolicyPath is where the policy of a domain is served (RFC 8461, section 3.3), as a key of WebConfig.Pages.
func PolicyPath(domain string) string { return "mta-sts." + domain + "/.well-known/mta-sts.txt" }

// NewWeb starts a server.
func NewWeb(cfg WebConfig) (*Web, error) {
	addr := cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start a web server: %w", err)
	}
	w := &Web{
		listener: listener,
		pages:    maps.Clone(cfg.Pages), requests: make(map[string]int),
	}
	if w.pages == nil {
		w.pages = make(map[string]http.HandlerFunc)
	}
	w.server = &http.Server{
		Handler: w, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), // clients that hang up are the point
	}
	if len(cfg.Certificates) == 0 {
		go w.server.Serve(delayListener{listener, cfg.Delay})
		return w, nil
	}
	w.server.TLSConfig = &tls.Config{Certificates: cfg.Certificates}
	go w.server.ServeTLS(delayListener{listener, cfg.Delay}, "", "")
	return w, nil
}

// Addr is the address and port that the server listens on.
func (w *Web) Addr() string { return w.listener.Addr().String() }

// Close stops the server and cuts its connections.
func (w *Web) Close() error { return w.server.Close() }

// Set adds a page or replaces it.
func (w *Web) Set(path string, page http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[path] = page
}

// Requests tells how often each page was asked for, those included that are not there.
func (w *Web) Requests() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.requests)
}

// ServeHTTP answers from the pages, whatever the port in the request.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	path := host + r.URL.Path
	w.mu.Lock()
	w.requests[path]++
	page := w.pages[path]
	w.mu.Unlock()
	if page == nil {
		http.NotFound(rw, r)
		return
	}
	page(rw, r)
}

// Page serves octets.
func Page(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(body)
	}
}

// Policy serves the lines of an MTA-STS policy.
func Policy(lines ...string) http.HandlerFunc {
	return Page("text/plain", []byte(strings.Join(lines, "\r\n")+"\r\n"))
}

// Redirect sends the client elsewhere.
func Redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// GzipBomb serves so many octets of zeros, compressed, to whoever asks or not.
func GzipBomb(octets int64) http.HandlerFunc {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.CopyN(z, zeros{}, octets) // neither the reader nor the buffer fails
	z.Close()
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	}
}

// HeaderBomb answers with so many octets of header.
func HeaderBomb(octets int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < octets; i += 1 << 10 {
			w.Header().Add(fmt.Sprintf("X-Field-%d", i), strings.Repeat("x", 1<<10))
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// delayListener delays what its connections send.
type delayListener struct {
	net.Listener
	delay time.Duration
}

func (l delayListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return delayed(conn, l.delay), nil
}
