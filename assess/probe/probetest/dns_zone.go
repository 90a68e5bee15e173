package probetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

const (
	zoneTTL   = 300 // seconds, of records without one
	denialTTL = 60  // seconds, of an SOA that was made up and so of its denials
)

type rrKey struct {
	name  string
	rtype uint16
}

// zone is a parsed Zone with its place among the others. Names are in lower case and end in a dot.
type zone struct {
	name                   string
	signed, bogus, expired bool
	sets                   map[rrKey][]dns.RR
	types                  map[string][]uint16 // by owner, what sets holds
	key                    func() zoneKey      // made at the first need

	// What follows depends on the other zones: delegate sets it.
	parent *zone
	cuts   map[string]*zone // zones directly below, by apex
	chain  func() []owner   // sorted at the first need

	sigMu sync.Mutex
	sigs  map[rrKey]*dns.RRSIG
}

// parseZone parses a literal. The name server that is made up has the address of this one: at
// port 53 a real resolver finds its way by the delegations.
func parseZone(literal Zone, server netip.Addr) (*zone, error) {
	z := &zone{
		name:    dns.CanonicalName(literal.Name),
		signed:  literal.Signed || literal.Bogus || literal.Expired,
		bogus:   literal.Bogus,
		expired: literal.Expired,
		sets:    make(map[rrKey][]dns.RR),
		types:   make(map[string][]uint16),
	}
	z.key = sync.OnceValue(func() zoneKey { return newZoneKey(z.name) })
	err := z.parse(literal.Records)
	if err == nil && len(z.sets[rrKey{z.name, dns.TypeSOA}]) == 0 {
		err = z.parse(fmt.Sprintf("@ %d SOA %s %s 1 3600 600 86400 %d\n", denialTTL,
			subdomain("ns", z.name), subdomain("hostmaster", z.name), denialTTL))
	}
	if err == nil && len(z.sets[rrKey{z.name, dns.TypeNS}]) == 0 {
		rtype := "A"
		if server.Is6() {
			rtype = "AAAA"
		}
		err = z.parse(fmt.Sprintf("@ NS ns\nns %s %s\n", rtype, server))
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", z.name, err)
	}
	return z, nil
}

// parse adds the records of master-file text. Indentation means nothing, so that literals can
// follow that of the code around them.
func (z *zone) parse(text string) error {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	text = fmt.Sprintf("$TTL %d\n%s", zoneTTL, strings.Join(lines, "\n"))
	parser := dns.NewZoneParser(strings.NewReader(text), z.name, "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		h.Name = dns.CanonicalName(h.Name)
		if !dns.IsSubDomain(z.name, h.Name) {
			return fmt.Errorf("%s lies outside", h.Name)
		}
		key := rrKey{h.Name, h.Rrtype}
		if z.sets[key] == nil {
			z.types[h.Name] = append(z.types[h.Name], h.Rrtype)
		}
		z.sets[key] = append(z.sets[key], rr)
	}
	return parser.Err()
}

// subdomain is the name of one label below name.
func subdomain(label, name string) string {
	return label + "." + strings.TrimPrefix(name, ".")
}

// parentName is name without its first label; that of the root is the root.
func parentName(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

// delegate puts each zone below the nearest one above it, and forgets what depended on the old
// places: NSEC chains and signatures. The caller holds s.mu.
func (s *DNS) delegate() {
	for _, z := range s.zones {
		z.parent = nil
		z.cuts = make(map[string]*zone)
		z.chain = sync.OnceValue(z.sortOwners)
		z.sigs = make(map[rrKey]*dns.RRSIG)
	}
	for _, z := range s.zones {
		if z.name != "." {
			z.parent = s.zoneOf(parentName(z.name))
			z.parent.cuts[z.name] = z
		}
	}
}

// zoneOf is the deepest zone that holds name. There is always one: the root.
func (s *DNS) zoneOf(name string) *zone {
	for {
		if z := s.zones[name]; z != nil {
			return z
		}
		name = parentName(name)
	}
}

// rrset is what the zone itself has under name; below a cut that is the DS set alone.
func (z *zone) rrset(name string, rtype uint16) []dns.RR {
	switch {
	case rtype == dns.TypeDNSKEY && name == z.name && z.signed:
		return []dns.RR{z.key().dnskey}
	case rtype == dns.TypeDS && z.cuts[name] != nil && z.cuts[name].signed:
		return []dns.RR{z.cuts[name].key().ds()}
	}
	return z.sets[rrKey{name, rtype}]
}

// soa is the SOA set for a denial.
func (z *zone) soa() []dns.RR { return z.sets[rrKey{z.name, dns.TypeSOA}] }

// source is the owner that answers for name: name itself, or else the wildcard that covers it
// (RFC 1034, section 4.3.3), or else nothing. A name that has only others below it exists (RFC 4592, section 2.2.2).
func (z *zone) source(name string) string {
	if z.exists(name) {
		return name
	}
	if wildcard := z.wildcard(name); z.types[wildcard] != nil {
		return wildcard
	}
	return ""
}

// wildcard is the only wildcard that may cover name, which does not exist.
func (z *zone) wildcard(name string) string {
	encloser := parentName(name)
	for !z.exists(encloser) {
		encloser = parentName(encloser)
	}
	return subdomain("*", encloser)
}

func (z *zone) exists(name string) bool {
	if z.types[name] != nil || z.cuts[name] != nil {
		return true
	}
	chain, key := z.chain(), canonicalKey(name)
	i, _ := search(chain, key)
	return i < len(chain) && strings.HasPrefix(chain[i].key, key+"\x00")
}

// owner is a name that has records, with the key that sorts it canonically.
type owner struct{ key, name string }

// sortOwners lists every owner in canonical order (RFC 4034, section 6.1): the NSEC chain.
func (z *zone) sortOwners() []owner {
	owners := make([]owner, 0, len(z.types)+len(z.cuts))
	for name := range z.types {
		owners = append(owners, owner{canonicalKey(name), name})
	}
	for name := range z.cuts {
		owners = append(owners, owner{canonicalKey(name), name})
	}
	slices.SortFunc(owners, func(a, b owner) int { return strings.Compare(a.key, b.key) })
	return owners
}

// canonicalKey is name with its labels reversed and NUL before each, so that keys compare as
// names do canonically and the key of a name begins the keys of all names below it.
func canonicalKey(name string) string {
	labels := dns.SplitDomainName(name)
	slices.Reverse(labels)
	var key strings.Builder
	for _, label := range labels {
		key.WriteString("\x00" + label)
	}
	return key.String()
}

// search finds the place of key in the chain, and whether an owner stands there.
func search(chain []owner, key string) (int, bool) {
	return slices.BinarySearchFunc(chain, key, func(o owner, key string) int { return strings.Compare(o.key, key) })
}
