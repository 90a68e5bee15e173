package probe

import (
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"

	"peerscore/assess/pkix"
	"peerscore/assess/probe/probetest"
)

// A certificate whose dates JSON cannot hold would keep whatever a run found from being saved, and
// what was found before would stand forever.
func TestDatesOutsideCalendar(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	issued, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example"}})
	must(t, err)
	for _, tt := range []struct {
		notBefore, notAfter string
		read                bool
	}{
		{"20200101000000Z", "99991231235959Z", true}, // without an end (RFC 5280, section 4.1.2.5)
		{"20200101000000Z", "99991231235959-0700", false},
		{"00000101000000+0700", "99991231235959Z", false},
	} {
		ders := [][]byte{withDates(t, issued.Certificate[0], tt.notBefore, tt.notAfter)}
		certs, err := pkix.ParseChain(ders)
		if (err == nil) != tt.read {
			t.Errorf("%s to %s: %v", tt.notBefore, tt.notAfter, err)
		}
		if err != nil {
			continue
		}
		facts, _ := chain{certs: certs, host: "mx.example", roots: ca.Roots()}.facts()
		if _, err := json.Marshal(facts); err != nil {
			t.Errorf("%s to %s: %v", tt.notBefore, tt.notAfter, err)
		}
	}
}

// withDates is a certificate with other dates, in the words of GeneralizedTime, and the old signature.
func withDates(t *testing.T, der []byte, notBefore, notAfter string) []byte {
	t.Helper()
	var cert struct {
		TBS struct {
			Version                                               int `asn1:"explicit,tag:0"`
			Serial                                                *big.Int
			Algorithm, Issuer, Validity, Subject, Key, Extensions asn1.RawValue
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(der, &cert)
	must(t, err)
	var dates []byte
	for _, date := range []string{notBefore, notAfter} {
		dates = append(append(dates, asn1.TagGeneralizedTime, byte(len(date))), date...)
	}
	cert.TBS.Validity = asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: dates}
	der, err = asn1.Marshal(cert)
	must(t, err)
	return der
}
