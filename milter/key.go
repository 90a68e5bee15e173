package milter

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"peerscore/assess/dkim"
	"peerscore/assess/spf"
)

// What is computed with (assess/probe/limits.md, section 1); what is beyond is left alone.
const (
	maxRSABits = 4096 // RFC 8301, section 3.2
	usualE     = 65537
)

// fetchKey looks a key up and checks it; the finding is not zero when there is none to use.
func fetchKey(ctx context.Context, r spf.Resolver, name string) (dkim.Key, finding) {
	txts, err := r.LookupTXT(ctx, name)
	if isNotFound(err) {
		return dkim.Key{}, invalid("permerror", "no key")
	}
	if err != nil {
		return dkim.Key{}, tempError("key not available")
	}
	return checkKey(txts)
}

// checkKey finds the key among the TXT records of a name.
func checkKey(txts []string) (dkim.Key, finding) {
	k, err := dkim.FindKey(txts)
	switch {
	case errors.Is(err, dkim.ErrTooLong):
		return k, notEvaluated(err.Error())
	case k.Type == dkim.RSA && k.Bits() < dkim.MinBits:
		return k, invalid("policy", fmt.Sprintf("key of %d bits", k.Bits()))
	case err != nil:
		return k, invalid("permerror", err.Error())
	case k.Type != dkim.RSA:
		return k, finding{}
	case k.Bits() > maxRSABits || k.Exponent.BitLen() > dkim.MaxExponentBits:
		return k, notEvaluated("key too large")
	case arithmetic(k.Bits(), k.Exponent.Uint64()) > arithmetic(maxRSABits, usualE):
		return k, notEvaluated("key of too much arithmetic")
	}
	return k, finding{}
}

// arithmetic is the cost of a power modulo a number of so many bits: the multiplications that the
// exponent takes, times what one of them takes.
func arithmetic(modulus int, exponent uint64) int {
	return (bits.Len64(exponent) + bits.OnesCount64(exponent)) * modulus * modulus
}
