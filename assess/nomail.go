package assess

import "errors"

// ErrNoSuchDomain means that the name does not exist. Nothing becomes known by assessing it.
var ErrNoSuchDomain = errors.New("the name does not exist in DNS; is it spelled right?")

// Exists reports whether the domain exists as far as is known. NXDOMAIN denies the name and all
// that lies below it (RFC 8020), unless another question about it has an answer: there are name
// servers that deny a name for the types that they do not serve.
func (f *Facts) Exists() bool {
	return f.Hosts.Lookup.Status != LookupNXDomain || f.SPF.Lookup.Status == LookupFound || f.SPF.Lookup.Status == LookupNoData
}

// NoMail says why there is no provider to be scored, "" where there may be one: the domain does
// not exist, says that it receives no mail (RFC 7505), or has no mail host and no address (RFC
// 5321, section 5.1), nor was any mail seen from it.
func (e Evidence) NoMail() string {
	f := e.Facts
	switch {
	case f == nil:
		return ""
	case !f.Exists():
		return ErrNoSuchDomain.Error()
	case f.Hosts.Null:
		return "receives no mail (null MX)"
	case f.Hosts.Implicit && len(e.Tally.Hosts) == 0 && len(f.Hosts.Hosts) == 1 && f.Hosts.Hosts[0].unreachable():
		return "receives no mail (neither MX records nor an address)"
	}
	return ""
}

// unreachable reports whether the host has no address of either family.
func (h MXHost) unreachable() bool {
	return h.A.Status.Answered() && h.AAAA.Status.Answered() && h.A.Status != LookupFound && h.AAAA.Status != LookupFound
}
