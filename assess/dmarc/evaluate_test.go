package dmarc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func pass(domain string) Identifier      { return Identifier{Domain: domain, Pass: true} }
func tempError(domain string) Identifier { return Identifier{Domain: domain, TempError: true} }

// bankZone is the zone of appendix B.4.3.
var bankZone = records("bank.example", "v=DMARC1; p=reject; psd=y", "giant.bank.example", "v=DMARC1; p=quarantine")

func TestEvaluate(t *testing.T) {
	const reject, strict = "v=DMARC1; p=reject", "v=DMARC1; p=reject; aspf=s; adkim=s"
	example := records("example.com", reject)
	tests := []struct {
		name   string
		zone   zone
		author string
		spf    Identifier
		dkim   []Identifier
		result Result
		policy Policy
		want   string // SPF, then each signature: y aligned, r only relaxed, n not, ? not known or not asked
	}{
		{"nothing passes", example, "example.com", Identifier{Domain: "example.com"}, nil, ResultFail, "reject", "?"},
		{"SPF, equal", example, "example.com", pass("example.com"), nil, ResultPass, "reject", "y"},
		{"DKIM, equal", example, "example.com", Identifier{}, []Identifier{pass("example.com")}, ResultPass, "reject", "?y"},
		{"other case and a dot", example, "Example.com.", pass("EXAMPLE.com."), nil, ResultPass, "reject", "y"},
		{"U-label", records("xn--bcher-kva.example", reject), "xn--bcher-kva.example", pass("bücher.example"), nil, ResultPass, "reject", "y"},
		{"child", example, "example.com", pass("mail.example.com"), nil, ResultPass, "reject", "y"},
		{"parent", example, "mail.example.com", pass("example.com"), nil, ResultPass, "reject", "y"},
		{"sibling", example, "a.example.com", pass("b.example.com"), nil, ResultPass, "reject", "y"},
		{"other domain", example, "example.com", pass("example.net"), []Identifier{pass("example.org")}, ResultFail, "reject", "nn"},
		{"the second signature", example, "example.com", pass("esp.example"), []Identifier{pass("esp.example"), pass("mail.example.com")}, ResultPass, "reject", "nny"},
		{"suffix of the text only", example, "example.com", pass("badexample.com"), nil, ResultFail, "reject", "n"},
		{"strict, equal", records("example.com", strict), "example.com", pass("example.com"), []Identifier{pass("example.com")}, ResultPass, "reject", "yy"},
		{"strict, child", records("example.com", strict), "example.com", pass("a.example.com"), []Identifier{pass("a.example.com")}, ResultFail, "reject", "rr"},
		{"strict for DKIM only", records("example.com", reject+"; adkim=s"), "example.com", pass("a.example.com"), []Identifier{pass("a.example.com")}, ResultPass, "reject", "yr"},
		{"no record above: another organisation", records("mail.example.com", reject), "mail.example.com", pass("example.com"), []Identifier{pass("bounce.example.com")}, ResultFail, "reject", "nn"},
		{"psd=n cuts off the parent", records("mail.example.com", reject+"; psd=n", "example.com", reject), "mail.example.com", pass("example.com"), nil, ResultFail, "reject", "n"},
		{"psd=n holds siblings together", records("mail.example.com", reject+"; psd=n"), "a.mail.example.com", pass("b.mail.example.com"), nil, ResultPass, "reject", "y"},
		{"B.4.1", records("example.com", reject, "signing.example.com", reject), "example.com", pass("example.com"), []Identifier{pass("signing.example.com")}, ResultPass, "reject", "yy"},
		{"B.4.2", records("example.com", reject, "signing.example.com", reject), "a.b.c.d.e.f.g.h.i.j.k.example.com", pass("example.com"), []Identifier{pass("signing.example.com")}, ResultPass, "reject", "y?"}, // the ninth query would tell
		{"B.4.2 but for its depth", records("example.com", reject, "signing.example.com", reject), "a.b.c.d.example.com", pass("example.com"), []Identifier{pass("signing.example.com")}, ResultPass, "reject", "yy"},
		{"B.4.3", bankZone, "giant.bank.example", pass("mail.giant.bank.example"), []Identifier{pass("mail.mega.bank.example")}, ResultPass, "quarantine", "yn"},
		{"two registrants", bankZone, "mega.bank.example", pass("bank.example"), []Identifier{pass("giant.bank.example")}, ResultFail, "reject", "nn"},
		{"the public suffix itself", bankZone, "bank.example", pass("mail.bank.example"), nil, ResultFail, "reject", "n"},
		{"the top level forgot psd=y", records("com", reject), "a.com", pass("b.com"), nil, ResultFail, "reject", "n"},
		{"no record: none, alignment all the same", zone{}, "example.com", pass("example.com"), []Identifier{pass("mail.example.com")}, ResultNone, "", "yn"},
		{"no record of its own to apply", records("example.com", "v=DMARC1; adkim=s"), "example.com", pass("example.com"), nil, ResultNone, "", "y"},
		{"invalid sp, with rua", records("example.com", reject+"; sp=x; "+ruaOK), "example.com", Identifier{}, nil, ResultFail, "none", "?"},
		{"broken record", records("example.com", reject+"; p=none"), "example.com", pass("example.com"), nil, ResultPermError, "", "y"},
		{"two records", records("example.com", reject, "example.com", reject), "example.com", pass("example.com"), nil, ResultNone, "", "y"},
		{"no author", example, "", pass("example.com"), nil, ResultNone, "", "n"},
		{"null reverse-path", example, "example.com", pass(""), nil, ResultFail, "reject", "n"},
		{"d= is no name", example, "example.com", Identifier{}, []Identifier{pass("..example.com"), pass("exam ple.com"), pass("example.com\x00.evil.example")}, ResultFail, "reject", "?nnn"},
		// Temporary failures.
		{"policy not known", records("example.com", servfail), "example.com", pass("example.com"), nil, ResultTempError, "", "y"},
		{"policy not known, differing identifier", records("example.com", servfail), "example.com", pass("a.example.com"), nil, ResultTempError, "", "?"},
		{"above the author, equal identifier", records("example.com", reject, "com", servfail), "example.com", pass("example.com"), nil, ResultPass, "reject", "y"},
		{"above the author, differing identifier", records("example.com", reject, "com", servfail), "example.com", pass("a.example.com"), nil, ResultTempError, "reject", "?"},
		{"at the identifier", records("example.com", reject, "a.example.com", servfail), "example.com", pass("a.example.com"), nil, ResultTempError, "reject", "?"},
		{"at the identifier, another passes", records("example.com", reject, "a.example.com", servfail), "example.com", pass("a.example.com"), []Identifier{pass("b.example.com")}, ResultPass, "reject", "?y"},
		{"at an identifier elsewhere", records("example.com", reject, "evil.example", servfail), "example.com", pass("evil.example"), nil, ResultFail, "reject", "n"},
		{"strict needs no walk", records("example.com", strict, "a.example.com", servfail), "example.com", pass("a.example.com"), nil, ResultFail, "reject", "?"},
		{"SPF temperror, aligned", example, "example.com", tempError("example.com"), nil, ResultTempError, "reject", "y"},
		{"SPF temperror, elsewhere", example, "example.com", tempError("example.net"), []Identifier{tempError("example.org")}, ResultFail, "reject", "nn"},
		{"DKIM temperror, aligned", example, "example.com", Identifier{}, []Identifier{tempError("a.example.com")}, ResultTempError, "reject", "?y"},
		{"SPF temperror, DKIM passes", example, "example.com", tempError("example.com"), []Identifier{pass("example.com")}, ResultPass, "reject", "yy"},
	}
	for _, tt := range tests {
		e := Evaluate(t.Context(), tt.zone, Message{Author: tt.author, SPF: tt.spf, DKIM: tt.dkim})
		if e.Result != tt.result || e.Policy != tt.policy {
			t.Errorf("%s: %s, policy %q; want %s, %q", tt.name, e.Result, e.Policy, tt.result, tt.policy)
		}
		if got := letters(append([]Alignment{e.SPF}, e.DKIM...)); got != tt.want {
			t.Errorf("%s: alignment %s, want %s", tt.name, got, tt.want)
		}
		if e.Result == ResultTempError && e.Err == nil && !tt.spf.TempError && !slices.ContainsFunc(tt.dkim, func(id Identifier) bool { return id.TempError }) {
			t.Errorf("%s: temperror without a reason", tt.name)
		}
	}
}

