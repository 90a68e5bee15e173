package assess

import (
	"net/netip"
	"time"
)

// StartTLSOutcome is how far an SMTP dialogue came on its way to TLS.
type StartTLSOutcome string

const (
	TLSUnknown     StartTLSOutcome = ""            // could not be tested: see SMTPFacts.Problem
	TLSEstablished StartTLSOutcome = "established" // handshake complete and EHLO answered inside
	TLSNotOffered  StartTLSOutcome = "not-offered" // EHLO did not list STARTTLS
	TLSRefused     StartTLSOutcome = "refused"     // listed, and answered with 5xx
	TLSFailed      StartTLSOutcome = "failed"      // 220, then no handshake: protocol error or alert, not a timeout
)

// SMTPFacts is one dialogue with one address of an MX host: greeting, EHLO, STARTTLS, EHLO, QUIT.
type SMTPFacts struct {
	Address    netip.Addr      `json:"address"`
	ServerName string          `json:"server_name"` // the SNI that was sent
	At         time.Time       `json:"at"`
	Stage      string          `json:"stage"` // the last one reached: connect, greeting, ehlo, starttls, handshake, tls-ehlo, quit
	Outcome    StartTLSOutcome `json:"outcome,omitempty"`
	Problem    string          `json:"problem,omitempty"` // why the outcome is unknown or negative; may quote the peer
	Greeting   string          `json:"greeting,omitempty"`
	EHLO       []string        `json:"ehlo,omitempty"`     // reply lines in plain text
	TLSEHLO    []string        `json:"tls_ehlo,omitempty"` // reply lines inside TLS
	TLS        *TLSFacts       `json:"tls,omitempty"`
}
