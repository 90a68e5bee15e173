package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/probetest"
)

// newGate is a gate in a bubble, with a memory that may have been filled by an earlier one.
func newGate(memory Memory, limits Limits) *gate {
	r, err := NewRunner(Env{Resolver: noResolver(), Memory: memory, Limits: limits})
	if err != nil {
		panic(err)
	}
	return r.gate
}

// ended is how a dialogue at the gate may end.
type ended func(*assess.SMTPFacts)

func answered(certificate tls.Certificate) ended {
	return func(f *assess.SMTPFacts) {
		f.Stage, f.Outcome, f.TLS = assess.StageQuit, assess.TLSEstablished, &assess.TLSFacts{Chain: certificate.Certificate}
	}
}

func stuck(stage assess.Stage, reason assess.Reason) ended {
	return func(f *assess.SMTPFacts) {
		f.Stage, f.Reason, f.Problem = stage, reason, string(stage)+": "+string(reason)
	}
}

// visitOf is one of an organisation to somewhere.
func visitOf(name, organisation string) visit {
	return visit{addr: somewhere, name: name, organisation: dnsname.Domain(organisation)}
}

// asks sends one dialogue through the gate; it reports whether the address was asked.
func asks(g *gate, addr netip.Addr, name string, how ended) (assess.SMTPFacts, bool) {
	asked := false
	facts := g.session(context.Background(), visit{addr: addr, name: name, organisation: dnsname.Domain(addr.String())}, func(context.Context, again) (assess.SMTPFacts, error) {
		asked = true
		f := assess.SMTPFacts{Address: addr, ServerName: name, At: time.Now().UTC()}
		how(&f)
		return f, nil
	})
	return facts, asked
}

// When an address is asked again, across restarts: each line is a process of its own.
func TestGateIntervals(t *testing.T) {
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as bubbles do
	ca, err := probetest.NewCA(probetest.CAConfig{Now: func() time.Time { return began }})
	must(t, err)
	both, err := ca.Issue(probetest.Leaf{Names: []string{"mx.a.example", "mx.b.example"}})
	must(t, err)
	only, err := ca.Issue(probetest.Leaf{Names: []string{"mx.a.example"}})
	must(t, err)
	forged, err := ca.Issue(probetest.Leaf{Names: []string{"mx.a.example", "mx.b.example"}, SelfSigned: true})
	must(t, err)
	brief, err := ca.Issue(probetest.Leaf{Names: []string{"mx.a.example", "mx.b.example"}, NotAfter: began.AddDate(0, 0, 3)})
	must(t, err)
	const h = time.Hour
	good, alone, silent := answered(both), answered(only), stuck(assess.StageGreeting, assess.ReasonSMTPTimeout)
	refuses := func(f *assess.SMTPFacts) { f.Stage, f.Outcome = assess.StageEHLO, assess.TLSNotOffered }
	ahead := func(f *assess.SMTPFacts) { good(f); f.At = f.At.AddDate(12, 0, 0) }
	large := answered(tls.Certificate{Certificate: [][]byte{make([]byte, assess.MaxSession)}})
	type visit struct {
		after time.Duration
		name  string
		how   ended
		asked bool
	}
	for _, tt := range []struct {
		name   string
		visits []visit
	}{
		{"a good result serves 7 days", []visit{{0, "a", good, true}, {168*h - 1, "a", good, false}, {1, "a", good, true}, {167 * h, "a", good, false}}},
		{"and every name of the certificate", []visit{{0, "a", good, true}, {h, "b", good, false}}},
		{"but not every name that a server claims", []visit{{0, "a", answered(forged), true}, {h, "b", good, true}, {h, "a", good, false}}},
		{"nor those of a certificate that has expired", []visit{{0, "a", answered(brief), true}, {h, "b", good, false}, {72 * h, "b", good, true}}},
		{"and no other name", []visit{{0, "a", alone, true}, {h, "b", alone, true}, {h, "b", good, false}, {h, "a", good, false}}},
		{"nor a fourth after three that were shown the same", []visit{{0, "a", alone, true}, {h, "b", alone, true}, {h, "c", alone, true}, {h, "d", alone, true}, {h, "d", alone, false}}},
		{"no STARTTLS is a result", []visit{{0, "a", refuses, true}, {167 * h, "b", refuses, false}, {h, "b", refuses, true}}},
		{"failures rest 6, 24, 72 hours", []visit{
			{0, "a", silent, true}, {6*h - 1, "a", silent, false}, {1, "a", silent, true}, {24*h - 1, "a", silent, false}, {1, "a", silent, true},
			{72*h - 1, "a", silent, false}, {1, "a", silent, true}, {72*h - 1, "a", silent, false}, {1, "a", silent, true},
		}},
		{"under any name", []visit{{0, "a", silent, true}, {h, "b", silent, false}, {5 * h, "b", silent, true}, {6 * h, "a", silent, false}, {18*h - 1, "c", silent, false}}},
		{"also in the handshake", []visit{{0, "a", stuck(assess.StageHandshake, assess.ReasonSMTPTimeout), true}, {h, "b", good, false}}},
		{"a success ends the row", []visit{{0, "a", silent, true}, {6 * h, "a", good, true}, {168 * h, "a", silent, true}, {6 * h, "a", silent, true}}},
		{"a clock that was ahead", []visit{{0, "a", ahead, true}, {h, "a", good, true}, {h, "a", good, false}}},
		{"a chain that is not kept is unknown", []visit{{0, "a", large, true}, {h, "a", good, false}, {167 * h, "a", good, true}}},
		{"a chain past our limits is that name's", []visit{{0, "a", stuck(assess.StageHandshake, assess.ReasonLimitExceeded), true}, {h, "b", good, true}, {h, "a", good, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := NewMemory()
				for i, v := range tt.visits {
					time.Sleep(v.after)
					g := newGate(memory, DefaultLimits())
					g.roots = ca.Roots()
					facts, asked := asks(g, somewhere, "mx."+v.name+".example", v.how)
					if asked != v.asked {
						t.Errorf("visit %d: asked %v, want %v", i, asked, v.asked)
					}
					if !asked && facts.Outcome == assess.TLSUnknown && !strings.Contains(facts.Problem, "; next at 2") {
						t.Errorf("visit %d does not say when: %q", i, facts.Problem)
					}
				}
			})
		})
	}
}

