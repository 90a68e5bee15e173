package probetest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// SMTPConfig is an SMTP server that receives mail for somebody: it greets, answers EHLO,
// STARTTLS and QUIT, and refuses everything else. The zero value offers no STARTTLS.
type SMTPConfig struct {
	Addr string // to listen on; "127.0.0.1:0" when empty
	Name string // in greeting and EHLO reply; "mx.example" when empty
	// Certificates are chosen by SNI; the first is for those that fit none. Without any,
	// STARTTLS is not offered.
	Certificates []tls.Certificate
	// MinVersion and MaxVersion of TLS; 0 is TLS 1.0 and TLS 1.3.
	MinVersion, MaxVersion uint16
	// Extensions are EHLO keywords besides STARTTLS; TLSExtensions are those inside TLS.
	Extensions, TLSExtensions []string
	// Delay is a round trip: what the server sends arrives so much later, and the first of it a
	// round trip later still, for the handshake of TCP.
	Delay time.Duration
	// Steps replace what the server does at some point of the dialogue: "greeting", "EHLO",
	// "STARTTLS", "TLS EHLO", "QUIT".
	Steps map[string]Step
}

// Step is what a server does in place of a reply. False ends the connection.
type Step func(*SMTPConn) bool

// SMTP is a scripted SMTP server on loopback.
type SMTP struct {
	config   SMTPConfig
	tls      *tls.Config
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	gone     *sync.Cond // one of open has gone
	open     map[net.Conn]bool
	accepted int
	most     int // connections at once
	commands []string
	names    []string
}

// NewSMTP starts a server.
func NewSMTP(cfg SMTPConfig) (*SMTP, error) {
	s := UnstartedSMTP(cfg)
	addr := cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var err error
	if s.listener, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("start an SMTP server: %w", err)
	}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// UnstartedSMTP is a server without a listener: connections come through Serve.
func UnstartedSMTP(cfg SMTPConfig) *SMTP {
	if cfg.Name == "" {
		cfg.Name = "mx.example"
	}
	s := &SMTP{config: cfg, open: make(map[net.Conn]bool)}
	s.gone = sync.NewCond(&s.mu)
	s.tls = &tls.Config{
		Certificates: cfg.Certificates,
		MinVersion:   max(cfg.MinVersion, tls.VersionTLS10), MaxVersion: cfg.MaxVersion,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.names = append(s.names, hello.ServerName)
			return nil, nil
		},
	}
	return s
}

// Addr is the address and port that the server listens on.
func (s *SMTP) Addr() string { return s.listener.Addr().String() }

// Connections tells how many connections there were, and how many at the same time.
func (s *SMTP) Connections() (total, atOnce int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted, s.most
}

// Commands are all command lines received, in their order over all connections.
func (s *SMTP) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// ServerNames are the names that clients asked for in their handshakes (SNI).
func (s *SMTP) ServerNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// Wait returns when no connection is open, so that all that clients said has been heard.
func (s *SMTP) Wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.open) > 0 {
		s.gone.Wait()
	}
}

// Close stops listening, cuts the connections that are open and waits for their end.
func (s *SMTP) Close() error {
	var err error
	if s.listener != nil {
		err = s.listener.Close()
	}
	s.mu.Lock()
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *SMTP) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.Serve(conn)
		}()
	}
}

// Serve holds one dialogue and closes the connection.
func (s *SMTP) Serve(conn net.Conn) {
	s.count(conn)
	defer s.forget(conn)
	c := &SMTPConn{Conn: delayed(conn, s.config.Delay), server: s}
	defer func() { c.Close() }()
	c.r = bufio.NewReader(c.Conn)
	if !c.step("greeting", "220 "+s.config.Name+" ESMTP") {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		if !c.answer(strings.ToUpper(verb)) {
			return
		}
	}
}

func (s *SMTP) count(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[conn] = true
	s.accepted++
	s.most = max(s.most, len(s.open))
}

func (s *SMTP) forget(conn net.Conn) {
	conn.Close() // before the delay line is drained, when the client has stopped to read
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	s.gone.Broadcast()
}

// SMTPConn is one connection to the server, as steps see it.
type SMTPConn struct {
	net.Conn
	server *SMTP
	r      *bufio.Reader
	secure bool
}

// Say writes lines, each with its CR LF; false when the client is gone.
func (c *SMTPConn) Say(lines ...string) bool {
	_, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	return err == nil
}

// handshake makes TLS of the connection.
func (c *SMTPConn) handshake(cfg *tls.Config) bool {
	conn := tls.Server(c.Conn, cfg)
	if conn.Handshake() != nil {
		return false
	}
	c.Conn, c.r, c.secure = conn, bufio.NewReader(conn), true
	return true
}

func (c *SMTPConn) answer(verb string) bool {
	switch verb {
	case "EHLO":
		if c.secure {
			return c.step("TLS EHLO", c.ehlo(c.server.config.TLSExtensions)...)
		}
		extensions := c.server.config.Extensions
		if len(c.server.config.Certificates) > 0 {
			extensions = append(slices.Clone(extensions), "STARTTLS")
		}
		return c.step("EHLO", c.ehlo(extensions)...)
	case "STARTTLS":
		if replaced := c.server.config.Steps[verb]; replaced != nil {
			return replaced(c)
		}
		return c.Say("220 go ahead") && c.handshake(c.server.tls)
	case "QUIT":
		c.step(verb, "221 bye")
		return false
	}
	return c.Say("502 this server only shows itself")
}

// step does what was asked for this point of the dialogue, or says the usual lines.
func (c *SMTPConn) step(name string, lines ...string) bool {
	if replaced := c.server.config.Steps[name]; replaced != nil {
		return replaced(c)
	}
	return c.Say(lines...)
}

// ehlo formats a reply of several lines (RFC 5321, section 4.2.1).
func (c *SMTPConn) ehlo(extensions []string) []string {
	lines := append([]string{c.server.config.Name}, extensions...)
	for i := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = "250" + separator + lines[i]
	}
	return lines
}
