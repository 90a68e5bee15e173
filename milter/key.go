package milter

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"peerscore/assess/dkim"
	"peerscore/assess/spf"
)

// maxRSABits is the size of RSA keys that are computed with (assess/probe/limits.md, section 1; RFC
// 8301, section 3.2); longer ones are left alone.
const maxRSABits = 4096

// key is a key that may be used.
type key struct {
	dkim.Key
	work int // of RSA: the multiplications that the exponent takes, times the square of the length in bits
}

// fetchKey looks a key up and checks it; the finding is not zero when there is none to use.
func fetchKey(ctx context.Context, r spf.Resolver, name string) (key, finding) {
	txts, err := r.LookupTXT(ctx, name)
	if isNotFound(err) {
		return key{}, invalid("permerror", "no key")
	}
	if err != nil {
		return key{}, tempError("key not available")
	}
	return checkKey(txts)
}

// checkKey finds the key among the TXT records of a name.
func checkKey(txts []string) (key, finding) {
	found, err := dkim.FindKey(txts)
	k := key{Key: found}
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
	}
	exponent := k.Exponent.Uint64()
	k.work = k.Bits() * k.Bits() * (bits.Len64(exponent) + bits.OnesCount64(exponent))
	return k, finding{}
}
