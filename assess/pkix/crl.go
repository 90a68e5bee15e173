package pkix

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CRL is a revocation list (RFC 5280, section 5) whose signature was found good, reduced to what a
// lookup needs.
type CRL struct {
	issuer     [sha256.Size]byte // subject and key that signed it
	thisUpdate time.Time
	NextUpdate time.Time
	scope      scope
	Revoked    []Revocation // by serial
}

// dateFormat is how people read the dates of a list.
const dateFormat = "2006-01-02 15:04 MST"

// scope is the issuing distribution point (RFC 5280, section 5.2.5): which certificates the list covers.
type scope struct {
	points      []string // URIs; empty for a list that covers all of its issuer's
	usersOnly   bool
	casOnly     bool
	someReasons bool
}

var (
	OIDIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidDeltaCRLIndicator        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidCRLNumber                = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidAuthorityKeyID           = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidReasonCode               = asn1.ObjectIdentifier{2, 5, 29, 21}
)

// ParseCRL reads a list and checks that issuer signed it. It refuses what it does not
// understand in full: delta and indirect lists, and unknown critical extensions.
func ParseCRL(der []byte, issuer *x509.Certificate) (*CRL, error) {
	rest, signed, entries, err := splitCRL(der)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(rest)
	if err != nil {
		return nil, fmt.Errorf("the CRL cannot be read: %w", err)
	}
	list.RawTBSRevocationList = signed
	if !SameName(list.RawIssuer, issuer.RawSubject) {
		return nil, errors.New("the CRL is not the issuer's own")
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("the CRL is not signed by the issuer: %w", err)
	}
	if list.NextUpdate.IsZero() {
		return nil, errors.New("the CRL does not say until when it holds")
	}
	c := &CRL{issuer: identity(issuer), thisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate}
	for _, extension := range list.Extensions {
		switch {
		case extension.Id.Equal(oidDeltaCRLIndicator):
			return nil, errors.New("the CRL is a delta, which holds changes only")
		case extension.Id.Equal(OIDIssuingDistributionPoint):
			if c.scope, err = parseScope(extension.Value); err != nil {
				return nil, err
			}
		case extension.Critical && !extension.Id.Equal(oidCRLNumber) && !extension.Id.Equal(oidAuthorityKeyID):
			return nil, fmt.Errorf("the CRL has an unknown critical extension (%v)", extension.Id)
		}
	}
	c.Revoked, err = parseEntries(entries)
	return c, err
}

// identity is whose list it is: name and key of an issuer.
func identity(issuer *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(append(slices.Clone(issuer.RawSubject), issuer.RawSubjectPublicKeyInfo...))
}

// Find looks a certificate up. The error is why the list cannot tell (RFC 5280, section 6.3.3); nil
// and nil is a certificate that is not revoked.
func (c *CRL) Find(cert, issuer *x509.Certificate, now time.Time) (*Revocation, error) {
	switch {
	case c.issuer != identity(issuer):
		return nil, errors.New("the CRL is signed by another key of the issuer")
	case now.Before(c.thisUpdate):
		return nil, fmt.Errorf("the CRL is from the future: %s", c.thisUpdate.UTC().Format(dateFormat))
	case now.After(c.NextUpdate):
		return nil, fmt.Errorf("the CRL is out of date since %s", c.NextUpdate.UTC().Format(dateFormat))
	case cert.SerialNumber.Sign() < 0 || cert.SerialNumber.BitLen() > 8*len(serial{}):
		return nil, errors.New("the certificate's serial number is longer than 20 octets")
	}
	if err := c.scope.covers(cert); err != nil {
		return nil, err
	}
	var wanted serial
	cert.SerialNumber.FillBytes(wanted[:])
	i, found := slices.BinarySearchFunc(c.Revoked, wanted, func(r Revocation, s serial) int {
		return bytes.Compare(r.serial[:], s[:])
	})
	if found {
		return &c.Revoked[i], nil
	}
	if c.scope.someReasons {
		return nil, errors.New("the CRL covers some reasons for revocation only")
	}
	return nil, nil
}

// covers reports whether the list speaks for a certificate at all: RFC 5280, section 6.3.3 (b)(2).
func (s scope) covers(cert *x509.Certificate) error {
	isCA := cert.BasicConstraintsValid && cert.IsCA
	switch {
	case s.usersOnly && isCA:
		return errors.New("the CRL is for certificates of servers only")
	case s.casOnly && !isCA:
		return errors.New("the CRL is for certificates of authorities only")
	}
	for _, point := range s.points {
		if slices.Contains(cert.CRLDistributionPoints, point) {
			return nil
		}
	}
	if len(s.points) > 0 {
		return errors.New("the CRL belongs to another distribution point")
	}
	return nil
}

var errScope = errors.New("the CRL's issuing distribution point cannot be read")

// parseScope reads
//
//	IssuingDistributionPoint ::= SEQUENCE {
//	     distributionPoint          [0] DistributionPointName OPTIONAL,
//	     onlyContainsUserCerts      [1] BOOLEAN DEFAULT FALSE,
//	     onlyContainsCACerts        [2] BOOLEAN DEFAULT FALSE,
//	     onlySomeReasons            [3] ReasonFlags OPTIONAL,
//	     indirectCRL                [4] BOOLEAN DEFAULT FALSE,
//	     onlyContainsAttributeCerts [5] BOOLEAN DEFAULT FALSE }
func parseScope(der []byte) (scope, error) {
	var s scope
	input := cryptobyte.String(der)
	var fields cryptobyte.String
	if !input.ReadASN1(&fields, cryptobyte_asn1.SEQUENCE) || !input.Empty() {
		return s, errScope
	}
	for !fields.Empty() {
		var value cryptobyte.String
		var tag cryptobyte_asn1.Tag
		if !fields.ReadAnyASN1(&value, &tag) {
			return s, errScope
		}
		set := len(value) == 1 && value[0] != 0
		switch number := tag &^ 0xe0; number {
		case 0:
			if s.points = parsePoints(value); s.points == nil {
				return s, errors.New("the CRL's distribution point is not named by a URI")
			}
		case 1:
			s.usersOnly = set
		case 2:
			s.casOnly = set
		case 3:
			s.someReasons = true
		case 4, 5:
			if set {
				return s, errors.New("the CRL is an indirect one, or for attribute certificates")
			}
		default:
			return s, errScope
		}
	}
	return s, nil
}

// parsePoints reads the URIs of
//
//	DistributionPointName ::= CHOICE { fullName [0] GeneralNames, ... }
func parsePoints(der cryptobyte.String) []string {
	var names cryptobyte.String
	if !der.ReadASN1(&names, cryptobyte_asn1.Tag(0).ContextSpecific().Constructed()) {
		return nil
	}
	var points []string
	for !names.Empty() {
		var name cryptobyte.String
		var tag cryptobyte_asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil
		}
		if tag == cryptobyte_asn1.Tag(6).ContextSpecific() {
			points = append(points, string(name))
		}
	}
	return points
}

var OIDNoRevAvail = asn1.ObjectIdentifier{2, 5, 29, 56}

// NeverRevoked reports whether the authority says of a certificate, mostly of a short life, that
// it will not publish its revocation: nobody is to look for it then (RFC 9608, section 4).
func NeverRevoked(cert *x509.Certificate) bool {
	return !cert.IsCA && slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(OIDNoRevAvail) })
}
