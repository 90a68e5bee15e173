package dmarc

import (
	"errors"
	"fmt"
	"peerscore/assess/dnsname"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

// ruaOK is a destination that makes an invalid policy p=none instead of nothing.
const ruaOK = "rua=mailto:d@example.com"

func TestParseNotRecord(t *testing.T) {
	for _, txt := range []string{
		"", "v", "v=", "v=DMARC", "v=DMARC12", "v=DMARC1x", "v=dmarc1", "v=Dmarc1; p=none", "v=DMARC2; p=none", "v=DMARC1 p=none",
		" v=DMARC1; p=none", "\tv=DMARC1", "p=none; v=DMARC1", ";v=DMARC1", "v:DMARC1", "v=spf1 -all", "\"v=DMARC1; p=none\"", "\xa0v=DMARC1",
		"v =\u00a0DMARC1", "vv=DMARC1", "v==DMARC1", "v=DMARC1,p=none",
	} {
		if r, err := Parse(txt); !errors.Is(err, ErrNotRecord) {
			t.Errorf("%q: %+v, %v", txt, r, err)
		}
	}
}

// Each record as a receiver stands to it, exactly by RFC 9989, and as one of RFC 7489 does.
func TestParse(t *testing.T) {
	const ok = ""
	tests := []struct {
		txt      string
		standing Standing
		err      string // part of the first error by RFC 9989
		err7489  string
	}{
		{"v=DMARC1; p=none", Applied, ok, ok},
		{"v=DMARC1;p=reject;", Applied, ok, ok},
		{"V = DMARC1\t;\tP\t=\tReJect\t; ", Applied, ok, ok},
		{"v=DMARC1; p=reject; sp=none; np=quarantine; t=y; psd=n; adkim=s; aspf=r; fo=1:d:s; " + ruaOK + "; ruf=mailto:f@example.com", Applied, ok, ok},
		// Removed tags are no longer judged.
		{"v=DMARC1; p=reject; pct=150; ri=abc; rf=x y", Applied, ok, ok},
		// Unknown tags are ignored, in the syntax of DKIM.
		{"v=DMARC1; p=reject; xyz=foo; ignore_me2= true ", Applied, ok, ok},
		{"v=DMARC1; p=reject; x=", Applied, `x="": not printable ASCII`, ok},
		{"v=DMARC1; p=reject; x=a\tb", Applied, `x="a\tb": not printable ASCII`, ok},
		{"v=DMARC1; p=reject; x=\u201cb\u201d", Applied, `x="\u201cb\u201d": not printable ASCII`, ok},
		{"v=DMARC1; p=\u201creject\u201d", Ignored, `p="\u201creject\u201d": not none`, "no valid p"},
		{"v=DMARC1; p=reject; ad\u212aim=s", Applied, `"ad\u212aim=s" is not of the form tag=value`, ok},
		{"v=DMARC1; p=reject; pct=", Applied, `pct="": not printable ASCII`, ok},
		{"v=DMARC1; p=reject; x-y=1", Applied, `"x-y=1" is not of the form tag=value`, ok},
		{"v=DMARC1; p=reject; =1", Applied, `"=1" is not of the form`, ok},
		{"v=DMARC1; p=reject; hello", Applied, `"hello" is not of the form`, ok},
		// Syntax errors are discarded in favour of the default (section 4.8).
		{"v=DMARC1; p=reject; adkim=x", Applied, `adkim="x": not r or s`, ok},
		{"v=DMARC1; p=reject; aspf=", Applied, `aspf="": not r or s`, ok},
		{"v=DMARC1; p=reject; t=yes", Applied, `t="yes": not y or n`, ok},
		{"v=DMARC1; p=reject; psd=maybe", Applied, `psd="maybe": not y, n or u`, ok},
		{"v=DMARC1; p=reject; fo=0:x", Applied, `fo="0:x": not 0 or 1, d and s`, ok},
		{"v=DMARC1; p=reject; rua=bogus", Applied, `rua: "bogus": not a URI`, ok},
		{"v=DMARC1; p=reject; rua=a@example.com", Applied, `rua: "a@example.com": not a URI: it lacks the mailto: in front`, ok},
		{"v=DMARC1; p=reject; rua=mailto:a@example.com,", Applied, `rua: "": not a URI`, ok},
		{"v=DMARC1; p=reject; ruf=", Applied, `ruf: "": not a URI`, ok},
		// No valid p, or an invalid sp or np (section 4.10.1).
		{"v=DMARC1", Ignored, ok, "no valid p"},
		{"v=DMARC1;", Ignored, ok, "no valid p"},
		{"v=DMARC1; psd=y", Ignored, ok, "no valid p"},
		{"v=DMARC1; p", Ignored, `"p" is not of the form`, "no valid p"},
		{"v=DMARC1; " + ruaOK, AsNone, ok, ok},
		{"v=DMARC1; sp=reject; " + ruaOK, AsNone, ok, ok},
		{"v=DMARC1; sp=reject; np=reject", Ignored, ok, "no valid p"},
		{"v=DMARC1; p=foo; " + ruaOK, AsNone, `p="foo": not none, quarantine or reject`, ok},
		{"v=DMARC1; p=foo", Ignored, `p="foo"`, "no valid p"},
		{"v=DMARC1; p=", Ignored, `p=""`, "no valid p"},
		{"v=DMARC1; p=reject; sp=foo; " + ruaOK, AsNone, `sp="foo"`, ok},
		{"v=DMARC1; p=reject; sp=foo", Ignored, `sp="foo"`, "sp is invalid"},
		{"v=DMARC1; p=reject; np=foo", Ignored, `np="foo"`, ok}, // RFC 7489 knows no np
		{"v=DMARC1; p=reject; np=; " + ruaOK, AsNone, `np=""`, ok},
		{"v=DMARC1; p=reject; sp=foo; rua=mailto:d@example.com!10q", Ignored, `sp="foo"`, "sp is invalid"},
		{"v=DMARC1; p=reject; sp=foo; rua=bogus, https://example.com/dmarc", AsNone, `sp="foo"`, ok},
		{"v=DMARC1; p=reject; sp=foo; rua=mailto:", AsNone, `sp="foo"`, ok}, // a URI, if of no use
		// A tag that occurs twice makes the list invalid (RFC 6376, section 3.2).
		{"v=DMARC1; p=none; p=none", Broken, "p occurs twice", "p occurs twice"},
		{"v=DMARC1; p=none; v=DMARC1", Broken, "v occurs twice", "v occurs twice"},
		{"v=DMARC1; p=none; X=1; x=2; " + ruaOK, Broken, "x occurs twice", "x occurs twice"},
	}
	for _, tt := range tests {
		r, err := Parse(tt.txt)
		if err != nil || r.Text != tt.txt || r.Standing != tt.standing {
			t.Errorf("%q: standing %q, %v; want %q", tt.txt, r.Standing, err, tt.standing)
		}
		if !errorHas(r.Err(), tt.err) || !errorHas(err7489(r), tt.err7489) {
			t.Errorf("%q: RFC 9989: %v, RFC 7489: %v; want %q, %q", tt.txt, r.Err(), err7489(r), tt.err, tt.err7489)
		}
		if r.Standing != Applied && r.Standing != Broken && (r.P != PolicyNone || r.SP != "" || r.NP != "") {
			t.Errorf("%q: %s, and yet p=%s sp=%s np=%s", tt.txt, r.Standing, r.P, r.SP, r.NP)
		}
	}
}

// errorHas reports whether err contains the text; "" stands for no error.
func errorHas(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}

func TestParseValues(t *testing.T) {
	r, err := Parse("v=DMARC1; p=Reject; sp=QUARANTINE; np=none; T=Y; psd=N; adkim=S; aspf=S; fo=D:1; pct=25; ri=3600; rf=AFRF:x; " +
		"rua=mailto:D@Example.COM!10m , https://example.com/; ruf=mailto:f@example.com")
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	r.Text, r.Tags, r.Warnings, r.RUA, r.RUF = "", nil, nil, nil, nil
	want := Record{P: "reject", SP: "quarantine", NP: "none", T: true, PSD: "n", ADKIM: "s", ASPF: "s", FO: "d:1", PCT: 25, RI: 3600, RF: "afrf:x", Standing: Applied, hasP: true}
	if fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}

	r, err = Parse("v=DMARC1; p=none; t=x; psd=x; adkim=x; aspf=x; fo=x; pct=101; ri=-1; rf=")
	if err != nil || len(r.Errors) != 6 {
		t.Fatal(err, r.Errors)
	}
	r.Text, r.Tags, r.Errors, r.Warnings = "", nil, nil, nil
	want = Record{P: "none", PSD: "u", ADKIM: "r", ASPF: "r", FO: "0", PCT: 100, RI: 86400, RF: "afrf", Standing: Applied, hasP: true}
	if fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("defaults: got  %+v\nwant %+v", r, want)
	}

	r, _ = Parse("v = DMARC1 ; P = None ; rua = mailto:a@b?x=y ; Foo=")
	tags := []Tag{{"v", "DMARC1"}, {"p", "None"}, {"rua", "mailto:a@b?x=y"}, {"foo", ""}}
	if !slices.Equal(r.Tags, tags) {
		t.Errorf("tags %q, want %q", r.Tags, tags)
	}
}

