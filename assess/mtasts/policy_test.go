package mtasts

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const goodPolicy = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"

func TestParsePolicy(t *testing.T) {
	got, err := ParsePolicy(goodPolicy + "more:\text e  nsion \u00fc\r\n\r\nmode: none\r\n\n")
	want := Policy{
		Mode:       Enforce,
		MX:         []string{"mail.example.com", "*.example.net"},
		MaxAge:     7 * 24 * time.Hour,
		Extensions: []Field{{"more", "ext e  nsion \u00fc"}},
		Warnings:   []string{"an empty line", "a field that stands there twice: only the first counts"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParsePolicySyntax(t *testing.T) {
	// Each case changes one thing in goodPolicy, or adds a line to it.
	replace := func(old, new string) string { return strings.Replace(goodPolicy, old, new, 1) }
	tests := []struct {
		body string
		ok   bool
	}{
		{goodPolicy, true},
		{strings.ReplaceAll(goodPolicy, "\r\n", "\n"), true},
		{strings.TrimSpace(goodPolicy), true},
		{replace("STSv1\r\n", "STSv1\n"), true},
		{replace("mode: enforce", "mode:\tenforce \t"), true},
		{replace("mode: enforce", "mode:enforce"), true},
		{replace("604800", "0"), true},
		{replace("604800", "31557600"), true},
		{replace("604800", "0000000060"), true},
		{replace("mail.example.com", "*.EXAMPLE.com"), true},
		{replace("mail.example.com", "xn--mnchen-3ya.example"), true},
		{replace("mail.example.com", "localhost"), true},
		{replace("enforce", "testing"), true},
		{replace("enforce", "none"), true},
		{"mode: none\nmax_age: 1\nversion: STSv1", true},
		{goodPolicy + "version: STSv2\r\nmax_age: x\r\nmode: no\r\n", true}, // the first counts
		{goodPolicy + "a.b-c_1: " + strings.Repeat("x", 5000), true},
		{"", false},
		{"\r\n", false},
		{"garbage", false},
		{"<html><body>version: STSv1<br>\nmode: enforce\nmx: a.example\nmax_age: 60</body></html>", false},
		{"\ufeff" + goodPolicy, false},
		{"version: STSv2\r\n" + goodPolicy, false},
		{replace("version: STSv1\r\n", ""), false},
		{replace("STSv1", "stsv1"), false},
		{replace("STSv1", "STSv10"), false},
		{replace("version", "Version"), false},
		{replace("version: STSv1\r\n", "version: STSv1\x0b"), false},
		{replace("mode: enforce\r\n", ""), false},
		{replace("enforce", "Enforce"), false},
		{replace("enforce", "reject"), false},
		{replace("mode:", "mode :"), false},
		{replace("mode:", " mode:"), false},
		{replace("max_age: 604800\r\n", ""), false},
		{replace("604800", "31557601"), false},
		{replace("604800", "99999999999999999999"), false},
		{replace("604800", "00000000060"), false},
		{replace("604800", "-1"), false},
		{replace("604800", "+5"), false},
		{replace("604800", "1_000"), false},
		{replace("604800", "1e3"), false},
		{replace("604800", "86400.5"), false},
		{replace("604800", "5 5"), false},
		{replace("604800", ""), false},
		{replace("mx: mail.example.com\r\nmx: *.example.net\r\n", ""), false},
		{replace("mail.example.com", "mail.example.com."), false},
		{replace("mail.example.com", "mail..com"), false},
		{replace("mail.example.com", "-mail.example.com"), false},
		{replace("mail.example.com", "mail_x.example.com"), false},
		{replace("mail.example.com", "m\u00fcnchen.example"), false},
		{replace("mail.example.com", "*"), false},
		{replace("mail.example.com", "*."), false},
		{replace("mail.example.com", "*.*.example.com"), false},
		{replace("mail.example.com", "*example.com"), false},
		{replace("mail.example.com", "mail.*.com"), false},
		{replace("mail.example.com", "not a host!"), false},
		{replace("mail.example.com", strings.Repeat("a", 64)+".com"), false},
		{replace("mail.example.com", strings.Repeat("abc.", 63)+"com"), false},
		{goodPolicy + "not a field\r\n", false},
		{goodPolicy + "ext:\r\n", false},
		{goodPolicy + "_ext: x\r\n", false},
		{goodPolicy + strings.Repeat("a", 33) + ": x\r\n", false},
		{goodPolicy + "ext: a\tb\r\n", false},
		{goodPolicy + "ext: \xff\r\n", false},
		{goodPolicy + "ext: \x7f\r\n", false},
		{goodPolicy + "mode: \x00\r\n", false},
	}
	for _, tt := range tests {
		p, err := ParsePolicy(tt.body)
		if (err == nil) != tt.ok {
			t.Errorf("ParsePolicy(%.200q) = %+v, %v; want ok %v", tt.body, p, err, tt.ok)
		}
		if err != nil && !errors.Is(err, ErrPolicySyntax) {
			t.Errorf("ParsePolicy(%.200q): %v is no ErrPolicySyntax", tt.body, err)
		}
	}
}

func TestParsePolicyNamesTheLine(t *testing.T) {
	_, err := ParsePolicy("version: STSv1\nmode: enforce\n\nmx: not a host!\nmax_age: 1\n")
	const want = `MTA-STS policy with an error: line 4: mx "not a host!": it must be a host name, ` +
		`or *. and a name, in ASCII and without a dot at its end`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestParsePolicyLimit(t *testing.T) {
	fits := goodPolicy + strings.Repeat("\n", MaxPolicy-len(goodPolicy))
	p, err := ParsePolicy(fits)
	if err != nil || len(p.Warnings) != 1 {
		t.Errorf("%d bytes: %v, %d warnings", len(fits), err, len(p.Warnings))
	}
	if _, err := ParsePolicy(fits + "\n"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes: got %v, want ErrTooLarge", len(fits)+1, err)
	}
}

func TestMatch(t *testing.T) {
	p := Policy{Mode: Enforce, MX: []string{"*.example.com", "mail.example.net", "example.org"}}
	tests := []struct {
		host, want string
	}{
		{"mail.example.com", "*.example.com"},
		{"MAIL.Example.COM.", "*.example.com"},
		{"mail.example.net", "mail.example.net"},
		{"Mail.Example.Net.", "mail.example.net"},
		{"example.org", "example.org"},
		{"example.com", ""},
		{"foo.bar.example.com", ""},
		{".example.com", ""},
		{"*.example.com", ""},
		{"xexample.com", ""},
		{"mail.example.com.evil.example", ""},
		{"x.mail.example.net", ""},
		{"bad-example.org", ""},
		{"mail.example.org", ""},
		{"", ""},
		{".", ""},
	}
	for _, tt := range tests {
		if got, ok := p.Match(tt.host); got != tt.want || ok != (tt.want != "") {
			t.Errorf("Match(%q) = %q, %v; want %q", tt.host, got, ok, tt.want)
		}
	}
	if _, ok := (Policy{Mode: None}).Match("mail.example.com"); ok {
		t.Error("a policy without mx matches a host")
	}
}

// FuzzPolicy holds that whatever is accepted keeps the promises of Policy.
func FuzzPolicy(f *testing.F) {
	f.Add(goodPolicy)
	f.Add("version:STSv1\nmode:none\nmax_age:1\nmode:x\nmore:ext e  ns ion")
	f.Fuzz(func(t *testing.T, body string) {
		p, err := ParsePolicy(body)
		if err != nil {
			return
		}
		if p.Mode != Enforce && p.Mode != Testing && p.Mode != None ||
			p.Mode != None && len(p.MX) == 0 ||
			p.MaxAge < 0 || p.MaxAge > MaxAge*time.Second || len(p.Warnings) > 2 {
			t.Fatalf("accepted %q as %+v", body, p)
		}
		for _, pattern := range p.MX {
			host := strings.Replace(pattern, "*", "any", 1)
			if _, ok := p.Match(host); !ok || !validPattern(pattern) {
				t.Fatalf("pattern %q does not match %q", pattern, host)
			}
		}
	})
}
