package dkim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// MaxRecord is the length of a key record that is read, in octets of TXT.
const MaxRecord = 4 << 10

// MinBits is the size of RSA keys below which no signature is valid (RFC 8301, section 3.2).
const MinBits = 1024

// MaxExponentBits is the length of an RSA exponent that crypto/rsa computes with. No RFC has one.
const MaxExponentBits = 31

// Key types (RFC 6376, section 3.6.1; RFC 8463, section 4.2).
const (
	RSA     = "rsa"
	Ed25519 = "ed25519"
)

// Key is a key record (RFC 6376, section 3.6.1).
type Key struct {
	Record            string   // without white space
	Type              string   // RSA or Ed25519; "" while the key itself could not be read
	Modulus, Exponent *big.Int // of RSA
	Testing           bool     // t=y: the owner says that nothing may be concluded
	Strict            bool     // t=s: i= must be of d= itself
	Disordered        bool     // v= is not the first tag, as it must be
}

// Bits is the size of an RSA key; 0 for others.
func (k Key) Bits() int {
	if k.Modulus == nil {
		return 0
	}
	return k.Modulus.BitLen()
}

// Why the records of a name hold no key to read. Further errors of FindKey are mistakes in the
// one key record.
var (
	ErrNoKey       = errors.New("no key")
	ErrSeveralKeys = errors.New("several keys")
	ErrTooLong     = errors.New("key record too long")
)

// FindKey reads the key among the TXT records of a name; wildcards put others beside it. A record
// with a tag p= is meant as a key, though it be revoked or malformed, and of several keys none is
// to be used (RFC 6376, section 3.6.2.2: "the results are undefined"). With an error comes what
// was read: the key itself, where it only is not for the mail or the hashes of today.
func FindKey(records []string) (Key, error) {
	keys := records
	if len(records) > 1 {
		keys = nil
	}
	for _, record := range records {
		if len(record) > MaxRecord {
			return Key{}, fmt.Errorf("%w: %d octets", ErrTooLong, len(record))
		}
		if len(records) > 1 && holdsKey(record) {
			keys = append(keys, record)
		}
	}
	switch len(keys) {
	case 0:
		return Key{}, ErrNoKey
	case 1:
		return parseKey(keys[0])
	}
	return Key{}, ErrSeveralKeys
}

// holdsKey reports whether a TXT record is meant as a key. Others are not read any further, for
// there may be a hundred of them.
func holdsKey(record string) bool {
	if strings.Count(record, ";") > MaxTags {
		return false
	}
	for spec := range strings.SplitSeq(record, ";") {
		if name, _, found := strings.Cut(spec, "="); found && strings.Trim(name, fws) == "p" {
			return true
		}
	}
	return false
}

func parseKey(record string) (Key, error) {
	k := Key{Record: withoutSpace(record)}
	t, err := ParseTags(record)
	if err != nil {
		return k, err
	}
	flags := t.list("t")
	k.Testing, k.Strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	if version, given := t["v"]; given {
		if version != "DKIM1" {
			return k, fmt.Errorf("v=%.20q is not DKIM1", version)
		}
		k.Disordered = !beginsWith(record, "v")
	}
	if err := k.readPublic(t); err != nil {
		return k, err
	}
	switch {
	case !t.allows("h", "sha256"):
		return k, errors.New("h= does not allow sha256, the hash of all signatures that count (RFC 8301)")
	case !t.allows("s", "email", "*"):
		return k, errors.New("s= does not allow email")
	}
	return k, nil
}

// beginsWith reports whether a tag is the first of a record. Where v= is given it "MUST be" (RFC
// 6376, section 3.6.1); OpenDKIM, dkimpy and go-msgauth take it anywhere, and so is it taken here, so
// that no signature fails that others find valid.
func beginsWith(record, tag string) bool {
	first, _, _ := strings.Cut(record, "=")
	return strings.Trim(first, fws) == tag
}

// allows reports whether a list names one of the words, as it does where it is not there at all.
func (t Tags) allows(name string, words ...string) bool {
	return !t.has(name) || slices.ContainsFunc(t.list(name), func(word string) bool { return slices.Contains(words, word) })
}

// readPublic reads the key itself, and computes nothing. Its type is compared with regard to case
// (RFC 6376, section 3.2).
func (k *Key) readPublic(t Tags) error {
	p := t.Compact("p")
	switch {
	case !t.has("p"):
		return errors.New("there is no key (p=)")
	case p == "":
		return errors.New("the key was revoked (p= is empty)")
	}
	octets, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return errors.New("the key (p=) is not base64")
	}
	switch kind := t["k"]; kind {
	case Ed25519:
		if len(octets) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key of %d octets", len(octets))
		}
		k.Type = Ed25519
	case "", RSA:
		if k.Modulus, k.Exponent, err = parseRSA(octets); err != nil {
			return errors.New("the RSA key cannot be read")
		}
		k.Type = RSA
	default:
		return fmt.Errorf("the key type %.20q is not known", kind)
	}
	return nil
}

var (
	rsaEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	errNotRSA     = errors.New("not an RSA key")
)

// parseRSA reads the RSAPublicKey that RFC 6376 asks for, or the SubjectPublicKeyInfo around one,
// which everybody publishes (erratum 3017). That says rsaEncryption, with parameters that are NULL
// (RFC 3279, section 2.3.1).
func parseRSA(der []byte) (modulus, exponent *big.Int, err error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &info); err == nil {
		if len(rest) > 0 || !info.Algorithm.Algorithm.Equal(rsaEncryption) ||
			!bytes.Equal(info.Algorithm.Parameters.FullBytes, asn1.NullBytes) || info.Key.BitLength%8 != 0 {
			return nil, nil, errNotRSA
		}
		der = info.Key.Bytes
	}
	var public struct{ N, E *big.Int }
	rest, err := asn1.Unmarshal(der, &public)
	if err != nil || len(rest) > 0 || public.N.Sign() <= 0 || public.E.Sign() <= 0 {
		return nil, nil, errNotRSA
	}
	return public.N, public.E, nil
}
