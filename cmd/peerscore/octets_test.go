package main

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// lavish is a domain that says all that the limits of a run let it say: long records, replies and
// certificates at each of five hosts.
func (l *listLab) lavish(name string) {
	l.t.Helper()
	texts := func(owner, begins string) (records string) {
		for i := range 50 {
			records += fmt.Sprintf("%s TXT \"%s\" \"%0250d\" \"%0250d\" \"%0250d\"\n", owner, begins, i, i, i)
			begins = ""
		}
		return records
	}
	lines := []string{"250-mx"}
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("250-X%0250d", i))
	}
	records := texts("@", "v=spf1 -all") + texts("_smtp._tls", "v=TLSRPTv1; rua=mailto:a@b.example;") + texts("_mta-sts", "v=STSv1; id=1;") +
		texts("default._bimi", "v=BIMI1; l=https://www.b.example/"+strings.Repeat("p", 150)+"; x=") +
		texts("_domainkey", "") + texts("_dmarc", "v=DMARC1; p=none; rua=mailto:"+strings.Repeat("r", 200)+"@b.example")
	for i := range 5 {
		host := fmt.Sprintf("mx%d", i)
		names := []string{host + "." + name}
		for j := range 100 {
			names = append(names, fmt.Sprintf("%s%d.%s.%s.%s.example", host, j, strings.Repeat("a", 60), strings.Repeat("b", 60), strings.Repeat("c", 60)))
		}
		addr := l.mail(probetest.SMTPConfig{Steps: map[string]probetest.Step{
			"EHLO": probetest.Say(slices.Concat(lines, []string{"250 STARTTLS"})...), "TLS EHLO": probetest.Say(slices.Concat(lines, []string{"250 HELP"})...),
		}}, names...)
		records += fmt.Sprintf("@ MX 10 %s\n%s A %s\n", host, host, addr)
		for j := range 90 {
			records += fmt.Sprintf("_25._tcp.%s TLSA 3 0 0 %0400x\n", host, j)
		}
	}
	l.zones = append(l.zones, probetest.Zone{Name: name, Records: records})
}

// What a hostile domain makes the database hold, run by run. The octets of a run are bounded; the
// second one, which knows the dialogues by what was kept of them, comes to another judgement, and
// one that comes to the same again adds nothing.
func TestHostileDomainOctets(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newListLab(t, 0)
	l.lavish("lavish.example")
	cfg := l.start()
	before := map[string]int{}
	for run := range 4 {
		if out, err := l.command("assess", "--config", cfg, "lavish.example").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sizes := l.octets()
		t.Logf("run %d: %v", run, sizes)
		for name, most := range map[string]int{"facts": assess.MaxFacts, "verdicts": 32 << 10, "dialogues": 5 * assess.MaxSession} {
			if run > 1 {
				most = 256 // the digits of a time, and which of two servers was the first to say it
			}
			if grown := sizes[name] - before[name]; grown > most {
				t.Errorf("run %d: %s grow by %d octets", run, name, grown)
			}
		}
		before = sizes
	}
}

// octets are those of strangers in the database.
func (l *listLab) octets() map[string]int {
	l.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+l.dir+"/peerscore.db?mode=ro")
	must(l.t, err)
	defer db.Close()
	sizes := map[string]int{}
	for name, query := range map[string]string{
		"facts": "SELECT sum(length(content)) FROM facts", "verdicts": "SELECT sum(length(verdicts)) FROM assessment",
		"dialogues": "SELECT sum(length(session)) FROM mx_address",
	} {
		var n int
		must(l.t, db.QueryRow(query).Scan(&n))
		sizes[name] = n
	}
	return sizes
}
