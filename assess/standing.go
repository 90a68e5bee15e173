package assess

import (
	"net/netip"
	"time"

	"peerscore/assess/dnsname"
)

// Standing is what the milter needs to know of a domain while a message waits: enough for the
// header and for the proof P-MX. The zero Standing is that of a domain never heard of.
type Standing struct {
	Known    bool // the store has a row for the domain
	Status   Status
	Profile  string
	Basis    Basis
	Scores   Scores
	Since    time.Time    // when a session was credited to it first; zero: none so far
	Assessed time.Time    // when it was last probed; zero while pending
	MX       []netip.Addr // addresses of its MX hosts, as its own assessment found them
}

// Standing condenses an assessment.
func (a Assessment) Standing() Standing {
	s := Standing{
		Known: true, Status: a.Status, Profile: a.Profile, Basis: a.Evidence.Basis(), Scores: a.Scores,
		Since: a.Evidence.Tally.FirstSeen,
	}
	if a.Evidence.Facts == nil {
		return s
	}
	s.Assessed = a.Evidence.Facts.At
	for _, host := range a.Evidence.Facts.Hosts.Hosts {
		s.MX = append(s.MX, host.Addresses()...)
	}
	return s
}

// Addresses are the host's addresses, IPv4 first, as its A and AAAA records name them.
func (h MXHost) Addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, record := range append(append([]string(nil), h.A.Records...), h.AAAA.Records...) {
		if addr, err := netip.ParseAddr(record); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// HostRecord is what the prober remembers of one address under one server name, across
// domains and restarts: a good dialogue serves every domain on it, a bad one says when to
// ask again (assess/probe/limits.md, section 5).
type HostRecord struct {
	Session      SMTPFacts
	Organisation dnsname.Domain // that the run was for; "" where that is not known
	Failures     int            // in a row; 0 after a dialogue that answered
	NotBefore    time.Time      // the address is not dialled again before
}

// HostRecordLapse is how long after the rest of its address a record still says that the name has
// answered: a domain that is probed now and then has renewed it by then.
const HostRecordLapse = 7 * 24 * time.Hour

// Share is a part of the dialogues that a network has on one day, of which there are so many.
type Share struct {
	Network netip.Prefix
	Of      string // whose part it is: the words are the prober's
	Limit   int
}
