package view

import (
	"fmt"
	"math"
	"slices"

	"peerscore/assess"
)

// share counts those of whom something is known, and those among them who have it.
type share struct{ have, known int }

func (s share) percent() *float64 {
	if s.known == 0 {
		return nil
	}
	p := 100 * float64(s.have) / float64(s.known)
	return &p
}

// Population is what all peers adopt.
type Population struct {
	peers   int
	stars   map[assess.Category]map[float64]int
	scored  map[assess.Category]int
	levels  map[assess.Category]map[assess.Level]int
	support map[assess.Standard]share
	minimum share
	labels  map[string]map[assess.Category]share // of each category of the operator's, who is protected
}

// NewPopulation is one that has nobody yet.
func NewPopulation() *Population {
	p := &Population{
		stars: map[assess.Category]map[float64]int{}, scored: map[assess.Category]int{},
		levels: map[assess.Category]map[assess.Level]int{}, support: map[assess.Standard]share{},
		labels: map[string]map[assess.Category]share{},
	}
	for _, c := range assess.Categories {
		p.stars[c], p.levels[c] = map[float64]int{}, map[assess.Level]int{}
	}
	return p
}

// Add counts a peer.
func (p *Population) Add(r Report) {
	if r.Status == assess.StatusNoMail {
		return // there is no provider, neither a good nor a bad one
	}
	p.peers++
	for _, c := range assess.Categories {
		if s := r.Scores[c]; s.Known {
			p.scored[c]++
			p.stars[c][s.Stars]++
			p.levels[c][s.Level()]++
		}
	}
	for _, s := range assess.Standards {
		p.support[s] = p.support[s].with(r.Verdicts.Support(s))
	}
	p.minimum = p.minimum.with(r.Scores.MinimumSet())
	for _, label := range r.Labels {
		if p.labels[label] == nil {
			p.labels[label] = map[assess.Category]share{}
		}
		for _, c := range assess.Categories {
			if level := r.Scores[c].Level(); level != assess.LevelUnknown {
				p.labels[label][c] = p.labels[label][c].with(supportIf(level == assess.LevelProtected))
			}
		}
	}
}

func supportIf(yes bool) assess.Support {
	if yes {
		return assess.SupportYes
	}
	return assess.SupportNo
}

func (s share) with(support assess.Support) share {
	switch support {
	case assess.SupportYes:
		return share{s.have + 1, s.known + 1}
	case assess.SupportNo:
		return share{s.have, s.known + 1}
	}
	return s
}

// levelOf says at which level a number of stars lies.
func levelOf(stars float64) assess.Level { return assess.Score{Known: true, Stars: stars}.Level() }

var levels = []assess.Level{assess.LevelProtected, assess.LevelMinimum, assess.LevelUnprotected}

// mecsaLevel is the share of MECSA's providers at a level.
func mecsaLevel(c assess.Category, level assess.Level) float64 {
	sum := 0.0
	for stars, percent := range mecsaStars[c] {
		if levelOf(stars) == level {
			sum += percent
		}
	}
	return sum
}

// steps are the numbers of stars that occur here or in 2018, the most first.
func (p *Population) steps() []float64 {
	var steps []float64
	for step := 5.0; step >= 0; step -= 0.5 {
		if slices.ContainsFunc(assess.Categories, func(c assess.Category) bool { return p.stars[c][step] > 0 || mecsaStars[c][step] > 0 }) {
			steps = append(steps, step)
		}
	}
	return steps
}

// PopulationJSON is what `stats --json` prints; shares are in per cent, null where nothing is known.
type PopulationJSON struct {
	Schema     int                            `json:"schema"`
	Peers      int                            `json:"peers"`
	Scores     map[assess.Category]scoreStats `json:"scores"`
	Standards  map[assess.Standard]shareJSON  `json:"standards"`
	MinimumSet shareJSON                      `json:"minimum_set"`
	Categories map[string]protectedJSON       `json:"categories"` // the operator's
}

// protectedJSON is the share of a category's domains that is protected, score by score.
type protectedJSON map[assess.Category]shareJSON

type scoreStats struct {
	Scored int                        `json:"scored"`
	Stars  map[string]shareJSON       `json:"stars"`
	Levels map[assess.Level]shareJSON `json:"levels"`
}

type shareJSON struct {
	Count     int      `json:"count"`
	Share     *float64 `json:"share"`
	MECSA2018 *float64 `json:"mecsa_2018"` // null where the report has no figure
}

// JSON is what `stats --json` prints.
func (p *Population) JSON() PopulationJSON {
	out := PopulationJSON{
		SchemaVersion, p.peers, map[assess.Category]scoreStats{}, map[assess.Standard]shareJSON{},
		sharesOf(p.minimum, mecsaMinimumSet), map[string]protectedJSON{},
	}
	for label, shares := range p.labels {
		out.Categories[label] = protectedJSON{}
		for _, c := range assess.Categories {
			out.Categories[label][c] = shareOf(shares[c])
		}
	}
	for _, c := range assess.Categories {
		s := scoreStats{p.scored[c], map[string]shareJSON{}, map[assess.Level]shareJSON{}}
		for _, step := range p.steps() {
			s.Stars[fmt.Sprint(step)] = sharesOf(share{p.stars[c][step], p.scored[c]}, mecsaStars[c][step])
		}
		for _, level := range levels {
			s.Levels[level] = sharesOf(share{p.levels[c][level], p.scored[c]}, mecsaLevel(c, level))
		}
		out.Scores[c] = s
	}
	for _, s := range assess.Standards {
		out.Standards[s] = shareOf(p.support[s])
		if published, ok := mecsaSupport[s]; ok {
			out.Standards[s] = sharesOf(p.support[s], published)
		}
	}
	return out
}

func sharesOf(s share, published float64) shareJSON {
	out := shareOf(s)
	published = math.Round(published*100) / 100 // a sum of levels is not exact
	out.MECSA2018 = &published
	return out
}

// shareOf has two digits behind the point, as the report has.
func shareOf(s share) shareJSON {
	p := s.percent()
	if p != nil {
		*p = math.Round(*p*100) / 100
	}
	return shareJSON{Count: s.have, Share: p}
}
