package pkix

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

// named is the DER of a name of organisation and common name, each of a kind of string.
func named(t testing.TB, organisation, cn asn1.RawValue) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: organisation}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: cn}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func text(tag int, octets string) asn1.RawValue {
	return asn1.RawValue{Tag: tag, Bytes: []byte(octets)}
}

func TestSameName(t *testing.T) {
	const utf8, printable, latin1, ia5, bmp = asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String, asn1.TagBMPString
	org := text(printable, "Test")
	for _, tt := range []struct {
		name string
		a, b asn1.RawValue
		want bool
	}{
		{"the same", text(printable, "Good CA"), text(printable, "Good CA"), true},
		{"case", text(printable, "Good CA"), text(printable, "GOOD ca"), true},
		{"white space", text(printable, "Good CA"), text(printable, "  Good \t CA "), true},
		{"no white space", text(printable, "Good CA"), text(printable, "GoodCA"), false},
		{"kind of string", text(printable, "Good CA"), text(utf8, "Good CA"), true},
		{"IA5", text(ia5, "Good CA"), text(utf8, "Good CA"), true},
		{"Latin 1", text(latin1, "M\xfcller"), text(utf8, "MÜLLER"), true},
		{"UTF-16", text(bmp, "\x00M\x00\xfc"), text(utf8, "mü"), true},
		{"half of UTF-16", text(bmp, "\x00M\x00"), text(utf8, "M"), false},
		{"no UTF-8", text(utf8, "\xff"), text(utf8, "\xfe"), false},
		{"no text", text(asn1.TagBitString, "\x00A"), text(asn1.TagBitString, "\x00a"), false},
		{"another", text(printable, "Good CA"), text(printable, "Good CB"), false},
	} {
		if got := SameName(named(t, org, tt.a), named(t, org, tt.b)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if SameName(named(t, text(printable, "a"), text(printable, "b")), named(t, text(printable, "b"), text(printable, "a"))) {
		t.Error("the order of the attributes matters")
	}
}

// FuzzCanonicalName: whatever a peer calls a name is spelled in one way, of no greater length
// than what it sent allows.
func FuzzCanonicalName(f *testing.F) {
	f.Add(named(f, text(asn1.TagPrintableString, "Test"), text(asn1.TagUTF8String, "Good  CA ")))
	f.Add([]byte{0x30, 0x02, 0x31, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		canonical := CanonicalName(der)
		if again := CanonicalName([]byte(canonical)); again != canonical {
			t.Errorf("%x becomes %x, and that %x", der, canonical, again)
		}
		if len(canonical) > 4*len(der)+16 {
			t.Errorf("%d octets become %d", len(der), len(canonical))
		}
	})
}
