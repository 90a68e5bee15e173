package assess

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// X509 is the certificates of the mail hosts (RFC 5280, RFC 9525).
const X509 Standard = "x509"

// TLSFacts is what the handshake negotiated and the certificate that came with it.
type TLSFacts struct {
	Version     string           `json:"version"` // "TLS 1.3"
	Cipher      string           `json:"cipher"`
	KeyExchange string           `json:"key_exchange,omitempty"`
	Deprecated  bool             `json:"deprecated,omitempty"` // below TLS 1.2 (RFC 8996)
	Chain       [][]byte         `json:"chain"`                // DER as the server sent it, leaf first
	Certificate CertificateFacts `json:"certificate"`
}

// OtherFacts is what a server shows to clients that take no key of the kind that TLS.Chain begins
// with. A server may have a certificate with an RSA key and another with an ECDSA one; who gets
// which is between the server and each sender.
type OtherFacts struct {
	At    time.Time `json:"at"`
	Shown Check     `json:"shown"`         // Pass: it has one, see TLS; NotApplicable: it has none; Unknown: see Detail
	Cut   bool      `json:"cut,omitempty"` // it cut the connection, as some do that have none: believed when the next dialogue ends the same
	TLS   *TLSFacts `json:"tls,omitempty"`
}

// CertificatesKnown reports whether each certificate that a sender may get from the host was seen,
// of either kind of key. It is asked for where it decides: the host has TLSA records, or a policy
// of MTA-STS is enforced.
func (h MXHost) CertificatesKnown() bool {
	return !slices.ContainsFunc(h.Sessions, func(s SMTPFacts) bool {
		return s.TLS != nil && (s.Other == nil || s.Other.Shown.Result == Unknown)
	})
}

// CertificateFacts answers the four questions of the report, each on its own, for the MX host's name.
type CertificateFacts struct {
	Subject   string    `json:"subject,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Names     []string  `json:"names,omitempty"` // DNS names of the SAN, or the CN where there is no SAN
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key,omitempty"`       // "RSA 2048", "ECDSA P-256"
	Signature string    `json:"signature,omitempty"` // "SHA256-RSA"
	Trusted   Check     `json:"trusted"`             // a chain to a trusted root, dates apart
	Named     Check     `json:"named"`               // the SAN names the MX host (RFC 9525)
	Dated     Check     `json:"dated"`               // within notBefore and notAfter
	Revoked   Check     `json:"revoked"`             // Pass: on no CRL of leaf and intermediates
	Warnings  []string  `json:"warnings,omitempty"`  // weak key, weak signature, soon to expire
}

// judgeX509 puts the report's four questions to each MX host that speaks STARTTLS. A host that
// is known not to has no certificate to judge.
func judgeX509(v *Verdict, e Evidence, r Rules) {
	v.eachHost(e.Facts, func(h MXHost) []Test {
		var speaking []SMTPFacts
		for _, s := range h.Sessions {
			if s.Outcome.result() == Pass && s.TLS != nil {
				speaking = append(speaking, s)
				subject := h.Name + " [" + s.Address.String() + "]"
				v.warn(subject, s.TLS.Certificate.Warnings)
				v.noteOther(subject, s.Other)
			}
		}
		if len(speaking) == 0 {
			return []Test{noCertificate(e.Facts, h)}
		}
		h.Sessions = speaking
		return certificateTests(e.Facts, h)
	})
	v.Support = v.support(r)
}

func (v *Verdict) noteOther(subject string, o *OtherFacts) {
	switch {
	case o == nil:
	case o.TLS != nil:
		v.warn(subject, o.TLS.Certificate.Warnings)
	case o.Shown.Result == Unknown:
		v.note("%s: whether it has a certificate with another kind of key is not known: %s", subject, told(o.Shown.Detail))
	}
}

func noCertificate(f *Facts, h MXHost) Test {
	t := perAddress(f, h, "certificate", speaksTLS)
	if t.Result == Fail {
		t.Result, t.Detail = NotApplicable, "it presents no certificate: "+t.Detail
	} else {
		t.Result = Unknown
	}
	return t
}

