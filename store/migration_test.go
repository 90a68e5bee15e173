package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"peerscore/assess"
)

// fixtures fill a database of each schema as the program of that time would have: dated SQL,
// never edited, one for each migration.
var fixtures = []struct{ date, sql string }{
	{"2026-11-24", fixtureOf1},
	{"2026-11-26", fixtureOf1 + `INSERT INTO label VALUES (7, 'university');`},
	{"2026-11-28", fixtureOf1 + `INSERT INTO share VALUES ('192.0.2.0/24', 'old.example', '2026-11-28', 1);`},
	{"2026-11-28", fixtureOf1 + `UPDATE domain SET worth = 3;`},
	{"2026-11-28", fixtureOf1 + `UPDATE domain SET answered = 1;`},
	{"2026-11-28", fixtureOf1 + `UPDATE facts SET content = json_set(content, '$.spf.valid.reason', 'spf-record-invalid');`},
}

const fixtureOf1 = `
	INSERT INTO domain (id, name, organisation, first_seen, last_seen, credited, due, observed)
		VALUES (7, 'old.example', 'old.example', 1795176000000, 1795176000000, 3, 1795176000000, 2);
	INSERT INTO tally VALUES (7, '192.0.2.1/32', 20777, 3, 2, 1, 3, 0, 3, 0, 1795176000000, '{"tls=TLSv1.3":2,"tls=none":1,"proof=dkim+spf":3}');
	INSERT INTO unauthenticated VALUES (7, 20777, 2);
	INSERT INTO selector VALUES (7, 'old.example', 's1', 1795176000000);
	INSERT INTO facts VALUES (1, 7, 1795176000000, 51, '{"domain":"old.example","at":"2026-11-20T12:00:00Z"}');
	INSERT INTO assessment VALUES (1, 7, 1795176000000, 1795176000000, x'00', 'mecsa-2018', 'unknown', 'probe', '{}', '{}', 0, 1, 'null');`

// TestMigration brings a database of every age up to date and reads what is in it.
func TestMigration(t *testing.T) {
	scripts, err := migrations()
	check(t, err)
	if len(fixtures) != len(scripts) {
		t.Fatalf("%d fixtures for %d migrations", len(fixtures), len(scripts))
	}
	for version := 1; version <= len(scripts); version++ {
		t.Run(fmt.Sprintf("from %d of %s", version, fixtures[version-1].date), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "peerscore.db")
			build(t, path, scripts[:version], fixtures[version-1].sql, version)
			s := openPath(t, path, Options{})
			e, err := s.Evidence(t.Context(), "old.example", noon, assess.DefaultWindow)
			check(t, err)
			if e.Facts == nil || !e.Facts.At.Equal(noon) || e.Tally.Credited() != 3 || e.Tally.Unauthenticated != 2 ||
				len(e.Tally.Selectors) != 1 || e.Tally.Hosts[0].StartTLS.Failed != 1 || e.Tally.Hosts[0].Proofs["dkim+spf"] != 3 {
				t.Errorf("%+v", e)
			}
			if h := history(t, s, "old.example"); len(h) != 1 {
				t.Errorf("history %+v", h)
			}
			addAll(t, s, observe("old.example", "192.0.2.1"))
			rejudge(t, passive(s), 1)
			if want := schemaOf(t, openPath(t, filepath.Join(t.TempDir(), "new.db"), Options{})); schemaOf(t, s) != want {
				t.Errorf("the schema differs from that of a new file:\n%s\nwant\n%s", schemaOf(t, s), want)
			}
		})
	}
}

