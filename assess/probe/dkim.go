package probe

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
)

// Limits on DKIM keys.
const (
	maxSelectors  = 16      // looked up in one run
	maxKeyRecord  = 4 << 10 // octets of a key record
	minDKIMBits   = 1024    // RFC 8301 §3.2: verifiers refuse less
	soundDKIMBits = 2048
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
	records := keyRecords(lookup.Records)
	switch {
	case lookup.Status != assess.LookupFound:
	case len(records) != 1:
		key.Problem = fmt.Sprintf("%d TXT records, where there must be one", len(lookup.Records))
	default:
		key.Key, key.Testing, key.Problem = parseDKIMKey(records[0])
		if key.Problem == "" && len(lookup.Records) > 1 {
			key.Problem = fmt.Sprintf("%d TXT records, of which verifiers may take another: look for a wildcard", len(lookup.Records))
		}
	}
	return key
}

// keyRecords are those of several TXT records that hold a key: wildcards put others beside it.
func keyRecords(records []string) []string {
	if len(records) == 1 {
		return records
	}
	var keys []string
	for _, record := range records {
		if tags, err := parseTags(record); err == nil && tags["p"] != "" {
			keys = append(keys, record)
		}
	}
	return keys
}

// parseDKIMKey reads a key record (RFC 6376 §3.6.1, RFC 8463): what kind of key it holds,
// whether its owner is only testing, and what is wrong with it.
func parseDKIMKey(record string) (key string, testing bool, problem string) {
	if len(record) > maxKeyRecord {
		return "", false, fmt.Sprintf("a key record of %d octets", len(record))
	}
	tags, err := parseTags(record)
	if err != nil {
		return "", false, err.Error()
	}
	testing = slices.Contains(strings.Split(strip(tags["t"]), ":"), "y")
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return "", testing, fmt.Sprintf("v=%.20q is not DKIM1", v)
	} else if ok && !strings.HasPrefix(strings.TrimLeft(record, " \t\r\n"), "v") {
		return "", testing, "v= is not the first tag"
	}
	p, ok := tags["p"]
	if !ok {
		return "", testing, "there is no key (p=)"
	}
	if p = strip(p); p == "" {
		return "", testing, "the key was revoked (p= is empty)"
	}
	octets, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return "", testing, "the key (p=) is not base64"
	}
	key, problem = describeKey(tags["k"], octets)
	switch {
	case problem != "":
	case !allows(tags, "h", "sha256"):
		problem = "h= does not allow sha256, the hash of all signatures that count (RFC 8301)"
	case !allows(tags, "s", "email", "*"):
		problem = "s= does not allow email"
	}
	return key, testing, problem
}

// allows reports whether a list names one of the words, as it does where it is not there at all.
func allows(tags map[string]string, name string, words ...string) bool {
	list, ok := tags[name]
	return !ok || slices.ContainsFunc(strings.Split(strip(list), ":"), func(word string) bool { return slices.Contains(words, word) })
}

func describeKey(kind string, octets []byte) (key, problem string) {
	switch strings.ToLower(kind) {
	case "ed25519":
		if len(octets) != ed25519.PublicKeySize {
			return "", fmt.Sprintf("an Ed25519 key of %d octets", len(octets))
		}
		return "Ed25519", ""
	case "", "rsa":
		public, err := parseRSAKey(octets)
		if err != nil {
			return "", "the RSA key cannot be read"
		}
		bits := public.N.BitLen()
		switch {
		case bits < minDKIMBits:
			problem = fmt.Sprintf("weak key: verifiers refuse less than %d bits (RFC 8301)", minDKIMBits)
		case bits < soundDKIMBits:
			problem = fmt.Sprintf("short key: %d bits are recommended (RFC 8301)", soundDKIMBits)
		}
		return fmt.Sprintf("RSA %d", bits), problem
	}
	return "", fmt.Sprintf("the key type %.20q is not known", kind)
}

// parseRSAKey reads a SubjectPublicKeyInfo, which everybody publishes, or the RSAPublicKey that
// the RFC asks for (erratum 3017).
func parseRSAKey(octets []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(octets); err == nil {
		if public, ok := key.(*rsa.PublicKey); ok {
			return public, nil
		}
		return nil, errors.New("not an RSA key")
	}
	return x509.ParsePKCS1PublicKey(octets)
}

// parseTags reads a tag-list (RFC 6376 §3.2).
func parseTags(list string) (map[string]string, error) {
	tags := make(map[string]string)
	for field := range strings.SplitSeq(list, ";") {
		name, value, ok := strings.Cut(field, "=")
		name = strings.Trim(name, " \t\r\n")
		switch {
		case !ok && name == "":
			continue
		case !ok || name == "":
			return nil, fmt.Errorf("%.40q is no tag of the form name=value", field)
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Errorf("the tag %.20q stands there twice", name)
		}
		tags[name] = strings.Trim(value, " \t\r\n")
	}
	return tags, nil
}

// strip removes the white space that may stand inside a value.
func strip(s string) string { return strings.Join(strings.Fields(s), "") }
