// Package dane judges the certificate of an MX host by its TLSA records: RFC 6698
// and RFC 7671 in the profile of RFC 7672 for SMTP between servers.
//
// A TLSA record names a certificate or key, and what it stands for: the server
// itself (DANE-EE, usage 3: names and dates do not matter) or an authority above it
// (DANE-TA, usage 2: a chain has to lead there, with valid dates and a name that
// the sender looked for). The two usages that need public authorities as well
// (0 and 1) are unusable with SMTP.
//
// Verify answers as an MTA on OpenSSL does, which most senders are: the same
// digest agility, the same lenience towards trust anchors, the same rigour below
// them. It parts from OpenSSL where a chain holds two issuers of one name (the one
// whose key fits is taken, not the first), and says Unknown where it cannot tell.
//
// Left out: lookups, whether DNSSEC protects the records (the caller knows), and
// revocation.
package dane

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Limits on what a peer may send. Past them the answer is Unknown.
const (
	MaxRecords      = 100      // TLSA records of a host
	MaxRecordBytes  = 64 << 10 // association data of all records together
	MaxCertificates = 10       // of a chain
	MaxChainBytes   = 64 << 10 // DER of a chain
	MaxKeyBits      = 8192     // of an RSA key that a signature is checked with
	maxSignatures   = 32       // checked for one answer
)

// Status is what one record, or all records together, say of a certificate.
type Status string

const (
	Unknown  Status = ""         // it could not be told
	Match    Status = "match"    // it authenticates the server
	Mismatch Status = "mismatch" // it does not
	Ignored  Status = "ignored"  // a stronger digest is published beside it (RFC 7671, section 9)
	Unusable Status = "unusable" // malformed, of an unknown kind, or not for SMTP
	Absent   Status = "absent"   // there are no records
)

// Config is what a sender brings to the judgement.
type Config struct {
	Names []string  // reference identifiers, for usage 2: see ReferenceIdentifiers
	Now   time.Time // the zero value means the present
}

// Result is the judgement of all TLSA records of a host. Its status is Match when
// any record matches; else Unknown when any could not be judged; Mismatch when any
// was usable (a sender does not deliver); Unusable when none was (a sender encrypts
// without authentication, RFC 7672, section 2.2).
type Result struct {
	Status  Status
	Reason  string         // in words, where the status is not Match
	Records []RecordResult // one for each record, in their order; none past a limit
}

// RecordResult is the judgement of one record.
type RecordResult struct {
	TLSA   TLSA
	Status Status
	Depth  int    // of the certificate it stands for, 0 being the server's; -1 if none. For a bare key: of the one it signed
	Reason string // in words, where the status is not Match
}

// Verify judges the TLSA records of a host against the chain that it presented,
// its own certificate first.
func Verify(records []TLSA, chain []*x509.Certificate, cfg Config) Result {
	if len(records) == 0 {
		return Result{Status: Absent, Reason: "there are no TLSA records"}
	}
	if reason := pastLimit(records, chain); reason != "" {
		return Result{Status: Unknown, Reason: reason}
	}
	results := make([]RecordResult, len(records))
	for i, record := range records {
		results[i] = RecordResult{TLSA: record, Depth: -1}
		if reason := record.unusable(); reason != "" {
			results[i].Status, results[i].Reason = Unusable, reason
		}
	}
	ignoreWeaker(results)
	v := newVerifier(results, chain, cfg)
	for i, r := range results {
		if r.Status == Unknown { // so far
			results[i] = v.judge(r.TLSA)
		}
	}
	return summarise(results)
}

// Best returns the record that authenticates the server: one of usage 3 before any
// of usage 2, and then the one closest to the server. ok is false without a match.
func (r Result) Best() (best RecordResult, ok bool) {
	for _, record := range r.Records {
		if record.Status == Match && (!ok || record.rank() < best.rank()) {
			best, ok = record, true
		}
	}
	return best, ok
}

func (r RecordResult) rank() int {
	if r.TLSA.Usage == DANEEE {
		return -1
	}
	return r.Depth
}

func pastLimit(records []TLSA, chain []*x509.Certificate) string {
	recordBytes, chainBytes := 0, 0
	for _, record := range records {
		recordBytes += len(record.Data)
	}
	for _, cert := range chain {
		chainBytes += len(cert.Raw)
	}
	switch {
	case len(records) > MaxRecords:
		return fmt.Sprintf("%d TLSA records, more than the limit of %d", len(records), MaxRecords)
	case recordBytes > MaxRecordBytes:
		return fmt.Sprintf("TLSA records of %d bytes, more than the limit of %d", recordBytes, MaxRecordBytes)
	case len(chain) == 0:
		return "the server presented no certificate"
	case len(chain) > MaxCertificates:
		return fmt.Sprintf("a chain of %d certificates, more than the limit of %d", len(chain), MaxCertificates)
	case chainBytes > MaxChainBytes:
		return fmt.Sprintf("a chain of %d bytes, more than the limit of %d", chainBytes, MaxChainBytes)
	}
	return ""
}

func summarise(results []RecordResult) Result {
	reasons := map[Status]string{}
	for _, r := range results {
		if reasons[r.Status] == "" {
			reasons[r.Status] = fmt.Sprintf("%s: %s", r.TLSA.kind(), r.Reason)
		}
	}
	for _, status := range []Status{Match, Unknown, Mismatch} {
		if reason, ok := reasons[status]; ok {
			if status == Match {
				reason = ""
			}
			return Result{status, reason, results}
		}
	}
	return Result{Unusable, "no usable TLSA record: " + reasons[Unusable], results}
}
