package milter

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
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

// hung is a store that holds whoever asks until their patience ends.
type hung struct{ *ledger }

func (hung) AddObservation(ctx context.Context, _ assess.Observation) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hung) Standing(ctx context.Context, _ assess.Domain) assess.Standing {
	<-ctx.Done()
	return assess.Standing{}
}

// The MTA has its answer in time, whatever hangs; what cannot be told by then is not told.
func TestTimeLimits(t *testing.T) {
	hang := func(names ...string) func(*Config) {
		return func(c *Config) {
			z := zone{}
			for name, records := range world {
				z[name] = records
			}
			for _, name := range names {
				z[name] = []string{"HANG"}
			}
			c.Resolver = z
		}
	}
	const pending, unknown = "domain=example.org; status=pending", "domain=example.org; status=unknown"
	tests := []struct {
		name   string
		change func(*Config)
		pause  time.Duration // between the header and the end of the message
		took   time.Duration
		row    int
		want   string
	}{
		{"nothing hangs", hang(), 0, 0, 1, pending},
		{"the key", hang("TXT ed._domainkey.example.org"), 0, dnsBudget, 2, pending},
		{"the SPF record", hang("TXT example.org"), 0, dnsBudget, 3, pending},
		{"the DMARC record", hang("TXT _dmarc.example.org"), 0, dnsBudget + lateBudget, 1, pending},
		{"all of the DNS", hang("TXT example.org", "TXT _dmarc.example.org", "TXT ed._domainkey.example.org"), 0, dnsBudget + lateBudget, 12, unknown},
		{"the DNS, while the body comes", hang("TXT example.org"), time.Minute, 0, 3, pending},
		{"a slow resolver", func(c *Config) { c.Resolver = slow{world, 900 * time.Millisecond} }, 0, 3 * 900 * time.Millisecond, 1, pending},
		{"the store", func(c *Config) { c.Recorder = hung{} }, 0, endBudget, 1, pending},
		{"the reputation", func(c *Config) { c.Reputation = hung{} }, 0, endBudget, 1, pending},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := serveInMemory(t, tt.change)
				c := miltertest.NewClient(ln.dial())
				m := fromExample(t)
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
				if n := s.Stats().Messages[tt.row]; n != 1 {
					t.Errorf("stats %+v, want row %d", s.Stats(), tt.row)
				}
				c.Quit()
			})
		})
	}
}
