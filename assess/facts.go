package assess

import (
	"net/netip"
	"time"

	"peerscore/assess/dnsname"
)

// Facts is everything that one probe run learned about a domain, without opinion. Bytes as
// received stand beside what was parsed from them, so that tomorrow's rules can judge today's
// facts. Facts are stored as JSON: fields are added, never renamed.
//
// A zero field means that nothing is known, not that something is absent.
type Facts struct {
	Domain dnsname.Domain `json:"domain"`
	At     time.Time      `json:"at"` // when the run began, UTC

	Hosts  MXFacts     `json:"mx"`
	SPF    SPFFacts    `json:"spf"`
	DKIM   DKIMFacts   `json:"dkim"`
	DMARC  DMARCFacts  `json:"dmarc"`
	DNSSEC DNSSECFacts `json:"dnssec"`
	MTASTS MTASTSFacts `json:"mta_sts"`
	TLSRPT TLSRPTFacts `json:"tls_rpt"`
	BIMI   BIMIFacts   `json:"bimi"`
	Kept   []Kept      `json:"kept,omitempty"` // parts that stand from an earlier run

	Suspicions []Suspicion `json:"suspicions,omitempty"` // questions whose answers may be bogus
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

// Answered reports whether the question got an answer, be it a denial.
func (s LookupStatus) Answered() bool {
	return s == LookupFound || s == LookupNoData || s == LookupNXDomain
}

// Security is the DNSSEC state of an answer (RFC 4035, section 4.3).
type Security string

const (
	Indeterminate Security = "" // no validating resolver that is trusted said anything
	Insecure      Security = "insecure"
	Secure        Security = "secure"
	SuspectAnswer Security = "suspect" // bogus if a later run finds the same: see Suspicion
	BogusAnswer   Security = "bogus"
)

// Lookup is one DNS question and its answer.
type Lookup struct {
	Name     string       `json:"name"`
	Type     string       `json:"type"`
	Status   LookupStatus `json:"status,omitempty"`
	Security Security     `json:"security,omitempty"`
	Records  []string     `json:"records,omitempty"` // RDATA as text; TXT as the joined octets
	Timeout  bool         `json:"timeout,omitempty"` // it failed because nobody answered
	Reason   string       `json:"reason,omitempty"`  // why it failed, in words: "timeout", "SERVFAIL", the EDE text
}

// MXFacts says which hosts receive mail for the domain (RFC 5321, section 5.1).
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
	Alias      string       `json:"alias,omitempty"` // the CNAME target, where the MX names an alias (RFC 5321, section 5.1 forbids it)
	A          Lookup       `json:"a"`
	AAAA       Lookup       `json:"aaaa"`
	Refused    []netip.Addr `json:"refused,omitempty"` // addresses that are never dialled (assess/probe/limits.md, section 4)
	Refusal    string       `json:"refusal,omitempty"` // why the first of them is not: "192.0.2.1 is never dialled: ..."
	Omitted    int          `json:"omitted,omitempty"` // addresses past the limit of a run
	Sessions   []SMTPFacts  `json:"sessions,omitempty"`
	DANE       DANEFacts    `json:"dane"`
	Zone       Lookup       `json:"zone"` // SOA of the MX host's domain: is it signed
	TXT        Lookup       `json:"txt"`  // TXT of the MX host's domain
}

// Check is one question: what the standard's own algorithm answered, and why.
type Check struct {
	Result Result `json:"result"`
	Reason Reason `json:"reason,omitempty"` // "" where the result says it, and in older facts
	Detail string `json:"detail,omitempty"` // evidence, in words; may quote the peer
}