func letters(alignments []Alignment) string {
	var b strings.Builder
	for _, a := range alignments {
		switch {
		case a.Relaxed == Unknown:
			b.WriteByte('?')
		case a.Aligned == Yes:
			b.WriteByte('y')
		case a.Relaxed == Yes:
			b.WriteByte('r')
		default:
			b.WriteByte('n')
		}
	}
	return b.String()
}

func TestEvaluateExistence(t *testing.T) {
	z := records("example.com", "v=DMARC1; p=reject; sp=none; np=quarantine", "same.example", "v=DMARC1; p=none; sp=reject; np=reject")
	failed := errors.New("no answer")
	tests := []struct {
		author string
		exists bool
		err    error
		spf    Identifier
		result Result
		policy Policy
		asked  int
	}{
		{"sub.example.com", true, nil, Identifier{}, ResultFail, "none", 1},
		{"sub.example.com", false, nil, Identifier{}, ResultFail, "quarantine", 1},
		{"sub.example.com", false, failed, Identifier{}, ResultTempError, "", 1},
		{"sub.example.com", false, failed, pass("example.com"), ResultPass, "", 1},
		{"example.com", false, nil, Identifier{}, ResultFail, "reject", 0},
		{"sub.same.example", false, failed, Identifier{}, ResultFail, "reject", 0},
	}
	for _, tt := range tests {
		asked := 0
		e := Evaluate(t.Context(), z, Message{Author: tt.author, SPF: tt.spf, Exists: func(_ context.Context, domain string) (bool, error) {
			if asked++; domain != tt.author {
				t.Errorf("asked for %s", domain)
			}
			return tt.exists, tt.err
		}})
		if e.Result != tt.result || e.Policy != tt.policy || asked != tt.asked || !errors.Is(e.Err, tt.err) && asked > 0 {
			t.Errorf("%+v: %s, %q, %v, asked %d times", tt, e.Result, e.Policy, e.Err, asked)
		}
	}
	if e := Evaluate(t.Context(), z, Message{Author: "sub.example.com"}); e.Policy != PolicyNone {
		t.Errorf("nobody can tell: %q, want that of a domain that exists", e.Policy)
	}
}

