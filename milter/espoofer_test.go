package milter

import (
	"net/netip"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

// The attacker owns attack.example with everything below it, and sends from one host.
var (
	attackZone = zone{
		"TXT victim.example":                                         {"v=spf1 ip4:192.0.2.10 -all"},
		"TXT _dmarc.victim.example":                                  {"v=DMARC1; p=reject"},
		"TXT attack.example":                                         {"v=spf1 ip4:203.0.113.7 -all"},
		"TXT a.attack.example":                                       {"v=spf1 ip4:203.0.113.7 -all"},
		"TXT any.attack.example":                                     {"v=spf1 ip4:203.0.113.7 -all"},
		"TXT victim.example(a.attack.example":                        {"v=spf1 ip4:203.0.113.7 -all"},
		"TXT helo.attack.example":                                    {"v=spf1 ip4:203.0.113.7 -all"},
		"TXT ed._domainkey.attack.example":                           {keyRecord(keys["ed"])},
		"TXT ed._domainkey.victim.example'a.attack.example":          {keyRecord(keys["ed"])},
		"TXT ed._domainkey.attack.example._domainkey.victim.example": {keyRecord(keys["ed"])},
	}
	attacker = miltertest.Peer{
		Addr: netip.MustParseAddr("203.0.113.7"), Name: "attack.example", HELO: "attack.example",
		TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
	}
)

// TestSpoofing plays the server cases of espoofer (Chen, Paxson, Jiang, "Composition Kills",
// USENIX Security 2020) and others. Nothing may ever be credited to the victim, nor may its
// stars be shown; what the attacker proves for itself is its own.
func TestSpoofing(t *testing.T) {
	const encoded = "=?utf-8?B?PGFkbWluQHZpY3RpbS5leGFtcGxlPg==?="
	tests := []struct {
		name     string
		mailFrom string
		header   string // all but To and Subject
		signs    string // d= of a signature with the attacker's key
		want     string // Peer-Score behind our name
	}{
		{"a1: subdomain that does not exist", "any@mailfrom.notexist.victim.example", "From: <admin@victim.example>", "", "domain=victim.example; status=unauthenticated"},
		{"a2: MAIL FROM that reads as empty", "(any@victim.example", "From: <admin@victim.example>", "", "domain=victim.example; status=unauthenticated"},
		{"a3: selector that goes on", "any@attack.example", "From: <admin@victim.example>", "victim.example", "domain=victim.example; status=unauthenticated"},
		{"a4: quote in d=", "any@attack.example", "From: <admin@victim.example>", "victim.example'a.attack.example", "domain=victim.example; status=unauthenticated"},
		{"a5: parenthesis in MAIL FROM", "any@victim.example(a.attack.example", "From: <admin@victim.example>", "", "domain=victim.example; status=unauthenticated"},
		{"a6: quote in MAIL FROM", "any@victim.example'@any.attack.example", "From: <admin@victim.example>", "", "domain=victim.example; status=unauthenticated"},
		{"a7: route in MAIL FROM", "@victim.example,@any.example:'any@attack.example", "From: <admin@victim.example>", "", "domain=victim.example; status=unauthenticated"},
		{"a8: two From fields", "any@attack.example", "From: <first@attack.example>\r\nFrom: <admin@victim.example>", "", "status=no-identity"},
		{"a8: the other way round", "any@attack.example", "From: <admin@victim.example>\r\nFrom: <first@attack.example>", "attack.example", "status=no-identity"},
		{"a9: blank before From", "any@attack.example", " From: <first@attack.example>\r\nFrom: <admin@victim.example>", "", "status=no-identity"},
		{"a10: blank after From", "any@attack.example", "From: <first@attack.example>\r\nFrom : <admin@victim.example>", "", "status=no-identity"},
		{"a11: fold after From", "any@attack.example", "From\r\n : <first@attack.example>\r\nFrom: <admin@victim.example>", "", "status=no-identity"},
		{"a12: Sender beside From", "any@attack.example", "From: <first@attack.example>\r\nSender: <admin@victim.example>", "", "domain=attack.example; status=pending"},
		{"a12: Sender without From", "any@attack.example", "Sender: <admin@victim.example>", "", "status=no-identity"},
		{"a13: Resent-From beside From", "any@attack.example", "From: <first@attack.example>\r\nResent-From: <admin@victim.example>", "", "domain=attack.example; status=pending"},
		{"a13: Resent-From without From", "any@attack.example", "Resent-From: <admin@victim.example>", "", "status=no-identity"},
		{"a14: two mailboxes", "any@attack.example", "From: <first@attack.example>, <admin@victim.example>", "", "status=no-identity"},
		{"a15: encoded mailbox", "any@attack.example", "From:" + encoded + ",<second@attack.example>", "", "status=no-identity"},
		{"a16: route in From", "any@attack.example", "From: <@attack.example,@any.example:admin@victim.example>", "", "status=no-identity"},
		{"a17: quoted pair", "any@attack.example", `From: <admin@victim.example>\,<second@attack.example>`, "", "status=no-identity"},
		{"a18: special characters", "any@attack.example", "From: admin@victim.example,<second@attack.example>", "", "status=no-identity"},
		{"a19: text behind the mailbox", "any@attack.example", "From: <any@attack.example>admin@victim.example", "", "status=no-identity"},

		{"quoted local part", "any@attack.example", `From: <"admin@victim.example"@attack.example>`, "", "domain=attack.example; status=pending"},
		{"display name", "any@attack.example", `From: "admin@victim.example" <any@attack.example>`, "", "domain=attack.example; status=pending"},
		{"group", "any@attack.example", "From: victims: admin@victim.example;", "", "status=no-identity"},
		{"comment", "any@attack.example", "From: admin@victim.example(@attack.example)", "", "domain=victim.example; status=unauthenticated"},
		{"literal", "any@attack.example", "From: admin@[192.0.2.10]", "", "status=no-identity"},
		{"public suffix", "any@attack.example", "From: admin@co.uk", "", "status=no-identity"},
		{"plain spoof", "any@attack.example", "From: admin@victim.example", "", "domain=victim.example; status=unauthenticated"},
		{"signed by somebody else", "any@attack.example", "From: admin@victim.example", "attack.example", "domain=victim.example; status=unauthenticated"},
		{"MAIL FROM of the victim", "admin@victim.example", "From: admin@victim.example", "", "domain=victim.example; status=unauthenticated"},
		{"null reverse-path", "", "From: admin@victim.example", "", "domain=victim.example; status=unauthenticated"},
		{"cousin", "any@attack.example", "From: admin@victim.example.attack.example", "", "domain=victim.example.attack.example; status=unauthenticated"}, // of an organisation of its own, by the tree walk
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, attackZone)
			l.ledger.standings["victim.example"] = fiveStars
			text := tt.header + "\r\nTo: <info@own.example>\r\nSubject: urgent\r\n\r\nHi.\r\n"
			if tt.signs != "" {
				text = signed(t, text, tt.signs, "ed")
				if strings.HasPrefix(tt.name, "a3") { // the NUL behind it ends the string on its way through the MTA
					text = strings.Replace(text, "s=ed;", "s=ed._domainkey.attack.example.;", 1)
				}
			}
			answer := l.answer(t, attacker, miltertest.Message{From: tt.mailFrom, To: []string{"info@own.example"}, Data: []byte(text)})
			want := "Peer-Score: " + labHost + "; " + tt.want
			if got := answer.Inserted(); len(got) != 1 || strings.ReplaceAll(got[0], "\n", "") != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			for _, o := range l.ledger.observations {
				if o.Domain.Within("victim.example") {
					t.Errorf("credited to the victim: %+v", o)
				}
			}
		})
	}
}

