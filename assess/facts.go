package assess

import (
	"net/netip"
	"time"
)

// Facts is everything that one probe run learned about a domain, without opinion. Bytes as
// received stand beside what was parsed from them, so that tomorrow's rules can judge today's
// facts. Facts are stored as JSON: fields are added, never renamed.
//
// A zero field means that nothing is known, not that something is absent.
type Facts struct {
	Domain Domain    `json:"domain"`
	At     time.Time `json:"at"` // when the run began, UTC

	Hosts  MXFacts       `json:"mx"`
	SPF    SPFFacts      `json:"spf"`
	DKIM   DKIMFacts     `json:"dkim"`
	DMARC  DMARCFacts    `json:"dmarc"`
	DNSSEC DNSSECFacts   `json:"dnssec"`
	MTASTS MTASTSFacts   `json:"mta_sts"`
	TLSRPT TLSRPTFacts   `json:"tls_rpt"`
	Timing []StageTiming `json:"timing,omitempty"`
}

// StageTiming is one step of the run, for the benchmark and `explain --timing`: who waited for whom.
type StageTiming struct {
	Stage string        `json:"stage"`
	Start time.Duration `json:"start"` // since the run began
	End   time.Duration `json:"end"`
}

// LookupStatus is how a DNS question ended.
type LookupStatus string

const (
	LookupUnknown  LookupStatus = ""         // not asked
	LookupFound    LookupStatus = "found"    // at least one record
	LookupNoData   LookupStatus = "nodata"   // the name exists, the type does not
	LookupNXDomain LookupStatus = "nxdomain" // the name does not exist
	LookupFailed   LookupStatus = "failed"   // no usable answer: see Reason
)

// Answered tells whether the question got an answer, be it a denial.
func (s LookupStatus) Answered() bool {
	return s == LookupFound || s == LookupNoData || s == LookupNXDomain
}

// Security is the DNSSEC state of an answer (RFC 4035 §4.3).
type Security string

const (
	Indeterminate Security = "" // no validating resolver that is trusted said anything
	Insecure      Security = "insecure"
	Secure        Security = "secure"
	BogusAnswer   Security = "bogus"
)

// Lookup is one DNS question and its answer.
type Lookup struct {
	Name     string       `json:"name"`
	Type     string       `json:"type"`
	Status   LookupStatus `json:"status,omitempty"`
	Security Security     `json:"security,omitempty"`
	Records  []string     `json:"records,omitempty"` // RDATA as text; TXT as the joined octets
	Reason   string       `json:"reason,omitempty"`  // why it failed: "timeout", "SERVFAIL", the EDE text
}

// MXFacts says which hosts receive mail for the domain (RFC 5321 §5.1).
type MXFacts struct {
	Lookup   Lookup   `json:"lookup"`
	Null     bool     `json:"null,omitempty"`     // "MX 0 .": receives no mail (RFC 7505)
	Implicit bool     `json:"implicit,omitempty"` // no MX records: the domain itself is the host
	Omitted  int      `json:"omitted,omitempty"`  // hosts past the limit of a run
	Hosts    []MXHost `json:"hosts,omitempty"`    // by preference
}

// MXHost is one host that the MX records name, with everything learned at it.
type MXHost struct {
	Name       string       `json:"name"`
	Preference uint16       `json:"preference"`
	Alias      string       `json:"alias,omitempty"` // the CNAME target, where the MX names an alias (RFC 5321 §5.1 forbids it)
	A          Lookup       `json:"a"`
	AAAA       Lookup       `json:"aaaa"`
	Refused    []netip.Addr `json:"refused,omitempty"` // addresses that are never dialled (security.md)
	Omitted    int          `json:"omitted,omitempty"` // addresses past the limit of a run
	Sessions   []SMTPFacts  `json:"sessions,omitempty"`
	DANE       DANEFacts    `json:"dane"`
	Zone       Lookup       `json:"zone"` // SOA of the MX host's domain: is it signed
	TXT        Lookup       `json:"txt"`  // TXT of the MX host's domain
}

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

// TLSFacts is what the handshake negotiated and the certificate that came with it.
type TLSFacts struct {
	Version     string           `json:"version"` // "TLS 1.3"
	Cipher      string           `json:"cipher"`
	KeyExchange string           `json:"key_exchange,omitempty"`
	Deprecated  bool             `json:"deprecated,omitempty"` // below TLS 1.2 (RFC 8996)
	Chain       [][]byte         `json:"chain"`                // DER as the server sent it, leaf first
	Certificate CertificateFacts `json:"certificate"`
}

