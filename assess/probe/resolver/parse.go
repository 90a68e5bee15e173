package resolver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxSet     = 100            // records of one set
	maxAliases = 8              // CNAMEs of one answer
	maxEDEText = 256            // octets of a server's explanation
	maxTTL     = 24 * time.Hour // RFC 8767, section 4 allows any cap
	maxDenial  = time.Hour      // RFC 2308, section 5 suggests one to three hours
	// minTTL is how long an answer is kept at least, a denial without an SOA apart. A TTL of zero
	// means "for the transaction in progress" (RFC 1035, section 3.2.1), which a burst of mail is
	// to us: whoever sends it would else have a third party asked once more for each message.
	// Caching resolvers offer the same, BIND up to 90 s.
	minTTL = 30 * time.Second
	// A failure is kept for failureTTL, and when it is met again, for twice as long as before (RFC
	// 9520, section 3.2, allows up to 5 minutes): a silent name costs its timeout once a minute.
	failureTTL    = 5 * time.Second
	maxFailureTTL = time.Minute
	maxTTLValue   = 1<<31 - 1 // larger ones count as zero (RFC 2181, section 8)
)

// parse judges a reply that belongs to the question. CNAMEs are followed within the reply only.
func parse(m *dns.Msg, q question) Answer {
	answer := Answer{Name: q.name, Type: q.t, Canonical: q.name, TTL: maxTTL, EDE: extendedError(m)}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return answer.fail(rcodeName(m.Rcode))
	}
	set := find(m.Answer, q.name, uint16(q.t))
	for len(set) == 0 {
		cname := find(m.Answer, answer.Canonical, dns.TypeCNAME)
		if len(cname) == 0 {
			break
		}
		if len(answer.Aliases) == maxAliases {
			return answer.fail(ReasonChain)
		}
		answer.limitTTL(cname[0])
		answer.Canonical = presentName(cname[0].(*dns.CNAME).Target)
		answer.Aliases = append(answer.Aliases, answer.Canonical)
		set = find(m.Answer, answer.Canonical, uint16(q.t))
	}
	if len(set) == 0 {
		return answer.deny(m)
	}
	return answer.fill(set)
}

// find is the RRset of an owner in a section. Only the types that are asked for matter, so a
// loop over at most maxRecords records is all the index that is needed.
func find(section []dns.RR, owner string, rtype uint16) []dns.RR {
	var set []dns.RR
	for _, rr := range section {
		h := rr.Header()
		if h.Rrtype == rtype && h.Class == dns.ClassINET && strings.EqualFold(presentName(h.Name), owner) {
			set = append(set, rr)
		}
	}
	return set
}

// fill takes over the records of the answer.
func (a Answer) fill(set []dns.RR) Answer {
	if len(set) > maxSet {
		return a.fail(ReasonTooLarge)
	}
	a.Status = Found
	a.Records = make([]string, 0, len(set))
	for _, rr := range set {
		if rr.Header().Rdlength == 0 { // the library takes it for a dynamic update and leaves the fields zero
			return a.fail(ReasonMalformed)
		}
		a.limitTTL(rr)
		a.add(rr)
	}
	a.TTL = max(a.TTL, minTTL)
	return a
}

// add appends one record as text and, for the types that have them, as fields.
func (a *Answer) add(rr dns.RR) {
	var text string
	switch rr := rr.(type) {
	case *dns.TXT:
		text = octets(rr.Txt)
	case *dns.A:
		text = a.addAddr(rr.A.To4())
	case *dns.AAAA:
		text = a.addAddr(rr.AAAA)
	case *dns.MX:
		mx := MXRecord{rr.Preference, presentName(rr.Mx)}
		a.MX = append(a.MX, mx)
		text = fmt.Sprintf("%d %s", mx.Preference, mx.Host)
	case *dns.TLSA:
		data, _ := hex.DecodeString(rr.Certificate) // the library has just encoded it
		a.TLSA = append(a.TLSA, TLSARecord{rr.Usage, rr.Selector, rr.MatchingType, data})
		text = fmt.Sprintf("%d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, rr.Certificate)
	case *dns.NS:
		text = presentName(rr.Ns)
	case *dns.PTR:
		text = presentName(rr.Ptr)
	case *dns.CNAME:
		text = presentName(rr.Target)
	default:
		text = strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	if a.Type == SOA {
		a.Zone = a.Canonical
	}
	a.Records = append(a.Records, text)
}

// addAddr takes an address of four or sixteen octets. An IPv4 address that is mapped into an
// AAAA record stays what it is.
func (a *Answer) addAddr(octets []byte) string {
	addr, _ := netip.AddrFromSlice(octets)
	a.Addrs = append(a.Addrs, addr)
	return addr.String()
}

// deny tells NXDOMAIN and NODATA apart, and from a referral (RFC 2308, section 2). The response code
// is that of the last alias (RFC 6604, section 2).
func (a Answer) deny(m *dns.Msg) Answer {
	a.TTL = min(a.TTL, maxDenial)
	referral := false
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.SOA:
			if dns.IsSubDomain(rr.Hdr.Name, dns.Fqdn(a.Canonical)) {
				a.Zone = presentName(rr.Hdr.Name)
				a.limitTTL(rr)
				a.TTL = min(a.TTL, seconds(rr.Minttl))
			}
		case *dns.NS:
			referral = true
		}
	}
	switch {
	case m.Rcode == dns.RcodeNameError:
		a.Status = NXDomain
	case a.Zone == "" && referral:
		return a.fail(ReasonReferral)
	default:
		a.Status = NoData
	}
	a.TTL = max(a.TTL, minTTL)
	if a.Zone == "" {
		a.TTL = failureTTL // nothing says how long the denial holds (RFC 2308, section 5)
	}
	return a
}

