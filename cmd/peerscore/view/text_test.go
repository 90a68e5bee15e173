package view

import (
	"strings"
	"testing"
	"time"

	"peerscore/assess"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ★": "plain ★", "\x1b[31mred": "\uFFFD[31mred", "a\r\nb\tc": "a\uFFFD\uFFFDb\uFFFDc",
		"\u009b31m": "\uFFFD31m", "\u202Eevil": "\uFFFDevil", "\xff": "\uFFFD", "\u00a0": "\uFFFD",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q is printed as %q, want %q", in, got, want)
		}
	}
}

func TestStars(t *testing.T) {
	for n, want := range map[float64]string{0: "·····", 0.5: "½····", 2.5: "★★½··", 4: "★★★★·", 4.5: "★★★★½", 5: "★★★★★"} {
		if got := stars(assess.Score{Known: true, Stars: n}); got != want {
			t.Errorf("%g stars are drawn %s, want %s", n, got, want)
		}
	}
	if got := stars(assess.Score{}); strings.TrimSpace(got) != "—" {
		t.Errorf("no score is drawn %q", got)
	}
}

// An advice is given once, and what was found whole, whatever stands in it.
func TestAdvised(t *testing.T) {
	given := advised{}
	for i, tt := range []struct {
		test assess.Test
		want string
	}{
		{assess.Test{Reason: assess.ReasonZoneUnsigned, Detail: "a; b"}, "a; b; have whoever runs its DNS sign the zone, and the registrar publish its DS record"},
		{assess.Test{Reason: assess.ReasonZoneUnsigned, Detail: "c; d"}, "c; d"},
		{assess.Test{Reason: assess.ReasonRecordsUnsigned, Detail: "e"}, "e; sign its zone"},
		{assess.Test{Reason: assess.ReasonZoneSigned, Detail: "f"}, "f"},
		{assess.Test{Reason: "of-tomorrow", Detail: "g; h"}, "g; h"},
		{assess.Test{Detail: "before there were reasons; renew it"}, "before there were reasons; renew it"},
	} {
		if got := given.finding(tt.test); got != tt.want {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", 59 * time.Second: "just now", 90 * time.Second: "1 minute ago", 47 * time.Hour: "1 day ago",
		48 * time.Hour: "2 days ago", -5 * time.Hour: "in 5 hours",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v before now is %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}, now); got != "never" {
		t.Errorf("no time is %q", got)
	}
}
