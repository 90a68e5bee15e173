package pkix

import (
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CanonicalName spells a distinguished name in DER such that names which RFC 5280, section 7.1,
// takes as equal are spelled alike: the kind of string, its case, and the amount of white space
// do not matter. What is not such a name is returned as it is.
func CanonicalName(der []byte) string {
	input := cryptobyte.String(der)
	var name, rdn cryptobyte.String
	if !input.ReadASN1(&name, cryptobyte_asn1.SEQUENCE) || !input.Empty() {
		return string(der)
	}
	var b cryptobyte.Builder
	for !name.Empty() {
		if !name.ReadASN1(&rdn, cryptobyte_asn1.SET) {
			return string(der)
		}
		attributes, ok := canonicalAttributes(rdn)
		if !ok {
			return string(der)
		}
		b.AddASN1(cryptobyte_asn1.SET, func(b *cryptobyte.Builder) {
			for _, a := range attributes {
				b.AddBytes([]byte(a))
			}
		})
	}
	canonical, err := b.Bytes()
	if err != nil {
		return string(der)
	}
	return string(canonical)
}

// canonicalAttributes are those of one relative distinguished name, in an order of their own.
func canonicalAttributes(rdn cryptobyte.String) (attributes []string, ok bool) {
	for !rdn.Empty() {
		var attribute, kind, value cryptobyte.String
		var tag cryptobyte_asn1.Tag
		if !rdn.ReadASN1(&attribute, cryptobyte_asn1.SEQUENCE) ||
			!attribute.ReadASN1Element(&kind, cryptobyte_asn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
			return nil, false
		}
		if text, isText := decoded(value, tag); isText {
			tag, value = cryptobyte_asn1.UTF8String, []byte(strings.ToLower(strings.Join(strings.Fields(text), " ")))
		}
		var b cryptobyte.Builder
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(kind)
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
		})
		canonical, err := b.Bytes()
		if err != nil {
			return nil, false
		}
		attributes = append(attributes, string(canonical))
	}
	slices.Sort(attributes)
	return attributes, true
}

const bmpString = cryptobyte_asn1.Tag(30)

// decoded is the text of a string of ASN.1.
func decoded(value []byte, tag cryptobyte_asn1.Tag) (text string, ok bool) {
	switch tag {
	case cryptobyte_asn1.UTF8String, cryptobyte_asn1.PrintableString, cryptobyte_asn1.IA5String:
		return string(value), utf8.Valid(value)
	case cryptobyte_asn1.T61String: // Latin 1, as everybody uses it
		runes := make([]rune, len(value))
		for i, octet := range value {
			runes[i] = rune(octet)
		}
		return string(runes), true
	case bmpString:
		if len(value)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(value)/2)
		for i := range units {
			units[i] = uint16(value[2*i])<<8 | uint16(value[2*i+1])
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}
