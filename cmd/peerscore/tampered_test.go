package main

import (
	"database/sql"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"peerscore/assess"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// intruder is escape sequences in 7 and 8 bits, DEL, a mark that turns the direction of writing,
// and a line that Postfix would take for one of its table.
const intruder = "\x1b[31m\u009b31m\x7f\u202e\U000e0001\n.victim.example dane-only"

// TestTamperedDatabase writes into each text of a database in turn what another program may, and
// reads it with every command: no control character comes out, and no line of the intruder.
func TestTamperedDatabase(t *testing.T) {
	for _, statement := range []string{
		"UPDATE domain SET name = name || ?1",
		"UPDATE domain SET name = 'bank.example secure' || char(10) || 'x.example'",
		"UPDATE domain SET organisation = organisation || ?1",
		"UPDATE domain SET status = status || ?1",
		"UPDATE assessment SET status = status || ?1",
		"UPDATE assessment SET profile = profile || ?1",
		"UPDATE assessment SET basis = basis || ?1",
		"UPDATE assessment SET verdicts = replace(verdicts, 'mx.bank.example', json_quote(?1))",
		"UPDATE assessment SET verdicts = replace(verdicts, 'mx.bank.example', trim(json_quote(?1), '\"'))",
		"UPDATE assessment SET verdicts = replace(verdicts, 'starttls', trim(json_quote(?1), '\"'))",
		"UPDATE assessment SET scores = replace(scores, 'starttls', trim(json_quote(?1), '\"'))",
		"UPDATE facts SET content = replace(content, 'bank.example', trim(json_quote('bank.example' || ?1), '\"'))",
		"UPDATE facts SET content = replace(content, 'TLS 1.3', trim(json_quote(?1), '\"'))",
		"UPDATE label SET category = category || ?1",
		"UPDATE selector SET name = name || ?1",
		"UPDATE selector SET domain = domain || ?1",
		"UPDATE tally SET host = host || ?1",
		"UPDATE tally SET tokens = json_object('proof=' || ?1, 1, 'tls=' || ?1, 2)",
		"UPDATE memo SET value = 'DKIM' || char(10) || replace(?1, char(10), '') WHERE name = 'frozen'",
	} {
		t.Run(statement, func(t *testing.T) {
			path := filepath.Join(inMemory(t), "peerscore.db")
			stockBank(t, path)
			db, err := sql.Open("sqlite3", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if result, err := db.Exec(statement, intruder); err != nil {
				t.Fatal(err)
			} else if n, err := result.RowsAffected(); n == 0 || err != nil {
				t.Fatalf("%d rows, %v", n, err)
			}
			for _, command := range []string{
				"list", "list --json", "show bank.example", "show --json bank.example", "explain bank.example", "explain --json bank.example",
				"history bank.example", "history --json bank.example", "events --all", "stats", "stats --json", "report -o /dev/stdout",
				"export csv", "export json", "export postfix-tls-policy", "label bank.example", "rescore",
			} {
				var out strings.Builder
				run(t.Context(), append([]string{"--db", path}, strings.Fields(command)...), &app{Console: view.Console{Out: &out, Err: &out}})
				checkClean(t, command, out.String())
			}
		})
	}
}

func checkClean(t *testing.T, command, out string) {
	t.Helper()
	if i := strings.IndexFunc(out, func(r rune) bool { return (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) && r != '\n' }); i >= 0 {
		t.Errorf("%s prints a control character: %q", command, out[max(0, i-60):min(len(out), i+60)])
	}
	if strings.Contains(out, "\n.victim.example") || strings.HasPrefix(out, ".victim") {
		t.Errorf("%s prints a line of the intruder:\n%s", command, out)
	}
}

// stockBank makes a database in which every table that a command reads has a row of bank.example.
func stockBank(t *testing.T, path string) {
	t.Helper()
	now := time.Now()
	found := func(name, record string) assess.Lookup {
		return assess.Lookup{Name: name, Status: assess.LookupFound, Records: []string{record}}
	}
	facts := &assess.Facts{Domain: "bank.example", At: now}
	facts.Hosts = assess.MXFacts{Lookup: found("bank.example", "10 mx.bank.example."), Hosts: []assess.MXHost{{
		Name: "mx.bank.example", A: found("mx.bank.example", "192.0.2.25"),
		Sessions: []assess.SMTPFacts{{
			Address: netip.MustParseAddr("192.0.2.25"), ServerName: "mx.bank.example", At: now, Stage: "quit", Outcome: assess.TLSEstablished,
			Greeting: "220 mx ESMTP", TLS: &assess.TLSFacts{Version: "TLS 1.3", Chain: [][]byte{{0x30, 0x82}}},
		}},
	}}}
	facts.SPF = assess.SPFFacts{Lookup: found("bank.example", "v=spf1 -all"), Count: 1, Record: "v=spf1 -all", Valid: assess.Check{Result: assess.Pass}, Policy: "-all"}
	profile, err := assess.LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		s.SaveAssessment(t.Context(), assess.Conclude("bank.example", assess.Evidence{Facts: facts}, profile, assess.Rules{Threshold: 0.8}, now.Add(-time.Hour))),
		s.AddObservation(t.Context(), assess.Observation{
			At: now, Domain: "bank.example", Host: netip.MustParsePrefix("192.0.2.1/32"), Proof: assess.ProofSPF | assess.ProofDKIM,
			StartTLS: assess.Pass, SPF: assess.Pass, DKIM: assess.Pass, TLSVersion: "TLSv1.3",
			Selectors: []assess.Selector{{Domain: "bank.example", Name: "s1"}},
		}),
		s.SetLabels(t.Context(), "bank.example", []string{"bank"}),
		s.NoteFrozen(t.Context(), []string{"DKIM"}), s.Close())
	if err != nil {
		t.Fatal(err)
	}
}
