package assess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Something on our side makes every domain lose the same at once: what was known stands.
func TestFreeze(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fault    func(*Facts) // what every run finds instead
		frozen   string
		standard Standard
	}{
		{"the resolver lies", func(f *Facts) {
			nothing := Lookup{Status: LookupNXDomain, Security: Insecure}
			f.Hosts, f.SPF.Lookup, f.SPF.Count, f.SPF.Valid = MXFacts{Lookup: nothing}, nothing, 0, Check{}
			f.DMARC, f.MTASTS, f.TLSRPT = DMARCFacts{Lookup: nothing}, MTASTSFacts{Lookup: nothing}, TLSRPTFacts{Lookup: nothing}
		}, "mx spf dmarc mta-sts tls-rpt", SPF},
		{"a middlebox takes STARTTLS out", func(f *Facts) { f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", plain) }, "smtp", StartTLS},
		{"the clock is wrong", func(f *Facts) { f.Hosts.Hosts[0].Sessions[0].TLS.Certificate.Dated = Check{Fail, "expired"} }, "smtp", X509},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, now, broken := newLedger(), testTime, false
			a := testAssessor(t, l, func(_ context.Context, d Domain, _ []Selector) (Facts, error) {
				f := measuredFacts()
				f.Domain, f.At = d, now
				f.Hosts.Hosts[0].Name = "mx." + string(d)
				if broken {
					tt.fault(f)
				}
				return *f, nil
			})
			var log bytes.Buffer
			a.Logger = slog.New(slog.NewTextHandler(&log, nil))
			a.Now = func() time.Time { return now }
			assessed := func(i int) Support {
				t.Helper()
				result, err := a.Assess(t.Context(), Domain(fmt.Sprintf("d%d.example", i)))
				if err != nil {
					t.Fatal(err)
				}
				return result.Verdicts[tt.standard].Support
			}
			for i := range 60 {
				if got := assessed(i); got != SupportYes {
					t.Fatalf("%d: %s before anything happens", i, got)
				}
			}
			broken, now = true, now.AddDate(0, 0, 7)
			for i := range 40 {
				want := SupportYes
				if i < driftFreeze-1 {
					want = SupportNo // it may still be theirs
				}
				if got := assessed(i); got != want {
					t.Errorf("%d: %s, want %s", i, got, want)
				}
			}
			if got := strings.Join(a.Frozen(), " "); got != tt.frozen {
				t.Errorf("frozen: %q, want %q", got, tt.frozen)
			}
			if _, err := a.Assess(t.Context(), "new.example"); !errors.Is(err, ErrNothingMeasured) {
				t.Errorf("a domain of which nothing was known: %v", err)
			}
			if got := assessed(39); got != SupportYes {
				t.Errorf("asked again: %s", got)
			}

			broken, now = false, now.Add(6*time.Hour)
			for i := range 40 {
				if got := assessed(20 + i); got != SupportYes {
					t.Errorf("%d: %s when it is over", 20+i, got)
				}
			}
			if got := a.Frozen(); len(got) > 0 {
				t.Errorf("still frozen: %q", got)
			}
			if n := strings.Count(log.String(), "everybody loses the same at once"); n != strings.Count(tt.frozen, " ")+1 {
				t.Errorf("the log says so %d times", n)
			}
		})
	}
}

// A thousand domains on one provider's hosts lose their TLS with it: that is the provider's.
func TestFreezeCountsProvidersOnce(t *testing.T) {
	a := testAssessor(t, newLedger(), nil)
	broken := false
	a.Prober = proberFunc(func(_ context.Context, d Domain, _ []Selector) (Facts, error) {
		f := measuredFacts()
		f.Domain = d
		if broken {
			f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", plain)
		}
		return *f, nil
	})
	for _, broken = range []bool{false, true} {
		for i := range 40 {
			if _, err := a.Assess(t.Context(), Domain(fmt.Sprintf("d%d.example", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if frozen := a.Frozen(); len(frozen) > 0 {
		t.Errorf("frozen: %q", frozen)
	}
}
