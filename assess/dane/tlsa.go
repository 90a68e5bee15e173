package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
)

// The values of the three fields of a TLSA record (RFC 6698, section 2.1, with the
// names of RFC 7218).
const (
	PKIXTA = 0 // usage: a public authority, named here too
	PKIXEE = 1 // usage: the server, with a certificate of a public authority
	DANETA = 2 // usage: an authority, whether public or not
	DANEEE = 3 // usage: the server

	Cert = 0 // selector: the whole certificate
	SPKI = 1 // selector: its public key

	Full   = 0 // matching type: the very bytes
	SHA256 = 1 // matching type: their SHA2-256
	SHA512 = 2 // matching type: their SHA2-512
)

var usageNames = [...]string{"PKIX-TA", "PKIX-EE", "DANE-TA", "DANE-EE"}

// TLSA is a TLSA record.
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte // the certificate association data
}

// String returns the record in presentation form, its data in lower case.
func (t TLSA) String() string { return fmt.Sprintf("%s %x", t.kind(), t.Data) }

// kind is the record without its data, as operators name it: "3 1 1".
func (t TLSA) kind() string { return fmt.Sprintf("%d %d %d", t.Usage, t.Selector, t.MatchingType) }

// unusable says why SMTP cannot use the record, or nothing. Unknown parameters and
// malformed data make a record unusable, not a mismatch (RFC 6698, section 4.1).
func (t TLSA) unusable() string {
	if t.Selector > SPKI {
		return fmt.Sprintf("selector %d is not defined", t.Selector)
	}
	want := 0
	switch t.MatchingType {
	case Full:
		if reason := t.malformed(); reason != "" {
			return reason
		}
	case SHA256:
		want = sha256.Size
	case SHA512:
		want = sha512.Size
	default:
		return fmt.Sprintf("matching type %d is not defined", t.MatchingType)
	}
	if want > 0 && len(t.Data) != want {
		return fmt.Sprintf("%d bytes of data, where a digest of matching type %d has %d", len(t.Data), t.MatchingType, want)
	}
	switch t.Usage {
	case DANETA, DANEEE:
		return ""
	case PKIXTA, PKIXEE:
		// RFC 7672, section 3.1.3 leaves their treatment open; clients take them as unusable.
		return fmt.Sprintf("usage %d (%s) is not for SMTP between servers: publish usage %d", t.Usage, usageNames[t.Usage], t.Usage+2)
	}
	return fmt.Sprintf("usage %d is not defined", t.Usage)
}

// malformed says what is wrong with the data of a record that holds a whole
// certificate or key.
func (t TLSA) malformed() string {
	var err error
	what := "certificate"
	if t.Selector == SPKI {
		what = "public key"
		_, err = x509.ParsePKIXPublicKey(t.Data)
	} else {
		_, err = x509.ParseCertificate(t.Data)
	}
	if err != nil {
		return fmt.Sprintf("its data is not a %s: %v", what, err)
	}
	return ""
}

// matches reports whether the record stands for a certificate, by selector and
// matching type alone.
func (t TLSA) matches(cert *x509.Certificate) bool {
	data := cert.Raw
	if t.Selector == SPKI {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch t.MatchingType {
	case SHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case SHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, t.Data)
}

// ignoreWeaker applies digest agility (RFC 7671, section 9): among the usable records
// of one usage and selector, only those of the strongest digest count, besides those
// that hold the very bytes.
func ignoreWeaker(results []RecordResult) {
	type group struct{ usage, selector uint8 }
	strongest := map[group]uint8{}
	for _, r := range results {
		if g := (group{r.TLSA.Usage, r.TLSA.Selector}); r.Status != Unusable {
			strongest[g] = max(strongest[g], r.TLSA.MatchingType)
		}
	}
	for i, r := range results {
		best := strongest[group{r.TLSA.Usage, r.TLSA.Selector}]
		if r.Status != Unusable && r.TLSA.MatchingType != Full && r.TLSA.MatchingType < best {
			results[i].Status = Ignored
			results[i].Reason = fmt.Sprintf("a stronger digest (%d %d %d) is published beside it, so senders look at that only", r.TLSA.Usage, r.TLSA.Selector, best)
		}
	}
}
