package resolver

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Type is an RR type with its IANA number.
type Type uint16

const (
	A      Type = 1
	NS     Type = 2
	CNAME  Type = 5
	SOA    Type = 6
	PTR    Type = 12
	MX     Type = 15
	TXT    Type = 16
	AAAA   Type = 28
	DS     Type = 43
	DNSKEY Type = 48
	TLSA   Type = 52
)

// String is the mnemonic: "TXT".
func (t Type) String() string { return dns.Type(t).String() }

// Status is how a question ended.
type Status string

const (
	Found    Status = "found"    // at least one record
	NoData   Status = "nodata"   // the name exists, the type does not
	NXDomain Status = "nxdomain" // the name does not exist
	Failed   Status = "failed"   // no usable answer: see Reason
)

// Security is the DNSSEC state of an answer (RFC 4035, section 4.3).
type Security string

const (
	Indeterminate Security = ""         // no trusted server that validates said anything
	Insecure      Security = "insecure" // a trusted server that validates answered without AD
	Secure        Security = "secure"   // a trusted server answered with AD
	// Suspect: a trusted server that validates refuses data that are there. They are bogus, or
	// packets with keys and signatures were lost between that server and those of the zone: both
	// look the same until the server has forgotten it.
	Suspect Security = "suspect"
	// Bogus: the same, and the server says that signatures have expired or are not yet valid, so
	// that it had them.
	Bogus Security = "bogus"
)

// Reasons of a failed question, besides the response codes ("SERVFAIL", "REFUSED") and the
// system's words for an unreachable server.
const (
	ReasonTimeout   = "timeout"
	ReasonCanceled  = "canceled"
	ReasonName      = "not a name of letters, digits, hyphens and underscores"
	ReasonMalformed = "malformed reply"
	ReasonTooLarge  = "reply with too many records"
	ReasonChain     = "more than 8 CNAMEs in a row"
	ReasonReferral  = "referral: the server does not recurse"
	ReasonBreaker   = "the resolver does not answer"
	ReasonBusy      = "too many lookups at once"
	ReasonBudget    = "too many DNS lookups"
	ReasonRate      = "no lookup was free in time"
	ReasonNotCached = "not in the cache"
	ReasonInternal  = "internal error"
)

// Answer is what became of one question. Names are in lower case without the trailing dot, the
// root is "."; octets that are no letters, digits, hyphens or underscores may be in names that
// come from a peer, escaped as in master files. The slices are shared: read only.
type Answer struct {
	Name     string // as asked, normalised; verbatim where that cannot be done
	Type     Type
	Status   Status
	Security Security // of the whole answer, every alias included

	// Aliases are the targets of the CNAMEs that were followed, in order. When the whole is not
	// Secure, a question for the CNAME of Name tells whether the first alias is (RFC 7672, section 2.2.2).
	Aliases   []string
	Canonical string // the last alias, or Name: the owner of the records

	// TTL is how long the answer holds from now: that of the records, of the denial, or a few
	// seconds for a failure. Zero means that it was not kept.
	TTL time.Duration

	Records []string     // RDATA as text; of TXT the octets of all strings, joined
	Addrs   []netip.Addr // of A and AAAA, in the order of Records
	MX      []MXRecord   // in the order of Records
	TLSA    []TLSARecord // in the order of Records

	Zone   string // the owner of the SOA that came as answer or with a denial
	EDE    string // Extended DNS Error of the server (RFC 8914): "DNSSEC Bogus: its text"
	Reason string // why Status is Failed
}

// MXRecord is the RDATA of an MX record; the host of a null MX is "." (RFC 7505).
type MXRecord struct {
	Preference uint16
	Host       string
}

// TLSARecord is the RDATA of a TLSA record (RFC 6698, section 2.1), with values of any size.
type TLSARecord struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

func failed(q question, reason string) Answer {
	return Answer{Name: q.name, Type: q.t, Canonical: q.name, Status: Failed, Reason: reason}
}

// contextReason is why a context ended.
func contextReason(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ReasonTimeout
	}
	return ReasonCanceled
}

const (
	maxNameLength  = 253 // without the trailing dot
	maxLabelLength = 63
)

// canonicalName is a name in lower case without the trailing dot, if it is the root or made of
// letters, digits, hyphens and underscores. Whoever has another spelling converts it before.
func canonicalName(name string) (string, bool) {
	if name == "." {
		return name, true
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > maxNameLength {
		return "", false
	}
	label, upper := 0, false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = -1
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
		if label++; label > maxLabelLength {
			return "", false
		}
	}
	if label == 0 {
		return "", false
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}
