package store

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

func due(t *testing.T, s *Store, now time.Time, limit int) []dnsname.Domain {
	t.Helper()
	d, err := s.Due(t.Context(), now, limit)
	check(t, err)
	return d
}

func TestDue(t *testing.T) {
	s := open(t, Options{})
	check(t, s.Learn(t.Context(), "learned.example"))
	check(t, s.Learn(t.Context(), "learned.example"))
	addAll(t, s, observe("seen.example", "192.0.2.1", at(noon.Add(-time.Second))))
	check(t, s.SaveAssessment(t.Context(), assessed("assessed.example", noon)))
	if got, want := due(t, s, noon, 10), []dnsname.Domain{"seen.example", "learned.example"}; !slices.Equal(got, want) {
		t.Errorf("due %v, want %v", got, want)
	}
	check(t, s.Postpone(t.Context(), "seen.example", noon.Add(time.Hour)))
	check(t, s.Postpone(t.Context(), "assessed.example", noon.Add(2*time.Hour)))
	check(t, s.Postpone(t.Context(), "unknown.example", noon))
	addAll(t, s, observe("seen.example", "192.0.2.1")) // does not make it due
	check(t, s.SaveAssessment(t.Context(), assessed("seen.example", noon)))
	for _, c := range []struct {
		after time.Duration
		limit int
		want  []dnsname.Domain
	}{
		{0, 10, []dnsname.Domain{"learned.example"}},
		{time.Hour, 10, []dnsname.Domain{"learned.example", "seen.example"}},
		{2 * time.Hour, 10, []dnsname.Domain{"learned.example", "seen.example", "assessed.example"}},
		{2 * time.Hour, 2, []dnsname.Domain{"learned.example", "seen.example"}}, // one of each kind
	} {
		if got := due(t, s, noon.Add(c.after), c.limit); !slices.Equal(got, c.want) {
			t.Errorf("due after %s: %v, want %v", c.after, got, c.want)
		}
	}
}

// What answered before has half of what is due, however many others are more overdue.
func TestDueInHalves(t *testing.T) {
	s := open(t, Options{})
	for i := range 20 {
		check(t, s.Learn(t.Context(), dnsname.Domain(fmt.Sprintf("tarpit%d.example", i))))
	}
	for i := range 3 {
		d := dnsname.Domain(fmt.Sprintf("known%d.example", i))
		check(t, s.SaveAssessment(t.Context(), assessed(d, noon)))
		check(t, s.Postpone(t.Context(), d, noon.Add(time.Hour)))
	}
	silent := assessed("silent.example", noon, func(f *assess.Facts) { f.Hosts.Hosts[0].Sessions = nil })
	check(t, s.SaveAssessment(t.Context(), silent))
	check(t, s.Postpone(t.Context(), "silent.example", noon.Add(-time.Hour)))
	got := due(t, s, noon.Add(day), 10)
	known := 0
	for _, d := range got {
		if strings.HasPrefix(string(d), "known") {
			known++
		}
	}
	if len(got) != 8 || known != 3 || got[0] != "silent.example" {
		t.Errorf("due: %v", got)
	}
}

// The run is the organisational domain's where that is due.
func TestBeginForOrganisation(t *testing.T) {
	s := open(t, Options{})
	check(t, s.Learn(t.Context(), "a.example"))
	check(t, s.Postpone(t.Context(), "a.example", noon.Add(day)))
	for _, c := range []struct {
		domain dnsname.Domain
		after  time.Duration
		want   dnsname.Domain
	}{{"sub.a.example", 0, "sub.a.example"}, {"sub.a.example", 23 * time.Hour, ""}, {"sub.a.example", day, "a.example"}, {"sub.b.example", day, "sub.b.example"}} {
		if got, err := s.Begin(t.Context(), c.domain, noon.Add(c.after), day); got != c.want || err != nil {
			t.Errorf("%s after %s: %q, want %q (%v)", c.domain, c.after, got, c.want, err)
		}
	}
}

func TestBegin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	for _, c := range []struct {
		organisation dnsname.Domain
		after        time.Duration
		want         bool
	}{
		{"a.example", 0, true},
		{"a.example", 0, false},
		{"b.example", 0, true},
		{"a.example", 23 * time.Hour, false},
		{"a.example", 24 * time.Hour, true},
		{"a.example", 25 * time.Hour, false},
		{"a.example", -time.Hour, true}, // the clock was wrong before
	} {
		s := openPath(t, path, Options{}) // each after a restart
		got, err := s.Begin(t.Context(), c.organisation, noon.Add(c.after), day)
		check(t, err)
		check(t, s.Close())
		if (got == c.organisation) != c.want {
			t.Errorf("%s after %s: %v, want %v", c.organisation, c.after, got, c.want)
		}
	}
}

