package milter

import (
	"context"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"

	"peerscore/assess/spf"
)

// Limits on a key record (security.md). Shorter RSA keys are invalid by RFC 8301, longer ones
// are left alone.
const (
	maxKeyRecord    = 4 << 10 // bytes of TXT
	minRSABits      = 1024
	maxRSABits      = 4096
	maxExponentBits = 31
)

// key is a key record (RFC 6376, section 3.6.1) that may be used.
type key struct {
	record   string // without white space, which go-msgauth does not take inside p=
	testing  bool   // t=y: the owner says that nothing may be concluded
	strictly bool   // t=s: i= must be of d= itself
	work     int    // of RSA: the multiplications that the exponent takes, times the square of the length in bits
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

// checkKey finds the one key among the TXT records of a name; wildcards put others there too.
func checkKey(txts []string) (key, finding) {
	var keys []string
	for _, txt := range txts {
		if len(txt) > maxKeyRecord {
			return key{}, notEvaluated("key record too long")
		}
		if holdsKey(txt) {
			keys = append(keys, txt)
		}
	}
	switch len(keys) {
	case 0:
		return key{}, invalid("permerror", "no key")
	case 1:
	default:
		return key{}, invalid("permerror", "several keys")
	}
	k := key{record: withoutSpace(keys[0])}
	t, err := parseTags(k.record)
	if err != nil {
		return key{}, invalid("permerror", err.Error())
	}
	flags := strings.Split(t["t"], ":")
	k.testing, k.strictly = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	if kind := t["k"]; kind == "" || kind == "rsa" {
		f := k.checkRSA(t["p"])
		return k, f
	}
	return k, finding{}
}

// holdsKey reports whether a TXT record is meant to be a key: it has the tag p. Others are not read
// any further, for there may be a hundred of them.
func holdsKey(txt string) bool {
	if strings.Count(txt, ";") > maxTags {
		return false
	}
	for spec := range strings.SplitSeq(txt, ";") {
		if name, _, found := strings.Cut(spec, "="); found && strings.TrimSpace(name) == "p" {
			return true
		}
	}
	return false
}

// checkRSA reads size and exponent of a key, and computes nothing.
func (k *key) checkRSA(p string) finding {
	der, err := base64.StdEncoding.DecodeString(p)
	if err != nil || len(der) == 0 {
		return invalid("permerror", "key revoked or not base64")
	}
	n, e, err := parseRSA(der)
	switch {
	case err != nil || n.Sign() <= 0 || e.Sign() <= 0:
		return invalid("permerror", "key malformed")
	case n.BitLen() < minRSABits:
		return invalid("policy", fmt.Sprintf("key of %d bits", n.BitLen()))
	case n.BitLen() > maxRSABits || e.BitLen() > maxExponentBits:
		return notEvaluated("key too large")
	}
	exponent := e.Uint64()
	k.work = n.BitLen() * n.BitLen() * (bits.Len64(exponent) + bits.OnesCount64(exponent))
	return finding{}
}

// parseRSA reads both forms of the wild (RFC 6376, erratum 3017): SubjectPublicKeyInfo, and the
// RSAPublicKey within it alone.
func parseRSA(der []byte) (n, e *big.Int, err error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err == nil {
		der = info.Key.Bytes
	}
	var public struct{ N, E *big.Int }
	_, err = asn1.Unmarshal(der, &public)
	return public.N, public.E, err
}
