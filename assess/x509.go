package assess

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// X509 is the certificates of the mail hosts (RFC 5280, RFC 9525).
const X509 Standard = "x509"

const (
	ReasonCertificateTrusted    Reason = "certificate-trusted"
	ReasonSelfSigned            Reason = "self-signed"
	ReasonIntermediateMissing   Reason = "intermediate-missing"
	ReasonIntermediateExpired   Reason = "intermediate-expired"
	ReasonIssuerMismatch        Reason = "issuer-mismatch"
	ReasonKeyUsage              Reason = "key-usage"
	ReasonCertificateUntrusted  Reason = "certificate-untrusted"
	ReasonNameMatch             Reason = "name-match"
	ReasonNameMismatch          Reason = "name-mismatch"
	ReasonCertificateDated      Reason = "certificate-current"
	ReasonCertificateExpired    Reason = "certificate-expired"
	ReasonCertificateEarly      Reason = "certificate-not-yet-valid"
	ReasonCertificateOutdated   Reason = "certificate-out-of-date"
	ReasonCertificateUnrevoked  Reason = "certificate-unrevoked"
	ReasonCertificateRevoked    Reason = "certificate-revoked"
	ReasonCRLAbsent             Reason = "crl-absent"
	ReasonCRLUnavailable        Reason = "crl-unavailable"
	ReasonRevocationUnknown     Reason = "revocation-unknown"
	ReasonCertificateEncrypted  Reason = "certificate-encrypted"
	ReasonCertificateUnreadable Reason = "certificate-unreadable"
	ReasonCertificateUnchecked  Reason = "certificate-unchecked"
	ReasonCertificateAbsent     Reason = "certificate-absent"
)

var x509Reasons = []Explanation{
	{ReasonCertificateTrusted, X509, in(Pass), "A path leads to a trusted root.", "", "RFC 5280, section 6.1"},
	{ReasonSelfSigned, X509, in(Fail), "The certificate is self-signed, and not trusted.", "get a certificate of a public authority", "RFC 5280, section 3.2"},
	{ReasonIntermediateMissing, X509, in(Fail), "The path breaks off at an authority that is neither sent nor trusted.", "send the authority's intermediates along with the certificate, or get one of a public authority", "RFC 8446, section 4.4.2"},
	{ReasonIntermediateExpired, X509, in(Fail), "An intermediate certificate has expired, or is not valid yet.", "send the authority's present one", "RFC 5280, section 6.1.3"},
	{ReasonIssuerMismatch, X509, in(Fail), "A certificate is sent as that of the issuer and did not issue, or may not.", "send the intermediates of the authority that issued it, and no others", "RFC 5280, section 6.1.4"},
	{ReasonKeyUsage, X509, in(Fail), "The key usage of the certificate is not that of a TLS server.", "get a certificate for TLS servers", "RFC 5280, section 4.2.1.3"},
	{ReasonCertificateUntrusted, X509, in(Fail), "No path leads to a trusted root.", "get a certificate of a public authority, and send its intermediates", "RFC 5280, section 6.1"},
	{ReasonNameMatch, X509, in(Pass), "The certificate names the mail host.", "", "RFC 9525, section 6.3"},
	{ReasonNameMismatch, X509, in(Fail), "The certificate does not name the mail host.", "ask for one that lists it", "RFC 9525, section 6.3"},
	{ReasonCertificateDated, X509, in(Pass), "The certificate is within its dates.", "", "RFC 5280, section 4.1.2.5"},
	{ReasonCertificateExpired, X509, in(Fail), "The certificate has expired.", "renew it", "RFC 5280, section 4.1.2.5"},
	{ReasonCertificateEarly, X509, in(Fail), "The certificate is not valid yet.", "renew it", "RFC 5280, section 4.1.2.5"},
	{ReasonCertificateOutdated, X509, in(Fail), "The certificate is not within its dates.", "renew it", "RFC 5280, section 4.1.2.5"},
	{ReasonCertificateUnrevoked, X509, in(Pass), "No revocation list of its authorities has the certificate or an intermediate.", "", "RFC 5280, section 6.3"},
	{ReasonCertificateRevoked, X509, in(Fail), "An authority has revoked the certificate or an intermediate.", "replace it", "RFC 5280, section 6.3"},
	{ReasonCRLAbsent, X509, in(Unknown), "The certificate names no revocation list that can be asked for.", "", "RFC 5280, section 4.2.1.13"},
	{ReasonCRLUnavailable, X509, in(Unknown), "The revocation list could not be fetched, or read.", "", "RFC 5280, section 6.3.3"},
	{ReasonRevocationUnknown, X509, in(Unknown), "It was not asked whether the certificate is revoked.", "", "RFC 5280, section 6.3"},
	{ReasonCertificateEncrypted, X509, in(Unknown), "TLS 1.3 encrypts the certificate, and peerscore's library did not come as far.", "", "RFC 8446, section 4.4.2"},
	{ReasonCertificateUnreadable, X509, in(Unknown), "The certificate cannot be read, or its chain is past a limit.", "", "RFC 5280, section 4.1"},
	{ReasonCertificateUnchecked, X509, in(Unknown), "The question is one that peerscore could not answer.", "", "RFC 5280, section 6.1"},
	{ReasonCertificateAbsent, X509, in(NotApplicable), "A host without TLS presents no certificate.", "", "RFC 3207, section 4"},
}

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
	switch t.Result {
	case Fail:
		t.came(NotApplicable, ReasonCertificateAbsent, "it presents no certificate: "+t.Detail)
	case Pass:
		t.Result, t.Reason = Unknown, ReasonCertificateUnchecked
	}
	return t
}