// fiveStars is the standing of a domain that does everything right.
var fiveStars = assess.Standing{
	Known: true, Status: assess.StatusScored, Profile: "mecsa-2018", Basis: assess.BasisProbeSessions,
	Scores: assess.Scores{
		assess.Confidentiality: {Known: true, Stars: 5}, assess.Identity: {Known: true, Stars: 5},
		assess.Integrity: {Known: true, Stars: 5},
	},
}

// One proven message entitles its sender to one observation; 10,000 spoofed ones beside it, of
// the same and of other domains, entitle to nothing.
func TestSpoofsChangeNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newLab(t, attackZone)
	c := l.dial(t)
	if err := c.Connect(attacker); err != nil {
		t.Fatal(err)
	}
	proven := miltertest.Message{From: "any@attack.example", Data: []byte(letter("any@attack.example"))}
	play(t, c, attacker, proven)
	before := l.ledger.tally("attack.example")
	for i := range 10_000 {
		from := []string{"admin@victim.example", "x@else.example", "broken", "a@b.example, c@d.example"}[i%4]
		play(t, c, attacker, miltertest.Message{From: "any@victim.example", Data: []byte(letter(from))})
	}
	if got := l.ledger.tally("attack.example"); len(before) != 1 || len(got) != 1 || got[0].Sessions != 1 {
		t.Errorf("before %+v, after %+v", before, got)
	}
	if n := len(l.ledger.observations); n != 1 {
		t.Errorf("%d observations", n)
	}
	if n := l.ledger.unauthenticated["victim.example"]; n != 2500 {
		t.Errorf("%d messages counted as unauthenticated, want 2500", n)
	}
}
