package probetest

import (
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	dnsUDPSize = 1232 // octets that the server is ready to receive over UDP
	maxAliases = 16   // CNAMEs followed before a chain counts as a loop
)

// ServeDNS answers one query (dns.Handler).
func (s *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	question := query.Question[0] // the dns package refuses queries with any other number of questions
	key := countKey(dns.CanonicalName(question.Name), dns.Type(question.Qtype).String())
	s.countMu.Lock()
	s.counts[key]++
	s.countMu.Unlock()

	reply := s.reply(query)
	if reply == nil {
		return
	}
	time.Sleep(s.config.Delay)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	w.WriteMsg(reply) // a client that has gone needs no reply
}

// reply is the answer to a query, or nil for one that times out.
func (s *DNS) reply(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.Compress = true
	reply.Authoritative = s.config.Authoritative
	reply.RecursionAvailable = !s.config.Authoritative
	opt := query.IsEdns0()
	dnssecOK := opt != nil && opt.Do()
	if opt != nil {
		reply.SetEdns0(dnsUDPSize, dnssecOK)
	}
	if q := query.Question[0]; q.Qclass != dns.ClassINET || q.Qtype == dns.TypeANY {
		reply.Rcode = dns.RcodeNotImplemented
		return reply
	}

	if reply.Answer = s.turn(query.Question[0]); reply.Answer != nil {
		return reply
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	validate := !s.config.Authoritative && !s.config.NotValidating && !query.CheckingDisabled
	worst, failure := s.fill(reply, dnssecOK)
	switch {
	case failure == Timeout:
		return nil
	case failure != "":
		fail(reply, dns.StringToRcode[string(failure)])
	case validate && worst >= bogus:
		fail(reply, dns.RcodeServerFailure)
		if opt := reply.IsEdns0(); opt != nil {
			ede := &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "no valid signature for " + query.Question[0].Name}
			if worst == expired {
				ede.InfoCode = dns.ExtendedErrorCodeSignatureExpired
			}
			opt.Option = append(opt.Option, ede)
		}
	default:
		reply.AuthenticatedData = validate && worst == secure && (dnssecOK || query.AuthenticatedData)
	}
	return reply
}

// fail empties a reply but for its code.
func fail(reply *dns.Msg, rcode int) {
	reply.Rcode = rcode
	reply.Answer, reply.Ns = nil, nil
}

// fill adds the records for the question, through CNAMEs: across all zones as a resolver, within
// one zone when authoritative. It tells the worst state of the zones that had a part, or how the
// question fails.
func (s *DNS) fill(reply *dns.Msg, dnssecOK bool) (worst security, failure Failure) {
	question := reply.Question[0]
	name := dns.CanonicalName(question.Name)
	var first *zone
	for range maxAliases {
		if failure := s.failure(name, question.Qtype); failure != "" {
			return worst, failure
		}
		z := s.zoneOf(name)
		if question.Qtype == dns.TypeDS && z.name == name && z.parent != nil {
			z = z.parent // RFC 4035, section 3.1.4.1
		}
		if first == nil {
			first = z
		}
		if s.config.Authoritative && z != first {
			return worst, ""
		}
		worst = max(worst, z.security())
		if name = z.fill(reply, name, question.Qtype, dnssecOK && z.signed); name == "" {
			return worst, ""
		}
	}
	return worst, ServFail
}

func (s *DNS) failure(name string, qtype uint16) Failure {
	if failure := s.failures[countKey(name, dns.Type(qtype).String())]; failure != "" {
		return failure
	}
	return s.failures[countKey(name, "*")]
}

// fill adds what one zone says about name, with signatures and proofs where asked for. It
// returns the name to go on with where name is an alias.
func (z *zone) fill(reply *dns.Msg, name string, qtype uint16, dnssec bool) (target string) {
	source := z.source(name)
	for _, rtype := range []uint16{qtype, dns.TypeCNAME} {
		rrset := z.rrset(source, rtype)
		if len(rrset) == 0 {
			continue
		}
		reply.Answer = z.appendSet(reply.Answer, rrset, name, dnssec)
		if dnssec && source != name {
			reply.Ns = z.appendProofs(reply.Ns, name)
		}
		if cname, ok := rrset[0].(*dns.CNAME); ok && qtype != dns.TypeCNAME {
			return dns.CanonicalName(cname.Target)
		}
		return ""
	}
	if source == "" {
		reply.Rcode = dns.RcodeNameError
	}
	reply.Ns = z.appendSet(reply.Ns, z.soa(), z.name, dnssec)
	if dnssec && source == name {
		reply.Ns = z.appendProofs(reply.Ns, name)
	} else if dnssec {
		reply.Ns = z.appendProofs(reply.Ns, name, z.wildcard(name))
	}
	return ""
}

// appendSet appends an RRset as that of name, which differs from its owner where a wildcard was expanded.
func (z *zone) appendSet(section, rrset []dns.RR, name string, sign bool) []dns.RR {
	if sign {
		rrset = append(rrset[:len(rrset):len(rrset)], z.signature(rrset))
	}
	for _, rr := range rrset {
		if rr.Header().Name != name {
			rr = dns.Copy(rr)
			rr.Header().Name = name
		}
		section = append(section, rr)
	}
	return section
}

// appendProofs appends the NSEC records that match or cover names, each once (RFC 4035, section 3.1.3).
func (z *zone) appendProofs(section []dns.RR, names ...string) []dns.RR {
	seen := ""
	for _, name := range names {
		if nsec := z.nsec(name); nsec.Hdr.Name != seen {
			seen = nsec.Hdr.Name
			section = z.appendSet(section, []dns.RR{nsec}, seen, true)
		}
	}
	return section
}
