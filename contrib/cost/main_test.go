package main

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// TestGenome holds that what the search prints is what -replay reads, and that a genome renders
// the same each time, within the limit of each part.
func TestGenome(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range surfaces() {
		g := randomGenome(s, rng)
		for range 200 {
			g = g.mutate(s, rng)
			again, err := parseGenome(s, g.String())
			if err != nil {
				t.Fatalf("%s: %s: %v", s.name, g, err)
			}
			if again.String() != g.String() {
				t.Errorf("%s: %s was read as %s", s.name, g, again)
			}
		}
		texts, again := g.render(s.parts), g.render(s.parts)
		for i, text := range texts {
			if text != again[i] || len(text) > s.parts[i].octets {
				t.Errorf("%s: %s: part %s of %d octets, then %d", s.name, g, s.parts[i].name, len(text), len(again[i]))
			}
		}
	}
}

// TestFindsQuadratic holds that the search finds a reader whose time grows with the square of
// the length, and passes one that is linear.
func TestFindsQuadratic(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	for _, c := range []struct {
		name  string
		read  func(string)
		above bool
	}{
		{"quadratic", func(text string) {
			for i := range text {
				if text[i] == ';' {
					readPlainly(text[:i])
				}
			}
		}, true},
		{"linear", func(text string) { strings.Count(text, "=") }, false},
	} {
		s := parser{name: c.name, octets: 8 << 10, plain: "a b; ", atoms: []string{";", "=", "a"}, read: c.read}.surface()
		one, err := newSearch(s, rand.New(rand.NewPCG(3, 4)))
		if err != nil {
			t.Fatal(err)
		}
		for one.tried < 60 {
			if err := one.try(); err != nil {
				t.Fatal(err)
			}
		}
		worst, err := one.confirm()
		if err != nil {
			t.Fatal(err)
		}
		if (worst.share > 1) != c.above {
			t.Errorf("%s: %.2f of the limits by %s", c.name, worst.share, worst.genome)
		}
	}
}

// TestFindsWhatIsHeld holds that memory which an input keeps is found, and that garbage, however
// much, is not taken for it.
func TestFindsWhatIsHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	chunks := func(keep bool) func(string) {
		return func(text string) {
			if !strings.Contains(text, ";") {
				return
			}
			var held [][]byte
			for range 256 {
				chunk := make([]byte, 64<<10)
				if keep {
					held = append(held, chunk)
				}
			}
			runtime.GC() // what is held outlives a collection
			runtime.KeepAlive(held)
		}
	}
	for _, c := range []struct {
		name  string
		keep  bool
		above bool
	}{{"kept", true, true}, {"garbage", false, false}} {
		s := parser{name: c.name, octets: 64, plain: "a b ", atoms: []string{";", "a"}, ratio: 1e9, read: chunks(c.keep)}.surface()
		one, err := newSearch(s, rand.New(rand.NewPCG(3, 4)))
		if err != nil {
			t.Fatal(err)
		}
		g, err := parseGenome(s, "0.-1x1 | knobs")
		if err != nil {
			t.Fatal(err)
		}
		a, err := one.measure(g, 5)
		if err != nil {
			t.Fatal(err)
		}
		if above := a.use.held > s.limits.held; above != c.above {
			t.Errorf("%s: %d KiB held", c.name, a.use.held>>10)
		}
	}
}
