package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/milter"
	"peerscore/milter/miltertest"
	"peerscore/store"
)

// officeTime is when everything happens in an office: equal evidence gives equal rows.
var officeTime = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// office is a milter with a real store and a real resolver, at a clock that stands.
type office struct {
	t      testing.TB
	path   string // of the database
	socket string
	log    *bytes.Buffer
	store  *store.Store
	scores *store.Standings
	server *milter.Server
	close  func()
}

// officeKey signs for whoever publishes it under the selector k.
var officeKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// officeDNS is what the peers of an office publish.
func officeDNS(t testing.TB) *resolver.Resolver {
	t.Helper()
	key := `k._domainkey TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(officeKey.Public().(ed25519.PublicKey)) + "\"\n"
	const policy = "_dmarc TXT \"v=DMARC1; p=reject\"\n"
	failures := map[string]probetest.Failure{}
	for _, name := range []string{"", "_dmarc.", "k._domainkey.", planted + "a."} {
		failures[name+"dead.example *"] = probetest.ServFail
	}
	server, err := probetest.NewDNS(probetest.DNSConfig{Failures: failures, Zones: []probetest.Zone{
		{Name: "victim.example", Records: "@ TXT \"v=spf1 ip4:192.0.2.10 ip4:192.0.2.11 -all\"\n" + key + policy},
		{Name: "attack.example", Records: "@ TXT \"v=spf1 ip4:203.0.113.7 -all\"\nevil TXT \"v=spf1 ip4:203.0.113.7 -all\"\n" + policy},
		{Name: "wide.example", Records: "@ TXT \"v=spf1 +all\"\n" + key},
		{Name: "failing.example", Records: "@ TXT \"v=spf1 exists:%{l}.dead.example -all\"\n"},
		{Name: "faulty.example", Records: "@ TXT \"v=spf1 include:%{l}.none.faulty.example -all\"\n"},
		{Name: "local.example", Records: "@ TXT \"v=spf1 exists:%{l}.%{i}._spf.local.example -all\"\n" + key},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	r, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mxHosts are the MX hosts of the domains that an office has assessed. The victim shares one of
// its own with strangers: to its operator it is mx.hoster.example.
var mxHosts = map[dnsname.Domain][]assess.MXHost{
	"victim.example":   {mxAt("mx.victim.example", "192.0.2.25"), mxAt("backup.victim.example", "198.51.100.25")},
	"exchange.example": {mxAt("mx.exchange.example", "192.0.2.30")},
}

func mxAt(name, address string) assess.MXHost {
	return assess.MXHost{Name: name, A: assess.Lookup{Status: assess.LookupFound, Records: []string{address}}}
}

// openOffice starts one in which the domains of mxHosts are assessed.
func openOffice(t testing.TB, dns *resolver.Resolver) *office {
	t.Helper()
	dir := inMemory(t)
	o := &office{t: t, path: filepath.Join(dir, "peerscore.db"), socket: filepath.Join(dir, "milter"), log: &bytes.Buffer{}}
	now := func() time.Time { return officeTime }
	logger := slog.New(slog.NewJSONHandler(&oneAtATime{w: o.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if o.store, err = store.Open(t.Context(), o.path, store.Options{Logger: logger, Now: now}); err != nil {
		t.Fatal(err)
	}
	profile, err := assess.LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	judge := store.Judge{Profile: profile, Rules: assess.Rules{Threshold: 0.8, Passive: true}}
	o.scores = store.NewStandings(o.store, judge)
	for domain, hosts := range mxHosts {
		facts := &assess.Facts{Domain: domain, At: officeTime, Hosts: assess.MXFacts{Hosts: hosts}}
		known := assess.Conclude(domain, assess.Evidence{Facts: facts}, judge.Profile, judge.Rules, officeTime)
		if err := o.store.SaveAssessment(t.Context(), known); err != nil {
			t.Fatal(err)
		}
	}
	learner := &storeLearner{o.store}
	o.server = milter.New(milter.Config{
		Resolver: daemon.PerMessage(dns), Recorder: o.store, Reputation: o.scores, Learner: learner, Logger: logger, Hostname: "mx.own.example", Now: now,
		Policy: officePolicy(),
	})
	listener, err := net.Listen("unix", o.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- o.server.Serve(listener) }()
	o.close = sync.OnceFunc(func() {
		if err := o.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := o.store.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) { // a test may have closed it
			t.Error(err)
		}
	})
	t.Cleanup(o.close)
	return o
}

// inMemory is a folder of the test's own for databases that are about rows, not about disks:
// hundreds of tests would wait for one to be synchronised. On a disk where there is no other.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "peerscore-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func officePolicy() milter.Policy {
	return milter.Policy{
		Authentication: milter.Verify, Score: true, Bars: true, AuthenticationResults: true, LearnRecipients: true,
		OwnDomains: []dnsname.Domain{"own.example"}, InternalHosts: config.Prefixes(config.PrivateNetworks()),
	}
}

// storeLearner stores at once whom our users write to.
type storeLearner struct{ store *store.Store }

func (l *storeLearner) Offer(dnsname.Domain)   {}
func (l *storeLearner) Learn(d dnsname.Domain) { _ = l.store.Learn(context.Background(), d) }

// oneAtATime is a writer for the handlers of several goroutines.
type oneAtATime struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// letter is one message and who brings it.
type letter struct {
	name    string
	peer    miltertest.Peer
	message miltertest.Message
	proves  string // the domain that it proves; "" for none
}

// deliver plays letters, one session for as many as the same peer brings in a row, and gives
// what was inserted into each.
func (o *office) deliver(letters ...letter) [][]string {
	o.t.Helper()
	var inserted [][]string
	var c *miltertest.Client
	for i, l := range letters {
		if i == 0 || letters[i-1].peer.Addr != l.peer.Addr || letters[i-1].peer.TLSVersion != l.peer.TLSVersion {
			if c != nil {
				c.Quit()
			}
			var err error
			if c, err = miltertest.Dial("unix", o.socket); err != nil {
				o.t.Error(err)
				return inserted
			}
			if err := c.Connect(l.peer); err != nil {
				o.t.Error(err)
				return inserted
			}
		}
		answer, err := c.Send(l.peer, l.message)
		if err != nil || answer.Code != 'c' {
			o.t.Errorf("%s: answer %q, %v", l.name, answer.Code, err)
			return inserted
		}
		inserted = append(inserted, answer.Inserted())
	}
	if c != nil {
		c.Quit()
	}
	return inserted
}

// rows closes the office, and is every row of its database but for the counters of messages
// without proof, and columns to be left out. Numbers that depend on the order of insertion are
// replaced by names.
func (o *office) rows(without ...string) []string {
	o.t.Helper()
	if _, err := o.scores.Rejudge(context.Background()); err != nil {
		o.t.Fatal(err)
	}
	o.close()
	db, err := sql.Open("sqlite3", "file:"+o.path+"?mode=ro")
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	var all []string
	for _, table := range query(o.t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'unauthenticated'") {
		columns := query(o.t, db, "SELECT group_concat(CASE WHEN name = 'domain_id' THEN '(SELECT d.name FROM domain d WHERE d.id = domain_id)' ELSE 'quote(' || name || ')' END, ' || '' '' || ') FROM pragma_table_info('"+table+"') WHERE name NOT IN ('id', 'facts_id', '"+strings.Join(without, "', '")+"')")[0]
		if table == "signature" {
			columns = strings.Replace(columns, "quote(day)", "quote(id)", 1)
		}
		for _, row := range query(o.t, db, "SELECT "+columns+" FROM "+table) {
			if !strings.HasPrefix(row, "'unauthenticated'") {
				all = append(all, table+": "+row)
			}
		}
	}
	slices.Sort(all)
	return all
}

func query(t testing.TB, db *sql.DB, text string) (column []string) {
	t.Helper()
	rows, err := db.Query(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		column = append(column, value)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return column
}

// differ tells which rows only one of two databases has.
func differ(got, want []string) string {
	var lines []string
	for _, row := range got {
		if !slices.Contains(want, row) {
			lines = append(lines, "+ "+row)
		}
	}
	for _, row := range want {
		if !slices.Contains(got, row) {
			lines = append(lines, "- "+row)
		}
	}
	return strings.Join(lines, "\n")
}

// signedBy puts a signature of the domain before a message.
func signedBy(t testing.TB, domain, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(text), &dkim.SignOptions{Domain: domain, Selector: "k", Signer: officeKey}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// compose is a short message; its number makes signatures differ.
func compose(from string, n int, fields ...string) string {
	return fmt.Sprintf("%sFrom: %s\r\nTo: info@own.example\r\nSubject: letter\r\n\r\nNumber %d.\r\n", strings.Join(append(fields, ""), "\r\n"), from, n)
}

// at is a peer in TLS.
func at(address, name string) miltertest.Peer {
	return miltertest.Peer{Addr: netip.MustParseAddr(address), Name: name, HELO: name, TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}
}

// greeting is the peer with another name in EHLO.
func greeting(p miltertest.Peer, name string) miltertest.Peer {
	p.HELO = name
	return p
}

// inPlain is the peer without TLS.
func inPlain(p miltertest.Peer) miltertest.Peer {
	p.TLSVersion, p.Cipher = "", ""
	return p
}
