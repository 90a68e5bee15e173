package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/milter"
	"peerscore/milter/miltertest"
)

// nobody keeps nothing and knows nothing.
type nobody struct{}

func (nobody) AddObservation(context.Context, assess.Observation) error { return nil }
func (nobody) CountUnauthenticated(dnsname.Domain)                      {}
func (nobody) Standing(context.Context, dnsname.Domain) assess.Standing { return assess.Standing{} }
func (nobody) Offer(dnsname.Domain)                                     {}
func (nobody) Learn(dnsname.Domain)                                     {}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// lookups is a milter with a real resolver before a DNS server that counts.
type lookups struct {
	t      *testing.T
	dns    *probetest.DNS
	moved  atomic.Int64 // the clock, in ns
	server *milter.Server
	client *miltertest.Client
	log    *journal
}

func newLookups(t *testing.T, zones ...probetest.Zone) *lookups {
	t.Helper()
	l := &lookups{t: t, log: &journal{}}
	var err error
	if l.dns, err = probetest.NewDNS(probetest.DNSConfig{Zones: zones}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.dns.Close() })
	dns, err := resolver.New(resolver.Config{Servers: []string{l.dns.Addr()}, Now: func() time.Time { return officeTime.Add(time.Duration(l.moved.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	dns.SelfTest(t.Context())
	l.server = milter.New(milter.Config{
		Resolver: daemon.PerMessage(dns), Recorder: nobody{}, Reputation: nobody{}, Learner: nobody{},
		Logger: slog.New(slog.NewTextHandler(l.log, nil)), Hostname: "mx.own.example",
		Policy: milter.Policy{Authentication: milter.Verify, Score: true},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { l.server.Serve(ln) })
	t.Cleanup(func() {
		l.client.Close()
		l.server.Shutdown(context.Background())
		served.Wait()
	})
	if l.client, err = miltertest.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return l
}

// evil is a client whose name lies within evil.example.
var evil = miltertest.Peer{Addr: netip.MustParseAddr("203.0.113.7"), Name: "mx.evil.example", HELO: "mx.evil.example"}

// cost sends a message and counts the queries that arrive because of it: all, and those for
// names of the victim. What the message left under way has a moment to come.
func (l *lookups) cost(from, text string) (all, victim int, answer miltertest.Answer) {
	l.t.Helper()
	before := l.dns.Queries()
	m := miltertest.Message{From: from, To: []string{"info@own.example"}, Data: []byte(text + "\r\nHi.\r\n")}
	if err := l.client.Connect(evil); err != nil {
		l.t.Fatal(err)
	}
	answer, err := l.client.Send(evil, m)
	if err != nil {
		l.t.Fatal(err)
	}
	for question, n := range l.dns.Queries() {
		n -= before[question]
		all += n
		if name, _, _ := strings.Cut(question, " "); strings.HasSuffix(name, "victim.example") {
			victim += n
		}
	}
	return all, victim, answer
}

// numbered is a line for each number below n in the place of each #.
func numbered(n int, line string) string {
	var lines strings.Builder
	for i := range n {
		lines.WriteString(strings.ReplaceAll(line, "#", fmt.Sprint(i)) + "\n")
	}
	return lines.String()
}

// costly is a domain that makes the most of one message, in records of TTL 0: mail exchangers
// within four other domains, and keys too long for UDP.
func costly(others ...any) probetest.Zone {
	long := strings.Repeat(" \""+strings.Repeat("x", 200)+"\"", 8)
	return probetest.Zone{Name: "evil.example", Records: `@ 0 TXT "v=spf1 mx:m0.evil.example mx:m1.evil.example mx:m2.evil.example mx:m3.evil.example -all"` + "\n" +
		numbered(10, fmt.Sprintf("m0 0 MX 10 a#.%s.\nm1 0 MX 10 b#.%s.\nm2 0 MX 10 c#.%s.\nm3 0 MX 10 d#.%s.", others...)) +
		numbered(5, "s#._domainkey.x# 0 TXT"+long)}
}

// signatures are five, aligned with the author, each below another name.
var signatures = numbered(5, "DKIM-Signature: v=1; a=rsa-sha256; d=x#.evil.example; s=s#; h=from; bh=AAAA; b=AAAA\r")

// One message causes 54 queries at the most, retries and TCP among them, 20 of them for names of
// a third party; the same message once more causes none for these, whatever the TTL.
func TestQueriesOfAMessage(t *testing.T) {
	const victim, other = "victim.example", "other.example"
	text := signatures + "From: a@a.b.c.d.e.f.evil.example\r\nSubject: x\r\n"
	for _, zone := range []probetest.Zone{costly(victim, victim, other, other), costly(victim, victim, victim, victim)} {
		l := newLookups(t, zone)
		all, victims, _ := l.cost("x@evil.example", text)
		t.Logf("%d queries, %d for names of the victim", all, victims)
		if all > 54 || victims > 20 {
			t.Errorf("%d queries, %d for names of the victim; want at most 54 and 20", all, victims)
		}
		if victims < 20 {
			t.Errorf("only %d queries for names of the victim: the message is not the costliest", victims)
		}
		if s := l.server.Stats(); s.Exhausted != 1 || s.Messages["incomplete"] != 1 || !strings.Contains(l.log.String(), "too many DNS lookups") {
			t.Errorf("%+v\n%s", s, l.log)
		}
		if _, again, _ := l.cost("x@evil.example", text); again > 0 {
			t.Errorf("the same message once more: %d queries for names of the victim", again)
		}
		l.moved.Add(int64(31 * time.Second))
		if all, victims, _ := l.cost("x@evil.example", text); all > 54 || victims > 20 {
			t.Errorf("31 s later: %d queries, %d for names of the victim", all, victims)
		}
	}
}

// At TTL 0 an ordinary message causes each of its queries once: for its SPF record, its key, and
// the records of DMARC.
func TestQueriesOfAnOrdinaryMessage(t *testing.T) {
	l := newLookups(t, probetest.Zone{Name: "evil.example", Records: "@ 0 TXT \"v=spf1 ip4:203.0.113.7 -all\"\n_dmarc 0 TXT \"v=DMARC1; p=reject\"\nk._domainkey 0 TXT \"v=DKIM1; k=ed25519; p=AAAA\"\n"})
	all, _, _ := l.cost("x@bounce.evil.example", "DKIM-Signature: v=1; a=rsa-sha256; d=evil.example; s=k; h=from; bh=AAAA; b=AAAA\r\nFrom: a@evil.example\r\n")
	counts := l.dns.Queries()
	for question, n := range counts {
		if n > 1 && question != ". DNSKEY" {
			t.Errorf("%s was asked for %d times", question, n)
		}
	}
	if want := 6; all != want { // SPF, P-HOST, the key; _dmarc.evil.example, _dmarc.example, _dmarc.bounce.evil.example
		t.Errorf("%d queries, want %d: %v", all, want, counts)
	}
}
