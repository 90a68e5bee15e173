package pkix

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

// listsOf are lists of entries of every kind, as an authority writes them.
func listsOf(t testing.TB) [][]byte {
	t.Helper()
	ca, err := probetest.NewCA(probetest.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	number := func(octets int, first byte) *big.Int {
		return new(big.Int).SetBytes(append([]byte{first}, slices.Repeat([]byte{0x5a}, octets-1)...))
	}
	entry := func(serial *big.Int, reason int, extra ...pkix.Extension) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now, ReasonCode: reason, ExtraExtensions: extra}
	}
	invalidity := pkix.Extension{Id: []int{2, 5, 29, 24}, Value: []byte("\x18\x0f20261120000000Z")}
	issuer := pkix.Extension{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}
	late := entry(big.NewInt(7), 0)
	late.RevocationTime = time.Date(2051, 1, 1, 0, 0, 0, 0, time.UTC) // a GeneralizedTime
	var lists [][]byte
	for _, entries := range [][]x509.RevocationListEntry{
		nil,
		{entry(big.NewInt(3), 0), entry(big.NewInt(1), 1), entry(big.NewInt(2), 9)},
		{entry(big.NewInt(255), 0), entry(big.NewInt(128), 0), entry(number(20, 0x7f), 4), entry(number(20, 0x80), 5), entry(number(21, 1), 1)},
		{late, entry(big.NewInt(8), 1, invalidity)},
		{entry(big.NewInt(9), 0, issuer)},
	} {
		der, err := ca.CRL(func(list *x509.RevocationList) { list.RevokedCertificateEntries = entries })
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, der)
	}
	return lists
}

// entriesOf reads the entries of a list.
func entriesOf(der []byte) ([]Revocation, error) {
	_, _, entries, err := splitCRL(der)
	if err != nil {
		return nil, err
	}
	return parseEntries(entries)
}

// same holds our reading of a list against that of package x509.
func same(t *testing.T, got []Revocation, list *x509.RevocationList) {
	t.Helper()
	var want []Revocation
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Sign() >= 0 && e.SerialNumber.BitLen() <= 160 {
			r := Revocation{Reason: uint8(e.ReasonCode), At: uint32(e.RevocationTime.Unix())}
			e.SerialNumber.FillBytes(r.serial[:])
			want = append(want, r)
		}
	}
	slices.SortFunc(want, compareRevocations)
	slices.SortFunc(got, compareRevocations)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func compareRevocations(a, b Revocation) int {
	return cmp.Or(bytes.Compare(a.serial[:], b.serial[:]), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.At, b.At))
}

func TestCRLEntries(t *testing.T) {
	lists := listsOf(t)
	for i, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		got, err := entriesOf(der)
		if i == len(lists)-1 {
			if err == nil || !strings.Contains(err.Error(), "unknown critical extension (2.5.29.29)") {
				t.Errorf("an entry that is not understood: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, list)
	}
	odd := bytes.Clone(lists[1])
	odd[bytes.Index(odd, []byte("\x17\x0d"))+15] = 'd' // the tag of nextUpdate
	if _, err := entriesOf(odd); err == nil {
		t.Error("a list with something else where nextUpdate stands")
	}
}

// FuzzCRLEntries looks for a list that we read in another way than package x509, which passes over more.
func FuzzCRLEntries(f *testing.F) {
	for _, der := range listsOf(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := entriesOf(der)
		if list, theirs := x509.ParseRevocationList(der); err == nil && theirs == nil {
			same(t, got, list)
		}
	})
}
