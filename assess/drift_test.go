package assess

import (
	"fmt"
	"testing"
	"time"
)

// What happens over months is no drift, and neither is one organisation with many domains.
func TestNoDrift(t *testing.T) {
	for name, turnAt := range map[string]func(i int) turn{
		"slowly": func(i int) turn {
			return turn{Domain(fmt.Sprintf("d%d.example", i)), true, testTime.Add(time.Duration(i) * 2 * time.Hour)}
		},
		"one organisation": func(int) turn { return turn{"example.org", true, testTime} },
		"a third":          func(i int) turn { return turn{Domain(fmt.Sprintf("d%d.example", i)), i%3 == 0, testTime} },
	} {
		d := Drift{}
		for i := range 200 {
			if turned := turnAt(i); d.Add(turned.organisation, turned.failed, turned.at) || d.Frozen() {
				t.Errorf("%s: frozen at %d", name, i)
			}
		}
	}
}