// fail turns an answer into a failure.
func (a Answer) fail(reason string) Answer {
	failure := failed(question{a.Name, a.Type}, reason)
	failure.EDE = a.EDE
	return failure
}

func (a *Answer) limitTTL(rr dns.RR) { a.TTL = min(a.TTL, seconds(rr.Header().Ttl)) }

func seconds(ttl uint32) time.Duration {
	if ttl > maxTTLValue {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// presentName is a name from a message in the form that Answer has.
func presentName(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// octets joins the strings of a TXT record, freed of the escapes of master files (RFC 1035, section 5.1)
// that the library puts in.
func octets(texts []string) string {
	joined := strings.Join(texts, "")
	if !strings.Contains(joined, `\`) {
		return joined
	}
	raw := make([]byte, 0, len(joined))
	for i := 0; i < len(joined); i++ {
		c := joined[i]
		if c == '\\' && i+1 < len(joined) {
			i++
			c = joined[i]
			if n, err := strconv.ParseUint(joined[i:min(i+3, len(joined))], 10, 8); err == nil && c >= '0' && c <= '9' {
				c = byte(n)
				i += 2
			}
		}
		raw = append(raw, c)
	}
	return string(raw)
}

func rcodeName(rcode int) string {
	if name := dns.RcodeToString[rcode]; name != "" {
		return name
	}
	return "RCODE" + strconv.Itoa(rcode)
}

// refusalOf is what a SERVFAIL of a validating server with data behind it means, by the Extended
// DNS Errors that come with it (RFC 8914, section 4): it saw signatures whose time is over or has
// not come; it was not able to tell; or anything else, or nothing, which may be either.
//
// A name server that was not reached outweighs the rest: it may be the one with the good
// signatures, and the silence that of the network between, in this run and in the next. So a zone
// that keeps one of its servers silent is not called bogus by such a resolver, for ever; it does
// not pass either, for what could not be measured is unknown.
func refusalOf(m *dns.Msg) Security {
	refusal := Suspect
	for _, ede := range extendedErrors(m) {
		switch ede.InfoCode {
		case dns.ExtendedErrorCodeSignatureExpired, dns.ExtendedErrorCodeSignatureNotYetValid:
			refusal = Bogus
		case dns.ExtendedErrorCodeDNSSECIndeterminate, dns.ExtendedErrorCodeNotReady,
			dns.ExtendedErrorCodeNoReachableAuthority, dns.ExtendedErrorCodeNetworkError:
			return Indeterminate
		}
	}
	return refusal
}

// extendedErrors are the Extended DNS Errors of a reply (RFC 8914).
func extendedErrors(m *dns.Msg) []*dns.EDNS0_EDE {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	var errors []*dns.EDNS0_EDE
	for _, option := range opt.Option {
		if ede, ok := option.(*dns.EDNS0_EDE); ok {
			errors = append(errors, ede)
		}
	}
	return errors
}

// extendedError is the first Extended DNS Error of a reply, as text.
func extendedError(m *dns.Msg) string {
	errors := extendedErrors(m)
	if len(errors) == 0 {
		return ""
	}
	ede := errors[0]
	text := dns.ExtendedErrorCodeToString[ede.InfoCode]
	if text == "" {
		text = "EDE " + strconv.Itoa(int(ede.InfoCode))
	}
	if ede.ExtraText != "" {
		text += ": " + strings.ToValidUTF8(ede.ExtraText[:min(len(ede.ExtraText), maxEDEText)], "\uFFFD")
	}
	return text
}
