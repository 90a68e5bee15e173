package milter

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
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

// key is a key record (RFC 6376 section 3.6.1) that may be used.
type key struct {
	kind     string // k=: "rsa" or "ed25519"
	public   crypto.PublicKey
	testing  bool // t=y: the owner says that nothing may be concluded
	strictly bool // t=s: i= must be of d= itself
}

// verify tells whether the signature of a hash is right.
func (k key) verify(sum, signature []byte) bool {
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(public, sum, signature) // RFC 8463 section 3: of the hash
	}
	return false
}

// fetchKey looks a key up and checks it; the finding is not zero when there is none to use.
func fetchKey(ctx context.Context, r spf.Resolver, name string) (key, finding) {
	txts, err := r.LookupTXT(ctx, name)
	if dnsErr := (*net.DNSError)(nil); errors.As(err, &dnsErr) && dnsErr.IsNotFound {
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
		if t, _ := parseTags(txt); t.has("p") {
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
	t, err := parseTags(withoutSpace(keys[0]))
	if err != nil {
		return key{}, invalid("permerror", err.Error())
	}
	return t.key()
}

// key reads a record that has no white space left.
func (t tags) key() (k key, found finding) {
	list := func(name string) []string { return strings.Split(t[name], ":") }
	k = key{kind: t["k"], testing: slices.Contains(list("t"), "y"), strictly: slices.Contains(list("t"), "s")}
	if k.kind == "" {
		k.kind = "rsa"
	}
	der, err := base64.StdEncoding.DecodeString(t["p"])
	switch {
	case t.has("v") && t["v"] != "DKIM1":
		return k, invalid("permerror", "key of another version")
	case t.has("h") && !slices.Contains(list("h"), "sha256"):
		return k, invalid("permerror", "key not for sha256")
	case t.has("s") && !slices.Contains(list("s"), "email") && !slices.Contains(list("s"), "*"):
		return k, invalid("permerror", "key not for mail")
	case err != nil || len(der) == 0:
		return k, invalid("permerror", "key revoked or not base64")
	case k.kind == "rsa":
		k.public, found = readRSA(der)
	case k.kind == "ed25519" && len(der) == ed25519.PublicKeySize:
		k.public = ed25519.PublicKey(der)
	default:
		return k, invalid("permerror", "key malformed or of an unknown kind")
	}
	return k, found
}

// readRSA looks at size and exponent before anything is computed with them.
func readRSA(der []byte) (*rsa.PublicKey, finding) {
	n, e, err := parseRSA(der)
	switch {
	case err != nil || n.Sign() <= 0 || e.Sign() <= 0:
		return nil, invalid("permerror", "key malformed")
	case n.BitLen() < minRSABits:
		return nil, invalid("policy", fmt.Sprintf("key of %d bits", n.BitLen()))
	case n.BitLen() > maxRSABits || e.BitLen() > maxExponentBits:
		return nil, notEvaluated("key too large")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, finding{}
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
