package spf

import "strings"

// pointer is a name that the client's PTR records give it, and whether it leads back to the client.
type pointer struct {
	name            string
	checked, proven bool
}

// pointerNames are the client's PTR names, the first MaxNames of them (RFC 7208, section 4.6.4): the set
// is the client's own, so that a long one is no mistake of the domain.
func (e *evaluation) pointerNames() ([]pointer, error) {
	if e.namesKnown {
		return e.names, e.namesErr
	}
	e.namesKnown = true
	names, err := e.pointers(e.ip)
	e.namesErr = err
	for _, name := range names[:min(len(names), MaxNames)] {
		e.names = append(e.names, pointer{name: strings.TrimSuffix(name, ".")})
	}
	return e.names, err
}

// validated reports whether the name leads back to the client; a DNS error counts as no (RFC 7208, section 5.5).
func (e *evaluation) validated(p *pointer) bool {
	if p.checked || !queryable(p.name) {
		return p.proven
	}
	p.checked = true
	addrs, err := e.addresses(p.name, e.ip.Is4())
	if err != nil {
		return false
	}
	p.proven = (&Directive{Bits4: 32, Bits6: 128}).contains(addrs, e.ip).IsValid()
	return p.proven
}

// matchPTR reports whether a validated name of the client is the target or lies below it (RFC 7208,
// section 5.5). Names elsewhere need no validation.
func (e *evaluation) matchPTR(target string) (bool, *failure) {
	names, err := e.pointerNames()
	if err == nil && len(names) == 0 {
		return false, e.countVoid()
	}
	for i := range names {
		if within(names[i].name, target) && e.validated(&names[i]) {
			return true, nil
		}
	}
	// DNS errors mean no match, but our own limits do not speak about the client.
	if err := e.exhausted(); err != nil {
		return false, temporary(err)
	}
	return false, nil
}

// validatedName is the value of the macro p: preferably the domain itself, else a name below it,
// else any (RFC 7208, section 7.3). A record may ask for it thousands of times.
func (e *evaluation) validatedName(domain string) string {
	if e.validName == "" || e.validFor != domain {
		e.validFor, e.validName = domain, e.findValidatedName(domain)
	}
	return e.validName
}

func (e *evaluation) findValidatedName(domain string) string {
	names, _ := e.pointerNames()
	for _, preferred := range []func(name string) bool{
		func(name string) bool { return strings.EqualFold(name, domain) },
		func(name string) bool { return within(name, domain) },
		func(string) bool { return true },
	} {
		for i := range names {
			if preferred(names[i].name) && e.validated(&names[i]) {
				return names[i].name
			}
		}
	}
	return "unknown"
}
