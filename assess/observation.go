package assess

import (
	"net/netip"
	"strings"
	"time"

	"peerscore/assess/dnsname"
)

// Proof is a set of reasons to believe that a session speaks for a domain (milter/attribution.md, "Proofs").
type Proof uint8

const (
	ProofSPF  Proof = 1 << iota // an aligned SPF pass by a narrow mechanism
	ProofDKIM                   // an aligned valid signature
	ProofMX                     // the client is one of the domain's MX hosts
	ProofHost                   // the client's confirmed name lies within the organisation
)

// Has reports whether all of want are in the set.
func (p Proof) Has(want Proof) bool { return p&want == want }

// Path reports whether the set says whose server this is: everything but DKIM does.
func (p Proof) Path() bool { return p&(ProofSPF|ProofMX|ProofHost) != 0 }

// String is the fixed vocabulary of the Peer-Score header, such as "dkim+spf"; "" for none.
func (p Proof) String() string {
	var words []string
	for _, w := range []struct {
		bit  Proof
		name string
	}{{ProofDKIM, "dkim"}, {ProofSPF, "spf"}, {ProofMX, "mx"}, {ProofHost, "host"}} {
		if p.Has(w.bit) {
			words = append(words, w.name)
		}
	}
	return strings.Join(words, "+")
}

// Observation is what one accepted message showed about the peer that it is credited to.
// It carries no local part, recipient, subject or content, ever.
type Observation struct {
	At     time.Time
	Domain dnsname.Domain
	Proof  Proof

	// Host is the client: an IPv4 /32 or an IPv6 /64. The zero prefix is the pseudo-host
	// "relayed" (milter/attribution.md, row "relayed"), under which only DKIM is credited.
	Host netip.Prefix

	// StartTLS, SPF and DKIM are the tests that the message decides for the host. Unknown
	// means that nothing is credited.
	StartTLS, SPF, DKIM Result

	TLSVersion string // as the MTA names it ("TLSv1.3"), "none" in plain text, "" when not told
	Cipher     string

	// The tokens of the RFCs, for the counters that `explain` shows; "" when not evaluated.
	SPFResult, DKIMResult, DMARCResult string

	// Signature identifies the DKIM signature that is credited, so that a replay counts once;
	// zero when there is none.
	Signature SignatureID

	// Selectors are the DKIM keys seen in valid aligned signatures of this message.
	Selectors []Selector
}

// Relayed reports whether the observation falls under the pseudo-host "relayed".
func (o Observation) Relayed() bool { return !o.Host.IsValid() }

// SignatureID is a truncated hash over the d=, s=, bh= and b= of one DKIM signature.
type SignatureID [16]byte

// Selector names one DKIM key: the record is <Name>._domainkey.<Domain>.
type Selector struct {
	Domain dnsname.Domain `json:"domain"`
	Name   string         `json:"name"`
}

// ClientHost is the unit that counts as one outbound host: an IPv4 address, or an IPv6 /64
// because one host owns all of it. IPv4-mapped addresses are IPv4.
func ClientHost(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the bits fit by construction; the zero Addr gives the zero Prefix
	return p
}

// Tally is what the credited observations of one domain add up to over a window.
type Tally struct {
	Window          time.Duration
	Hosts           []HostTally
	Unauthenticated int // messages that claimed the domain and had the status unauthenticated
	Selectors       []Selector
	FirstSeen       time.Time
	LastSeen        time.Time
}

// Credited is the number of sessions credited to the domain in the window.
func (t Tally) Credited() int {
	n := 0
	for _, h := range t.Hosts {
		n += h.Sessions
	}
	return n
}

// lastHost is the outbound host that was seen last; the zero prefix where there is none.
func (t Tally) lastHost() netip.Prefix {
	var last HostTally
	for _, h := range t.Hosts {
		if h.Host.IsValid() && (!last.Host.IsValid() || h.LastSeen.After(last.LastSeen)) {
			last = h
		}
	}
	return last.Host
}

// HostTally counts the credited sessions of one outbound host. A Host of fewer bits than
// ClientHost gives is an older, coarsened record; the zero prefix is the pseudo-host "relayed".
type HostTally struct {
	Host                netip.Prefix
	Sessions            int
	StartTLS, SPF, DKIM Count
	TLSVersions         map[string]int
	Proofs              map[string]int
	LastSeen            time.Time
}

// Subject is the host as output names it: the address, the network, or "relayed".
func (h HostTally) Subject() string {
	switch {
	case !h.Host.IsValid():
		return "relayed"
	case h.Host.IsSingleIP():
		return h.Host.Addr().String()
	}
	return h.Host.String()
}

// Count is how many credited sessions of one host passed and failed one test.
type Count struct{ Passed, Failed int }

// Add counts one result; Unknown counts as nothing.
func (c *Count) Add(r Result) {
	switch r {
	case Pass:
		c.Passed++
	case Fail:
		c.Failed++
	}
}