// TestMigrationOfReasons: facts of before there were reasons have those that their words tell, and a
// silent address stays one for every name on it.
func TestMigrationOfReasons(t *testing.T) {
	scripts, err := migrations()
	check(t, err)
	path := filepath.Join(t.TempDir(), "peerscore.db")
	build(t, path, scripts[:5], fixtureOf1+fixtureOfWords, 5)
	s := openPath(t, path, Options{})
	e, err := s.Evidence(t.Context(), "old.example", noon, assess.DefaultWindow)
	check(t, err)
	got := map[assess.Reason]int{}
	for _, v := range assess.Judge(e, assess.Rules{}) {
		for _, test := range v.Tests {
			if test.Result == assess.Fail {
				got[test.Reason]++
			}
		}
	}
	for _, want := range []assess.Reason{
		assess.ReasonSelfSigned, assess.ReasonKeyUsage, assess.ReasonNameMismatch, assess.ReasonCertificateExpired, assess.ReasonSPFLookupLimit,
		assess.ReasonDMARCInvalid, assess.ReasonSTSHostNotListed,
	} {
		if got[want] == 0 {
			t.Errorf("nothing fails for %s: %v", want, got)
		}
	}
	if f := e.Facts; f.Hosts.Hosts[0].Sessions[1].Reason != assess.ReasonSMTPTimeout || !f.TLSRPT.Lookup.Timeout || f.Hosts.Hosts[0].Sessions[0].Reason != "" {
		t.Errorf("%+v", f)
	}
	if other := e.Facts.Hosts.Hosts[1].Sessions[0].Other.TLS.Certificate.Trusted; other.Reason != assess.ReasonKeyUsage {
		t.Errorf("the other certificate: %+v", other)
	}
	records, err := s.HostRecords(t.Context(), netip.MustParseAddr("192.0.2.1"))
	check(t, err)
	var reasons []assess.Reason
	for _, r := range records {
		reasons = append(reasons, r.Session.Reason)
		if o := r.Session.Other; (o != nil) != (r.Session.ServerName == "c.example") || o != nil && o.Shown.Reason != assess.ReasonBudgetExhausted {
			t.Errorf("%s: the other certificate: %+v", r.Session.ServerName, o)
		}
	}
	if want := []assess.Reason{assess.ReasonSMTPTimeout, assess.ReasonRunOver, ""}; !slices.Equal(reasons, want) {
		t.Errorf("%q, want %q", reasons, want)
	}
	var size, timed int
	check(t, s.read.Load().QueryRow("SELECT size - length(CAST(content AS BLOB)), json_type(content, '$.timing') IS NOT NULL FROM facts WHERE id = 2").Scan(&size, &timed))
	if size != 0 || timed != 0 {
		t.Errorf("the size is wrong by %d octets, timing %d", size, timed)
	}
	var damaged string
	check(t, s.read.Load().QueryRow("SELECT content FROM facts WHERE id = 3").Scan(&damaged))
	if damaged != "{" {
		t.Errorf("what cannot be read is changed: %s", damaged)
	}
}

