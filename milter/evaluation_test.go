package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// slow is a resolver that takes its time for each answer, and keeps none.
type slow struct {
	zone
	delay time.Duration
}

func (s slow) LookupTXT(ctx context.Context, name string) ([]string, error) {
	select {
	case <-time.After(s.delay):
		return s.zone.LookupTXT(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// deepSPF is world with an SPF record that takes ten lookups, each after the other.
func deepSPF() zone {
	z := maps.Clone(world)
	z["TXT example.org"] = []string{"v=spf1 include:1.example.org -all"}
	for i := range 10 {
		z[fmt.Sprintf("TXT %d.example.org", i+1)] = []string{fmt.Sprintf("v=spf1 include:%d.example.org -all", i+2)}
	}
	z["TXT 10.example.org"] = world["TXT example.org"]
	return z
}

// tired is a resolver that answers one question for a name, and hangs from the second on.
type tired struct {
	zone
	of    string
	asked *atomic.Int64
}

func (r tired) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if name == r.of && r.asked.Add(1) > 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r.zone.LookupTXT(ctx, name)
}

// hung is a store that holds whoever asks until their patience ends.
type hung struct{ *ledger }

func (hung) AddObservation(ctx context.Context, _ assess.Observation) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hung) Standing(ctx context.Context, _ dnsname.Domain) assess.Standing {
	<-ctx.Done()
	return assess.Standing{}
}

// The MTA has its answer in time, whatever hangs; what cannot be told by then is not told.
func TestTimeLimits(t *testing.T) {
	hang := func(names ...string) func(*Config) {
		return func(c *Config) {
			z := maps.Clone(world)
			for _, name := range names {
				z[name] = []string{"HANG"}
			}
			c.Resolver = always(z)
		}
	}
	trust := func(change func(*Config)) func(*Config) {
		return func(c *Config) {
			change(c)
			c.Policy.Authentication, c.Policy.TrustedAuthservIDs = Trust, []string{"mx.earlier.example"}
		}
	}
	const pending, unknown = "domain=example.org; status=pending", "domain=example.org; status=unknown"
	tests := []struct {
		name   string
		change func(*Config)
		pause  time.Duration // between the header and the end of the message
		took   time.Duration
		row    row
		want   string
	}{
		{"nothing hangs", hang(), 0, 0, rowSPFDKIM, pending},
		{"the key", hang("TXT ed._domainkey.example.org"), 0, dnsBudget, rowSPFOnly, pending},
		{"the SPF record", hang("TXT example.org"), 0, dnsBudget, rowRelayed, pending},
		{"the DMARC record", hang("TXT _dmarc.example.org"), 0, dnsBudget, rowSPFDKIM, pending},
		{"all of the DNS", hang("TXT example.org", "TXT _dmarc.example.org", "TXT ed._domainkey.example.org"), 0, dnsBudget, rowIncomplete, unknown},
		{"the DNS, while the body comes", hang("TXT example.org"), time.Minute, 0, rowRelayed, pending},
		{"a slow resolver", func(c *Config) { c.Resolver = always(slow{world, 900 * time.Millisecond}) }, 0, 900 * time.Millisecond, rowSPFDKIM, pending},
		{"trust: nothing hangs", trust(hang()), 0, 0, rowSPFDKIM, pending},
		{"trust: the key", trust(hang("TXT ed._domainkey.example.org")), 0, dnsBudget, rowSPFOnly, pending},
		{"trust: the SPF record", trust(hang("TXT example.org")), 0, dnsBudget, rowRelayed, pending},
		{"trust: the DMARC record", trust(hang("TXT _dmarc.example.org")), 0, dnsBudget, rowSPFDKIM, pending},
		{"an SPF record of many lookups", func(c *Config) { c.Resolver = always(slow{deepSPF(), 600 * time.Millisecond}) }, 0, dnsBudget, rowRelayed, pending},
		{"P-HOST", func(c *Config) {
			z := maps.Clone(world)
			delete(z, "TXT example.org")
			c.Resolver = always(tired{z, "example.org", new(atomic.Int64)})
		}, 0, 0, rowDKIMHost, pending},
		{"the store", func(c *Config) { c.Recorder = hung{} }, 0, endBudget, rowSPFDKIM, pending},
		{"the reputation", func(c *Config) { c.Reputation = hung{} }, 0, endBudget, rowSPFDKIM, pending},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := serveInMemory(t, tt.change)
				c := miltertest.NewClient(ln.dial())
				m := fromExample(t)
				m.Data = append([]byte("Authentication-Results: mx.earlier.example; spf=pass; dkim=pass header.d=example.org\r\n"), m.Data...)
				_, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
				for _, step := range []func() error{
					func() error { return c.Negotiate(miltertest.AllActions, miltertest.AllSteps) },
					func() error { return c.Connect(outbound) },
					func() error { return c.Envelope(outbound, m) },
					func() error { return c.Header(outbound, m) },
					c.Flush,
				} {
					if err := step(); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tt.pause)
				began := time.Now()
				if err := c.Body([]byte(body)); err != nil {
					t.Fatal(err)
				}
				answer, err := c.End(outbound, m)
				if err != nil || answer.Code != 'c' {
					t.Fatalf("%+v, %v", answer, err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("answered after %v, want %v", took, tt.took)
				}
				if got := answer.Inserted(); len(got) != 1 || !strings.HasSuffix(got[0], "; "+tt.want) {
					t.Errorf("inserted %q, want %q", got, tt.want)
				}
				if n := s.Stats().Messages[tt.row.String()]; n != 1 {
					t.Errorf("stats %+v, want row %s", s.Stats(), tt.row)
				}
				c.Quit()
			})
		})
	}
}