func TestHostRecords(t *testing.T) {
	now := newClock(noon)
	s := open(t, Options{Now: now.now, Limits: Limits{ServerNames: 3}})
	var want []assess.HostRecord
	for i := range 5 {
		now.set(noon.Add(time.Duration(i) * time.Minute))
		r := assess.HostRecord{Session: facts("a.example", now.now()).Hosts.Hosts[0].Sessions[0], Organisation: "a.example", Failures: i, NotBefore: noon.Add(time.Duration(i) * time.Hour)}
		r.Session.ServerName = fmt.Sprintf("mx%d.a.example", i)
		check(t, s.SaveHostRecord(t.Context(), r))
		want = append([]assess.HostRecord{r}, want...)
	}
	now.set(noon.Add(time.Hour))
	want[2].Failures, want[2].NotBefore = 0, time.Time{} // it makes room for itself again
	check(t, s.SaveHostRecord(t.Context(), want[2]))
	want = []assess.HostRecord{want[2], want[0], want[4]} // of the others, the last and the one that answered
	got, err := s.HostRecords(t.Context(), netip.MustParseAddr("192.0.2.25"))
	check(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if other, err := s.HostRecords(t.Context(), netip.MustParseAddr("192.0.2.26")); len(other) > 0 || err != nil {
		t.Errorf("another address has %v (%v)", other, err)
	}
}

// Names that others have an address asked for push no record out that was there before, nor one
// organisation's that of another, nor those that fail one that answered; what lapsed goes first.
func TestHostRecordsAreKept(t *testing.T) {
	any := func(i int) dnsname.Domain { return dnsname.Domain(fmt.Sprintf("cheap%d.example", i)) }
	one := func(int) dnsname.Domain { return "attacker.example" }
	for _, c := range []struct {
		name     string
		attacker func(i int) dnsname.Domain
		before   int // names of the attacker's that are there first
		failures int
		later    time.Duration // that the known name is asked after those
		want     bool
	}{
		{"there first", any, 0, 0, 0, true},
		{"there later, one organisation", one, 100, 0, 0, true},
		{"there later, the others fail", any, 100, 1, 0, true},
		{"there later, the others have lapsed", any, 64, 0, 15 * day, true},
		{"there first, and lapsed", any, 0, 0, -15 * day, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := newClock(noon)
			s := open(t, Options{Now: now.now})
			save := func(name string, organisation dnsname.Domain, failures int) {
				r := assess.HostRecord{Session: facts("a.example", now.now()).Hosts.Hosts[0].Sessions[0], Organisation: organisation, Failures: failures, NotBefore: now.now().Add(7 * day)}
				r.Session.ServerName = name
				check(t, s.SaveHostRecord(t.Context(), r))
			}
			known := func() { save("mx.known.example", "known.example", 0) }
			for i := range c.before + 64 {
				if i == c.before {
					now.set(now.now().Add(max(0, c.later)))
					known()
					now.set(now.now().Add(max(0, -c.later)))
				}
				now.set(now.now().Add(day / 9))
				save(fmt.Sprintf("mx%d.example", i), c.attacker(i), c.failures)
			}
			records, err := s.HostRecords(t.Context(), netip.MustParseAddr("192.0.2.25"))
			check(t, err)
			if kept := slices.ContainsFunc(records, func(r assess.HostRecord) bool { return r.Session.ServerName == "mx.known.example" }); kept != c.want || len(records) != 64 {
				t.Errorf("kept: %v, with %d names", kept, len(records))
			}
		})
	}
}

// What one share has not, none of them loses.
func TestTakeDialogue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	for i, c := range []struct {
		network, of, day string
		full             int
	}{
		{"192.0.2.0/24", "a.example", "2026-11-20", -1}, {"192.0.2.77/24", "a.example", "2026-11-20", -1}, {"192.0.2.0/24", "a.example", "2026-11-20", 1},
		{"192.0.2.0/24", "b.example", "2026-11-20", -1}, {"192.0.2.0/24", "c.example", "2026-11-20", 0},
		{"192.0.2.0/24", "a.example", "2026-11-21", -1}, {"2001:db8:1::/48", "a.example", "2026-11-20", -1},
	} {
		s := openPath(t, path, Options{}) // each after a restart
		network := netip.MustParsePrefix(c.network)
		full, err := s.TakeDialogue(t.Context(), c.day, []assess.Share{{Network: network, Limit: 3}, {Network: network, Of: c.of, Limit: 2}})
		check(t, errors.Join(err, s.Close()))
		if full != c.full {
			t.Errorf("dialogue %d: share %d is used up, want %d", i, full, c.full)
		}
	}
}
