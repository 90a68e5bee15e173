package dnsname

import (
	"strings"
	"testing"
)

func TestParseDomain(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 octets
	for _, tt := range []struct{ in, want string }{
		{"example.org", "example.org"},
		{"EXAMPLE.Org.", "example.org"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"faß.example", "xn--fa-hia.example"}, // non-transitional: not "fass"
		{"ｅｘａｍｐｌｅ．ｏｒｇ", "example.org"},
		{"example。org。", "example.org"},
		{"r3---sn.example", "r3---sn.example"}, // in the wild
		{"3com.example", "3com.example"},
		{"a.c1", "a.c1"},
		{long, long},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example"},
	} {
		if got, err := Parse(tt.in); err != nil || string(got) != tt.want {
			t.Errorf("ParseDomain(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParseDomainRefuses(t *testing.T) {
	for _, in := range []string{
		"", ".", "org", "org.", "..", "a..example", ".example.org", "example.org..", "example.org。。",
		"192.0.2.1", "192.0.2.1.", "１９２.0.2.1", "192。0。2。1", "1.2.3", "example.1", "example.①", "[192.0.2.1]", "2001:db8::1", "::1", "[IPv6:::1]",
		"a_b.example", "-a.example", "a-.example", "a b.example", " a.example", "a.example\n", "a\x00.example", "a\\.example", "a\".example", "*.example", "a/b.example", "a:25.example",
		"\xff.example", "a\xc3.example", "\uFFFD.example", "\u200dexample.org", "a\u200db.example",
		"xn--.example", "xn--a.example", "xn--abc-.example", "xn--zn7c.example",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "a", strings.Repeat("é.", 5000),
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("ParseDomain(%q) = %q, want an error", in, got)
		}
	}
}

func TestParseAddressOrDomain(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"example.org", "example.org"},
		{"someone@example.org", "example.org"},
		{" <someone@example.org>\n", "example.org"},
		{`"admin@victim.example"@attacker.example`, "attacker.example"},
		{"someone@", ""},
		{"someone", ""},
		{"", ""},
	} {
		if got, err := ParseAddressOrDomain(tt.in); string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("ParseAddressOrDomain(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestALabels(t *testing.T) {
	for name, want := range map[string]string{
		"bücher.example": "xn--bcher-kva.example", "BÜCHER.Example": "xn--bcher-kva.example", "Example.ORG": "Example.ORG",
		"": "", "ü": "ü", "ü..example": "ü..example", "\xff.example": "\xff.example",
	} {
		if got := ALabels(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestCheckPeer(t *testing.T) {
	for _, tt := range []struct {
		domain Domain
		ok     bool
	}{
		{"example.org", true},
		{"mail.example", true}, // laboratories
		{"mail.test", true},
		{"a.co.uk", true},
		{"someone.github.io", true},
		{"www.ck", true}, // an exception to *.ck
		{"city.kawasaki.jp", true},
		{"co.uk", false},
		{"gov.uk", false},
		{"github.io", false}, // the private half of the list
		{"foo.ck", false},
		{"foo.kawasaki.jp", false},
		{"xn--55qx5d.cn", false},
		{"org", false},
		{"test", false},
		{"a.localhost", false},
		{"a.b.invalid", false},
		{"printer.local", false},
		{"a.onion", false},
		{"2.0.192.in-addr.arpa", false},
		{"local.example", true},
		{"notlocal.test", true},
	} {
		if err := tt.domain.CheckPeer(); (err == nil) != tt.ok {
			t.Errorf("%s: CheckPeer() = %v, want ok %v", tt.domain, err, tt.ok)
		}
	}
}

func TestOrganisational(t *testing.T) {
	for _, tt := range []struct{ domain, want Domain }{
		{"example.org", "example.org"},
		{"a.b.example.org", "example.org"},
		{"mail.a.co.uk", "a.co.uk"},
		{"a.someone.github.io", "someone.github.io"},
		{"a.b.provider.test", "provider.test"},
		{"a.www.ck", "www.ck"},
		{"co.uk", "co.uk"},
		{"github.io", "github.io"},
		{"org", "org"},
	} {
		if got := tt.domain.Organisational(); got != tt.want {
			t.Errorf("%s: Organisational() = %s, want %s", tt.domain, got, tt.want)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		domain, parent Domain
		want           bool
	}{
		{"example.org", "example.org", true},
		{"a.example.org", "example.org", true},
		{"badexample.org", "example.org", false},
		{"org", "example.org", false},
		{"example.org", "", false},
	} {
		if got := tt.domain.Within(tt.parent); got != tt.want {
			t.Errorf("%s.Within(%q) = %v", tt.domain, tt.parent, got)
		}
	}
}

// FuzzParseDomain holds what the rest of the program relies on: a Domain is letters, digits and
// hyphens, is its own normal form in both spellings, and lies within its organisation.
func FuzzParseDomain(f *testing.F) {
	for _, seed := range []string{
		"example.org", "bücher.example", "xn--bcher-kva.example.", "א1.example", "faß。de", "192.0.2.1", "\xff.example",
		"a\u200db.example", "ex\u00adample.org", "ⓔxample.org", "xn--zn7c.example", "a.b.co.uk", "٣.example", "Ⅷ.example", "İ.example", "ℵ.0-0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			if d != "" {
				t.Fatalf("%q: an error and %q", s, d)
			}
			return
		}
		if len(d) > MaxLength || strings.Trim(string(d), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Fatalf("%q: %q is not letters, digits and hyphens", s, d)
		}
		for _, spelling := range []string{string(d), string(d) + ".", strings.ToUpper(string(d)), d.Unicode()} {
			if again, err := Parse(spelling); again != d {
				t.Fatalf("%q: %q became %q: %v", s, spelling, again, err)
			}
		}
		if !d.Within(d.Organisational()) {
			t.Fatalf("%q lies outside its organisation %q", d, d.Organisational())
		}
		_ = d.CheckPeer()
	})
}
