package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"

	"peerscore/assess"
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
		ServerName:            d.facts.ServerName,
		InsecureSkipVerify:    true,
		VerifyPeerCertificate: d.presented,
		MinVersion:            tls.VersionTLS10,
		CipherSuites:          allSuites(),
		CurvePreferences:      usualCurves,
		Time:                  d.now,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return handshakeError(err)
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
func (d *dialogue) presented(chain [][]byte, _ [][]*x509.Certificate) error {
	if reason := oversized(chain); reason != "" {
		return fmt.Errorf("%w: %s", errLimit, reason)
	}
	if d.onChain != nil {
		d.onChain(chain)
	}
	return nil
}

func tlsFacts(state tls.ConnectionState) *assess.TLSFacts {
	facts := &assess.TLSFacts{
		Version:     tls.VersionName(state.Version),
		Cipher:      tls.CipherSuiteName(state.CipherSuite),
		KeyExchange: "RSA",
		Deprecated:  state.Version < tls.VersionTLS12,
	}
	if state.CurveID != 0 {
		facts.KeyExchange = state.CurveID.String()
	}
	for _, cert := range state.PeerCertificates {
		facts.Chain = append(facts.Chain, cert.Raw)
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

// ourLimits are handshakes that fail because crypto/tls or crypto/x509 is stricter than most
// senders of mail: their words for certificates that they do not take in.
var ourLimits = []string{
	"failed to parse certificate from server",
	"certificate containing RSA key larger than",
	"unsupported type of public key",
	"keys are insecure", // RSA below 1024 bits
	"handshake message of length",
}

// handshakeError tells whose fault it is that there is no TLS. A timeout or a limit of ours
// says nothing about the peer; an alert, a hang-up or nonsense is its answer.
func handshakeError(err error) error {
	var timeout net.Error
	if errors.Is(err, errLimit) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	for _, words := range ourLimits {
		if strings.Contains(err.Error(), words) {
			return errors.New(strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	var op *net.OpError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return broken{assess.TLSFailed, "the server ends it: " + strings.TrimPrefix(op.Err.Error(), "tls: ")}
	case errors.As(err, &header):
		return broken{assess.TLSFailed, "the server answers with something that is not TLS"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return broken{assess.TLSFailed, "the server closes the connection"}
	}
	return broken{assess.TLSFailed, strings.TrimPrefix(err.Error(), "tls: ")}
}
