package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/probe/resolver"
)

const (
	maxSelectors  = 16   // looked up in one run
	soundDKIMBits = 2048 // of RSA keys, as signers should have them (RFC 8301, section 3.2)
)

// probeDKIM asks whether there may be keys at all, and for those that were seen in use. A name
// under which others exist is answered NOERROR, and _domainkey has no records of its own.
func probeDKIM(ctx context.Context, t *Target, f *assess.Facts) {
	var questions sync.WaitGroup
	questions.Go(func() {
		_, f.DKIM.Presence = t.lookup(ctx, "_domainkey."+string(t.Domain), resolver.TXT, "")
	})
	f.DKIM.Keys = make([]assess.DKIMKey, min(len(t.Selectors), maxSelectors))
	for i := range f.DKIM.Keys {
		questions.Go(func() { f.DKIM.Keys[i] = t.dkimKey(ctx, t.Selectors[i]) })
	}
	questions.Wait()
}

func (t *Target) dkimKey(ctx context.Context, selector assess.Selector) assess.DKIMKey {
	_, lookup := t.lookup(ctx, selector.Name+"._domainkey."+string(selector.Domain), resolver.TXT, "")
	key := assess.DKIMKey{Selector: selector, Lookup: lookup}
	if lookup.Status != assess.LookupFound {
		return key
	}
	found, err := dkim.FindKey(lookup.Records)
	key.Key, key.Testing, key.Problem = describeKey(found), found.Testing, keyProblem(found, err)
	switch n := len(lookup.Records); {
	case errors.Is(err, dkim.ErrNoKey), errors.Is(err, dkim.ErrSeveralKeys):
		key.Problem = fmt.Sprintf("%d TXT records, where there must be one", n)
	case n > 1 && key.Problem == "":
		key.Problem = fmt.Sprintf("%d TXT records, of which verifiers may take another: look for a wildcard", n)
	}
	return key
}

// describeKey names what kind of key it is; "" where that could not be read.
func describeKey(k dkim.Key) string {
	switch k.Type {
	case dkim.Ed25519:
		return "Ed25519"
	case dkim.RSA:
		return fmt.Sprintf("RSA %d", k.Bits())
	}
	return ""
}

// keyProblem is what is wrong with a key, the worst first.
func keyProblem(k dkim.Key, err error) string {
	switch bits := k.Bits(); {
	case k.Type == dkim.RSA && bits < dkim.MinBits:
		return fmt.Sprintf("weak key: verifiers refuse less than %d bits (RFC 8301)", dkim.MinBits)
	case err != nil:
		return err.Error()
	case k.Disordered:
		return "v= is not the first tag"
	case k.Type == dkim.RSA && bits < soundDKIMBits:
		return fmt.Sprintf("short key: %d bits are recommended (RFC 8301)", soundDKIMBits)
	case k.Type == dkim.RSA && k.Exponent.BitLen() > dkim.MaxExponentBits:
		return fmt.Sprintf("an RSA exponent of %d bits, which verifiers may not take", k.Exponent.BitLen())
	}
	return ""
}