// Every message pays for these queries.
func TestEvaluateQueries(t *testing.T) {
	z := records("example.com", "v=DMARC1; p=reject", "giant.bank.example", "v=DMARC1; p=reject", "bank.example", "v=DMARC1; psd=y",
		"n.example.com", "v=DMARC1; p=reject; psd=n")
	tests := []struct {
		name, author string
		identifiers  []string
		want         string
	}{
		{"all equal", "example.com", []string{"example.com", "example.com"}, "example.com"},
		{"unrelated", "example.com", []string{"example.net", "esp.example", "other.com"}, "example.com"},
		{"a child", "example.com", []string{"a.example.com", "a.example.com"}, "example.com com a.example.com"},
		{"two children", "example.com", []string{"a.example.com", "b.example.com"}, "example.com com a.example.com b.example.com"},
		{"no own record", "a.example.com", []string{"a.example.com"}, "a.example.com example.com com"},
		{"a parent", "a.example.com", []string{"example.com"}, "a.example.com example.com com"},
		{"not below the organisational domain", "giant.bank.example", []string{"a.mega.bank.example", "bank.example"}, "giant.bank.example bank.example"},
		{"psd=n", "n.example.com", []string{"example.com", "m.example.com"}, "n.example.com"},
	}
	for _, tt := range tests {
		r := &counted{zone: z}
		m := Message{Author: tt.author, SPF: pass(tt.identifiers[0])}
		for _, domain := range tt.identifiers[1:] {
			m.DKIM = append(m.DKIM, pass(domain))
		}
		Evaluate(t.Context(), r, m)
		if got := strings.ReplaceAll(strings.Join(r.queries, " "), "_dmarc.", ""); got != tt.want {
			t.Errorf("%s: asked for %s; want %s", tt.name, got, tt.want)
		}
	}
}

