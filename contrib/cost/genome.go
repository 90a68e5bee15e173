package main

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// gene is a piece of text repeated: the atoms a and b in turn, so many times. Atoms are numbers
// into the list of the part; b is -1 for none.
type gene struct{ a, b, times int }

// genome is one input, as a surface renders it: a list of genes for each part, and the knobs.
type genome struct {
	parts [][]gene
	knobs []int
}

const (
	maxGenes = 24
	maxTimes = 1 << 23
	usual    = 128 << 10 // octets of a gene
)

func (g genome) clone() genome {
	c := genome{knobs: slices.Clone(g.knobs)}
	for _, p := range g.parts {
		c.parts = append(c.parts, slices.Clone(p))
	}
	return c
}

// String is the form that -replay takes: "3.-1x500 2.4x100 | 1.-1x1 | knobs 0 2 1".
func (g genome) String() string {
	var b strings.Builder
	for _, p := range g.parts {
		for _, gene := range p {
			fmt.Fprintf(&b, "%d.%dx%d ", gene.a, gene.b, gene.times)
		}
		b.WriteString("| ")
	}
	b.WriteString("knobs")
	for _, k := range g.knobs {
		fmt.Fprintf(&b, " %d", k)
	}
	return b.String()
}

// parseGenome reads what String wrote for the surface.
func parseGenome(s *surface, text string) (g genome, err error) {
	sections := strings.Split(text, "|")
	if len(sections) != len(s.parts)+1 {
		return g, fmt.Errorf("%d parts; %s has %d", len(sections)-1, s.name, len(s.parts))
	}
	for i, p := range s.parts {
		var genes []gene
		for _, word := range strings.Fields(sections[i]) {
			one := gene{}
			if _, err := fmt.Sscanf(word, "%d.%dx%d", &one.a, &one.b, &one.times); err != nil {
				return g, fmt.Errorf("%q: %w", word, err)
			}
			if one.a < 0 || one.a >= len(p.atoms) || one.b < -1 || one.b >= len(p.atoms) {
				return g, fmt.Errorf("%q: no such atom", word)
			}
			genes = append(genes, one)
		}
		g.parts = append(g.parts, genes)
	}
	words := strings.Fields(sections[len(s.parts)])
	if len(words) != len(s.knobs)+1 {
		return g, fmt.Errorf("%d knobs; %s has %d", len(words)-1, s.name, len(s.knobs))
	}
	for i, word := range words[1:] {
		k, err := strconv.Atoi(word)
		if err != nil || k < 0 || k >= s.knobs[i].values {
			return g, fmt.Errorf("knob %s: %q", s.knobs[i].name, word)
		}
		g.knobs = append(g.knobs, k)
	}
	return g, nil
}

// render writes the parts out, each cut at its limit.
func (g genome) render(parts []part) []string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		var b strings.Builder
		for _, one := range g.parts[i] {
			for n := 0; n < one.times && b.Len() < p.octets; n++ {
				b.WriteString(p.atoms[one.a])
				if one.b >= 0 {
					b.WriteString(p.atoms[one.b])
				}
			}
		}
		texts[i] = b.String()[:min(b.Len(), p.octets)]
	}
	return texts
}

// randomGenome is an input to begin with.
func randomGenome(s *surface, rng *rand.Rand) genome {
	g := genome{parts: make([][]gene, len(s.parts))}
	for i, p := range s.parts {
		for range rng.IntN(4) {
			g.parts[i] = append(g.parts[i], randomGene(p, rng))
		}
	}
	for _, k := range s.knobs {
		g.knobs = append(g.knobs, rng.IntN(k.values))
	}
	return g
}

func randomGene(p part, rng *rand.Rand) gene {
	g := gene{a: rng.IntN(len(p.atoms)), b: -1}
	length := len(p.atoms[g.a])
	if rng.IntN(3) == 0 {
		g.b = rng.IntN(len(p.atoms))
		length += len(p.atoms[g.b])
	}
	// Short ones more often than long ones: they are tried sooner, and what is above a limit at
	// 10 MB mostly is so at a fraction of it.
	octets := 1 << rng.IntN(bits.Len(uint(p.octets)))
	if rng.IntN(8) > 0 {
		octets = min(octets, usual)
	}
	g.times = max(1, octets/length)
	return g
}

// mutate is the genome with one to three changes.
func (g genome) mutate(s *surface, rng *rand.Rand) genome {
	c := g.clone()
	for range 1 + rng.IntN(3) {
		if len(c.knobs) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(c.knobs))
			c.knobs[i] = rng.IntN(s.knobs[i].values)
			continue
		}
		i := rng.IntN(len(c.parts))
		c.parts[i] = mutateGenes(c.parts[i], s.parts[i], rng)
	}
	return c
}

func mutateGenes(genes []gene, p part, rng *rand.Rand) []gene {
	if len(genes) == 0 {
		return append(genes, randomGene(p, rng))
	}
	i := rng.IntN(len(genes))
	switch rng.IntN(7) {
	case 0:
		if len(genes) < maxGenes {
			return slices.Insert(genes, i, randomGene(p, rng))
		}
	case 1:
		return slices.Delete(genes, i, i+1)
	case 2:
		genes[i].times = min(2*genes[i].times, maxTimes)
	case 3:
		genes[i].times = max(genes[i].times/2, 1)
	case 4:
		genes[i].a = rng.IntN(len(p.atoms))
	case 5:
		genes[i].b = rng.IntN(len(p.atoms)+1) - 1
	case 6:
		genes[i].times = max(1, genes[i].times*(50+rng.IntN(100))/100)
	}
	return genes
}