func certificateTests(f *Facts, h MXHost) []Test {
	var tests []Test
	for _, question := range []struct {
		name  string
		judge func(c CertificateFacts, host string) Check
	}{
		{"trusted", judgeTrusted},
		{"name", judgeNamed},
		{"dates", judgeDated},
		{"revocation", judgeRevoked},
	} {
		tests = append(tests, perAddress(f, h, question.name, func(s SMTPFacts) Check {
			return s.eachCertificate(h.Name, question.judge)
		}))
	}
	return tests
}

// eachCertificate passes when each certificate of the server passes; else the worse decides.
func (s SMTPFacts) eachCertificate(host string, judge func(CertificateFacts, string) Check) Check {
	first := judge(s.TLS.Certificate, host)
	if s.Other == nil || s.Other.TLS == nil || first.Result == Fail {
		return first
	}
	other := s.Other.TLS.Certificate
	if c := judge(other, host); c.Result == Fail || c.Result == Unknown && first.Result == Pass {
		c.Detail = fmt.Sprintf("its other certificate, with the key %s, seen %s: %s", told(other.Key), day(s.Other.At), c.Detail)
		return c
	}
	return first
}

func judgeTrusted(c CertificateFacts, _ string) Check {
	reason := c.Trusted.because(ReasonCertificateTrusted, ReasonCertificateUntrusted, ReasonCertificateUnchecked)
	switch c.Trusted.Result {
	case Pass:
		return Check{Pass, reason, "issued by " + quoted(c.Issuer) + ", " + c.Trusted.or("under a trusted root") + c.algorithms()}
	case Fail:
		return Check{Fail, reason, c.Trusted.or("it leads to no trusted root")}
	}
	return Check{c.Trusted.Result, reason, c.Trusted.or("whether it leads to a trusted root could not be checked")}
}

// algorithms are those of the certificate's key and of the signature on it.
func (c CertificateFacts) algorithms() string {
	if c.Key == "" {
		return ""
	}
	return "; key " + told(c.Key) + ", signature " + told(c.Signature)
}

func judgeNamed(c CertificateFacts, host string) Check {
	reason := c.Named.because(ReasonNameMatch, ReasonNameMismatch, ReasonCertificateUnchecked)
	switch c.Named.Result {
	case Pass:
		return Check{Pass, reason, "certificate names " + host}
	case Fail:
		return Check{Fail, reason, "certificate names " + listed(c.Names) + ", not " + host}
	}
	return Check{c.Named.Result, reason, c.Named.or("whom it names could not be checked")}
}

func judgeDated(c CertificateFacts, _ string) Check {
	reason := c.Dated.because(ReasonCertificateDated, ReasonCertificateOutdated, ReasonCertificateUnchecked)
	switch c.Dated.Result {
	case Pass:
		return Check{Pass, reason, "valid " + c.Dated.or("until "+day(c.NotAfter))}
	case Fail:
		return Check{Fail, reason, c.Dated.or("valid from " + day(c.NotBefore) + " to " + day(c.NotAfter) + " only")}
	}
	return Check{c.Dated.Result, reason, c.Dated.or("its dates could not be checked")}
}

func judgeRevoked(c CertificateFacts, _ string) Check {
	reason := c.Revoked.because(ReasonCertificateUnrevoked, ReasonCertificateRevoked, ReasonRevocationUnknown)
	switch c.Revoked.Result {
	case Pass:
		return Check{Pass, reason, c.Revoked.or("on no revocation list of its authorities")}
	case Fail:
		return Check{Fail, reason, c.Revoked.or("revoked by its authority")}
	}
	return Check{c.Revoked.Result, reason, "whether it was revoked is not known: " + c.Revoked.or("no revocation list could be had")}
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
