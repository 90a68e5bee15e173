package milter

import (
	"context"
	"errors"
	"strings"

	"peerscore/assess"
	"peerscore/assess/dmarc"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// hostName is what the DNS says of the client's confirmed name, for P-MX and P-HOST. The zero
// value is that of a name that is not of the author's organisation by the public suffix list.
type hostName struct {
	theirs    bool  // it lies within the author's organisation by the tree walk, too
	theirsErr error // a temporary failure to tell
	greets    bool  // the client greets with it
	publishes bool  // the author domain publishes an SPF record; not asked where P-HOST cannot hold
	spfErr    error // a temporary failure to tell
}

var errUntold = errors.New("not told")

// lookUpHost asks what the proofs need that rest on the client's name.
func (m *mail) lookUpHost(ctx context.Context, r spf.Resolver) (h hostName) {
	if !m.bearsName() {
		return h
	}
	h.theirs, h.theirsErr = m.nameIsTheirs(ctx, r)
	if h.greets = m.greetsWithName(); h.greets {
		h.publishes, h.spfErr = spf.Publishes(ctx, r, string(m.author))
	}
	return h
}

// bearsName reports whether the client's confirmed name lies within the author's organisation
// by the public suffix list.
func (m *mail) bearsName() bool {
	if m.author == "" || !m.client.addr.IsValid() {
		return false
	}
	name, err := dnsname.Parse(m.client.name)
	return err == nil && name.Within(m.author.Organisational())
}

// greetsWithName reports whether the client gave its confirmed name with EHLO or HELO.
func (m *mail) greetsWithName() bool {
	return m.client.name != "" && strings.EqualFold(strings.TrimSuffix(m.client.helo, "."), m.client.name)
}

// nameIsTheirs reports whether a name for which bearsName holds lies within the author's
// organisational domain by the tree walk of RFC 9989, section 4.10.2, too: the public suffix list
// does not know every provider that gives names below its own to strangers. An error is a
// temporary failure.
func (m *mail) nameIsTheirs(ctx context.Context, r spf.Resolver) (bool, error) {
	name, err := dnsname.Parse(m.client.name)
	if err != nil || name.Within(m.author) {
		return err == nil, nil
	}
	org, err := dmarc.OrganisationalDomain(ctx, r, string(m.author))
	return err == nil && name.Within(dnsname.Domain(org)), err
}

// proveHost adds the proofs that rest on the client's confirmed name: P-MX, and P-HOST where
// nothing stronger holds.
func (t *testimony) proveHost(h hostName, isMX bool) {
	mayBeHost := !isMX && !t.incomplete && !t.proofs().Has(assess.ProofSPF) && h.greets
	if isMX || mayBeHost {
		t.isMX, t.incomplete = h.theirs && isMX, t.incomplete || h.theirsErr != nil
	}
	if h.theirs && mayBeHost {
		t.isOwnHost, t.incomplete = !h.publishes && h.spfErr == nil, h.spfErr != nil
	}
}
