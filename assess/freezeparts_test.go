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

	"peerscore/assess/dnsname"
)

// Something on our side makes every domain lose the same at once: what was known stands.
func TestFreezeParts(t *testing.T) {
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
		{"the clock is wrong", func(f *Facts) {
			f.Hosts.Hosts[0].Sessions[0].TLS.Certificate.Dated = Check{Result: Fail, Detail: "expired"}
		}, "smtp", X509},
	} {
		for _, bulk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bulk %t", tt.name, bulk), func(t *testing.T) { testFreeze(t, bulk, tt.fault, tt.frozen, tt.standard) })
		}
	}
}

func testFreeze(t *testing.T, bulk bool, fault func(*Facts), frozen string, standard Standard) {
	l, now, broken, interval := newLedger(), testTime, false, 10*time.Minute
	if bulk {
		interval = 10 * time.Millisecond
	}
	a := testAssessor(t, l, func(_ context.Context, d dnsname.Domain, _ []Selector) (Facts, error) {
		f := measuredFacts()
		f.Domain, f.At = d, now
		f.Hosts.Hosts[0].Name = "mx." + string(d)
		if broken {
			fault(f)
		}
		return *f, nil
	})
	var log bytes.Buffer
	a.Logger, a.Bulk = slog.New(slog.NewTextHandler(&log, nil)), bulk
	a.Now = func() time.Time { return now }
	assessed := func(i int) Support {
		t.Helper()
		now = now.Add(interval)
		result, err := a.Assess(t.Context(), dnsname.Domain(fmt.Sprintf("d%d.example", i)))
		if err != nil {
			t.Fatal(err)
		}
		return result.Verdicts[standard].Support
	}
	for i := range 60 {
		l.evidence[dnsname.Domain(fmt.Sprintf("d%d.example", i))] = Evidence{Tally: tallyOf(sender(fmt.Sprintf("198.51.%d.1", i), good, good, good))}
		if got := assessed(i); got != SupportYes {
			t.Fatalf("%d: %s before anything happens", i, got)
		}
	}
	broken, now = true, now.AddDate(0, 0, 8)
	for i := range 40 {
		want := SupportYes
		if i < freezeFailed-1 {
			want = SupportNo // it may still be theirs
		}
		if got := assessed(i); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	if got := strings.Join(a.Frozen(), " "); got != frozen {
		t.Errorf("frozen: %q, want %q", got, frozen)
	}
	if _, err := a.Assess(t.Context(), "new.example"); !errors.Is(err, ErrNothingMeasured) {
		t.Errorf("a domain of which nothing was known: %v", err)
	}
	if got := assessed(39); got != SupportYes {
		t.Errorf("asked again: %s", got)
	}

	broken, now = false, now.Add(6*time.Hour)
	for i := range 40 {
		if over := len(a.Frozen()) == 0; over != (i >= freezePassed) {
			t.Errorf("after %d that pass: over %t", i, over)
		}
		if got := assessed(20 + i); got != SupportYes {
			t.Errorf("%d: %s when it is over", 20+i, got)
		}
	}
	if n := strings.Count(log.String(), "everybody loses the same at once"); n != strings.Count(frozen, " ")+1 {
		t.Errorf("the log says so %d times", n)
	}
}

// Domains that became known within the week lose what they like.
func TestFreezeIgnoresNewcomers(t *testing.T) {
	l, now, broken := newLedger(), testTime, false
	a := testAssessor(t, l, func(_ context.Context, d dnsname.Domain, _ []Selector) (Facts, error) {
		f := measuredFacts()
		f.Domain, f.At = d, now
		if broken {
			f.SPF = SPFFacts{Lookup: Lookup{Status: LookupNoData}}
		}
		return *f, nil
	})
	a.Now = func() time.Time { return now }
	for _, broken = range []bool{false, true} {
		for i := range 40 {
			now = now.Add(10 * time.Minute)
			d := dnsname.Domain(fmt.Sprintf("d%d.example", i))
			if !broken {
				l.evidence[d] = Evidence{Tally: tallyOf(sender(fmt.Sprintf("198.51.%d.1", i), good, good, good))}
			}
			if _, err := a.Assess(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		now = now.AddDate(0, 0, 6)
	}
	if frozen := a.Frozen(); len(frozen) > 0 {
		t.Errorf("frozen: %q", frozen)
	}
}

// A thousand domains on one provider's hosts lose their TLS with it: that is the provider's.
func TestFreezeCountsProvidersOnce(t *testing.T) {
	a := testAssessor(t, newLedger(), nil)
	broken := false
	a.Prober = proberFunc(func(_ context.Context, d dnsname.Domain, _ []Selector) (Facts, error) {
		f := measuredFacts()
		f.Domain = d
		if broken {
			f.Hosts.Hosts[0].Sessions[0] = dialogue("192.0.2.1", plain)
		}
		return *f, nil
	})
	for _, broken = range []bool{false, true} {
		for i := range 40 {
			if _, err := a.Assess(t.Context(), dnsname.Domain(fmt.Sprintf("d%d.example", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if frozen := a.Frozen(); len(frozen) > 0 {
		t.Errorf("frozen: %q", frozen)
	}
}
