package milter

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

// standing of a domain with three scores; half a star below five each.
func standing(confidentiality, identity, integrity float64) assess.Standing {
	return assess.Standing{
		Known: true, Status: assess.StatusScored, Profile: "mecsa-2018", Basis: assess.BasisProbeSessions,
		Assessed: time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC),
		Scores: assess.Scores{
			assess.Confidentiality: {Known: true, Stars: confidentiality},
			assess.Identity:        {Known: true, Stars: identity},
			assess.Integrity:       {Known: true, Stars: integrity},
		},
	}
}

func TestScoreField(t *testing.T) {
	full := standing(4.5, 5, 0)
	partial := standing(3, 2.5, 1)
	partial.Scores[assess.Confidentiality] = assess.Score{Known: true, Stars: 3, Partial: true}
	partial.Scores[assess.Integrity] = assess.Score{Partial: true}
	passive := full
	passive.Assessed, passive.Basis = time.Time{}, assess.BasisSessions
	tests := []struct {
		name     string
		standing assess.Standing
		decision decision
		want     []string // the fields, folded as they are sent
	}{
		{"scored", full, decision{proof: assess.ProofDKIM | assess.ProofSPF}, []string{
			"Peer-Score: mx.own.example; domain=example.org; proof=dkim+spf;\n confidentiality=4.5; identity=5; integrity=0; profile=mecsa-2018;\n basis=probe+sessions; assessed=2026-11-20",
			"Peer-Score-Confidentiality: *********", "Peer-Score-Identity: **********"}},
		{"partial", partial, decision{proof: assess.ProofMX}, []string{
			"Peer-Score: mx.own.example; domain=example.org; proof=mx; confidentiality=3;\n identity=2.5; integrity=unknown; partial=confidentiality+integrity;\n profile=mecsa-2018; basis=probe+sessions; assessed=2026-11-20",
			"Peer-Score-Confidentiality: ******", "Peer-Score-Identity: *****"}},
		{"passive", passive, decision{proof: assess.ProofHost}, []string{
			"Peer-Score: mx.own.example; domain=example.org; proof=host;\n confidentiality=4.5; identity=5; integrity=0; profile=mecsa-2018;\n basis=sessions",
			"Peer-Score-Confidentiality: *********", "Peer-Score-Identity: **********"}},
		{"new", assess.Standing{}, decision{proof: assess.ProofSPF}, []string{"Peer-Score: mx.own.example; domain=example.org; status=pending"}},
		{"pending", assess.Standing{Known: true, Status: assess.StatusPending}, decision{proof: assess.ProofSPF}, []string{"Peer-Score: mx.own.example; domain=example.org; status=pending"}},
		{"nothing measured", assess.Standing{Known: true, Status: assess.StatusUnknown}, decision{proof: assess.ProofSPF}, []string{"Peer-Score: mx.own.example; domain=example.org; status=unknown"}},
		{"no mail", assess.Standing{Known: true, Status: assess.StatusNoMail}, decision{proof: assess.ProofSPF}, []string{"Peer-Score: mx.own.example; domain=example.org; status=no-mail"}},
		{"no proof", full, decision{status: statusUnauthenticated}, []string{"Peer-Score: mx.own.example; domain=example.org; status=unauthenticated"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world)
			m := l.server.newMessage(client{addr: outbound.Addr}, "")
			m.author = "example.org"
			var got []string
			changes, _ := m.changes(tt.decision, authentication{}, tt.standing)
			for _, c := range changes {
				got = slices.Insert(got, 0, c.name+": "+c.value)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// A message with fifty forged fields in odd case and folding leaves with exactly ours.
func TestForgedFields(t *testing.T) {
	odd := []string{
		"Peer-Score: mx.own.example; domain=bank.example; proof=dkim+spf",
		"PEER-SCORE: mx.own.example;\r\n domain=bank.example", "peer-score:x", "Peer-Score :\r\n\tx", "pEER-sCORE:",
		"Peer-Score-Identity: **********", "peer-score-identity:\r\n **********",
		"Peer-Score-Confidentiality: **********", "PEER-SCORE-INTEGRITY: **********", "Peer-Score-Integrity\t: x",
	}
	var fields []string
	for i := range 50 {
		fields = append(fields, odd[i%len(odd)], fmt.Sprintf("X-Between: %d", i))
	}
	l := newLab(t, world)
	l.ledger.standings["example.org"] = standing(4.5, 5, 5)
	m := miltertest.Message{From: "a@example.org", Data: []byte(letter("a@example.org", fields...))}
	got := l.send(t, outbound, m)
	want := []string{
		"Peer-Score: mx.own.example; domain=example.org; proof=spf;",
		"Peer-Score-Confidentiality: *********", "Peer-Score-Identity: **********", "Peer-Score-Integrity: **********",
	}
	if found := regexp.MustCompile(`(?mi)^peer-score[^\r\n]*`).FindAllString(got, -1); !slices.Equal(found, want) {
		t.Errorf("got\n%s", strings.Join(found, "\n"))
	}
	if n := strings.Count(got, "X-Between: "); n != 50 {
		t.Errorf("%d of the 50 other fields are left", n)
	}
	if !strings.HasPrefix(got, want[0]) {
		t.Errorf("not at the top: %.100q", got)
	}
}

// An MTA is asked to delete a hundred fields at most, and fewer from a large header. Past that
// it is asked for nothing, and the field on top says that there are no stars, whatever the policy
// is; the message is credited as ever.
func TestTooManyForgedFields(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	forged := func(n int) []string {
		return slices.Repeat([]string{"Peer-Score-Identity: **********", "Peer-Score: mx.own.example; domain=bank.example; proof=dkim"}, n/2)
	}
	results := slices.Repeat([]string{"Authentication-Results: mx.own.example; dkim=pass header.d=bank.example"}, 60)
	long := slices.Repeat([]string{"X-Long: " + strings.Repeat("y", 512<<10)}, 16)
	folded := []string{"X-Folded: y" + strings.Repeat("\r\n y", 50_000)}
	tests := []struct {
		name     string
		fields   []string
		want     int // deletions
		credited int // a header past its own limits is not evaluated
	}{
		{"a hundred", forged(100), 100, 1},
		{"102", forged(102), 0, 1},
		{"20,000", forged(20_000), 0, 0},
		{"with results", slices.Concat(forged(60), results), 0, 1},
		{"10 in a header of 50,000 lines", slices.Concat(folded, forged(10)), 10, 1},
		{"60 in a header of 50,000 lines", slices.Concat(folded, forged(60)), 0, 1},
		{"30 in a header of 8 MiB", slices.Concat(long, forged(30)), 30, 0},
		{"60 in a header of 8 MiB", slices.Concat(long, forged(60)), 0, 0},
	}
	for _, tt := range tests {
		for _, policy := range []Policy{{Score: true, Bars: true, AuthenticationResults: true}, {Bars: true, AuthenticationResults: true}, {AuthenticationResults: true}} {
			policy.AuthservID = labHost
			l := newLab(t, world, func(c *Config) { c.Policy = policy })
			l.ledger.standings["example.org"] = standing(5, 5, 5)
			answer := l.answer(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(letter("a@example.org", tt.fields...))})
			deleted := 0
			for _, c := range answer.Changes {
				if c.Code == 'm' {
					deleted++
				}
			}
			if deleted != tt.want || len(l.ledger.observations) != tt.credited {
				t.Errorf("%s: %d fields are deleted, want %d; %d observations", tt.name, deleted, tt.want, len(l.ledger.observations))
			}
			if tt.want > 0 {
				continue
			}
			shown := strings.Join(answer.Inserted(), "\n")
			if !strings.HasPrefix(shown, "Peer-Score: ") || !strings.Contains(shown, "status=unknown") || strings.Contains(shown, "*") {
				t.Errorf("%s: on top is %q", tt.name, shown)
			}
			if n := l.server.Stats().Undressed; n != 1 || !strings.Contains(l.logged.String(), "queue=4fQ1aB2cDe client=192.0.2.1 copies=") {
				t.Errorf("%s: counted %d, log %s", tt.name, n, l.logged)
			}
		}
	}
}

// Past the limits nobody reads what Authentication-Results say, so none is handed on.
func TestResultsPastTheLimits(t *testing.T) {
	l := newLab(t, world, func(c *Config) { c.Policy.AuthenticationResults = true })
	forged := "Authentication-Results: mx.own.example; dkim=pass header.d=bank.example"
	text := letter("a@example.org", slices.Concat([]string{forged}, manyFields(maxFields), []string{forged, forged})...)
	got := l.send(t, outbound, miltertest.Message{From: "a@example.org", Data: []byte(text)})
	if strings.Contains(got, "bank.example") || strings.Count(got, "X: y") != maxFields {
		t.Errorf("%d fields are left", strings.Count(got, "\n"))
	}
}

func TestFieldsSwitchedOff(t *testing.T) {
	tests := []struct {
		score, bars bool
		want        []string
	}{
		{true, true, []string{"Peer-Score", "Peer-Score-Confidentiality", "Peer-Score-Identity", "Peer-Score-Integrity"}},
		{true, false, []string{"Peer-Score"}},
		{false, true, []string{"Peer-Score-Confidentiality", "Peer-Score-Identity", "Peer-Score-Integrity"}},
		{false, false, nil},
	}
	for _, tt := range tests {
		l := newLab(t, world, func(c *Config) { c.Policy.Score, c.Policy.Bars = tt.score, tt.bars })
		l.ledger.standings["example.org"] = fiveStars
		m := fromExample(t)
		m.Data = append([]byte("Peer-Score: forged\r\n"), m.Data...)
		answer := l.answer(t, outbound, m)
		var got []string
		for _, field := range answer.Inserted() {
			name, _, _ := strings.Cut(field, ":")
			got = append(got, name)
		}
		if !slices.Equal(got, tt.want) || answer.Changes[0].Code != 'm' {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// The name in the field is the operator's, else the MTA's, else ours; never a stranger's text.
func TestServID(t *testing.T) {
	tests := []struct{ configured, macro, want string }{
		{"Score.Example", "mx.example", "score.example"},
		{"", "MX.example", "mx.example"},
		{"", "", labHost},
		{"", "mx.example; domain=bank.example", labHost},
		{"", "mx\nX: y", labHost},
		{"", strings.Repeat("x", 300), labHost},
	}
	for _, tt := range tests {
		l := newLab(t, world, func(c *Config) { c.Policy.AuthservID = tt.configured })
		got := values(l.send(t, with(outbound, "j", tt.macro), fromExample(t)), "Peer-Score")
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.want+"; ") {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// A name that is ours but for the case of a Unicode letter is
// not counted as ours, for the MTA that deletes does not count it either.
func TestNamesInUnicode(t *testing.T) {
	l := newLab(t, world, func(c *Config) { c.Policy.AuthenticationResults = true })
	m := fromExample(t)
	m.Data = append([]byte("Authentication-Re\u017fults: other.example; spf=pass\r\nPeer-\u017fcore: x\r\n"+
		"Authentication-Results: mx.own.example; dkim=pass header.d=bank.example\r\nPeer-Score: forged\r\n"), m.Data...)
	got := l.send(t, outbound, m)
	found := regexp.MustCompile(`(?m)^(Auth|Peer)[^:]*`).FindAllString(got, -1)
	want := []string{"Peer-Score", "Authentication-Results", "Authentication-Re\u017fults", "Peer-\u017fcore"}
	if !slices.Equal(found, want) || strings.Contains(got, "forged") || strings.Contains(got, "bank.example") {
		t.Errorf("got\n%s", got)
	}
}

// Our own Authentication-Results names domains only; copies in our name go.
func TestAuthenticationResultsField(t *testing.T) {
	l := newLab(t, world, func(c *Config) { c.Policy.AuthenticationResults = true })
	m := fromExample(t)
	m.Data = append([]byte("Authentication-Results: mx.own.example; dkim=pass header.d=bank.example\r\n"+
		"authentication-results: (hi) MX.own.example; spf=pass\r\nAuthentication-Results: other.example; spf=pass\r\n"), m.Data...)
	got := values(l.send(t, outbound, m), resultsField)
	want := []string{
		"mx.own.example; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org; dmarc=pass header.from=example.org",
		"other.example; spf=pass",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	spoof := miltertest.Message{From: "", Data: []byte(letter("broken"))}
	want = []string{"mx.own.example; spf=none; dkim=none; dmarc=none"}
	nobody := stranger
	nobody.HELO = "x y"
	if got := values(l.send(t, nobody, spoof), resultsField); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Authentication-Results are no business of ours where we neither read nor write them, nor in
// the mail of our own users.
func TestResultsLeftAlone(t *testing.T) {
	own := stranger
	own.Login = "anna@own.example"
	tests := []struct {
		peer   miltertest.Peer
		writes bool
		left   int
	}{{stranger, false, 2}, {own, false, 2}, {own, true, 2}, {stranger, true, 1}}
	for _, tt := range tests {
		l := newLab(t, world, func(c *Config) { c.Policy.AuthenticationResults = tt.writes })
		text := strings.Repeat("Authentication-Results: mx.own.example; spf=pass\r\n", 2) + letter("anna@own.example")
		if got := values(l.send(t, tt.peer, miltertest.Message{From: "anna@own.example", Data: []byte(text)}), resultsField); len(got) != tt.left {
			t.Errorf("%q of %+v, writes %v", got, tt.peer, tt.writes)
		}
	}
}

func TestFold(t *testing.T) {
	long := strings.Repeat("x", 100)
	tests := []struct {
		parts []string
		want  string
	}{
		{[]string{"a"}, "a"},
		{[]string{"a", "b", "c"}, "a; b; c"},
		{[]string{"a", long, "c"}, "a;\n " + long + ";\n c"},
		{[]string{strings.Repeat("a", 63), "b"}, strings.Repeat("a", 63) + "; b"},
		{[]string{strings.Repeat("a", 64), "b"}, strings.Repeat("a", 64) + ";\n b"},
	}
	for _, tt := range tests {
		if got := fold("Peer-Score", tt.parts); got != tt.want {
			t.Errorf("%q: got %q", tt.parts, got)
		}
	}
}
