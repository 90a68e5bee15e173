package main

import (
	"slices"
	"strings"
	"testing"

	"peerscore/assess"
)

// A score that changes is in the fields of the next letter, although the last one had the old
// score from the cache: the clock of an office stands, so that nothing in it grows old.
func TestNewScoreIsShownAtOnce(t *testing.T) {
	o := openOffice(t, officeDNS(t))
	known := proven(t)[0]
	show := func() string {
		fields := o.deliver(known)[0]
		i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "Peer-Score:") })
		_, scores, _ := strings.Cut(strings.ReplaceAll(fields[i], "\n", ""), "proof=dkim+spf;")
		return scores
	}
	save := func(stars float64) {
		a := assess.Assessment{Domain: "victim.example", At: officeTime, Status: assess.StatusScored, Profile: "mecsa-2018",
			Scores: assess.Scores{assess.Identity: {Known: true, Stars: stars}}}
		if err := o.store.SaveAssessment(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	for _, stars := range []float64{5, 1, 4} {
		save(stars)
		want := " confidentiality=unknown; identity=" + string(rune('0'+int(stars))) + ";"
		if first, second := show(), show(); !strings.HasPrefix(first, want) || second != first {
			t.Errorf("want%s got%s and%s", want, first, second)
		}
	}
}
