package dmarc

import (
	"errors"
	"peerscore/assess/dnsname"
	"strings"
	"testing"
	"time"
)

func TestAuthorDomain(t *testing.T) {
	tests := []struct{ value, want string }{
		// Mailboxes of RFC 5322.
		{"joe@example.com", "example.com"},
		{"<joe@example.com>", "example.com"},
		{" Joe Q. Public <joe@example.com>", "example.com"},
		{"\"Joe, Public\" <joe@example.com>", "example.com"},
		{"\"Joe \\\"<joe@victim.example>\\\" Public\" <joe@example.com>", "example.com"},
		{"Joe <joe.q.public@example.com> (home)", "example.com"},
		{"(,) joe@example.com", "example.com"},
		{"Joe (\\)<a@victim.example>,) <joe@example.com>", "example.com"},
		{"Joe ((a(b@c)d) (e)) <joe@example.com>", "example.com"},
		{"<joe(comment)@(x)example(y).(z)com(w)>", "example.com"},
		{"joe @ example . com", "example.com"},
		{"\" \"@example.com", "example.com"},
		{"<\"joe@home\"@example.com>", "example.com"},
		{"=?utf-8?q?J=C3=B6?= <joe@example.com>", "example.com"},
		{"=?utf-8?Q?admin@victim.example?= <joe@example.com>", "example.com"},
		{"J\xc3\xb6 <j\xc3\xb6@example.com>", "example.com"},
		{"J\xf6 <joe@example.com>", "example.com"},
		{"joe@mail.sub.EXAMPLE.Com", "mail.sub.example.com"},
		{"joe@example.com.", "example.com"},
		{"joe@co.example", "co.example"},
		{"joe@site.test", "site.test"},
		{"joe@a-b.3com.example", "a-b.3com.example"},
		// Folding.
		{" Joe\r\n <joe@example.com>\r\n", "example.com"},
		{" Joe\n\t<joe@example.com>\n", "example.com"},
		{"\r\n Joe\r\n \r\n <joe@exam\r\n ple.com>", ""},
		{"\r\n joe@example.com", "example.com"},
		{"\"Joe\r\n Public\" <joe@example.com>", "example.com"},
		{"joe@example.com (a\r\n b)", "example.com"},
		// Both spellings of one name.
		{"joe@b\u00fccher.example", "xn--bcher-kva.example"},
		{"joe@B\u00dcCHER.example", "xn--bcher-kva.example"},
		{"joe@bu\u0308cher.example", "xn--bcher-kva.example"},
		{"joe@XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"joe@b\u00fccher\u3002example", "xn--bcher-kva.example"},
		{"joe@\uff45xample.com", "example.com"},
		// Read although RFC 5322 has it otherwise.
		{"joe@example.com <joe@example.com>", "example.com"},
		{"admin@victim.example <joe@example.com>", "example.com"},
		{"[Ticket] Joe <joe@example.com>", "example.com"},
		{"\"Johnson, Joe <joe@victim.example>\" joe@example.com", "example.com"},
		{"Re: Joe <joe@example.com>", "example.com"},
		{"<<joe@example.com>>", "example.com"},
		{"<<joe@example.com>", "example.com"},
		{"Joe <><joe@example.com>", "example.com"},
		// The last at sign.
		{"<\"admin@victim.example\"@attacker.example>", "attacker.example"},
		{"\"admin@victim.example\"@attacker.example", "attacker.example"},
		{"<admin@victim.example@attacker.example>", "attacker.example"},
		{"admin@victim.example@attacker.example", "attacker.example"},
		{"<admin@[192.0.2.1]@attacker.example>", "attacker.example"},
	}
	for _, tt := range tests {
		got, err := AuthorDomain([]string{tt.value})
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v; want %q", tt.value, got, err, tt.want)
		}
	}
}

