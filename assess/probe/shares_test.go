package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
)

// crowd are runs of many organisations at one gate.
type crowd struct {
	*gate
	shows func(name string) ended
	asked int
}

// visit reports whether it is known afterwards how the server speaks TLS.
func (c *crowd) visit(addr, name, organisation string) bool {
	asked := false
	v := visit{addr: netip.MustParseAddr(addr), name: name, organisation: dnsname.Domain(organisation)}
	facts := c.session(context.Background(), v, func(context.Context, again) (assess.SMTPFacts, error) {
		asked = true
		f := assess.SMTPFacts{Address: v.addr, ServerName: name, At: time.Now().UTC()}
		c.shows(name)(&f)
		return f, nil
	})
	if asked {
		c.asked++
	}
	return asked || facts.Outcome == assess.TLSEstablished
}

// Whatever the neighbours of a network do, those who own an address in it are asked: a provider
// that has answered before, and one that nobody has heard of.
func TestSharesOfNetwork(t *testing.T) {
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	one, err := ca.Issue(probetest.Leaf{Names: []string{"mx.hoster.example"}})
	must(t, err)
	each := func(name string) ended { // a server that goes by the name
		return answered(tls.Certificate{Certificate: [][]byte{[]byte(name)}})
	}
	for _, tt := range []struct {
		name                 string
		organisations, names int
		addr                 func(i int) string
		shows                func(name string) ended
		most                 int // dialogues with the network on a day
		days                 int
	}{
		{name: "eight domains, five names each, one address, one leaf", organisations: 8, names: 5, most: 20,
			addr: func(int) string { return "5.0.0.1" }, shows: func(string) ended { return answered(one) }, days: 1},
		{name: "the same with a leaf for each name", organisations: 8, names: 5, most: 20,
			addr: func(int) string { return "5.0.0.1" }, shows: each, days: 1},
		{name: "a hundred cheap organisations, one address", organisations: 100, names: 5, most: 20,
			addr: func(int) string { return "5.0.0.1" }, shows: each, days: 3},
		{name: "one that owns five addresses", organisations: 1, names: 25, most: 20,
			addr: func(i int) string { return fmt.Sprintf("5.0.0.%d", 1+i%5) }, shows: each, days: 3},
		{name: "a hundred that own five", organisations: 100, names: 5, most: 30,
			addr: func(i int) string { return fmt.Sprintf("5.0.0.%d", 1+i%5) }, shows: each, days: 3},
		{name: "a hundred tarpits in one /64", organisations: 100, names: 5, most: 20,
			addr: func(i int) string { return fmt.Sprintf("2a01:1:2::%x", 1+i) }, shows: func(string) ended { return stuck(assess.StageGreeting, assess.ReasonSMTPTimeout) }, days: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := DefaultLimits()
				limits.ProbesPerMinute = 30_000
				memory := NewMemory()
				c := &crowd{gate: newGate(memory, limits), shows: tt.shows}
				victim, known := "5.0.0.200", "5.0.0.201"
				if strings.Contains(tt.addr(0), ":") {
					victim, known = "2a01:1:2:200::1", "2a01:1:2:201::1"
				}
				if !c.visit(known, "mx.known.example", "known.example") {
					t.Fatal("nobody is asked")
				}
				time.Sleep(sessionKeep + 12*time.Hour) // from midnight on everybody comes, the attackers first
				for day := range tt.days {
					c.gate, c.asked = newGate(memory, limits), 0 // a restart forgets nothing
					for i := range tt.organisations * tt.names {
						org := fmt.Sprintf("cheap%d-%d.example", i%tt.organisations, day)
						c.visit(tt.addr(i), fmt.Sprintf("mx%d.%s", i/tt.organisations, org), org)
						if i == 10 {
							c.gate = newGate(memory, limits)
						}
					}
					if c.asked > tt.most {
						t.Errorf("day %d: the attackers have %d dialogues", day, c.asked)
					}
					if day == 0 && !c.visit(known, "mx.known.example", "known.example") {
						t.Error("a provider that has answered before is not asked")
					}
					if !c.visit(victim, fmt.Sprintf("mx%d.victim.example", day), "victim.example") {
						t.Errorf("day %d: a newcomer at an address of its own is not asked", day)
					}
					time.Sleep(24 * time.Hour)
				}
			})
		})
	}
}

// A provider that shares its address with whoever points names at it, and whose server has a
// certificate for each customer, is asked again all the same.
func TestSharesOfAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		limits.ProbesPerMinute = 30_000
		c := &crowd{gate: newGate(NewMemory(), limits), shows: func(name string) ended {
			return answered(tls.Certificate{Certificate: [][]byte{[]byte(name)}})
		}}
		if !c.visit("5.0.0.1", "mx.known.example", "known.example") {
			t.Fatal("nobody is asked")
		}
		time.Sleep(sessionKeep + 12*time.Hour)
		for i := range 100 {
			org := fmt.Sprintf("cheap%d.example", i%20)
			c.visit("5.0.0.1", fmt.Sprintf("mx%d.%s", i/20, org), org)
		}
		if !c.visit("5.0.0.1", "mx.known.example", "known.example") {
			t.Error("a provider that has answered before is not asked")
		}
	})
}

// Whoever points the policy hosts of any number of domains at a web server that is not theirs
// makes so many connections to its network on a day and no more, restarts or not.
func TestSharesOfWebServers(t *testing.T) {
	dns := zoneServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, dns)
		defer s.talking.Wait()
		s.env.Memory, s.env.Limits.Foreign, s.env.Limits.NetworkPerDay = NewMemory(), true, 2
		for i := range 15 {
			domain := fmt.Sprintf("w%d.example", i)
			s.zone(domain, "@ MX 0 .\n_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 5.6.7.43")
			facts, _ := s.probe(s.runner(), domain)
			fetched := facts.MTASTS.Fetched
			if late := strings.Contains(fetched.Detail, "10 connections to the web servers of 5.6.7.0/24 in a day; next at "); late != (i >= 10) || fetched.Result != assess.Unknown {
				t.Errorf("domain %d: %+v", i, fetched)
			}
		}
		if calls := s.calls("5.6.7.43:443"); calls != 10 {
			t.Errorf("%d connections", calls)
		}
	})
}