func certificateTests(f *Facts, h MXHost) []Test {
	var tests []Test
	for _, question := range []struct {
		name  string
		judge func(c CertificateFacts, host string) (Result, string)
	}{
		{"trusted", judgeTrusted},
		{"name", judgeNamed},
		{"dates", judgeDated},
		{"revocation", judgeRevoked},
	} {
		tests = append(tests, perAddress(f, h, question.name, func(s SMTPFacts) (Result, string) {
			return s.eachCertificate(h.Name, question.judge)
		}))
	}
	return tests
}

// eachCertificate passes when each certificate of the server passes; else the worse decides.
func (s SMTPFacts) eachCertificate(host string, judge func(CertificateFacts, string) (Result, string)) (Result, string) {
	result, detail := judge(s.TLS.Certificate, host)
	if s.Other == nil || s.Other.TLS == nil || result == Fail {
		return result, detail
	}
	other := s.Other.TLS.Certificate
	if r, d := judge(other, host); r == Fail || r == Unknown && result == Pass {
		return r, fmt.Sprintf("its other certificate, with the key %s, seen %s: %s", told(other.Key), day(s.Other.At), d)
	}
	return result, detail
}

func judgeTrusted(c CertificateFacts, _ string) (Result, string) {
	switch c.Trusted.Result {
	case Pass:
		return Pass, "issued by " + quoted(c.Issuer) + ", " + c.Trusted.or("under a trusted root") + c.algorithms()
	case Fail:
		return Fail, c.Trusted.or("it leads to no trusted root") + "; " + c.trustRemedy()
	}
	return c.Trusted.Result, c.Trusted.or("whether it leads to a trusted root could not be checked")
}

// algorithms are those of the certificate's key and of the signature on it.
func (c CertificateFacts) algorithms() string {
	if c.Key == "" {
		return ""
	}
	return "; key " + told(c.Key) + ", signature " + told(c.Signature)
}

// trustRemedy goes by the mistake that the prober named.
func (c CertificateFacts) trustRemedy() string {
	switch detail := c.Trusted.Detail; {
	case strings.HasPrefix(detail, "missing intermediate"):
		return "send the authority's intermediates along with the certificate, or get one of a public authority"
	case strings.HasPrefix(detail, "self-signed"):
		return "get a certificate of a public authority"
	case strings.HasPrefix(detail, "the intermediate certificate"):
		return "send the authority's present one"
	case strings.HasPrefix(detail, "bad signature"), strings.HasPrefix(detail, "not an authority"):
		return "send the intermediates of the authority that issued it, and no others"
	case strings.Contains(detail, "by its key usage"):
		return "get a certificate for TLS servers"
	}
	return "get a certificate of a public authority, and send its intermediates"
}

func judgeNamed(c CertificateFacts, host string) (Result, string) {
	switch c.Named.Result {
	case Pass:
		return Pass, "certificate names " + host
	case Fail:
		return Fail, "certificate names " + listed(c.Names) + ", not " + host + ": ask for one that lists it"
	}
	return c.Named.Result, c.Named.or("whom it names could not be checked")
}

func judgeDated(c CertificateFacts, _ string) (Result, string) {
	switch c.Dated.Result {
	case Pass:
		return Pass, "valid " + c.Dated.or("until "+day(c.NotAfter))
	case Fail:
		return Fail, c.Dated.or("valid from "+day(c.NotBefore)+" to "+day(c.NotAfter)+" only") + "; renew it"
	}
	return c.Dated.Result, c.Dated.or("its dates could not be checked")
}

func judgeRevoked(c CertificateFacts, _ string) (Result, string) {
	switch c.Revoked.Result {
	case Pass:
		return Pass, c.Revoked.or("on no revocation list of its authorities")
	case Fail:
		return Fail, c.Revoked.or("revoked by its authority") + "; replace it"
	}
	return c.Revoked.Result, "whether it was revoked is not known: " + c.Revoked.or("no revocation list could be had")
}

// listed names the first few names of a certificate.
func listed(names []string) string {
	const few = 5
	if len(names) == 0 {
		return "no host"
	}
	var words []string
	for _, name := range names[:min(few, len(names))] {
		words = append(words, hostName(name))
	}
	text := strings.Join(words, ", ")
	if more := len(names) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
