package assess

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/assess/dnsname"
)

// proberFunc is a prober without a network.
type proberFunc func(ctx context.Context, d dnsname.Domain, selectors []Selector) (Facts, error)

func (f proberFunc) Probe(ctx context.Context, d dnsname.Domain, selectors []Selector) (Facts, error) {
	return f(ctx, d, selectors)
}

// ledger is a repository and agenda in memory.
type ledger struct {
	mu       sync.Mutex
	broken   error // returned by every method, when set
	evidence map[dnsname.Domain]Evidence
	saved    []Assessment
	due      map[dnsname.Domain]time.Time
	begun    map[dnsname.Domain]time.Time
}

func newLedger() *ledger {
	return &ledger{evidence: map[dnsname.Domain]Evidence{}, due: map[dnsname.Domain]time.Time{}, begun: map[dnsname.Domain]time.Time{}}
}

func (l *ledger) Evidence(_ context.Context, d dnsname.Domain, _ time.Time, _ time.Duration) (Evidence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evidence[d], l.broken
}

func (l *ledger) SaveAssessment(_ context.Context, a Assessment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.saved = append(l.saved, a)
		if a.Evidence.Since.IsZero() {
			a.Evidence.Since = a.At
		}
		l.evidence[a.Domain] = a.Evidence
	}
	return l.broken
}

func (l *ledger) Due(_ context.Context, now time.Time, limit int) ([]dnsname.Domain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []dnsname.Domain
	for d, at := range l.due {
		if !at.After(now) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b dnsname.Domain) int { return l.due[a].Compare(l.due[b]) })
	kinds := [2]int{}
	due = slices.DeleteFunc(due, func(d dnsname.Domain) bool {
		kind := 0
		if f := l.evidence[d].Facts; f != nil && f.reached() {
			kind = 1
		}
		kinds[kind]++
		return kinds[kind] > limit/2
	})
	return due, l.broken
}

func (l *ledger) Begin(_ context.Context, d dnsname.Domain, now time.Time, interval time.Duration) (dnsname.Domain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	organisation := d.Organisational()
	if at, ok := l.begun[organisation]; ok && now.Sub(at) < interval || l.broken != nil {
		return "", l.broken
	}
	l.begun[organisation] = now
	if due, ok := l.due[organisation]; ok && !due.After(now) {
		return organisation, nil
	}
	return d, nil
}

func (l *ledger) Postpone(_ context.Context, d dnsname.Domain, due time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due[d] = due
	return l.broken
}

func testAssessor(t testing.TB, l *ledger, prober proberFunc) *Assessor {
	t.Helper()
	profile, err := LoadProfile("mecsa-2018")
	if err != nil {
		t.Fatal(err)
	}
	return &Assessor{Prober: prober, Repository: l, Profile: profile, Now: func() time.Time { return testTime }}
}

// finds is a prober that finds the same at every domain.
func finds(f *Facts) proberFunc {
	return func(_ context.Context, d dnsname.Domain, _ []Selector) (Facts, error) {
		found := *f
		found.Domain = d
		return found, nil
	}
}

func TestAssess(t *testing.T) {
	l := newLedger()
	selectors := []Selector{{Domain: "example.org", Name: "s1"}}
	l.evidence["example.org"] = Evidence{Tally: Tally{Hosts: []HostTally{sender("198.51.100.1", good, good, good)}, Selectors: selectors}}
	var asked []Selector
	a := testAssessor(t, l, func(_ context.Context, _ dnsname.Domain, s []Selector) (Facts, error) {
		asked = s
		return *measuredFacts(), nil
	})
	var log bytes.Buffer
	a.Logger = slog.New(slog.NewTextHandler(&log, nil))
	got, err := a.Assess(t.Context(), "example.org")
	if err != nil || got.Status != StatusScored || got.Evidence.Basis() != BasisProbeSessions || got.Verdicts[DKIM].Estimate {
		t.Fatalf("%+v, %v", got, err)
	}
	if !slices.Equal(asked, selectors) {
		t.Errorf("the prober was asked for the selectors %v", asked)
	}
	if len(l.saved) != 1 || l.saved[0].Domain != "example.org" {
		t.Errorf("saved %+v", l.saved)
	}
	if !strings.Contains(log.String(), "domain=example.org status=scored took=0s confidentiality=4") {
		t.Errorf("log %q", &log)
	}
	current, err := a.Current(t.Context(), "example.org")
	if err != nil || current.Status != StatusScored {
		t.Errorf("Current: %+v, %v", current, err)
	}
	if _, err := a.Measure(t.Context(), "example.net"); err != nil || len(l.saved) != 1 {
		t.Errorf("Measure saved, or failed: %v", err)
	}
	if current, err := a.Current(t.Context(), "example.net"); err != nil || current.Status != StatusPending {
		t.Errorf("Current of a domain that was not assessed: %s, %v", current.Status, err)
	}
}

