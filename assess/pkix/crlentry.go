package pkix

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Revocation is one entry; 28 octets, since some lists have hundreds of thousands.
type Revocation struct {
	serial serial
	Reason uint8
	At     uint32 // seconds since 1970
}

// serial is a serial number in its 20 octets (RFC 5280, section 4.1.2.2), big endian.
type serial [20]byte

var errCRL = errors.New("the CRL cannot be read: malformed list")

// splitCRL takes the entries out of a list:
//
//	CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue }
//	TBSCertList     ::= SEQUENCE { version, signature, issuer, thisUpdate, nextUpdate,
//	                               revokedCertificates SEQUENCE OF ..., crlExtensions }
//
// Package x509 reads what remains. Of 10 MiB of entries it would make hundreds, in memory.
func splitCRL(der []byte) (rest, signed []byte, entries cryptobyte.String, err error) {
	input := cryptobyte.String(der)
	var outer, tbs, fields cryptobyte.String
	if !input.ReadASN1(&outer, cryptobyte_asn1.SEQUENCE) || !input.Empty() || !outer.ReadASN1Element(&tbs, cryptobyte_asn1.SEQUENCE) {
		return nil, nil, nil, errCRL
	}
	signed = tbs
	if !tbs.ReadASN1(&fields, cryptobyte_asn1.SEQUENCE) {
		return nil, nil, nil, errCRL
	}
	var kept []byte
	keep := func(tags ...cryptobyte_asn1.Tag) bool {
		var field cryptobyte.String
		for _, tag := range tags {
			if fields.PeekASN1Tag(tag) && fields.ReadASN1Element(&field, tag) {
				kept = append(kept, field...)
				return true
			}
		}
		return false
	}
	const sequence, utc, general = cryptobyte_asn1.SEQUENCE, cryptobyte_asn1.UTCTime, cryptobyte_asn1.GeneralizedTime
	keep(cryptobyte_asn1.INTEGER) // version
	algorithm, issuer, thisUpdate := keep(sequence), keep(sequence), keep(utc, general)
	if !algorithm || !issuer || !thisUpdate {
		return nil, nil, nil, errCRL
	}
	keep(utc, general) // nextUpdate
	if !fields.ReadOptionalASN1(&entries, nil, sequence) {
		return nil, nil, nil, errCRL
	}
	keep(cryptobyte_asn1.Tag(0).ContextSpecific().Constructed()) // crlExtensions
	if !fields.Empty() {
		return nil, nil, nil, errCRL
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		b.AddBytes(outer)
	})
	rest, err = b.Bytes()
	return rest, signed, entries, err
}

// parseEntries keeps serial, date and reason of each entry, by serial.
func parseEntries(list cryptobyte.String) ([]Revocation, error) {
	var revoked []Revocation
	for !list.Empty() {
		var entry cryptobyte.String
		if !list.ReadASN1(&entry, cryptobyte_asn1.SEQUENCE) {
			return nil, errCRL
		}
		r, fits, err := parseEntry(entry)
		if err != nil {
			return nil, err
		}
		if fits {
			revoked = append(revoked, r)
		}
	}
	slices.SortFunc(revoked, func(a, b Revocation) int { return bytes.Compare(a.serial[:], b.serial[:]) })
	return revoked, nil
}

// parseEntry reads
//
//	SEQUENCE { userCertificate INTEGER, revocationDate Time, crlEntryExtensions Extensions OPTIONAL }
//
// What does not fit has a serial number that no certificate has which Go reads.
func parseEntry(entry cryptobyte.String) (r Revocation, fits bool, err error) {
	var number, extensions cryptobyte.String
	var at time.Time
	if !entry.ReadASN1(&number, cryptobyte_asn1.INTEGER) || len(number) == 0 {
		return r, false, errCRL
	}
	read := entry.ReadASN1UTCTime
	if entry.PeekASN1Tag(cryptobyte_asn1.GeneralizedTime) {
		read = entry.ReadASN1GeneralizedTime
	}
	if !read(&at) || !entry.ReadOptionalASN1(&extensions, nil, cryptobyte_asn1.SEQUENCE) || !entry.Empty() {
		return r, false, errCRL
	}
	r.At = uint32(at.Unix())
	for !extensions.Empty() {
		if err := r.extend(&extensions); err != nil {
			return r, false, err
		}
	}
	negative := number[0]&0x80 != 0
	for len(number) > 0 && number[0] == 0 {
		number = number[1:]
	}
	if negative || len(number) > len(r.serial) {
		return r, false, nil
	}
	copy(r.serial[len(r.serial)-len(number):], number)
	return r, true, nil
}

// extend reads one extension of an entry. The certificate issuer of an indirect CRL is a
// critical one, and not understood.
func (r *Revocation) extend(extensions *cryptobyte.String) error {
	var extension, value cryptobyte.String
	var id asn1.ObjectIdentifier
	critical := false
	if !extensions.ReadASN1(&extension, cryptobyte_asn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&id) ||
		extension.PeekASN1Tag(cryptobyte_asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
		!extension.ReadASN1(&value, cryptobyte_asn1.OCTET_STRING) || !extension.Empty() {
		return errCRL
	}
	reason := 0
	switch {
	case id.Equal(oidReasonCode):
		if !value.ReadASN1Enum(&reason) || !value.Empty() || reason < 0 || reason > 255 {
			return errCRL
		}
		r.Reason = uint8(reason)
	case critical:
		return fmt.Errorf("an entry of the CRL has an unknown critical extension (%v)", id)
	}
	return nil
}