func TestNoIdentity(t *testing.T) {
	tests := []struct {
		value string
		want  NoIdentity
	}{
		{"", NotMailbox},
		{" ", NotMailbox},
		{"<>", NotMailbox},
		{"Joe", NotMailbox},
		{"joe@", NotMailbox},
		{"@example.com", NotMailbox},
		{"<joe@>", NotMailbox},
		{"<joe>", NotMailbox},
		{"<joe@example.com", NotMailbox},
		{"joe@example.com>", NotMailbox},
		{"<<", NotMailbox},
		{"<><>", NotMailbox},
		{"<a<joe@example.com>>", NotMailbox},
		{"<joe@example.com>>a", NotMailbox},
		{"\"joe@example.com", NotMailbox},
		{"(joe@example.com", NotMailbox},
		{"(joe@example.com)", NotMailbox},
		{"(\\) joe@example.com", NotMailbox},
		{") joe@example.com", NotMailbox},
		{"] joe@example.com", NotMailbox},
		{"[joe@example.com", NotMailbox},
		{"joe@\"example.com\"", NotMailbox},
		{"joe@example com", NotMailbox},
		{"joe@example.com Joe", NotMailbox},
		{"joe@example.com joe@example.com", NotMailbox},
		{"<joe@example.com> Joe", NotMailbox},
		{"<joe@example.com>;", GroupSyntax},
		{"<joe@example.com><joe@example.com>", NotMailbox},
		{"<joe@example.com,joe@example.com>", NotMailbox},
		{"<joe@@example.com>", NotMailbox},
		{"<joe@example.com:x>", NotMailbox},
		{"joe\\@example.com", NotMailbox},
		{"joe@[192.0.2.1].example.com", IPLiteral},
		{"joe@[192.0.2.1]example.com", NotMailbox},
		{"joe@example.com[192.0.2.1]", NotMailbox},

		{"joe@example.com, ann@example.com", SeveralMailboxes},
		{"Joe <joe@example.com>, Ann <ann@example.com>", SeveralMailboxes},
		{"<joe@example.com>,<ann@example.com>", SeveralMailboxes},
		{"joe@example.com,", SeveralMailboxes},
		{",joe@example.com", SeveralMailboxes},
		{"Public, Joe <joe@example.com>", SeveralMailboxes},

		{"Team: joe@example.com;", GroupSyntax},
		{"Team:;", GroupSyntax},
		{"\"A\": joe@example.com, ann@example.com;", GroupSyntax},
		{"Team: Joe <joe@example.com>;", GroupSyntax},
		{"Team: joe@example.com", GroupSyntax},
		{"Team:", GroupSyntax},

		{"<@attacker.example:joe@example.com>", RouteSyntax},
		{"<@a.example,@b.example:joe@example.com>", RouteSyntax},
		{"Joe < (x) @a.example:joe@example.com>", RouteSyntax},

		{"joe@example.com\x00", ControlCharacter},
		{"joe@exam\x00ple.com", ControlCharacter},
		{"joe@example.com\x00.attacker.example", ControlCharacter},
		{"\"\x00\" <joe@example.com>", ControlCharacter},
		{"joe@example.com\r", ControlCharacter},
		{"Joe\r <joe@example.com>", ControlCharacter},
		{"Joe\r\n<joe@example.com>", ControlCharacter},
		{"Joe\n<joe@example.com>", ControlCharacter},
		{"\n<joe@example.com>", ControlCharacter},
		{"Joe\r\r\n <joe@example.com>", ControlCharacter},
		{"joe@example.com\r\nBcc: x", ControlCharacter},
		{"joe@example.com\r\n\r\n", ControlCharacter},
		{"\x1b$B <joe@example.com>", ControlCharacter},
		{"Joe \x7f<joe@example.com>", ControlCharacter},

		{"joe@[192.0.2.1]", IPLiteral},
		{"<joe@[IPv6:2001:db8::1]>", IPLiteral},
		{"joe@[example.com]", IPLiteral},
		{"joe@192.0.2.1", IPLiteral},
		{"joe@\uff11\uff19\uff12.0.2.1", IPLiteral},

		{"joe@example", SingleLabel},
		{"joe@localhost", SingleLabel},
		{"joe@com.", SingleLabel},

		{"joe@co.uk", PublicSuffix},
		{"joe@github.io", PublicSuffix},
		{"joe@xn--55qx5d.cn", PublicSuffix},
		{"joe@\u516c\u53f8.cn", PublicSuffix},
		{"joe@anything.ck", PublicSuffix},

		{"joe@mail.localhost", ReservedName},
		{"joe@a.invalid", ReservedName},
		{"joe@printer.local", ReservedName},
		{"joe@abc.onion", ReservedName},
		{"joe@1.2.0.192.in-addr.ARPA", ReservedName},

		{"joe@example..com", NotDomain},
		{"joe@.example.com", NotDomain},
		{"joe@example.com..", NotDomain},
		{"joe@exa_mple.com", NotDomain},
		{"joe@-example.com", NotDomain},
		{"joe@example-.com", NotDomain},
		{"joe@example.com-", NotDomain},
		{"joe@example.-com", NotDomain},
		{"joe@exam/ple.com", NotDomain},
		{"joe@exam'ple.com", NotDomain},
		{"joe@1.2.3", NotDomain},
		{"joe@256.1.1.1", NotDomain},
		{"joe@xn--\u00fc.example", NotDomain},
		{"joe@xn--zzzzzz.example", NotDomain},
		{"joe@\xff.example", NotDomain},
		{"joe@\ufffd.example", NotDomain},
		{"joe@xn--zn7c.example", NotDomain}, // the same as A-label
		{"joe@exam\u2100ple.com", NotDomain},
		{"joe@" + strings.Repeat("a", 64) + ".example", NotDomain},
		{"joe@" + strings.Repeat("a.", 124) + "example", NotDomain},
		{"joe@" + strings.Repeat("a", 2000), NotDomain},

		{strings.Repeat(" ", maxFrom) + "joe@example.com", FromTooLong},
	}
	for _, tt := range tests {
		got, err := AuthorDomain([]string{tt.value})
		if got != "" || !errors.Is(err, tt.want) {
			t.Errorf("%.80q: %q, %v; want %q", tt.value, got, err, tt.want)
		}
	}
	if _, err := AuthorDomain(nil); !errors.Is(err, NoFromField) {
		t.Error(err)
	}
	if _, err := AuthorDomain([]string{"joe@example.com", "joe@example.com"}); !errors.Is(err, SeveralFromFields) {
		t.Error(err)
	}
}

