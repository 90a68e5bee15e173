package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"
)

// kept is how many inputs of a surface the search varies.
const kept = 8

// attempt is an input and what it cost.
type attempt struct {
	genome genome
	octets int
	use    use
	ratio  float64 // of the CPU time to that of an ordinary input of the same size
	share  float64 // of the limit that it comes closest to
}

// search is the search of one surface.
type search struct {
	surface  *surface
	bench    bench
	rng      *rand.Rand
	ordinary map[string][]point // by surface.kin
	known    []genome
	best     []attempt
	tried    int
}

// point is what an ordinary input of a size cost.
type point struct {
	octets int
	cpu    time.Duration
}

func newSearch(s *surface, rng *rand.Rand) (*search, error) {
	one := &search{surface: s, rng: rng, ordinary: map[string][]point{}}
	for _, text := range s.known {
		g, err := parseGenome(s, text)
		if err != nil {
			return nil, err
		}
		one.known = append(one.known, g)
	}
	var err error
	one.bench, err = s.start()
	return one, err
}

// run searches for a while.
func (s *search) run(duration time.Duration) error {
	for end := time.Now().Add(duration); time.Now().Before(end); {
		if err := s.try(); err != nil {
			return err
		}
	}
	return nil
}

// try measures one more input, and keeps it if it is among the worst.
func (s *search) try() error {
	g := s.next()
	a, err := s.measure(g, 1)
	if err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	s.tried++
	if len(s.best) == kept && a.share <= s.best[kept-1].share {
		return nil
	}
	// A burst of something else on this machine is no finding.
	if a, err = s.measure(g, 2); err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	s.keep(a)
	return nil
}

// next is a known input as long as there are some, then mostly a mutation of a good one.
func (s *search) next() genome {
	if len(s.known) > 0 {
		g := s.known[0]
		s.known = s.known[1:]
		return g
	}
	if len(s.best) > 0 && s.rng.IntN(8) > 0 {
		return s.best[s.rng.IntN(len(s.best))].genome.mutate(s.surface, s.rng)
	}
	return randomGenome(s.surface, s.rng)
}

// keep puts an attempt in its place, one of those that cost the same.
func (s *search) keep(a attempt) {
	if slices.ContainsFunc(s.best, func(b attempt) bool { return b.genome.String() == a.genome.String() }) {
		return
	}
	s.best = append(s.best, a)
	sort.SliceStable(s.best, func(i, j int) bool { return s.best[i].share > s.best[j].share })
	s.best = s.best[:min(len(s.best), kept)]
}

// measure runs an input so many times and takes the cheapest.
func (s *search) measure(g genome, times int) (attempt, error) {
	in := input{texts: g.render(s.surface.parts), knobs: g.knobs}
	a := attempt{genome: g}
	for i := range times {
		u, octets, err := s.bench.run(in, s.bench.meter())
		if err != nil {
			return a, err
		}
		if i == 0 || u.cpu < a.use.cpu {
			a.use, a.octets = u, octets
		}
	}
	// What was not allocated is not held; the look at what is held takes long.
	if a.use.allocated > uint64(s.surface.limits.held)+uint64(a.octets) {
		if err := s.lookAtHeld(&a, in, times); err != nil {
			return a, err
		}
	}
	ordinary, err := s.ordinaryCPU(in, a.octets)
	if err != nil {
		return a, err
	}
	a.ratio = float64(a.use.cpu) / float64(ordinary)
	a.share = s.surface.limits.share(a)
	return a, nil
}

// lookAtHeld measures what the input holds above an ordinary one of its size. Above the limit it
// looks so many times and takes the least: what is allocated while a collection runs counts as
// alive, and on a busy machine one runs long, but what is held is held each time.
func (s *search) lookAtHeld(a *attempt, in input, times int) error {
	for i := range times {
		odd, _, err := s.bench.run(in, held)
		if err != nil {
			return err
		}
		ordinary, _, err := s.bench.run(s.surface.ordinary(in, a.octets), held)
		if err != nil {
			return err
		}
		if more := max(0, odd.held-ordinary.held); i == 0 || more < a.use.held {
			a.use.held = more
		}
		if a.use.held <= s.surface.limits.held {
			return nil
		}
	}
	return nil
}

// sizes at which ordinary inputs are measured; between them the cost grows in proportion.
var sizes = []int{4 << 10, 64 << 10, 512 << 10, 2 << 20, 10 << 20}

// ordinaryCPU is what an ordinary input of that size, or of the smallest size if it is below,
// costs.
func (s *search) ordinaryCPU(in input, octets int) (time.Duration, error) {
	kin := s.surface.kin(in)
	points := s.ordinary[kin]
	for len(points) == 0 || points[len(points)-1].octets < octets && len(points) < len(sizes) {
		p := point{octets: sizes[len(points)]}
		for i := range 3 {
			u, _, err := s.bench.run(s.surface.ordinary(in, p.octets), s.bench.meter())
			if err != nil {
				return 0, fmt.Errorf("an ordinary input: %w", err)
			}
			if i == 0 || u.cpu < p.cpu {
				p.cpu = u.cpu
			}
		}
		points = append(points, p)
		s.ordinary[kin] = points
	}
	i, _ := slices.BinarySearchFunc(points, octets, func(p point, n int) int { return p.octets - n })
	switch {
	case i == 0:
		return points[0].cpu, nil
	case i == len(points):
		last := points[i-1]
		return time.Duration(float64(last.cpu) * float64(octets) / float64(last.octets)), nil
	}
	low, high := points[i-1], points[i]
	part := float64(octets-low.octets) / float64(high.octets-low.octets)
	return low.cpu + time.Duration(part*float64(high.cpu-low.cpu)), nil
}

// confirm measures the worst inputs again, as far as the first that is above a limit.
func (s *search) confirm() (attempt, error) {
	var again []attempt
	for _, a := range s.best {
		b, err := s.measureAgain(a.genome)
		if err != nil {
			return b, err
		}
		if again = append(again, b); b.share > 1 {
			break
		}
	}
	if len(again) == 0 {
		return attempt{}, fmt.Errorf("no input was tried: search longer")
	}
	s.best = nil
	for _, a := range again {
		s.keep(a)
	}
	return s.best[0], nil
}

// measureAgain measures an input and the ordinary ones that it is compared with, in turn, as often
// as it takes to see that it is within the limits, so that the verdict does not hang on one bad
// moment of the machine. What costs too much does so each time.
func (s *search) measureAgain(g genome) (best attempt, err error) {
	for i := range 5 {
		clear(s.ordinary)
		a, err := s.measure(g, 5)
		if err != nil {
			return a, err
		}
		if i == 0 || a.share < best.share {
			best = a
		}
		if best.share <= 1 {
			break
		}
	}
	return best, nil
}

// measureOne measures an input that summarise printed: "SURFACE: GENOME".
func measureOne(w io.Writer, text string) error {
	name, rest, _ := strings.Cut(text, ": ")
	for _, s := range surfaces() {
		if s.name != name {
			continue
		}
		g, err := parseGenome(s, rest)
		if err != nil {
			return err
		}
		one, err := newSearch(s, nil)
		if err != nil {
			return err
		}
		defer one.bench.Close()
		a, err := one.measureAgain(g)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d octets, CPU %s (%.2f of an ordinary input), allocated %d KiB, held %d KiB, %d queries: %.2f of the limits\n",
			a.octets, a.use.cpu, a.ratio, a.use.allocated>>10, a.use.held>>10, a.use.queries, a.share)
		return nil
	}
	return fmt.Errorf("there is no surface %q", name)
}
