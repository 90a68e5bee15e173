package milter

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// sharing is the DNS of domains whose mail arrives at a host that they share with others.
var sharing = zone{
	"TXT _dmarc.reject.example": {"v=DMARC1; p=reject"},
	"TXT _dmarc.none.example":   {"v=DMARC1; p=none"},
	"TXT fails.example":         {"v=spf1 -all"},
	"TXT doubts.example":        {"v=spf1 ~all"},
	"TXT a.hoster.example":      {"v=spf1 +all"},
	"TXT _dmarc.psd.example":    {"v=DMARC1; p=none; psd=y"},
	"TXT _dmarc.org.example":    {"v=DMARC1; p=none"},
	"TXT a.org.example":         {"v=spf1 +all"},
	"TXT _dmarc.c.dead.example": {"SERVFAIL"},
}

// P-MX and P-HOST need a confirmed name within the organisation of the author, on which the tree
// walk and the public suffix list agree, and show no stars on what fails DMARC or SPF.
func TestHostProofs(t *testing.T) {
	const unauthenticated = "status=unauthenticated"
	tests := []struct {
		name, author, client, helo string
		want                       string // the status, or the proof; then what is credited
	}{
		{"its own host", "plain.example", "mx.plain.example", "", "proof=mx; tls fail, dkim fail"},
		{"a neighbour on a shared host", "plain.example", "mx.hoster.example", "", unauthenticated},
		{"who greets with the victim's name", "plain.example", "mx.hoster.example", "mx.plain.example", unauthenticated},
		{"without a confirmed name", "plain.example", "", "mx.plain.example", unauthenticated},
		{"another case, and a dot", "plain.example", "MX.Plain.Example.", "", "proof=mx; tls fail, dkim fail"},
		{"the name as a prefix", "plain.example", "mx.plain.example.attack.example", "", unauthenticated},
		{"the name as the end of a label", "plain.example", "mxplain.example", "", unauthenticated},
		{"no name at all", "plain.example", "mx..plain.example", "", unauthenticated},

		{"tenants of a public suffix", "victim.github.io", "attacker.github.io", "", unauthenticated},
		{"the suffix itself", "victim.github.io", "github.io", "", unauthenticated},
		{"tenants of a host that no list knows", "a.hoster.example", "mx.hoster.example", "", unauthenticated},
		{"of one that says so", "a.psd.example", "mx.psd.example", "", unauthenticated},
		{"a subdomain of one organisation", "a.org.example", "mx.org.example", "", "proof=mx; tls fail, dkim fail"},
		{"the organisation cannot be told", "c.dead.example", "mx.dead.example", "", "status=unknown"},
		{"P-HOST of a tenant", "b.hoster.example", "c.hoster.example", "c.hoster.example", unauthenticated},
		{"P-HOST of its own", "quiet.example", "mail.quiet.example", "mail.quiet.example", "proof=host; "},

		{"DMARC fails", "reject.example", "mx.reject.example", "", unauthenticated},
		{"DMARC fails, policy none", "none.example", "mx.none.example", "", unauthenticated},
		{"SPF fails", "fails.example", "mx.fails.example", "", unauthenticated + "; spf fail"},
		{"SPF doubts", "doubts.example", "mx.doubts.example", "", "proof=mx; tls fail, spf fail, dkim fail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, sharing)
			peer := miltertest.Peer{Addr: netip.MustParseAddr("203.0.113.25"), Name: tt.client, HELO: tt.helo}
			known := fiveStars
			if !strings.HasPrefix(tt.name, "P-HOST") {
				known.MX = []netip.Addr{netip.MustParseAddr("203.0.113.20"), peer.Addr}
			}
			author := dnsname.Domain(tt.author)
			l.ledger.standings[author] = known
			shown := strings.Join(l.answer(t, peer, miltertest.Message{From: "a@" + tt.author, Data: []byte(letter("a@" + tt.author))}).Inserted(), "\n")
			want, credit, _ := strings.Cut(tt.want, "; ")
			if !strings.Contains(shown+";", "; "+want+";") && !strings.Contains(shown+";", "\n "+want+";") {
				t.Errorf("%q, want %s", shown, want)
			}
			if stars := strings.HasPrefix(want, "proof"); strings.Contains(shown, "*") != stars {
				t.Errorf("stars on %q", shown)
			}
			if got := failed(l.ledger.observations); got != credit {
				t.Errorf("credited %q, want %q", got, credit)
			}
			if n := l.ledger.unauthenticated[author]; n > 0 != (want == unauthenticated) {
				t.Errorf("%d are counted as unauthenticated", n)
			}
		})
	}
}

// What the DNS says of the client's name, as proofs; an answer that is missing leaves the session
// incomplete where it could have been one.
func TestProveHost(t *testing.T) {
	plain := func(*testimony) {}
	for _, tt := range []struct {
		name   string
		host   hostName
		isMX   bool
		before trait
		want   string // the proofs, and whether the session is incomplete
	}{
		{"an MX host", hostName{theirs: true}, true, plain, "mx false"},
		{"that greets", hostName{theirs: true, greets: true}, true, plain, "mx false"},
		{"of another", hostName{}, true, plain, "none false"},
		{"of whom is not told", hostName{theirsErr: errUntold}, true, plain, "none true"},
		{"beside SPF", hostName{theirs: true}, true, spfPass("example.org"), "spf+mx false"},
		{"a host that greets", hostName{theirs: true, greets: true}, false, plain, "host false"},
		{"that does not", hostName{theirs: true}, false, plain, "none false"},
		{"nor is it known whose", hostName{theirsErr: errUntold}, false, plain, "none false"},
		{"of another", hostName{greets: true}, false, plain, "none false"},
		{"of whom is not told", hostName{theirsErr: errUntold, greets: true}, false, plain, "none true"},
		{"of a domain with SPF", hostName{theirs: true, greets: true, publishes: true}, false, plain, "none false"},
		{"whose SPF is not told", hostName{theirs: true, greets: true, spfErr: errUntold}, false, plain, "none true"},
		{"proven by SPF", hostName{theirs: true, greets: true, spfErr: errUntold}, false, spfPass("example.org"), "spf false"},
		{"incomplete before", hostName{theirs: true, greets: true}, false, lookupFailed, "none true"},
	} {
		in := stranger0()
		tt.before(&in)
		in.proveHost(tt.host, tt.isMX)
		if got := fmt.Sprintf("%s %t", cmp.Or(in.proofs().String(), "none"), in.incomplete); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// failed names the tests that observations let fail.
func failed(observations []assess.Observation) string {
	var words []string
	for _, o := range observations {
		for _, test := range []struct {
			name   string
			result assess.Result
		}{{"tls", o.StartTLS}, {"spf", o.SPF}, {"dkim", o.DKIM}} {
			if test.result == assess.Fail {
				words = append(words, test.name+" fail")
			}
		}
	}
	return strings.Join(words, ", ")
}