// The From fields of "espoofer", server cases a8 to a19, where attack.example sends and
// passes SPF: the message must have no identity, or that of the sender.
func TestEspoofer(t *testing.T) {
	tests := []struct {
		name   string
		fields []string // "name:value"
		want   NoIdentity
	}{
		{"a8 several From fields", []string{"From: <first@attack.example>", "From: <admin@legitimate.example>"}, SeveralFromFields},
		{"a9 blank before", []string{" From: <first@attack.example>", "From: <admin@legitimate.example>"}, SeveralFromFields},
		{"a10 blank behind", []string{"From: <first@attack.example>", "From : <admin@legitimate.example>"}, SeveralFromFields},
		{"a11 folded name", []string{"From\r\n : <first@attack.example>", "From: <admin@legitimate.example>"}, SeveralFromFields},
		{"a12 Sender", []string{"From\r\n : <first@attack.example>", "Sender: <admin@legitimate.example>"}, ""},
		{"a13 Resent-From", []string{"From\r\n : <first@attack.example>", "Resent-From: <admin@legitimate.example>"}, ""},
		{"a14 several addresses", []string{"From: <first@attack.example>, <admin@legitimate.example>"}, SeveralMailboxes},
		{"a15 encoded address", []string{"From:=?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuZXhhbXBsZT4=?=,<second@attack.example>"}, SeveralMailboxes},
		{"a16 route", []string{"From: <@attack.example,@any.example:admin@legitimate.example>"}, RouteSyntax},
		{"a17 quoted pair", []string{"From: <admin@legitimate.example>\\,<second@attack.example>"}, NotMailbox},
		{"a18 precedence", []string{"From: admin@legitimate.example,<second@attack.example>"}, SeveralMailboxes},
		{"a19 display name behind", []string{"From: <any@attack.example>admin@legitimate.example"}, NotMailbox},
		{"encoded address alone", []string{"From: =?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuZXhhbXBsZT4=?="}, NotMailbox},
		{"encoded address before", []string{"From: =?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuZXhhbXBsZT4=?= <second@attack.example>"}, ""},
		{"address in a comment", []string{"From: (<admin@legitimate.example>) second@attack.example"}, ""},
		{"comment in the domain", []string{"From: second@(legitimate.example)attack.example(.legitimate.example)"}, ""},
		{"NUL", []string{"From: <admin@legitimate.example\x00@attack.example>"}, ControlCharacter},
		{"NUL in the name", []string{"From: <second@attack.example>", "From\x00: <admin@legitimate.example>"}, SeveralFromFields},
	}
	for _, tt := range tests {
		var from []string
		for _, field := range tt.fields {
			name, value, _ := strings.Cut(field, ":")
			if IsFromField(name) {
				from = append(from, value)
			}
		}
		got, err := AuthorDomain(from)
		switch {
		case tt.want == "" && (got != "attack.example" || err != nil), tt.want != "" && (got != "" || !errors.Is(err, tt.want)):
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestIsFromField(t *testing.T) {
	for name, want := range map[string]bool{
		"From": true, "from": true, "FROM": true, "From ": true, "\tFrom\r\n ": true, "Fr\x00om": true,
		"Froms": false, "Resent-From": false, "X-From": false, "": false, "From-": false, "\u0191rom": false,
	} {
		if IsFromField(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

// maxFromRatio is how much longer a hostile From may take than an ordinary one.
const maxFromRatio = 10

// Time grows with the input and no faster: the worst inputs of the full length take no more than
// ordinary words of that length, or little more. Others use this processor too, so it is the
// least of several turns that counts.
func TestAuthorDomainLinear(t *testing.T) {
	usual := strings.Repeat("Joe ", maxFrom/4-8) + "<joe@example.com>"
	read := func(value string) time.Duration {
		start := time.Now()
		for range 10 {
			_, _ = AuthorDomain([]string{value})
			_, _ = AuthorDomain([]string{"joe@" + value[:len(value)-4]})
		}
		return time.Since(start)
	}
	for _, unit := range []string{"(", "(\\", "\"\\\"", "a@", ".", "a ", "\n ", "\r\n\t", "[", "\xff", "\u00fc.", "()"} {
		value := strings.Repeat(unit, maxFrom/len(unit))
		hostile, ordinary := time.Hour, time.Hour
		for turn := 0; turn < 20 && (turn < 2 || hostile > maxFromRatio*ordinary); turn++ {
			hostile, ordinary = min(hostile, read(value)), min(ordinary, read(usual))
		}
		if hostile > maxFromRatio*ordinary {
			t.Errorf("%q: %v, ordinary words %v", unit, hostile, ordinary)
		}
	}
}

func FuzzAuthorDomain(f *testing.F) {
	for _, value := range []string{
		"Joe <joe@example.com>", "\"admin@victim.example\" (x(y)) <\"a b\"@attacker.example>", "<@a,@b:c@d.example>", "a: b@c.example;",
		"joe@b\u00fccher.example", " Joe\r\n\t<joe@exam(\\))ple.com>", "a@b@[1.2.3.4]", "=?utf-8?b?QA==?= x@y.test", "\\\x00\xff(", "joe@co.uk", "joe@\uff0e\u3002example",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		domain, err := AuthorDomain([]string{value})
		if err != nil {
			if reason := NoIdentity(""); domain != "" || !errors.As(err, &reason) || reason == "" {
				t.Fatalf("%q, %v", domain, err)
			}
			return
		}
		if !dnsname.IsHost(domain) || !strings.Contains(domain, ".") || domain != canonical(domain) || !strings.Contains(value, "@") {
			t.Errorf("%q: %q", value, domain)
		}
		for _, spelling := range []string{"x@" + domain, "<x@" + strings.ToUpper(domain) + ".>"} {
			if again, err := AuthorDomain([]string{spelling}); again != domain || err != nil {
				t.Errorf("%q: %q, but %q: %q, %v", value, domain, spelling, again, err)
			}
		}
		// A second address, in whatever form, is never passed over.
		for _, two := range []string{value + ",x@victim.example", "x@victim.example," + value, value + "<x@victim.example>"} {
			if again, err := AuthorDomain([]string{two}); err == nil && again != domain && !strings.HasSuffix(two, "<x@victim.example>") {
				t.Errorf("%q: %q", two, again)
			}
		}
	})
}

func BenchmarkAuthorDomain(b *testing.B) {
	from := []string{" \"Joe Q. Public\" <joe.public@mail.example.org>"}
	for b.Loop() {
		AuthorDomain(from)
	}
}
