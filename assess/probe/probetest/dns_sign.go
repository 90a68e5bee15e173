package probetest

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Signatures are valid from an hour ago, for clocks that differ, and for a month.
const (
	signedSince = time.Hour
	signedFor   = 30 * 24 * time.Hour
	// Those of an expired zone ended longer ago than validators allow clocks to differ: Unbound a day.
	expiredSince = 3 * 24 * time.Hour
)

// security is the DNSSEC state of a zone, from the root down.
type security int

const (
	secure security = iota
	insecure
	bogus
	expired
)

// security of a zone is that of the zone above it, unless that is secure.
func (z *zone) security() security {
	if z.parent != nil {
		if above := z.parent.security(); above != secure {
			return above
		}
	}
	switch {
	case z.bogus:
		return bogus
	case z.expired:
		return expired
	case z.signed:
		return secure
	}
	return insecure
}

// zoneKey is the one key of a zone: it signs the DNSKEY set and everything else.
type zoneKey struct {
	dnskey *dns.DNSKEY
	signer crypto.Signer
}

func newZoneKey(name string) zoneKey {
	const zoneAndSEP, protocol, bits = 257, 3, 256
	key := &dns.DNSKEY{
		Hdr:       dns.RR_Header{Name: name, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: zoneTTL},
		Flags:     zoneAndSEP,
		Protocol:  protocol,
		Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(bits)
	if err != nil {
		panic(fmt.Sprintf("probetest: no key for %s: %v", name, err)) // only when the system has no randomness
	}
	if key.KeyTag() == 0 {
		// One key in 65,536, and a good one, but RRSIG.Sign takes this tag for one that was not set.
		return newZoneKey(name)
	}
	return zoneKey{key, private.(crypto.Signer)}
}

// ds is the digest of the key that the zone above publishes.
func (k zoneKey) ds() *dns.DS { return k.dnskey.ToDS(dns.SHA256) }

// signature of an RRset of the zone, made at the first need.
func (z *zone) signature(rrset []dns.RR) *dns.RRSIG {
	h := rrset[0].Header()
	key := rrKey{h.Name, h.Rrtype}
	z.sigMu.Lock()
	defer z.sigMu.Unlock()
	if sig := z.sigs[key]; sig != nil {
		return sig
	}
	now := time.Now()
	sig := &dns.RRSIG{
		Hdr:        dns.RR_Header{Ttl: h.Ttl},
		Algorithm:  dns.ECDSAP256SHA256,
		Inception:  uint32(now.Add(-signedSince).Unix()),
		Expiration: uint32(now.Add(signedFor).Unix()),
		KeyTag:     z.key().dnskey.KeyTag(),
		SignerName: z.name,
	}
	if z.expired && h.Rrtype != dns.TypeDNSKEY {
		sig.Inception, sig.Expiration = uint32(now.Add(-signedFor).Unix()), uint32(now.Add(-expiredSince).Unix())
	}
	if err := sig.Sign(z.key().signer, rrset); err != nil {
		panic(fmt.Sprintf("probetest: sign %s %s: %v", h.Name, dns.Type(h.Rrtype), err)) // an RRset that was parsed can be packed
	}
	if z.bogus && h.Rrtype != dns.TypeDNSKEY {
		sig.Signature = corrupt(sig.Signature)
	}
	z.sigs[key] = sig
	return sig
}

// corrupt flips one bit of a signature.
func corrupt(signature string) string {
	octets, _ := base64.StdEncoding.DecodeString(signature)
	octets[0] ^= 1
	return base64.StdEncoding.EncodeToString(octets)
}

// nsec is the link of the chain that matches name, or else covers it (RFC 4034, section 4).
func (z *zone) nsec(name string) *dns.NSEC {
	chain := z.chain()
	i, found := search(chain, canonicalKey(name))
	if !found {
		i-- // the apex sorts before everything else in the zone
	}
	soa := z.soa()[0].(*dns.SOA)
	return &dns.NSEC{
		Hdr: dns.RR_Header{
			Name: chain[i].name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET,
			Ttl: min(soa.Hdr.Ttl, soa.Minttl), // RFC 9077
		},
		NextDomain: chain[(i+1)%len(chain)].name,
		TypeBitMap: z.nsecTypes(chain[i].name),
	}
}

func (z *zone) nsecTypes(name string) []uint16 {
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	if child := z.cuts[name]; child != nil {
		types = append(types, dns.TypeNS)
		if child.signed {
			types = append(types, dns.TypeDS)
		}
	} else {
		types = append(types, z.types[name]...)
	}
	if name == z.name {
		types = append(types, dns.TypeDNSKEY)
	}
	slices.Sort(types)
	return types
}
