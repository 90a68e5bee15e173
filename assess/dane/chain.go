package dane

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"peerscore/assess/pkix"
)

// minKeyBits is the smallest RSA key that MTAs accept when they authenticate a
// server, at OpenSSL's security level 1.
const minKeyBits = 1024

// problem is why a certificate or path is not acceptable; the zero value means
// that it is. The status is Mismatch or Unknown.
type problem struct {
	status Status
	reason string
}

func mismatch(format string, args ...any) problem {
	return problem{Mismatch, fmt.Sprintf(format, args...)}
}

func unknown(format string, args ...any) problem {
	return problem{Unknown, fmt.Sprintf(format, args...)}
}

func (p problem) none() bool { return p.reason == "" }

// verifier holds one presented chain against records.
type verifier struct {
	names      []string
	now        time.Time
	chain      []*x509.Certificate // as the server sent it
	pool       []*x509.Certificate // what else may be on the path
	path       []*x509.Certificate // the server's certificate, and issuer after issuer; built when needed
	end        problem             // why the path has no further issuer
	signatures int                 // that may still be checked
}

func newVerifier(results []RecordResult, chain []*x509.Certificate, cfg Config) *verifier {
	v := &verifier{names: cfg.Names, now: cfg.Now, chain: chain, signatures: maxSignatures}
	if v.now.IsZero() {
		v.now = time.Now()
	}
	v.pool = append(anchors(results), chain[1:]...)
	return v
}

// anchors are the trust anchors that usable records hold in full, "2 0 0": they
// need not be in the chain.
func anchors(results []RecordResult) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, r := range results {
		if r.Status != Unusable && r.TLSA.Usage == DANETA && r.TLSA.Selector == Cert && r.TLSA.MatchingType == Full {
			if cert, err := x509.ParseCertificate(r.TLSA.Data); err == nil {
				certs = append(certs, cert)
			}
		}
	}
	return certs
}

// judge judges one usable record.
func (v *verifier) judge(t TLSA) RecordResult {
	judge := v.judgeAnchor
	if t.Usage == DANEEE {
		judge = v.judgeServer
	}
	depth, p := judge(t)
	if p.none() {
		p.status = Match
	}
	return RecordResult{t, p.status, depth, p.reason}
}

// judgeServer judges a record of usage 3. The names and dates of the certificate do
// not matter, nor does the rest of the chain (RFC 7671, section 5.1).
func (v *verifier) judgeServer(t TLSA) (depth int, p problem) {
	if t.matches(v.chain[0]) {
		return 0, problem{}
	}
	if i := slices.IndexFunc(v.chain, t.matches); i > 0 {
		return -1, mismatch("it matches certificate %d of the chain, an issuer, for which usage 2 is meant", i)
	}
	return -1, mismatch("it does not match the server's certificate")
}

// judgeAnchor judges a record of usage 2 (RFC 7671, section 5.2): the trust anchor
// is an issuer on the path, or the bare key "2 1 0" that signed its last certificate.
func (v *verifier) judgeAnchor(t TLSA) (depth int, p problem) {
	if v.path == nil {
		v.build()
	}
	for depth := 1; depth < len(v.path); depth++ {
		if t.matches(v.path[depth]) {
			return depth, v.check(v.path[:depth+1], false)
		}
	}
	if t.Selector == SPKI && t.MatchingType == Full {
		return v.judgeBareKey(t)
	}
	if v.end.status == Unknown && slices.ContainsFunc(v.pool, t.matches) {
		return -1, v.end
	}
	switch i := slices.IndexFunc(v.chain, t.matches); {
	case i == 0:
		return -1, mismatch("it matches the server's own certificate, for which usage 3 is meant")
	case i > 0:
		return -1, mismatch("it matches certificate %d of the chain, which does not lead to the server's certificate: %s", i, v.end.reason)
	}
	return -1, mismatch("no issuer in the chain matches; a server has to send its trust anchor too")
}

func (v *verifier) judgeBareKey(t TLSA) (depth int, p problem) {
	top := len(v.path) - 1
	key, _ := x509.ParsePKIXPublicKey(t.Data) // unusable has read it before
	switch p := v.signed(v.path[top], key); {
	case p.none():
		return top, v.check(v.path, true)
	case p.status == Unknown:
		return -1, p
	}
	return -1, mismatch("neither is it the key of an issuer in the chain, nor did it sign the last certificate there")
}

// build follows the issuers of the server's certificate, in whatever order they
// were sent.
func (v *verifier) build() {
	cert := v.chain[0]
	for cert != nil {
		v.path = append(v.path, cert)
		if selfSigned(cert) {
			v.end = mismatch("the path ends at the self-signed %s", name(cert))
			return
		}
		cert, v.end = v.issuer(cert)
	}
}

// issuer finds the certificate whose key signed cert: the first within its dates,
// else the one that was last within them.
func (v *verifier) issuer(cert *x509.Certificate) (*x509.Certificate, problem) {
	var best *x509.Certificate
	why := mismatch("the issuer of %s is not sent", name(cert))
	for _, candidate := range v.pool {
		if !mayIssue(candidate, cert) || slices.ContainsFunc(v.path, candidate.Equal) {
			continue
		}
		if p := v.signed(cert, candidate.PublicKey); !p.none() {
			if why.status != Unknown {
				why = p
			}
			continue
		}
		if v.dates(candidate).none() {
			return candidate, problem{}
		}
		if best == nil || candidate.NotAfter.After(best.NotAfter) {
			best = candidate
		}
	}
	if best != nil {
		return best, problem{}
	}
	return nil, why
}

// mayIssue reports whether names and key identifiers let issuer be the issuer of cert.
func mayIssue(issuer, cert *x509.Certificate) bool {
	keyID := cert.AuthorityKeyId
	return pkix.SameName(issuer.RawSubject, cert.RawIssuer) &&
		(len(keyID) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(keyID, issuer.SubjectKeyId))
}

// selfSigned reports whether a certificate is its own issuer, going by names and key
// identifiers: nothing further up could vouch for it.
func selfSigned(cert *x509.Certificate) bool { return mayIssue(cert, cert) }

// signed reports whether a key made the signature of cert, with an algorithm and a
// size that senders accept.
func (v *verifier) signed(cert *x509.Certificate, key any) problem {
	if v.signatures--; v.signatures < 0 {
		return unknown("more than %d signatures to check", maxSignatures)
	}
	if key, ok := key.(*rsa.PublicKey); ok && key.N.BitLen() > MaxKeyBits {
		return unknown("an RSA key of %d bits, more than the limit of %d", key.N.BitLen(), MaxKeyBits)
	}
	if p := keySize(key); !p.none() {
		return p
	}
	switch cert.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return mismatch("%s is signed with %v, which senders no longer accept", name(cert), cert.SignatureAlgorithm)
	}
	signer := x509.Certificate{PublicKey: key}
	err := signer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	switch {
	case errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return unknown("the signature of %s is of a kind that cannot be checked here", name(cert))
	case err != nil:
		return mismatch("the signature of %s does not verify", name(cert))
	}
	return problem{}
}

func keySize(key any) problem {
	if key, ok := key.(*rsa.PublicKey); ok && key.N.BitLen() < minKeyBits {
		return mismatch("an RSA key of %d bits, which senders no longer accept", key.N.BitLen())
	}
	return problem{}
}

func name(cert *x509.Certificate) string { return pkix.Name(cert) }