// Check is one question about a certificate: what the standard's own algorithm answered, and why.
type Check struct {
	Result Result `json:"result"`
	Detail string `json:"detail,omitempty"`
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

// DANEFacts is what the TLSA records of one MX host say about its certificate (RFC 7672).
type DANEFacts struct {
	Base     string   `json:"base,omitempty"` // the TLSA base domain
	Lookup   Lookup   `json:"lookup"`
	Usable   int      `json:"usable,omitempty"`  // records that SMTP may use
	Match    Check    `json:"match"`             // Unknown while no certificate was seen
	Matched  string   `json:"matched,omitempty"` // the record that matched
	Warnings []string `json:"warnings,omitempty"`
}

// SPFFacts is the static audit of the domain's SPF record (RFC 7208), without a sender.
type SPFFacts struct {
	Lookup      Lookup   `json:"lookup"`
	Count       int      `json:"count"` // records that begin with v=spf1
	Record      string   `json:"record,omitempty"`
	Valid       Check    `json:"valid"` // one record, valid syntax everywhere in it, within the limits
	Lookups     int      `json:"lookups,omitempty"`
	VoidLookups int      `json:"void_lookups,omitempty"`
	Policy      string   `json:"policy,omitempty"` // the qualifier of "all" after redirects: "-all", "~all", "?all", "+all", "" for none
	Chain       []string `json:"chain,omitempty"`  // "include:a.example -> v=spf1 ...", indented by depth
	Warnings    []string `json:"warnings,omitempty"`
}

// DKIMFacts is the presence estimate and, once messages were seen, the keys really used.
type DKIMFacts struct {
	Presence Lookup    `json:"presence"` // _domainkey.<domain>: NOERROR against NXDOMAIN
	Keys     []DKIMKey `json:"keys,omitempty"`
}

// DKIMKey is the record of one selector that was seen in a valid signature.
type DKIMKey struct {
	Selector Selector `json:"selector"`
	Lookup   Lookup   `json:"lookup"`
	Key      string   `json:"key,omitempty"` // "RSA 2048", "Ed25519"
	Testing  bool     `json:"testing,omitempty"`
	Problem  string   `json:"problem,omitempty"`
}

// DMARCFacts is the record that applies to the domain itself, after the tree walk of RFC 9989.
type DMARCFacts struct {
	Lookup         Lookup   `json:"lookup"`          // at _dmarc.<domain>
	Found          string   `json:"found,omitempty"` // the name whose record applies; "" when there is none
	Record         string   `json:"record,omitempty"`
	Valid          Check    `json:"valid"`            // exactly one record, valid syntax
	Policy         string   `json:"policy,omitempty"` // effective for the very domain: none, quarantine, reject
	Organisational string   `json:"organisational,omitempty"`
	Reports        []string `json:"reports,omitempty"` // rua and ruf addresses as URIs
	Walk           []Lookup `json:"walk,omitempty"`
	Warnings       []string `json:"warnings,omitempty"`
}

// DNSSECFacts are the answers that no other standard's facts hold already.
type DNSSECFacts struct {
	Validates Result `json:"validates"` // does the resolver validate, by its self-test
	Problem   string `json:"problem,omitempty"`
	Zone      Lookup `json:"zone"` // SOA of the domain
	TXT       Lookup `json:"txt"`  // TXT of the domain
}

// MTASTSFacts is the record, the policy and what it says of each MX host (RFC 8461).
type MTASTSFacts struct {
	Lookup  Lookup       `json:"lookup"` // _mta-sts.<domain>
	ID      string       `json:"id,omitempty"`
	Record  Check        `json:"record"`
	Policy  string       `json:"policy,omitempty"`  // the text as fetched
	Fetched Check        `json:"fetched"`           // HTTPS with a valid certificate, status 200, syntax
	Mode    string       `json:"mode,omitempty"`    // enforce, testing, none
	MaxAge  int          `json:"max_age,omitempty"` // seconds
	MX      []string     `json:"mx,omitempty"`
	Matches []MTASTSHost `json:"matches,omitempty"`
}

// MTASTSHost is one MX host held against the policy: its name, and its certificate.
type MTASTSHost struct {
	Host  string `json:"host"`
	Match Check  `json:"match"`
}

// TLSRPTFacts is the record at _smtp._tls.<domain> (RFC 8460).
type TLSRPTFacts struct {
	Lookup  Lookup   `json:"lookup"`
	Valid   Check    `json:"valid"`
	Reports []string `json:"reports,omitempty"`
}