// One leaf under any number of names says nothing of the next: its server may have a certificate
// for each of its customers, and show its own under every name that it does not know. Whoever
// shares the address, or is asked for under other names of it, decides nothing about ours.
func TestGateAsksUnderEachName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(nil, DefaultLimits())
		of := func(leaf byte) tls.Certificate { return tls.Certificate{Certificate: [][]byte{{leaf}}} }
		for _, tt := range []struct {
			name, organisation string
			shown              tls.Certificate
		}{
			{"mx1.attacker.example", "attacker.example", of(1)},
			{"mx2.attacker.example", "attacker.example", of(1)},
			{"autoconfig.victim.example", "victim.example", of(1)},
			{"mx.victim.example", "victim.example", of(2)},
			{"mx3.attacker.example", "attacker.example", of(1)},
		} {
			asked := false
			v := visitOf(tt.name, tt.organisation)
			facts := g.session(t.Context(), v, func(context.Context, again) (assess.SMTPFacts, error) {
				asked = true
				f := assess.SMTPFacts{Address: somewhere, ServerName: v.name, At: time.Now()}
				answered(tt.shown)(&f)
				return f, nil
			})
			if !asked || facts.ServerName != v.name {
				t.Errorf("%s: asked %v, judged by the dialogue under %s", v.name, asked, facts.ServerName)
			}
		}
	})
}

// A dialogue that failed on our side says nothing, and is not remembered.
func TestGateForgetsOurFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(nil, DefaultLimits())
		g.session(t.Context(), visit{addr: somewhere, name: "mx"}, func(context.Context, again) (assess.SMTPFacts, error) {
			return assess.SMTPFacts{Address: somewhere, ServerName: "mx", Problem: "connect: network is unreachable"}, errors.New("ours")
		})
		if _, asked := asks(g, somewhere, "mx", stuck(assess.StageGreeting, assess.ReasonSMTPTimeout)); !asked {
			t.Error("the peer pays for it")
		}
	})
}