// What a long body waited for does not come on top: the limit is for all of a message.
func TestTimeLimitOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ln := serveInMemory(t, func(c *Config) {
			z := maps.Clone(world)
			z["TXT ed._domainkey.example.org"] = []string{"HANG"}
			c.Resolver, c.Recorder = always(z), hung{}
		})
		c := miltertest.NewClient(ln.dial())
		if err := c.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(outbound); err != nil {
			t.Fatal(err)
		}
		m := fromExample(t)
		m.Data = append(m.Data, strings.Repeat(lorem, 2*pieceSize/len(lorem))...)
		began := time.Now()
		if _, err := c.Send(outbound, m); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != endBudget {
			t.Errorf("answered after %v, want %v", took, endBudget)
		}
		c.Quit()
	})
}

// faulty is a resolver with a bug.
type faulty struct {
	zone
	at string
}

func (f faulty) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if name == f.at {
		panic("a bug")
	}
	return f.zone.LookupTXT(ctx, name)
}

// A panic costs what it would have told, and neither the message nor the process.
func TestPanic(t *testing.T) {
	for at, row := range map[string]row{"example.org": rowRelayed, "ed._domainkey.example.org": rowSPFOnly} {
		l := newLab(t, world, func(c *Config) { c.Resolver = always(faulty{world, at}) })
		l.send(t, outbound, fromExample(t))
		for !strings.Contains(l.logged.String(), "a bug") { // which is said last
			runtime.Gosched()
		}
		if s := l.server.Stats(); s.Messages[row.String()] != 1 || s.Panics == 0 {
			t.Errorf("%s: %+v\n%s", at, s, l.logged)
		}
	}
}

// Nor does it make a host a stranger whose proof was asked for.
func TestPanicAtHostProof(t *testing.T) {
	l := newLab(t, sharing, func(c *Config) { c.Resolver = always(faulty{sharing, "quiet.example"}) })
	peer := miltertest.Peer{Addr: netip.MustParseAddr("203.0.113.25"), Name: "mail.quiet.example", HELO: "mail.quiet.example"}
	l.send(t, peer, miltertest.Message{From: "a@else.example", Data: []byte(letter("a@quiet.example"))})
	if s := l.server.Stats(); s.Messages[rowIncomplete.String()] != 1 || s.Panics == 0 {
		t.Errorf("%+v\n%s", s, l.logged)
	}
}

// What go-milter contains costs its session, and with it no more than the message's scores.
func TestPanicAtTheEnd(t *testing.T) {
	l := newLab(t, world, func(c *Config) { c.Reputation = nil })
	log.SetOutput(StandardLog(slog.New(slog.NewTextHandler(l.logged, nil))))
	defer log.SetOutput(os.Stderr)
	for range 10 {
		c := l.dial(t)
		if err := c.Connect(outbound); err != nil {
			t.Fatal(err)
		}
		if answer, err := c.Send(outbound, fromExample(t)); err != io.EOF {
			t.Errorf("%+v, %v", answer, err)
		}
		c.Close()
	}
	if err := l.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(l.logged.String(), "panic handling command: "); n != 10 {
		t.Errorf("%d panics in the log", n)
	}
	if s := l.server.Stats(); s.Sessions != 10 || s.Open > 0 || s.Aborted != 10 {
		t.Errorf("stats %+v", s)
	}
}

// waiting is a resolver that never answers, and knows how many wait.
type waiting struct {
	zone
	asked, ended *atomic.Int64
}

func (w waiting) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	w.asked.Add(1)
	<-ctx.Done()
	w.ended.Add(1)
	return nil, ctx.Err()
}

// A message that is given up takes its lookups along, at once.
func TestAbortEndsLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := waiting{world, &atomic.Int64{}, &atomic.Int64{}}
		_, ln := serveInMemory(t, func(c *Config) { c.Resolver = always(w) })
		c := miltertest.NewClient(ln.dial())
		m := fromExample(t)
		if err := errors.Join(c.Negotiate(miltertest.AllActions, miltertest.AllSteps), c.Connect(outbound), c.Envelope(outbound, m), c.Header(outbound, m), c.Flush()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if err := errors.Join(c.Abort(), c.Flush()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if asked, ended := w.asked.Load(), w.ended.Load(); asked < 2 || ended != asked || time.Since(began) > 0 {
			t.Errorf("%d of %d lookups ended after %v", ended, asked, time.Since(began))
		}
		c.Quit()
	})
}