// Nobody can make one message cost more than maxQueries; what they would have told is unknown.
func TestEvaluateBudget(t *testing.T) {
	r := &counted{zone: records("example.com", "v=DMARC1; p=reject")}
	m := Message{Author: "a.b.c.example.com", SPF: pass("s.example.com")}
	for i := range 100 {
		m.DKIM = append(m.DKIM, pass(fmt.Sprintf("x%d.example.com", i)))
	}
	e := Evaluate(t.Context(), r, m)
	if len(r.queries) != maxQueries {
		t.Errorf("%d queries, the limit is %d", len(r.queries), maxQueries)
	}
	if e.Result != ResultPass || e.SPF.Relaxed != Yes || e.DKIM[99].Relaxed != Unknown || !errors.Is(e.Err, ErrTooManyQueries) {
		t.Errorf("%s, %+v, %+v, %v", e.Result, e.SPF, e.DKIM[99], e.Err)
	}
}

func TestAligned(t *testing.T) {
	z := records("example.com", "v=DMARC1; p=none", "slow.example", servfail)
	tests := []struct {
		a, b   string
		mode   Mode
		want   bool
		failed bool
	}{
		{"example.com", "example.com", Strict, true, false},
		{"example.com.", "EXAMPLE.com", Strict, true, false},
		{"a.example.com", "example.com", Strict, false, false},
		{"a.example.com", "b.example.com", Relaxed, true, false},
		{"example.com", "a.example.com", Relaxed, true, false},
		{"example.com", "example.net", Relaxed, false, false},
		{"com", "example.com", Relaxed, false, false},
		{"com", "com", Relaxed, true, false},
		{"", "", Relaxed, false, false},
		{"", "", Strict, false, false},
		{"", "example.com", Relaxed, false, false},
		{"example.com", "", Relaxed, false, false},
		{"a.slow.example", "slow.example", Relaxed, false, true},
		{"slow.example", "slow.example", Relaxed, true, false},
		{"silent.example", "a.silent.example", Relaxed, false, false},
	}
	for _, tt := range tests {
		got, err := aligned(t.Context(), z, tt.a, tt.b, tt.mode)
		if got != tt.want || (err != nil) != tt.failed {
			t.Errorf("%s %s %s: %t, %v; want %t", tt.a, tt.b, tt.mode, got, err, tt.want)
		}
		if back, _ := aligned(t.Context(), z, tt.b, tt.a, tt.mode); back != got {
			t.Errorf("%s %s %s: not the same both ways", tt.a, tt.b, tt.mode)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	z := records("example.com", "v=DMARC1; p=reject; rua=mailto:dmarc@example.com")
	m := Message{Author: "example.com", SPF: pass("bounce.example.com"), DKIM: []Identifier{pass("example.com")}}
	for b.Loop() {
		Evaluate(b.Context(), z, m)
	}
}

// aligned reports whether two domains are aligned in a mode; stray dots around them do not
// matter. An error is a temporary failure.
func aligned(ctx context.Context, r Resolver, a, b string, mode Mode) (bool, error) {
	b = canonical(strings.Trim(b, "."))
	w := newTree(r).walk(strings.Trim(a, "."))
	if mode == Strict && w.start != b {
		return false, nil
	}
	return w.sharesOrganisation(ctx, b)
}
