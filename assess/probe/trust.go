package probe

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// trusted looks for a path from the certificate to a trusted root (RFC 5280, section 6.1), with what
// the server sent as intermediates and never as an anchor. The certificate's own dates are a
// question apart: where they have passed, the path is judged as it was on their last day.
// The path comes with the answer unless that is a failure.
func (c chain) trusted() (assess.Check, []*x509.Certificate) {
	if c.roots.Equal(x509.NewCertPool()) {
		return assess.Check{Detail: "this host has no root certificates to check with (assess.ca_file)"}, nil
	}
	for _, cert := range c.certs {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > pkix.MaxRSABits {
			return assess.Check{Detail: fmt.Sprintf("not checked: the chain has an RSA key of %d bits", key.N.BitLen())}, nil
		}
	}
	leaf, at := c.certs[0], c.now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	paths, err := c.paths(at)
	if err != nil {
		return c.untrusted(err, at), nil
	}
	return c.best(paths)
}

// best is the shortest path that the rules of package pkix accept, else one that they leave undecided.
func (c chain) best(paths [][]*x509.Certificate) (assess.Check, []*x509.Certificate) {
	slices.SortStableFunc(paths, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	var check assess.Check
	var open []*x509.Certificate
	for _, path := range paths {
		p := pkix.Check(path, c.usage)
		switch {
		case p.None():
			return assess.Check{Result: assess.Pass, Detail: "leads to " + pkix.CommonName(path[len(path)-1])}, path
		case p.Undecided && open == nil:
			check, open = assess.Check{Detail: p.Reason}, path
		case check.Detail == "":
			check = assess.Check{Result: assess.Fail, Detail: p.Reason}
			if p.Usage {
				check.Reason = assess.ReasonKeyUsage
			}
		}
	}
	return check, open
}

// paths are those that crypto/x509 finds. It is shown the certificates without what it judges
// more strictly than RFC 5280 or cannot judge; of that package pkix takes care.
func (c chain) paths(at time.Time) ([][]*x509.Certificate, error) {
	originals := make(map[*x509.Certificate]*x509.Certificate)
	spelling := c.spelling()
	shown := func(cert *x509.Certificate) *x509.Certificate {
		plain := *cert
		plain.RawSubject, plain.RawIssuer = spelling[pkix.CanonicalName(cert.RawSubject)], spelling[pkix.CanonicalName(cert.RawIssuer)]
		plain.UnhandledCriticalExtensions = nil
		plain.MaxPathLen, plain.MaxPathLenZero = -1, false
		plain.EmailAddresses, plain.URIs = nil, nil
		originals[&plain] = cert
		return &plain
	}
	intermediates := x509.NewCertPool()
	for _, cert := range c.certs[1:] {
		intermediates.AddCert(shown(cert))
	}
	paths, err := shown(c.certs[0]).Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: intermediates, CurrentTime: at})
	for _, path := range paths {
		for i, cert := range path {
			if original := originals[cert]; original != nil {
				path[i] = original
			}
		}
	}
	return paths, err
}

// spelling has one way to spell each name of the chain: crypto/x509 compares names octet by
// octet, and roots are found by theirs.
func (c chain) spelling() map[string][]byte {
	spelling := make(map[string][]byte)
	for _, cert := range c.certs {
		spelling[pkix.CanonicalName(cert.RawSubject)] = cert.RawSubject
		spelling[pkix.CanonicalName(cert.RawIssuer)] = cert.RawIssuer
	}
	for _, name := range c.rootNames() {
		canonical := pkix.CanonicalName(name)
		if _, ok := spelling[canonical]; ok {
			spelling[canonical] = name
		}
	}
	return spelling
}

// rootNames are the subjects of the trusted roots.
func (c chain) rootNames() [][]byte {
	return c.roots.Subjects() //nolint:staticcheck // it leaves out the system's roots on macOS and Windows only
}