// Any number of domains meet an address one at a time, and the first answer serves all.
func TestGateOneAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		how   ended
		names int // of the MX host
		asked int
	}{
		{"one name, silent", stuck(assess.StageGreeting, assess.ReasonSMTPTimeout), 1, 1},
		{"200 names, silent", stuck(assess.StageGreeting, assess.ReasonSMTPTimeout), 200, 1},
		{"one name with a certificate for another", answered(tls.Certificate{Certificate: [][]byte{{0}}}), 1, 1},
		{"two names with a certificate for another", answered(tls.Certificate{Certificate: [][]byte{{0}}}), 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(nil, BulkLimits())
				var mu sync.Mutex
				asked, here := 0, 0
				var runs sync.WaitGroup
				for i := range 200 {
					name := "mx" + string(rune('A'+i%tt.names))
					runs.Go(func() {
						g.session(t.Context(), visit{addr: somewhere, name: name}, func(context.Context, again) (assess.SMTPFacts, error) {
							mu.Lock()
							asked++
							if here++; here > 1 {
								t.Error("two at once")
							}
							mu.Unlock()
							time.Sleep(dialogueTimeout)
							mu.Lock()
							here--
							mu.Unlock()
							f := assess.SMTPFacts{Address: somewhere, ServerName: name, At: time.Now()}
							tt.how(&f)
							return f, nil
						})
					})
				}
				runs.Wait()
				if asked != tt.asked {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

// One dialogue at a time with a /24 or a /48, whatever the limits, and side by side with others.
func TestGateNetwork(t *testing.T) {
	for _, tt := range []struct {
		addrs string
		took  time.Duration
	}{
		{"5.0.0.1 5.0.0.2 5.0.0.255", 3},
		{"5.0.0.1 5.0.1.1 5.0.2.1", 1},
		{"2a01:1:2::1 2a01:1:2:ffff::1 2a01:1:2:3:4::", 3},
		{"2a01:1:2::1 2a01:1:3::1 5.0.0.1", 1},
	} {
		for _, limits := range []Limits{DefaultLimits(), BulkLimits()} {
			limits.ProbesPerMinute = 30_000
			synctest.Test(t, func(t *testing.T) {
				g := newGate(nil, limits)
				time.Sleep(time.Minute)
				began := time.Now()
				var all sync.WaitGroup
				for _, addr := range strings.Fields(tt.addrs) {
					all.Go(func() {
						asks(g, netip.MustParseAddr(addr), "mx", func(*assess.SMTPFacts) { time.Sleep(time.Second) })
					})
				}
				all.Wait()
				if took := time.Since(began); took != tt.took*time.Second {
					t.Errorf("%s: %s", tt.addrs, took)
				}
			})
		}
	}
}

// 40 dialogues a day with a /24, counted across restarts; those past them take nothing from
// others.
func TestGateNetworkPerDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, limits := NewMemory(), DefaultLimits()
		limits.ProbesPerMinute = 100 // so that a minute is enough for a day's
		limits.Foreign = false       // see TestSharesOfNetwork for parts of it
		addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{5, 0, 0, byte(i)}) }
		silent := stuck(assess.StageGreeting, assess.ReasonSMTPTimeout)
		g := newGate(memory, limits)
		for i := range 20 {
			asks(g, addr(i), "mx", silent)
		}
		g = newGate(memory, limits)
		for i := 20; i < 60; i++ {
			facts, asked := asks(g, addr(i), "mx", silent)
			if asked != (i < 40) {
				t.Errorf("dialogue %d: %v", i+1, asked)
			}
			if want := "budget: 40 dialogues with 5.0.0.0/24 in a day; next at 2000-01-02 00:00 UTC"; !asked && facts.Problem != want {
				t.Errorf("dialogue %d: %q", i+1, facts.Problem)
			}
		}
		if began := g.budget.minute.oldest; began != 21 { // the first that was refused had to be counted
			t.Errorf("%d took a place in the minute", began)
		}
		time.Sleep(time.Until(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)))
		if _, asked := asks(g, addr(60), "mx", silent); !asked {
			t.Error("the next day is full as well")
		}
	})
}

// forgetful is a memory on a disk that fails.
type forgetful struct{ Memory }

func (forgetful) HostRecords(context.Context, netip.Addr) ([]assess.HostRecord, error) {
	return nil, errors.New("disk I/O error")
}
func (forgetful) SaveHostRecord(context.Context, assess.HostRecord) error {
	return errors.New("disk I/O error")
}

// Without a disk the process still remembers what it did; what it cannot count it does not begin.
func TestGateWithoutDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := stuck(assess.StageGreeting, assess.ReasonSMTPTimeout)
		g := newGate(forgetful{NewMemory()}, DefaultLimits())
		for i, want := range []bool{true, false} {
			if _, asked := asks(g, somewhere, "mx", silent); asked != want {
				t.Errorf("dialogue %d: %v", i, asked)
			}
		}
		facts, asked := asks(newGate(uncounting{NewMemory()}, DefaultLimits()), somewhere, "mx", silent)
		if asked || facts.Problem != "budget: the dialogues with 198.41.0.0/24 cannot be counted; next at the domain's next run" {
			t.Errorf("asked %v, %q", asked, facts.Problem)
		}
	})
}

