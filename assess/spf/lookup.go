package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// client asks the DNS within the budget of one call. Its lookups give an empty answer, without an
// error, where there are no such records.
type client struct {
	ctx      context.Context
	resolver Resolver
	own      string // the organisation of the identity, whose record it is
	queries  int
	foreign  map[string]int // queries for names of other organisations
	refused  error          // why the budget refused a query
}

var (
	errTooManyQueries = errors.New(tooManyQueries)
	errTooManyForeign = errors.New(tooManyForeign)
	errTimeLimit      = errors.New(timeLimitExceeded)
)

// charge takes one query for a name from the budget. How often others are asked is up to whoever
// wrote the record, who may mean them harm.
func (c *client) charge(name string) error {
	if c.refused != nil {
		return c.refused
	}
	if c.queries >= MaxQueries {
		c.refused = errTooManyQueries
		return c.refused
	}
	if owner := organisation(name); owner != c.own {
		if c.foreign[owner] >= MaxForeign {
			c.refused = errTooManyForeign
			return c.refused
		}
		if c.foreign == nil {
			c.foreign = make(map[string]int)
		}
		c.foreign[owner]++
	}
	c.queries++
	return c.exhausted()
}

// organisation is the registrable domain of a name by the Public Suffix List, or the name where it has none.
func organisation(name string) string {
	name = strings.ToLower(name)
	if registrable, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return registrable
	}
	return name
}

// exhausted reports whether a lookup failed for lack of budget rather than in the DNS.
func (c *client) exhausted() error {
	if c.refused == nil && c.ctx.Err() != nil {
		c.refused = errTimeLimit
	}
	return c.refused
}

func (c *client) txt(name string) ([]string, error) {
	if err := c.charge(name); err != nil {
		return nil, err
	}
	txts, err := c.resolver.LookupTXT(c.ctx, strings.ToLower(name))
	return settle(txts, err)
}

// addresses asks for A or AAAA records.
func (c *client) addresses(name string, is4 bool) ([]netip.Addr, error) {
	if err := c.charge(name); err != nil {
		return nil, err
	}
	network := "ip6"
	if is4 {
		network = "ip4"
	}
	addrs, err := c.resolver.LookupNetIP(c.ctx, network, strings.ToLower(name))
	return settle(addrs, err)
}

// mx and pointers keep what is usable of an answer that net.Resolver found partly malformed.
func (c *client) mx(name string) ([]*net.MX, error) {
	if err := c.charge(name); err != nil {
		return nil, err
	}
	mxs, err := c.resolver.LookupMX(c.ctx, strings.ToLower(name))
	if len(mxs) > 0 {
		return mxs, nil
	}
	return settle(mxs, err)
}

func (c *client) pointers(addr netip.Addr) ([]string, error) {
	if err := c.charge(addr.String()); err != nil {
		return nil, err
	}
	names, err := c.resolver.LookupAddr(c.ctx, addr.String())
	if len(names) > 0 {
		return names, nil
	}
	return settle(names, err)
}

// settle turns "no such records" into an empty answer.
func settle[T any](answer []T, err error) ([]T, error) {
	if err == nil {
		return answer, nil
	}
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) && dnsErr.IsNotFound {
		return nil, nil
	}
	return nil, err
}

// reason says why a lookup failed. Not with the error's own text: it repeats the name, and the
// name may hold the sender's local part.
func reason(err error) string {
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, errTooManyQueries), errors.Is(err, errTooManyForeign), errors.Is(err, errTimeLimit):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timeLimitExceeded
	case errors.As(err, &dnsErr) && dnsErr.IsTimeout:
		return temporaryDNSFailed + ": timeout"
	}
	return temporaryDNSFailed
}

// queryable reports whether a DNS query for the name can be composed: labels of 1 to 63 octets, 253
// in all, printable ASCII. RFC 7208, section 4.8 leaves other names undefined; here they do not exist.
func queryable(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	start := 0
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
		if name[i] == '.' {
			if i == start || i-start > 63 {
				return false
			}
			start = i + 1
		}
	}
	return start < len(name) && len(name)-start <= 63
}

// wellFormed reports whether the name of an identity is a domain name to check (RFC 7208, section 4.3): two
// labels or more of letters, digits, hyphens and underscores.
func wellFormed(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return queryable(name) && strings.IndexByte(name, '.') > 0
}

// within reports whether name is domain or lies below it.
func within(name, domain string) bool {
	cut := len(name) - len(domain)
	return cut >= 0 && strings.EqualFold(name[cut:], domain) && (cut == 0 || name[cut-1] == '.')
}

// targetName makes a domain name of an expanded domain-spec: without the final dot (RFC 7208, section 7.1),
// shortened from the left to 253 octets (section 7.3).
func targetName(s string) string {
	s = strings.TrimSuffix(s, ".")
	for len(s) > 253 {
		_, rest, found := strings.Cut(s, ".")
		if !found {
			return s
		}
		s = rest
	}
	return s
}
