package dane

import (
	"crypto/x509"
	"slices"

	"peerscore/assess/pkix"
)

// check judges a path whose signatures are known to be good: the server's
// certificate, and issuers up to the trust anchor. bare says that the trust anchor
// is a key instead, which signed the last certificate.
func (v *verifier) check(path []*x509.Certificate, bare bool) problem {
	for i, cert := range path {
		top := i == len(path)-1 && !bare
		for _, p := range []problem{
			purpose(cert),
			authority(cert, i, i == len(path)-1),
			v.anchorDates(cert, top),
		} {
			if !p.none() {
				return p
			}
		}
	}
	if p := keySize(path[0].PublicKey); !p.none() {
		return p
	}
	if p := v.named(path[0]); !p.none() {
		return p
	}
	return fromRules(pkix.Check(path, pkix.AnyServerUsage))
}

// fromRules is a problem with the rules of RFC 5280.
func fromRules(p pkix.Problem) problem {
	switch {
	case p.None():
		return problem{}
	case p.Undecided:
		return problem{Unknown, p.Reason}
	}
	return problem{Mismatch, p.Reason}
}

// purpose wants each certificate on the path to be for TLS servers, if it says what
// it is for. anyExtendedKeyUsage is not enough for OpenSSL.
func purpose(cert *x509.Certificate) problem {
	server := func(usage x509.ExtKeyUsage) bool {
		return usage == x509.ExtKeyUsageServerAuth ||
			usage == x509.ExtKeyUsageMicrosoftServerGatedCrypto || usage == x509.ExtKeyUsageNetscapeServerGatedCrypto
	}
	if len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(cert.ExtKeyUsage, server) {
		return mismatch("%s is not for TLS servers, by its extended key usage", name(cert))
	}
	return problem{}
}

// authority wants every issuer to be allowed to issue. The last one, which the
// record vouches for, may also be a certificate from before basic constraints.
func authority(cert *x509.Certificate, depth int, last bool) problem {
	ancient := last && !cert.BasicConstraintsValid && (cert.Version == 1 && selfSigned(cert) || cert.KeyUsage != 0)
	switch {
	case depth == 0 || ancient && mayCertSign(cert):
		return problem{}
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return mismatch("%s is not a certification authority, by its basic constraints", name(cert))
	case !mayCertSign(cert):
		return mismatch("%s may not sign certificates, by its key usage", name(cert))
	}
	return problem{}
}

func mayCertSign(cert *x509.Certificate) bool {
	return cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0
}

// anchorDates checks the dates of a certificate on the path. RFC 5280, section 6 does
// not look at those of a trust anchor; senders do if it is self-signed.
func (v *verifier) anchorDates(cert *x509.Certificate, top bool) problem {
	if top && !selfSigned(cert) {
		return problem{}
	}
	return v.dates(cert)
}

func (v *verifier) dates(cert *x509.Certificate) problem {
	switch {
	case v.now.Before(cert.NotBefore):
		return mismatch("%s is not valid before %s", name(cert), cert.NotBefore.Format("2006-01-02 15:04 MST"))
	case v.now.After(cert.NotAfter):
		return mismatch("%s expired on %s", name(cert), cert.NotAfter.Format("2006-01-02 15:04 MST"))
	}
	return problem{}
}