// A run that learned nothing at all changes nothing, until what was known is too old.
func TestNothingMeasured(t *testing.T) {
	for _, tt := range []struct {
		name   string
		age    time.Duration // of the older facts; 0 for none, negative where the clock was ahead
		err    error
		saved  int
		status Status
	}{
		{"never measured before", 0, nil, 1, StatusUnknown},
		{"measured a week ago", 7 * 24 * time.Hour, ErrNothingMeasured, 0, StatusScored},
		{"measured long ago", KeepFor + time.Second, nil, 1, StatusUnknown},
		{"measured by a clock ahead", -7 * 24 * time.Hour, ErrNothingMeasured, 0, StatusScored},
		{"measured by a clock far ahead", -KeepFor - time.Second, nil, 1, StatusUnknown},
	} {
		l := newLedger()
		if tt.age != 0 {
			before := measuredFacts().with(func(f *Facts) {
				f.At = testTime.Add(-tt.age)
				f.Hosts.Hosts[0].Sessions[0].At = f.At
			})
			l.evidence["example.org"] = Evidence{Facts: before}
		}
		a := testAssessor(t, l, finds(blackout(failed())))
		got, err := a.Assess(t.Context(), "example.org")
		if !errors.Is(err, tt.err) || len(l.saved) != tt.saved || got.Status != tt.status {
			t.Errorf("%s: %s, %v, %d saved", tt.name, got.Status, err, len(l.saved))
		}
	}
}

// Port 25 blocked for us: DNS is new, what was known of SMTP stands, and the stars with it.
func TestPort25Blocked(t *testing.T) {
	l := newLedger()
	l.evidence["example.org"] = Evidence{Facts: measuredFacts()}
	later := measuredFacts().with(func(f *Facts) { f.At = testTime.AddDate(0, 0, 7); f.SPF = SPFFacts{Lookup: denied("TXT")} })
	blockedWithMatch(later)
	a := testAssessor(t, l, finds(later))
	got, err := a.Assess(t.Context(), "example.org")
	if err != nil || got.Verdicts[StartTLS].Support != SupportYes || got.Verdicts[SPF].Support != SupportNo || got.Scores[Confidentiality].Partial {
		t.Errorf("%v, StartTLS %s, SPF %s, %+v", err, got.Verdicts[StartTLS].Support, got.Verdicts[SPF].Support, got.Scores[Confidentiality])
	}
	if kept := got.Evidence.Facts.Kept; len(kept) != 2 {
		t.Errorf("kept %+v", kept)
	}
}

func TestAssessRefuses(t *testing.T) {
	l := newLedger()
	a := testAssessor(t, l, func(context.Context, dnsname.Domain, []Selector) (Facts, error) {
		t.Error("the prober was asked")
		return Facts{}, nil
	})
	a.Deny = []dnsname.Domain{"denied.example"}
	for _, d := range []dnsname.Domain{"co.uk", "github.io", "a.local", "denied.example", "mail.denied.example"} {
		if _, err := a.Assess(t.Context(), d); !errors.Is(err, ErrNotPeer) {
			t.Errorf("%s: %v", d, err)
		}
	}
	if err := a.Eligible("notdenied.example"); err != nil {
		t.Error(err)
	}
}

// Our own faults are errors, and never saved.
func TestAssessErrors(t *testing.T) {
	ours := errors.New("ours")
	l := newLedger()
	a := testAssessor(t, l, func(context.Context, dnsname.Domain, []Selector) (Facts, error) { return Facts{}, ours })
	if _, err := a.Assess(t.Context(), "example.org"); !errors.Is(err, ours) {
		t.Errorf("of the prober: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.Prober = proberFunc(func(context.Context, dnsname.Domain, []Selector) (Facts, error) {
		cancel()
		return *blackout(failed()), nil
	})
	if _, err := a.Assess(ctx, "example.org"); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
	l.broken = ours
	a.Prober = finds(measuredFacts())
	if _, err := a.Assess(t.Context(), "example.org"); !errors.Is(err, ours) {
		t.Errorf("of the repository: %v", err)
	}
	if _, err := a.Current(t.Context(), "example.org"); !errors.Is(err, ours) {
		t.Errorf("of the repository: %v", err)
	}
	if len(l.saved) > 0 {
		t.Errorf("saved %+v", l.saved)
	}
}