const fixtureOfWords = `
	INSERT INTO domain (id, name, organisation, first_seen, last_seen, credited, due, observed)
		VALUES (8, 'damaged.example', 'damaged.example', 1795176000000, 1795176000000, 3, 1795176000000, 2);
	INSERT INTO facts VALUES (3, 8, 1795176000000, 1, '{');
	INSERT INTO facts VALUES (2, 7, 1795176000000, 51, '{"domain":"old.example","at":"2026-11-20T12:00:00Z","mx":{"lookup":{"name":"old.example","type":"MX","status":"found"},"hosts":[
{"name":"mx.old.example","preference":10,"a":{"name":"mx.old.example","type":"A","status":"found"},"sessions":[
{"address":"192.0.2.1","at":"2026-11-20T12:00:00Z","stage":"quit","outcome":"established","tls":{"version":"TLS 1.3","cipher":"x","chain":null,"certificate":{"trusted":{"result":"fail","detail":"self-signed: nobody but the server vouches for it"},"named":{"result":"fail","detail":"wrong name"},"dated":{"result":"fail","detail":"expired on 2026-01-01"},"revoked":{"result":"unknown"}}}},
{"address":"192.0.2.2","at":"2026-11-20T12:00:00Z","stage":"greeting","problem":"greeting: timeout; next at 2026-11-20 18:00 UTC"}]},
{"name":"mx2.old.example","preference":20,"a":{"name":"mx2.old.example","type":"A","status":"found"},"sessions":[
{"address":"192.0.2.3","at":"2026-11-20T12:00:00Z","stage":"quit","outcome":"established","tls":{"version":"TLS 1.3","cipher":"x","chain":null,"certificate":{"trusted":{"result":"fail","detail":"\"mx2\" is not for TLS, by its key usage: it lacks digitalSignature"},"named":{"result":"pass"},"dated":{"result":"pass"},"revoked":{"result":"unknown"}}},
"other":{"at":"2026-11-20T12:00:00Z","shown":{"result":"pass"},"tls":{"version":"TLS 1.2","cipher":"x","chain":null,"certificate":{"trusted":{"result":"fail","detail":"\"mx2\" is not for TLS, by its key usage: it lacks digitalSignature"}}}}}]}]},
"spf":{"lookup":{"name":"old.example","type":"TXT","status":"found"},"count":1,"valid":{"result":"fail","detail":"old.example: loop; too many DNS look-ups: 11, and 10 are allowed"}},
"dmarc":{"lookup":{"name":"_dmarc.old.example","type":"TXT","status":"found"},"valid":{"result":"fail","detail":"p= is missing"}},
"mta_sts":{"lookup":{"name":"_mta-sts.old.example","type":"TXT","status":"found"},"record":{"result":"pass"},"fetched":{"result":"pass"},"mode":"enforce","matches":[{"host":"mx.old.example","match":{"result":"fail","detail":"the policy does not list it as mx"}}]},
"tls_rpt":{"lookup":{"name":"_smtp._tls.old.example","type":"TXT","status":"failed","reason":"timeout"},"valid":{"result":"unknown"}},
"timing":[{"stage":"MX old.example","start":1,"end":2}]}');
	INSERT INTO mx_address (address, server_name, at, failures, not_before, session) VALUES
		('192.0.2.1', 'a.example', 3, 1, 9, '{"address":"192.0.2.1","server_name":"a.example","at":"2026-11-20T12:00:00Z","stage":"handshake","problem":"handshake: the connection is cut; on another connection handshake: timeout"}'),
		('192.0.2.1', 'b.example', 2, 1, 9, '{"address":"192.0.2.1","server_name":"b.example","at":"2026-11-20T12:00:00Z","stage":"ehlo","problem":"ehlo: the run was over"}'),
		('192.0.2.1', 'c.example', 1, 0, 9, '{"address":"192.0.2.1","server_name":"c.example","at":"2026-11-20T12:00:00Z","stage":"quit","outcome":"established",
"other":{"at":"2026-11-20T12:00:00Z","shown":{"result":"unknown","detail":"budget: 40 dialogues with 192.0.2.0/24 in a day; next at 2026-11-21 00:00 UTC"}}}');`

func build(t *testing.T, path string, scripts []string, fixture string, version int) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	check(t, err)
	defer db.Close()
	_, err = db.Exec(strings.Join(scripts, "\n") + fixture + fmt.Sprintf("PRAGMA user_version = %d", version))
	check(t, err)
}

func schemaOf(t *testing.T, s *Store) string {
	t.Helper()
	var all string
	check(t, s.read.Load().QueryRow("SELECT group_concat(sql, char(10) ORDER BY name) FROM sqlite_schema").Scan(&all))
	return all
}

func TestOtherSchemas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	for version, wantWords := range map[int]string{0: "the daemon brings it up to date", 999: "a newer peerscore wrote it"} {
		build(t, path, nil, "", version)
		if _, err := OpenReader(t.Context(), path); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), wantWords) {
			t.Errorf("schema %d, reading: %v", version, err)
		}
		if version == 0 {
			continue
		}
		if _, err := Open(t.Context(), path, Options{SetAside: true}); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), wantWords) {
			t.Errorf("schema %d, writing: %v", version, err)
		}
	}
}

func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			add(t, s, observe("a.example", "192.0.2.1"))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := tally(t, openPath(t, path, Options{}), "a.example").Credited(); got != 8 {
		t.Errorf("%d sessions, want 8", got)
	}
}
