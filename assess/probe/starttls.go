package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// probeStartTLS has a dialogue with the addresses of each MX host, all at once; see dialogue.
func probeStartTLS(_ context.Context, t *Target, _ *assess.Facts) {
	var hosts sync.WaitGroup
	for _, h := range t.Hosts() {
		hosts.Go(func() { h.sessions() })
	}
	hosts.Wait()
}

// handshake makes TLS of the connection. Whatever version and suite the server wants is fine,
// from TLS 1.0 on, and so is any certificate: what is found is reported and judged apart.
func (d *dialogue) handshake(ctx context.Context) error {
	d.replies = nil // from here on there is no plain text to say QUIT in
	d.meter.allow(maxHandshakeOctets)
	conn := tls.Client(d.conn, &tls.Config{
		ServerName:         d.facts.ServerName,
		InsecureSkipVerify: true,
		VerifyConnection:   d.presented,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       allSuites(),
		CurvePreferences:   usualCurves,
		Time:               d.now,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return d.handshakeError(err)
	}
	d.conn = conn
	d.meter.allow(2 * maxOctets)
	d.facts.TLS = tlsFacts(conn.ConnectionState())
	return nil
}

// usualCurves are those of the senders of mail. With a key share of ML-KEM the ClientHello
// comes in two segments, which old servers and firewalls take for an attack: "no TLS" would
// then be our fault.
var usualCurves = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// presented looks at the chain as the server sent it, in the middle of the handshake.
func (d *dialogue) presented(state tls.ConnectionState) error {
	chain := presentedChain(state)
	if reason := pkix.Oversized(chain); reason != "" {
		return fmt.Errorf("%w: %s", errLimit, reason)
	}
	if d.onChain != nil {
		d.onChain(assess.TLSFacts{Chain: chain, Cipher: tls.CipherSuiteName(state.CipherSuite)})
	}
	return nil
}

func presentedChain(state tls.ConnectionState) (chain [][]byte) {
	for _, cert := range state.PeerCertificates {
		chain = append(chain, cert.Raw)
	}
	return chain
}

func tlsFacts(state tls.ConnectionState) *assess.TLSFacts {
	facts := &assess.TLSFacts{
		Version:     tls.VersionName(state.Version),
		Cipher:      tls.CipherSuiteName(state.CipherSuite),
		KeyExchange: "RSA",
		Deprecated:  state.Version < tls.VersionTLS12,
		Chain:       presentedChain(state),
	}
	if state.CurveID != 0 {
		facts.KeyExchange = state.CurveID.String()
	}
	return facts
}

// allSuites are the suites of TLS 1.0 to 1.2 that Go knows, broken ones included.
func allSuites() []uint16 {
	var ids []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, suite.ID)
	}
	return ids
}

// ending is how a handshake came to its end without success. What that is worth takes more
// than one dialogue to tell: see Session.hold.
type ending int

const (
	otherEnding ending = iota // none, or one that needs no second look
	cutOff                    // the connection ended or was reset, as networks and restarts do as well, or by an internal error
	refused                   // an alert, or no TLS, in place of a ServerHello: what was offered may not have been enough
	otherGroup                // none: a hello made by hand was asked for another group
	beyondUs                  // crypto/tls or crypto/x509 is stricter than most senders of mail
)

// reason of an outcome that the ending leaves unknown.
func (e ending) reason() assess.Reason {
	switch e {
	case cutOff:
		return assess.ReasonHandshakeCut
	case beyondUs:
		return assess.ReasonLibraryLimit
	}
	return assess.ReasonHandshakeAlert
}

// failedHandshake ends a dialogue in the handshake.
type failedHandshake struct {
	how     ending
	problem string
	version bool // refused: the server has none of the versions that were offered
}

func (f failedHandshake) Error() string { return f.problem }

// beyond are the words of crypto/tls for what only it does not take.
var beyond = []string{
	"unsupported type of public key",
	"keys are insecure",                                 // RSA below 1024 bits
	"certificate used with invalid signature algorithm", // SHA-1, in TLS 1.2
	"server echoed TLS 1.3 compatibility session ID",
}

// ourLimits are its words for what is past its limits, or cannot be read.
var ourLimits = []string{
	"failed to parse certificate from server",
	"certificate containing RSA key larger than",
	"handshake message of length",
}

// leastServerHello is fewer octets than any ServerHello has, with its record, and more than an alert.
const leastServerHello = 40

// handshakeError tells whose fault it is that there is no TLS. A timeout or a limit of ours
// says nothing about the peer, a connection that is cut not enough, nor an alert before the
// ServerHello; nonsense after it is its answer.
func (d *dialogue) handshakeError(err error) error {
	var timeout net.Error
	if errors.Is(err, errLimit) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	text := strings.TrimPrefix(err.Error(), "tls: ")
	contained := func(words string) bool { return strings.Contains(text, words) }
	var op *net.OpError
	var header tls.RecordHeaderError
	var received alert
	switch {
	case slices.ContainsFunc(ourLimits, contained):
		return undecided(assess.ReasonLimitExceeded, "%s", text)
	case slices.ContainsFunc(beyond, contained):
		return failedHandshake{how: beyondUs, problem: text}
	case errors.As(err, &header), errors.Is(err, errNotTLS):
		return failedHandshake{how: refused, problem: errNotTLS.Error()}
	case errors.As(err, &received) && received == internalError,
		errors.As(err, &op) && op.Op == "remote error" && strings.HasSuffix(op.Err.Error(), internalError.Error()):
		return failedHandshake{how: cutOff, problem: "the server ends it: " + internalError.Error()}
	case errors.As(err, &received):
		return failedHandshake{refused, "the server ends it: " + received.Error(), received == protocolVersion}
	case errors.As(err, &op) && op.Op == "remote error" && d.meter.read.Load() < leastServerHello:
		return failedHandshake{how: refused, problem: "the server ends it: " + strings.TrimPrefix(op.Err.Error(), "tls: ")}
	case errors.As(err, &op) && op.Op == "remote error":
		return broken{assess.TLSFailed, "", "the server ends it: " + strings.TrimPrefix(op.Err.Error(), "tls: ")}
	case errors.As(err, &op) && op.Op != "local error", errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe), errors.As(err, new(syscall.Errno)):
		return failedHandshake{how: cutOff, problem: "the connection is cut"}
	}
	return broken{assess.TLSFailed, "", text}
}

// sayHello sends a ClientHello made by hand, listens to the answer and hangs up.
func (d *dialogue) sayHello(context.Context) error {
	d.replies = nil
	d.meter.allow(maxHandshakeOctets)
	offer := *d.offer
	offer.name = d.facts.ServerName
	if _, err := d.conn.Write(offer.record()); err != nil {
		return d.handshakeError(err)
	}
	shown, err := readServerHello(d.conn)
	if err != nil {
		return d.handshakeError(err)
	}
	if shown.retry {
		d.end.how = otherGroup
	}
	d.facts.TLS = shown.facts()
	return nil
}

func (s serverHello) facts() *assess.TLSFacts {
	return &assess.TLSFacts{
		Version:    tls.VersionName(s.version),
		Cipher:     suiteName(s.suite),
		Deprecated: s.version < tls.VersionTLS12,
		Chain:      s.chain,
	}
}