// untrusted is why no path was found: a failure where that lies in the certificates, unknown
// where it lies in crypto/x509.
func (c chain) untrusted(err error, at time.Time) assess.Check {
	var invalid x509.CertificateInvalidError
	fail := func(reason assess.Reason, detail string) assess.Check {
		return assess.Check{Result: assess.Fail, Reason: reason, Detail: detail}
	}
	text := strings.TrimPrefix(err.Error(), "x509: ")
	says := func(other error) bool { return strings.Contains(err.Error(), other.Error()) } // it is not wrapped
	switch {
	case pkix.SelfSigned(c.certs[0]):
		return fail(assess.ReasonSelfSigned, "self-signed, not trusted")
	case says(x509.UnhandledCriticalExtension{}): // the chain shows none
		return assess.Check{Detail: "the trusted root has a critical extension that is not evaluated here"}
	case errors.As(err, &invalid):
	case !errors.As(err, &x509.UnknownAuthorityError{}):
		return assess.Check{Detail: "not checked: " + text}
	}
	path, check := c.climb(at)
	switch {
	case check.Detail != "":
		return check
	case says(x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}) && slices.ContainsFunc(path[1:], pkix.SelfIssued):
		return assess.Check{Detail: "whether the trusted root allows as many authorities below it is not evaluated here: some are self-issued"}
	case invalid.Cert != nil:
		return fail(assess.ReasonCertificateUntrusted, text)
	}
	top := path[len(path)-1]
	switch {
	case pkix.SelfSigned(top):
		return fail(assess.ReasonCertificateUntrusted, fmt.Sprintf("leads to %s, which is no trusted root", pkix.CommonName(top)))
	case slices.ContainsFunc(c.rootNames(), func(name []byte) bool { return pkix.SameName(name, top.RawIssuer) }):
		return fail(assess.ReasonCertificateUntrusted, fmt.Sprintf("%s was not issued by the trusted root %q, whose name it bears: %s", pkix.CommonName(top), pkix.IssuerName(top), text))
	}
	return fail(assess.ReasonIntermediateMissing, fmt.Sprintf("missing intermediate: the certificate of %q is neither sent nor a trusted root", pkix.IssuerName(top)))
}

// climb follows the issuers within what the server sent, as far as it goes, and says what is
// wrong with one on the way.
func (c chain) climb(at time.Time) (path []*x509.Certificate, wrong assess.Check) {
	path = c.certs[:1:1]
	for len(path) < pkix.MaxCertificates {
		top := path[len(path)-1]
		if pkix.WeakSignature(top.SignatureAlgorithm) && !pkix.SelfSigned(top) {
			return path, assess.Check{Result: assess.Fail, Detail: fmt.Sprintf(
				"%s carries a weak signature (%s) that is no longer accepted", pkix.CommonName(top), top.SignatureAlgorithm)}
		}
		issuer, wrong := c.issuer(top, path, at)
		if issuer == nil || wrong.Detail != "" {
			return path, wrong
		}
		path = append(path, issuer)
	}
	return path, assess.Check{}
}

// issuer is the certificate that was sent as the issuer of another: one that may be, else what
// is wrong with the first. Without any of that name it is nil, and nothing wrong with it.
func (c chain) issuer(cert *x509.Certificate, path []*x509.Certificate, at time.Time) (*x509.Certificate, assess.Check) {
	var first assess.Check
	for _, candidate := range c.certs {
		if !pkix.SameName(candidate.RawSubject, cert.RawIssuer) || slices.Contains(path, candidate) {
			continue
		}
		wrong := misissued(cert, candidate, at)
		if wrong.Detail == "" {
			return candidate, assess.Check{}
		}
		if first.Detail == "" {
			first = wrong
		}
	}
	return nil, first
}

// misissued says what keeps a certificate from being the issuer of another that names it.
func misissued(cert, issuer *x509.Certificate, at time.Time) assess.Check {
	fail := func(reason assess.Reason, format string, args ...any) assess.Check {
		return assess.Check{Result: assess.Fail, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	name := pkix.CommonName(issuer)
	err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	switch {
	case errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return assess.Check{Detail: fmt.Sprintf("the signature of %s is of a kind that cannot be checked here", pkix.CommonName(cert))}
	case err != nil:
		return fail(assess.ReasonIssuerMismatch, "bad signature: %s is not signed with the key of %s, which is sent as its issuer", pkix.CommonName(cert), name)
	case at.After(issuer.NotAfter):
		return fail(assess.ReasonIntermediateExpired, "the intermediate certificate %s expired on %s", name, date(issuer.NotAfter))
	case at.Before(issuer.NotBefore):
		return fail(assess.ReasonIntermediateExpired, "the intermediate certificate %s is not valid before %s", name, date(issuer.NotBefore))
	case !issuer.BasicConstraintsValid || !issuer.IsCA:
		return fail(assess.ReasonIssuerMismatch, "not an authority: %s may not issue %s, by its basic constraints", name, pkix.CommonName(cert))
	case issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return fail(assess.ReasonIssuerMismatch, "not an authority: %s may not issue %s, by its key usage", name, pkix.CommonName(cert))
	}
	return assess.Check{}
}
