package assess

import (
	"time"
)

// TLSFacts is what the handshake negotiated and the certificate that came with it.
type TLSFacts struct {
	Version     string           `json:"version"` // "TLS 1.3"
	Cipher      string           `json:"cipher"`
	KeyExchange string           `json:"key_exchange,omitempty"`
	Deprecated  bool             `json:"deprecated,omitempty"` // below TLS 1.2 (RFC 8996)
	Chain       [][]byte         `json:"chain"`                // DER as the server sent it, leaf first
	Certificate CertificateFacts `json:"certificate"`
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
