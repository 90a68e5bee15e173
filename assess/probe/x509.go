package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// probeX509 examines each certificate as soon as it is on the wire, while the dialogue goes on.
func probeX509(_ context.Context, t *Target, _ *assess.Facts) {
	var examined sync.WaitGroup
	for _, h := range t.Hosts() {
		examined.Go(func() {
			for _, s := range h.sessions() {
				examined.Go(func() {
					if s.Chain() != nil {
						s.certificate()
					}
				})
			}
		})
	}
	examined.Wait()
}

const (
	maxNames    = 100 // of a certificate, that are kept
	soonExpired = 14 * 24 * time.Hour
)

// chain is a presented chain, parsed.
type chain struct {
	certs []*x509.Certificate // leaf first
	host  string              // the MX host that presented it
	usage x509.KeyUsage       // that the connection made of the leaf's key
	roots *x509.CertPool
	now   time.Time
}

// presented reads the chain of a handshake.
func presented(seen *assess.TLSFacts) ([]*x509.Certificate, error) {
	if seen == nil {
		return nil, errors.New("there was no handshake")
	}
	return pkix.ParseChain(seen.Chain)
}

// facts answers three of the four questions; that of revocation needs the network. The path to
// a trusted root comes with it, if there is one.
func (c chain) facts() (assess.CertificateFacts, []*x509.Certificate) {
	leaf := c.certs[0]
	facts := assess.CertificateFacts{
		Subject:   leaf.Subject.String(),
		Issuer:    leaf.Issuer.String(),
		Names:     pkix.PresentedNames(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
		Key:       pkix.KeyName(leaf),
		Signature: leaf.SignatureAlgorithm.String(),
		Named:     c.named(),
		Dated:     c.dated(),
		Warnings:  c.warnings(),
	}
	facts.Names = facts.Names[:min(len(facts.Names), maxNames)]
	var path []*x509.Certificate
	facts.Trusted, path = c.trusted()
	return facts, path
}

// named holds the certificate's names against the MX host (RFC 9525, section 6.3): DNS names of the
// SAN, and the CN only where there is no SAN at all, as the report has it.
func (c chain) named() assess.Check {
	names := pkix.PresentedNames(c.certs[0])
	for _, name := range names {
		if pkix.NameMatches(name, c.host) {
			return assess.Check{Result: assess.Pass, Detail: fmt.Sprintf("%.120q", name)}
		}
	}
	switch len(names) {
	case 0:
		return assess.Check{Result: assess.Fail, Detail: "wrong name: the certificate has no host name"}
	case 1:
		return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("wrong name: the certificate is for %.120q", names[0])}
	}
	return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("wrong name: the certificate is for %.120q and %d other names", names[0], len(names)-1)}
}

// dated holds the certificate's dates against the present.
func (c chain) dated() assess.Check {
	leaf := c.certs[0]
	switch {
	case c.now.Before(leaf.NotBefore):
		return assess.Check{Result: assess.Fail, Reason: assess.ReasonCertificateEarly, Detail: "not yet valid: it begins on " + date(leaf.NotBefore)}
	case c.now.After(leaf.NotAfter):
		return assess.Check{Result: assess.Fail, Reason: assess.ReasonCertificateExpired, Detail: fmt.Sprintf("expired on %s, %s ago", date(leaf.NotAfter), days(c.now.Sub(leaf.NotAfter)))}
	}
	return assess.Check{Result: assess.Pass, Detail: fmt.Sprintf("until %s, %s to go", date(leaf.NotAfter), days(leaf.NotAfter.Sub(c.now)))}
}

// warnings are what fails nothing today and is worth fixing.
func (c chain) warnings() []string {
	var warnings []string
	for _, cert := range c.certs {
		if weak := pkix.WeakKey(cert); weak != "" {
			warnings = append(warnings, fmt.Sprintf("weak key: %s has %s", pkix.CommonName(cert), weak))
		}
	}
	leaf := c.certs[0]
	if pkix.WeakSignature(leaf.SignatureAlgorithm) {
		warnings = append(warnings, fmt.Sprintf("weak signature: %s", leaf.SignatureAlgorithm))
	}
	if left := leaf.NotAfter.Sub(c.now); left > 0 && left < soonExpired {
		warnings = append(warnings, fmt.Sprintf("expires soon: in %s", days(left)))
	}
	return warnings
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func days(d time.Duration) string {
	if n := int(d.Hours() / 24); n != 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "1 day"
}
