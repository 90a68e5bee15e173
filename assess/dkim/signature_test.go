package dkim

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"peerscore/assess/dnsname"
)

func TestParseTags(t *testing.T) {
	for text, want := range map[string]Tags{
		"":                          {},
		" ; \r\n\t;":                {},
		"a=b":                       {"a": "b"},
		" a = b ;\r\n c\t=\td e ; ": {"a": "b", "c": "d e"},
		"a=b=c; A=; d-e=f":          {"a": "b=c", "A": "", "d-e": "f"},
		"a=\u00a0b\v":               {"a": "\u00a0b\v"},
	} {
		if got, err := ParseTags(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		"a=b; c": ErrSyntax, "=b": ErrSyntax, "a b=c": ErrSyntax, "\u00a0a=b": ErrSyntax, "a\v=b": ErrSyntax,
		"a=b; a=b": ErrDuplicate, "a=; a =": ErrDuplicate,
		"x=;" + manyTags(MaxTags): ErrTooManyTags,
	} {
		// The sender's text is not in what the error wraps.
		if _, err := ParseTags(text); !errors.Is(err, want) || errors.Unwrap(err) != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	if got, err := ParseTags(manyTags(MaxTags)); err != nil || len(got) != MaxTags {
		t.Errorf("%d tags, %v", len(got), err)
	}
}

// manyTags is a list of so many tags.
func manyTags(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("t" + strings.Repeat("x", i) + "=;")
	}
	return b.String()
}

var now = time.Unix(1_700_000_000, 0)

func TestCheck(t *testing.T) {
	const good = "v=1; a=rsa-sha256; d=example.org; s=k; h=From:To; bh=AAAA; b=AAAA"
	for _, tt := range []struct {
		name, from, to string // what is changed
		want           Fault
	}{
		{"good", "", "", Fault{}},
		{"Ed25519", "rsa-", "ed25519-", Fault{}},
		{"folded", "h=From:To", "h=From\r\n : To", Fault{}},
		{"not expired", "v=1", "v=1; x=1700000000", Fault{}},
		{"i= of d=", "v=1", "v=1; i=a@b@Example.ORG", Fault{}},
		{"i= below", "v=1", "v=1; i=@news.example.org", Fault{}},
		{"100 names", "h=From", "h=" + strings.Repeat("X:", 98) + "From", Fault{}},
		{"101 names", "h=From", "h=" + strings.Repeat("X:", 99) + "From", Fault{"neutral", "too many names in h="}},
		{"version", "v=1", "v=2", Fault{"permerror", "a required tag is missing"}},
		{"a vertical tab in v=", "v=1", "v=\v1", Fault{"permerror", "a required tag is missing"}},
		{"no bh=", "bh=", "hb=", Fault{"permerror", "a required tag is missing"}},
		{"no From", "From", "Froms", Fault{"permerror", "From is not signed"}},
		{"SHA-1", "sha256", "sha1", Fault{"permerror", "algorithm not allowed"}},
		{"l=", "v=1", "v=1; l=", Fault{"policy", "l= leaves part of the body unsigned"}},
		{"expired", "v=1", "v=1; x=1699999999", Fault{"fail", "expired"}},
		{"x= is no number", "v=1", "v=1; x=", Fault{"fail", "expired"}},
		{"s=", "s=k", "s=k..k", Fault{"permerror", "s= is no name"}},
		{"long s=", "s=k", "s=" + strings.Repeat("k.", 120) + "k", Fault{"permerror", "s= is no name"}},
		{"i= of another", "v=1", "v=1; i=@example.net", Fault{"permerror", "i= is not within d="}},
		{"i= that ends alike", "v=1", "v=1; i=@badexample.org", Fault{"permerror", "i= is not within d="}},
		{"i= without an at sign", "v=1", "v=1; i=example.org", Fault{"permerror", "i= is not within d="}},
	} {
		tags, err := ParseTags(strings.Replace(good, tt.from, tt.to, 1))
		if err != nil {
			t.Fatal(err)
		}
		s := Signature{Tags: tags, Domain: "example.org", Selector: tags.Compact("s")}
		if got := s.Check(now); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestUnicodeNames(t *testing.T) {
	tags, _ := ParseTags("v=1; a=rsa-sha256; d=bücher.example; i=ü@BÜCHER.example; s=schlüssel; h=from; bh=AAAA; b=AAAA")
	s := Signature{Tags: tags, Domain: "xn--bcher-kva.example", Selector: tags.Compact("s")}
	if fault := s.Check(now); fault != (Fault{}) || s.KeyName() != "xn--schlssel-95a._domainkey.xn--bcher-kva.example" {
		t.Errorf("%+v, key at %s", fault, s.KeyName())
	}
}

// FuzzSignature: whatever a sender writes, a signature that the text does not decide has a key name
// that may be asked for, and signs From.
func FuzzSignature(f *testing.F) {
	for _, text := range []string{
		"v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=; b=", "v=1;a=ed25519-sha256;d=a.example;s=\u00fc;i=@\u00fc.a.example;h=to : From;bh=;b=;x=99999999999", "d=;d=", ";;=",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := ParseTags(text)
		if len(tags) > MaxTags {
			t.Errorf("%d tags", len(tags))
		}
		d, invalid := dnsname.Parse(tags.Compact("d"))
		if err != nil || invalid != nil {
			return
		}
		s := Signature{Tags: tags, Domain: d, Selector: strings.ToLower(tags.Compact("s"))}
		if s.Check(now) == (Fault{}) && (!dnsname.Queryable(s.KeyName()) || !strings.Contains(strings.ToLower(text), "from")) {
			t.Errorf("%q: key at %q", text, s.KeyName())
		}
	})
}
