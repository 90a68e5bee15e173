package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

// call is one connection to a mail host.
type call struct {
	address      string
	began, ended time.Time
}

// world is an internet of pipes in a bubble of virtual time, and one database. Processes come
// and go in it: real store, queue, budgets and prober.
type world struct {
	t    *testing.T
	dns  *probetest.DNS
	path string
	host func(address string) probetest.SMTPConfig

	mu      sync.Mutex
	calls   []*call
	talking sync.WaitGroup
}

// timed is a connection that notes when it is closed.
type timed struct {
	net.Conn
	world *world
	call  *call
}

func (c timed) Close() error {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	if c.call.ended.IsZero() {
		c.call.ended = time.Now()
	}
	return c.Conn.Close()
}

func (w *world) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "25" {
		return nil, fmt.Errorf("nobody is at %s", address)
	}
	client, server := net.Pipe()
	w.talking.Go(func() { probetest.UnstartedSMTP(w.host(host)).Serve(server) })
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &call{address: host, began: time.Now()}
	w.calls = append(w.calls, c)
	return timed{client, w, c}, nil
}

// to are the connections to one address.
func (w *world) to(address string) (calls []call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.address == address {
			calls = append(calls, *c)
		}
	}
	return calls
}

// process runs until it is stopped, as the daemon of the default configuration would.
func (w *world) process(roots *probetest.CA) (s *store.Store, stop func()) {
	w.t.Helper()
	check := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(w.t.Context(), w.path, store.Options{Logger: quiet})
	check(err)
	r, err := resolver.New(resolver.Config{Servers: []string{w.dns.Addr()}})
	check(err)
	limits := config.Default().Limits()
	limits.QueriesPerSecond = probe.BulkLimits().QueriesPerSecond // what waits in a sync.Once would stop the clock of the bubble
	prober, err := probe.NewRunner(probe.Env{
		Resolver: r, Dialer: &probe.Dialer{Dial: w.dial}, Roots: roots.Roots(), EHLO: "probe.example", Memory: s, Limits: limits,
	})
	check(err)
	profile, err := assess.LoadProfile("mecsa-2018")
	check(err)
	queue := &assess.Queue{
		Assessor: &assess.Assessor{Prober: prober, Repository: s, Profile: profile}, Agenda: s, Schedule: config.Default().Schedule(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { queue.Run(ctx); close(ended) }()
	return s, func() {
		cancel()
		<-ended
		check(s.Close())
	}
}

// TestTarpits has 1,000 tarpits that take all the time there is, known to a daemon that is
// restarted while it is at them. A provider that has answered before is asked within the minute
// of its random delay, a new one once one of the runs with tarpits has ended; each tarpit costs
// one connection of 45 s, and no budget is forgotten.
func TestTarpits(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	for _, tt := range []struct {
		name               string
		domains, underRace int // the latter still there when the honest ones come
		addresses          int // of each domain
		patience           time.Duration
	}{
		{"an address each", 1000, 300, 1, 45 * time.Second},
		{"five addresses each", 200, 100, 5, assess.MaxRun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if underRace {
				tt.domains = tt.underRace
			}
			meetTarpits(t, tt.domains, tt.addresses, tt.patience)
		})
	}
}

// meetTarpits has so many domains, each with mail hosts at so many addresses that nobody shares.
func meetTarpits(t *testing.T, tarpits, addresses int, patience time.Duration) {
	const known, fresh = "9.1.1.25", "9.1.2.25"
	ca, err := probetest.NewCA(probetest.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue(probetest.Leaf{Names: []string{"mx.known.example", "mx.fresh.example"}})
	if err != nil {
		t.Fatal(err)
	}
	honest := probetest.SMTPConfig{Certificates: []tls.Certificate{certificate}}
	tarpit := honest
	tarpit.Steps = map[string]probetest.Step{
		"greeting": probetest.After(14*time.Second, probetest.Say("220 mx")),
		"EHLO":     probetest.After(9*time.Second, probetest.Say("250-mx", "250 STARTTLS")),
		"STARTTLS": probetest.After(9*time.Second, probetest.HandshakeWith(&tls.Config{Certificates: honest.Certificates, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			time.Sleep(9 * time.Second)
			return nil, nil
		}})),
		"TLS EHLO": probetest.Silence,
	}
	trap := func(i int) string { return netip.AddrFrom4([4]byte{5, byte(i >> 8), byte(i), 25}).String() }
	zones := []probetest.Zone{
		{Name: "known.example", Records: "@ MX 10 mx\nmx A " + known}, {Name: "fresh.example", Records: "@ MX 10 mx\nmx A " + fresh},
	}
	for i := range tarpits {
		records := "@ MX 10 mx"
		for j := range addresses {
			records += "\nmx A " + trap(i*addresses+j)
		}
		zones = append(zones, probetest.Zone{Name: fmt.Sprintf("t%d.example", i), Records: records})
	}
	dns, err := probetest.NewDNS(probetest.DNSConfig{Zones: zones})
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	path := filepath.Join(inMemory(t), "peerscore.db")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dns: dns, path: path, host: func(address string) probetest.SMTPConfig {
			if strings.HasPrefix(address, "9.") {
				return honest
			}
			return tarpit
		}}
		defer w.talking.Wait()
		s, stop := w.process(ca)
		learn := func(domain dnsname.Domain) {
			if err := s.Learn(t.Context(), domain); err != nil {
				t.Error(err)
			}
		}
		learn("known.example")
		time.Sleep(5 * time.Minute)
		offered := time.Now().Add(7*config.Day + 30*time.Minute)
		if err := s.Postpone(t.Context(), "known.example", offered); err != nil {
			t.Error(err)
		}
		time.Sleep(7 * config.Day)
		for i := range tarpits {
			learn(dnsname.Domain(fmt.Sprintf("t%d.example", i)))
		}
		began := time.Now()
		time.Sleep(20 * time.Minute)
		stop()
		s, stop = w.process(ca)
		time.Sleep(10 * time.Minute)
		learn("fresh.example")
		time.Sleep(22 * time.Hour)
		stop()

		schedule, limits := config.Default().Schedule(), config.Default().Limits()
		for address, patience := range map[string]time.Duration{known: 0, fresh: patience} {
			calls := w.to(address)
			if len(calls) == 0 {
				t.Errorf("%s was never asked", address)
				continue
			}
			last := calls[len(calls)-1]
			waited := last.began.Sub(offered)
			if waited < schedule.MinDelay || waited > schedule.Poll+schedule.MaxDelay+patience+5*time.Second {
				t.Errorf("%s was asked after %s", address, waited)
			}
			t.Logf("%s was asked after %s", address, waited)
		}
		asked, longest, last := 0, time.Duration(0), time.Duration(0)
		var traps []call
		for i := range tarpits * addresses {
			calls := w.to(trap(i))
			asked += min(len(calls), 1)
			traps = append(traps, calls...)
			if len(calls) > 1 {
				t.Errorf("tarpit %d was asked %d times within a day", i, len(calls))
			}
			for _, c := range calls {
				longest, last = max(longest, c.ended.Sub(c.began)), max(last, c.ended.Sub(began))
			}
		}
		atOnce, minute := busiest(traps), busiestMinute(w.calls)
		if longest < 44*time.Second || longest > 45*time.Second {
			t.Errorf("a tarpit took %s", longest)
		}
		// What is not asked in time waits for the domain's next run.
		if asked < tarpits || atOnce > limits.AtOnce-limits.Reserved || minute > limits.ProbesPerMinute {
			t.Errorf("%d tarpits asked, %d at once, %d dialogues within a minute", asked, atOnce, minute)
		}
		t.Logf("%d tarpits, the longest %s, all over after %s; %d at once, %d dialogues within a minute", asked, longest, last.Round(time.Second), atOnce, minute)
	})
}

// busiest is how many connections there were at the same time.
func busiest(calls []call) (most int) {
	for _, c := range calls {
		n := 0
		for _, other := range calls {
			if !other.began.After(c.began) && other.ended.After(c.began) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// busiestMinute is how many connections began within one minute.
func busiestMinute(calls []*call) (most int) {
	starts := make([]time.Time, len(calls))
	for i, c := range calls {
		starts[i] = c.began
	}
	slices.SortFunc(starts, time.Time.Compare)
	for i := range starts {
		n, _ := slices.BinarySearchFunc(starts, starts[i].Add(time.Minute), time.Time.Compare)
		most = max(most, n-i)
	}
	return most
}