type uncounting struct{ Memory }

func (uncounting) TakeDialogue(context.Context, string, []assess.Share) (int, error) {
	return 0, errors.New("disk full")
}

// Who answered well once and fails now has no part in what is kept for those that answer, nor
// has a name that somebody made up for an address that answered under another.
func TestClassOf(t *testing.T) {
	at := func(hour, failures int, name string, stage assess.Stage) assess.HostRecord {
		return assess.HostRecord{Session: assess.SMTPFacts{ServerName: name, Stage: stage, At: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)}, Failures: failures}
	}
	for _, tt := range []struct {
		records []assess.HostRecord
		further bool
		want    class
	}{
		{nil, false, newcomer},
		{nil, true, further},
		{[]assess.HostRecord{at(1, 0, "mx", assess.StageQuit)}, true, proven},
		{[]assess.HostRecord{at(1, 2, "mx", assess.StageQuit)}, false, failing},
		{[]assess.HostRecord{at(1, 0, "mx", assess.StageQuit), at(2, 1, "mx", assess.StageQuit)}, false, failing},
		{[]assess.HostRecord{at(3, 0, "mx", assess.StageQuit), at(2, 1, "mx", assess.StageQuit)}, false, proven},
		{[]assess.HostRecord{at(1, 0, "other", assess.StageQuit)}, false, newcomer},
		{[]assess.HostRecord{at(1, 0, "mx", assess.StageQuit), at(2, 1, "other", assess.StageQuit)}, false, proven},
		{[]assess.HostRecord{at(1, 0, "mx", assess.StageQuit), at(2, 1, "other", assess.StageGreeting)}, false, failing},
	} {
		if got := new(gate).classOf(tt.records, visit{name: "mx", further: tt.further}); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.records, got, tt.want)
		}
	}
}

// Names that wait for a slot among newcomers do not have one wait that answered before at the same
// address; and what the address says to either serves the other, if it came to wait meanwhile.
func TestGateProvenFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		how   ended // of the one that is known
		later bool  // one of the newcomers is asked, too
	}{
		{"it answers", answered(tls.Certificate{Certificate: [][]byte{{1}}}), true},
		{"it is silent", stuck(assess.StageGreeting, assess.ReasonSMTPTimeout), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(nil, DefaultLimits())
				if _, asked := asks(g, somewhere, "mx.known.example", answered(tls.Certificate{})); !asked {
					t.Fatal("nobody is asked")
				}
				time.Sleep(sessionKeep)
				var runs sync.WaitGroup
				for i := range 8 { // tarpits in all slots for newcomers, which end before the newcomers give up
					runs.Go(func() {
						asks(g, netip.AddrFrom4([4]byte{5, 0, byte(i), 1}), "mx", func(*assess.SMTPFacts) { time.Sleep(2 * time.Minute) })
					})
				}
				time.Sleep(time.Minute)
				var later atomic.Bool
				for i := range 2 {
					runs.Go(func() {
						name := fmt.Sprintf("mx%d.attacker.example", i)
						if _, asked := asks(g, somewhere, name, answered(tls.Certificate{Certificate: [][]byte{{1}}})); asked {
							later.Store(true)
						}
					})
				}
				time.Sleep(time.Second)
				began := time.Now()
				if _, asked := asks(g, somewhere, "mx.known.example", tt.how); !asked || time.Since(began) > 10*time.Second {
					t.Errorf("asked %v, after %s", asked, time.Since(began))
				}
				runs.Wait()
				if later.Load() != tt.later {
					t.Errorf("a newcomer is asked: %v", later.Load())
				}
			})
		})
	}
}