func TestParseWarnings(t *testing.T) {
	tests := []struct{ tags, want string }{
		{"p=none", ""},
		{"p=none; pct=100", "pct is obsolete since RFC 9989: ignored"},
		{"p=none; rf=afrf", "rf is obsolete since RFC 9989: ignored"},
		{"p=none; ri=3600", "ri is obsolete since RFC 9989: ignored"},
		{"p=none; foobar=baz", "unknown tag foobar: ignored"},
		{"sp=none; p=none", "p does not follow v: some receivers of RFC 7489 want it there"},
		{"p=none;; np=none", "two semicolons with nothing between them"},
		{"p=none; ;;;", "two semicolons with nothing between them"},
		{ruaOK, "no p: the record is read as p=none"},
		{"sp=none", "no p, and no destination in rua: receivers ignore the record"},
		{"p=none; fo=1", "fo is ignored without ruf"},
		{"p=none; fo=0:1:d:s", "fo=0:1:d:s: 0 and 1 exclude each other since RFC 9989: receivers take the default, 0"},
		{"p=none; rua=mailto:a@example.com!10m", "rua: the size behind the exclamation point is obsolete: ignored"},
		{"p=none; rua=mailto:a@example.com!0", "rua: the size behind the exclamation point is obsolete: ignored"},
		{"p=none; ruf=https://example.com/", `ruf: "https://example.com/": receivers need not support anything but mailto`},
		{"p=none; rua=mailto:nobody", `rua: "mailto:nobody" has no address that mail could reach`},
	}
	for _, tt := range tests {
		r, err := Parse("v=DMARC1; " + tt.tags)
		if got := strings.Join(r.Warnings, "|"); err != nil || got != tt.want || r.Err() != nil {
			t.Errorf("%s: %q, %v, %v; want %q", tt.tags, got, err, r.Err(), tt.want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	full := "v=DMARC1; p=reject; x=" + strings.Repeat("x", MaxRecord-len("v=DMARC1; p=reject; x="))
	if r, err := Parse(full); err != nil || r.P != PolicyReject {
		t.Errorf("%d bytes: %v", len(full), err)
	}
	if _, err := Parse(full + "x"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes: %v", len(full)+1, err)
	}
	var b strings.Builder
	for i := range maxTags / 2 {
		fmt.Fprintf(&b, "; !%d; x%d=", i, i)
	}
	r, err := Parse("v=DMARC1" + b.String())
	if err != nil || len(r.Errors) != maxFindings || len(r.Warnings) != maxFindings {
		t.Errorf("%d errors, %d warnings, %v", len(r.Errors), len(r.Warnings), err)
	}
	if _, err := Parse("v=DMARC1; x=" + b.String()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d tags: %v", maxTags+1, err)
	}
	r, _ = Parse("v=DMARC1; p=" + strings.Repeat("x", 3000) + "; rua=" + strings.Repeat("y", 1000) + "; " + strings.Repeat("z", 50) + "!")
	if text := r.Err().Error(); len(text) > 4*maxQuoted {
		t.Errorf("%d bytes of errors: %s", len(text), text)
	}
}

func TestSelect(t *testing.T) {
	const record, other = "v=DMARC1; p=reject", "v=spf1 -all"
	large := record + "; x=" + strings.Repeat("x", MaxRecord)
	tests := []struct {
		txts  []string
		found bool
		n     int
	}{
		{nil, false, 0},
		{[]string{other, ""}, false, 0},
		{[]string{record}, true, 1},
		{[]string{other, record, " " + record}, true, 1},
		{[]string{record, record}, false, 2},
		{[]string{record, "v=DMARC1; p=x", other}, false, 2},
		{[]string{"v=DMARC1; p=x"}, true, 1}, // how it stands is another question
		{[]string{large}, false, 1},
		{[]string{record, large}, false, 2},
	}
	for _, tt := range tests {
		r, n := Select(tt.txts)
		if (r != nil) != tt.found || n != tt.n {
			t.Errorf("%.60q: %v, %d; want %t, %d", tt.txts, r, n, tt.found, tt.n)
		}
	}
}

// The grammar derives exactly the strings that are taken over; with 0 and 1 both, a record of
// RFC 7489 has the default and a warning.
func TestFO(t *testing.T) {
	taken := "0 1 d s 0:d 0:s 1:d 1:s d:0 d:1 s:0 s:1 d:s s:d 0:d:s 0:s:d 1:d:s 1:s:d d:0:s d:1:s s:0:d s:1:d d:s:0 d:s:1 s:d:0 s:d:1"
	for _, tt := range []struct {
		values []string
		valid  bool
		taken  bool
	}{
		{strings.Fields(taken), true, true},
		{[]string{"0:1", "1:0", "0:1:d:s", "d:1:0"}, true, false},
		{[]string{"", ":", "0:", ":0", "00", "0:0", "0:0:1", "d:d", "x", "d :s", "2", "d:s:d"}, false, false},
	} {
		for _, value := range tt.values {
			r, err := Parse("v=DMARC1; p=none; ruf=mailto:a@example.com; fo=" + value)
			want := "0"
			if tt.taken {
				want = value
			}
			if err != nil || (r.Err() == nil) != tt.valid || r.FO != want || (len(r.Warnings) > 0) != (tt.valid && !tt.taken) {
				t.Errorf("%q: FO %q, %v, %q, %v", value, r.FO, r.Err(), r.Warnings, err)
			}
		}
	}
}

func TestParseReportURI(t *testing.T) {
	tests := []struct {
		in      string
		address string
		size    uint64
		err     error
	}{
		{"mailto:a@example.com", "a@example.com", 0, nil},
		{"MailTo:a@Example.COM", "a@example.com", 0, nil},
		{"mailto:a@example.com!10", "a@example.com", 10, nil},
		{"mailto:a@example.com!10k", "a@example.com", 10 << 10, nil},
		{"mailto:a@example.com!10M", "a@example.com", 10 << 20, nil},
		{"mailto:a@example.com!2g", "a@example.com", 2 << 30, nil},
		{"mailto:a@example.com!1t", "a@example.com", 1 << 40, nil},
		{"mailto:a@example.com!0G", "a@example.com", 0, nil},
		{"mailto:a@example.com!18446744073709551615", "a@example.com", 1<<64 - 1, nil},
		{"mailto:a@example.com!18446744073709551616", "", 0, errSize},
		{"mailto:a@example.com!16777216t", "", 0, errSize},
		{"mailto:a@example.com!", "", 0, errSize},
		{"mailto:a@example.com!k", "", 0, errSize},
		{"mailto:a@example.com!10p", "", 0, errSize},
		{"mailto:a@example.com!-1", "", 0, errSize},
		{"mailto:a@example.com!1!2", "", 0, errSize},
		{"mailto:a@example.com!10 k", "", 0, errSize},
		{"mailto:d%2Cm%21@example.com", "d,m!@example.com", 0, nil},
		{"mailto:a@example.com?subject=x@y", "a@example.com", 0, nil},
		{"mailto:a@example.com#frag", "a@example.com", 0, nil},
		{"mailto:a@b%C3%BCcher.example", "a@xn--bcher-kva.example", 0, nil},
		{"mailto:%22a%40b%22@example.com", `"a@b"@example.com`, 0, nil},
		{"mailto:", "", 0, nil},
		{"mailto:@example.com", "", 0, nil},
		{"mailto:a", "", 0, nil},
		{"mailto:a@", "", 0, nil},
		{"mailto:a%20b@example.com", "", 0, nil},
		{"mailto:a%0D%0Ab@example.com", "", 0, nil},
		{"mailto:a@exa%20mple.com", "", 0, nil},
		{"mailto://abuse.com", "", 0, nil},
		{"https://dmarc.example.com/submit?a=b#c", "", 0, nil},
		{"https://[2001:db8::1]/", "", 0, nil},
		{"x-y.z+1:", "", 0, nil},
		{"", "", 0, errURI},
		{"a@example.com", "", 0, errURI},
		{"bogus", "", 0, errURI},
		{":a", "", 0, errURI},
		{"1ab:c", "", 0, errURI},
		{"__mailto:a@example.com", "", 0, errURI},
		{"<mailto:a@example.com>", "", 0, errURI},
		{"mailto:a b@example.com", "", 0, errURI},
		{"mailto:a@[192.0.2.1]", "", 0, errURI},
		{"mailto:a%2@example.com", "", 0, errURI},
		{"mailto:a%2", "", 0, errURI},
		{"mailto:a%", "", 0, errURI},
		{"mailto:a%+1@example.com", "", 0, errURI},
		{"mailto:\u00fc@example.com", "", 0, errURI},
		{"https://example.com/#a#b", "", 0, errURI},
		{"https://example.com/\"", "", 0, errURI},
		{"https://example.com/\x00", "", 0, errURI},
	}
	for _, tt := range tests {
		u, err := parseReportURI(tt.in)
		if u.Address != tt.address || u.MaxSize != tt.size || !errors.Is(err, tt.err) {
			t.Errorf("%q: %+v, %v; want %q, %d, %v", tt.in, u, err, tt.address, tt.size, tt.err)
		}
	}
}

// White space around separators, and the case of everything but the version and addresses,
// change nothing.
func TestParseSpellings(t *testing.T) {
	policies := []Policy{PolicyNone, PolicyQuarantine, PolicyReject}
	same := func(p, sp uint8, upper bool, pad uint8) bool {
		tags := fmt.Sprintf("p=%s;sp=%s;adkim=s", policies[p%3], policies[sp%3])
		plain, err := Parse("v=DMARC1;" + tags)
		if err != nil || plain.Err() != nil || plain.P != policies[p%3] || plain.SP != policies[sp%3] {
			return false
		}
		if upper {
			tags = strings.ToUpper(tags)
		}
		blank := strings.Repeat(" \t", int(pad%4))
		odd, err := Parse("v" + blank + "=" + blank + "DMARC1" + strings.NewReplacer("=", blank+"="+blank, ";", blank+";"+blank).Replace(";"+tags+";"))
		return err == nil && odd.Err() == nil && odd.P == plain.P && odd.SP == plain.SP && odd.ADKIM == Strict
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, txt := range []string{
		"", "v=DMARC1", "v=DMARC1;p=reject;;", "V = DMARC1 ; P = reject ;\tSP=none; unknown \t=\t value \t ; adkim=s; RUF=mailto:a@example.com  ,\t\tmailto:b@example.net!0G; FO = 0:1:d:s ; Pct = 0",
		"v=DMARC1; p=none; rua=mailto:a%2Cb@example.com!10m,https://[::1]/#x", "v=DMARC1; p=x; sp=\xff; np=\x00; " + ruaOK,
		"v=DMARC1; p=none; p=none", "v=DMARC1; psd=y; t=y", "v=DMARC1; rua=mailto:%", "v=DMARC1; =; a; !=",
	} {
		f.Add(txt)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := Parse(txt)
		if err != nil {
			if !errors.Is(err, ErrNotRecord) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, subdomain := range []bool{false, true} {
			p := r.policy(subdomain, true)
			if applies := r.Standing == Applied || r.Standing == AsNone; applies != slices.Contains([]Policy{PolicyNone, PolicyQuarantine, PolicyReject}, p) {
				t.Errorf("%s, policy %q", r.Standing, p)
			}
		}
		if r.Standing == AsNone && len(r.RUA) == 0 || len(r.Errors) > maxFindings || len(r.Warnings) > maxFindings {
			t.Errorf("%+v", r)
		}
		if (r.Standing == Broken) == (r.Err() == nil) && r.Standing == Broken {
			t.Errorf("broken without an error")
		}
		for _, u := range append(r.RUA, r.RUF...) {
			if host := canonical(u.Address[strings.LastIndexByte(u.Address, '@')+1:]); u.Address != "" && !dnsname.Queryable(host) {
				t.Errorf("%+v: %q is no host", u, host)
			}
		}
		// What is written out of the tags reads the same.
		var again strings.Builder
		for _, tag := range r.Tags {
			again.WriteString(tag.Name + "=" + tag.Value + ";")
		}
		if second, err := Parse(again.String()); err == nil && (second.Standing != r.Standing || second.P != r.P || !slices.Equal(second.Tags, r.Tags)) {
			t.Errorf("%q reads %+v, its tags %q read %+v", txt, r, again.String(), second)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		Parse("v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=s; rua=mailto:dmarc@example.org,mailto:x@reports.example; fo=1")
	}
}

// TestSelectCost holds what the records of one name may cost, of which a message may need eight.
func TestSelectCost(t *testing.T) {
	var tags strings.Builder
	for i := 0; tags.Len() < MaxRecord-100; i++ {
		fmt.Fprintf(&tags, ";x%d=", i)
	}
	for name, txts := range map[string][]string{
		"many tags":             {"v=DMARC1;p=none" + tags.String()},
		"many tags, many times": slices.Repeat([]string{"v=DMARC1;p=none" + tags.String()}, 15),
		"many semicolons":       {"v=DMARC1" + strings.Repeat(";!", MaxRecord/2-10)},
		"many records":          slices.Repeat([]string{"v=DMARC1;p=none;rua=" + strings.Repeat("mailto:a@b.example,", 20)}, 100),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Select(txts)
		runtime.ReadMemStats(&after)
		if octets := after.TotalAlloc - before.TotalAlloc; octets > 64<<10 {
			t.Errorf("%s: %d octets allocated", name, octets)
		}
	}
}

// TestManyDestinations holds what a list of destinations may cost: thousands of them fit into a
// record, and each has a finding.
func TestManyDestinations(t *testing.T) {
	for _, list := range []string{strings.Repeat(",", 3400), strings.Repeat("a,", 1700), strings.Repeat("mailto:a@b.example,", 200)} {
		txt := "v=DMARC1; p=none; rua=" + list
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := Parse(txt)
		runtime.ReadMemStats(&after)
		if err != nil || len(r.RUA) > maxURIs || !slices.Contains(r.Warnings, "rua: only the first 20 destinations are read") {
			t.Errorf("%.40s: %d destinations, %q, %v", txt, len(r.RUA), r.Warnings, err)
		}
		if octets := after.TotalAlloc - before.TotalAlloc; octets > 64<<10 {
			t.Errorf("%.40s: %d octets allocated", txt, octets)
		}
	}
}