// The memory of a process is bounded, by addresses and by the names of each.
func TestMemoryIsBounded(t *testing.T) {
	r := newRecent(NewMemory())
	for i := range maxRecent + 10 {
		addr := netip.AddrFrom4([4]byte{5, byte(i >> 16), byte(i >> 8), byte(i)})
		must(t, r.SaveHostRecord(t.Context(), assess.HostRecord{Session: assess.SMTPFacts{Address: addr}}))
	}
	if len(r.records) > maxRecent {
		t.Errorf("%d addresses", len(r.records))
	}
	large := &assess.TLSFacts{Chain: [][]byte{make([]byte, pkix.MaxChainOctets)}}
	for i := range 2 * maxRecentOctets / pkix.MaxChainOctets {
		addr := netip.AddrFrom4([4]byte{6, byte(i >> 16), byte(i >> 8), byte(i)})
		for range 2 { // what is replaced counts no more
			must(t, r.SaveHostRecord(t.Context(), assess.HostRecord{Session: assess.SMTPFacts{Address: addr, TLS: large}}))
		}
	}
	octets := 0
	for _, records := range r.records {
		octets += octetsOf(records)
	}
	if octets != r.octets || octets > maxRecentOctets {
		t.Errorf("%d octets, counted %d", octets, r.octets)
	}
	for i := range 2 * maxRecentOctets / pkix.MaxChainOctets {
		addr := netip.AddrFrom4([4]byte{7, byte(i >> 16), byte(i >> 8), byte(i)})
		must(t, r.SaveHostRecord(t.Context(), assess.HostRecord{Session: assess.SMTPFacts{Address: addr, Other: &assess.OtherFacts{TLS: large}}}))
	}
	if kept := len(r.records) * pkix.MaxChainOctets; kept > maxRecentOctets {
		t.Errorf("%d octets of other certificates", kept)
	}
	for i := range 2 * maxNamesPerAddress {
		must(t, r.SaveHostRecord(t.Context(), assess.HostRecord{Session: assess.SMTPFacts{Address: somewhere, ServerName: string(rune('a' + i))}}))
	}
	records, err := r.HostRecords(t.Context(), somewhere)
	if err != nil || len(records) != maxNamesPerAddress || records[maxNamesPerAddress-1].Session.ServerName != string(rune('a'+2*maxNamesPerAddress-1)) {
		t.Errorf("%d names, %v", len(records), err)
	}
}

// Names that others have the address of a mail host asked for push its own record out neither
// within the days that it serves nor soon after, whether it was there first or came among them.
func TestMemoryKeepsTheirRecords(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name     string
		attacker func(i int) string
		before   int // names of the attacker's that are there first
		fails    bool
	}{
		{"there first, and any number of organisations", func(i int) string { return fmt.Sprintf("cheap%d.example", i) }, 0, false},
		{"there later, and one organisation", func(int) string { return "attacker.example" }, 2 * maxNamesPerAddress, false},
		{"there later, and nobody answers the others", func(i int) string { return fmt.Sprintf("cheap%d.example", i) }, 2 * maxNamesPerAddress, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			memory, now := NewMemory(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			save := func(name, organisation string, failures int) {
				must(t, memory.SaveHostRecord(t.Context(), assess.HostRecord{
					Session:      assess.SMTPFacts{Address: somewhere, ServerName: name, At: now},
					Organisation: dnsname.Domain(organisation), Failures: failures, NotBefore: now.Add(sessionKeep),
				}))
			}
			failures := 0
			if tt.fails {
				failures = 1
			}
			for i := range tt.before + 63 {
				if i == tt.before {
					save("mx.known.example", "known.example", 0)
				}
				now = now.Add(day / 9)
				save(fmt.Sprintf("mx%d.example", i), tt.attacker(i), failures)
			}
			records, err := memory.HostRecords(t.Context(), somewhere)
			if len(records) != maxNamesPerAddress || err != nil || !slices.ContainsFunc(records, func(r assess.HostRecord) bool { return r.Session.ServerName == "mx.known.example" }) {
				t.Errorf("pushed out; %d records, %v", len(records), err)
			}
		})
	}
}

// What nobody has asked for in a long time makes room.
func TestMemoryForgetsWhatLapsed(t *testing.T) {
	memory, now := NewMemory(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2 * maxNamesPerAddress {
		if i == maxNamesPerAddress {
			now = now.Add(sessionKeep + assess.HostRecordLapse + time.Second)
		}
		must(t, memory.SaveHostRecord(t.Context(), assess.HostRecord{
			Session: assess.SMTPFacts{Address: somewhere, ServerName: fmt.Sprintf("mx%d.example", i), At: now}, NotBefore: now.Add(sessionKeep),
		}))
	}
	records, err := memory.HostRecords(t.Context(), somewhere)
	if err != nil || len(records) != maxNamesPerAddress || records[0].Session.ServerName != fmt.Sprintf("mx%d.example", maxNamesPerAddress) {
		t.Errorf("%d records, the first of %q, %v", len(records), records[0].Session.ServerName, err)
	}
}
