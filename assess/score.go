package assess

import (
	"math/bits"
	"slices"
)

// Level is how the report names a range of stars (section 4).
type Level string

const (
	LevelUnknown     Level = "unknown"     // no score
	LevelUnprotected Level = "unprotected" // below 2.5
	LevelMinimum     Level = "minimum"     // 2.5 and 3
	LevelProtected   Level = "protected"   // 3.5 and above
)

// Score is what the verdicts are worth in one category.
type Score struct {
	// Known is false where there is no score: nothing that counts could be measured.
	Known bool
	// Stars is 0 to 5 in steps of 0.5, and the least that the unknown standards can still leave.
	Stars float64
	// Partial means that a standard is unknown whose answer would change the stars.
	Partial bool
	// Missing are the category's standards that are not supported or not known.
	Missing []Standard
	// Row is the row of the profile that grants the stars; empty at 0 stars.
	Row Row
	// Next is the smallest set of standards that gains half a star or more; empty at the top.
	Next []Standard
}

// Level of the score; LevelUnknown where there is none.
func (s Score) Level() Level {
	switch {
	case !s.Known:
		return LevelUnknown
	case s.Stars >= 3.5:
		return LevelProtected
	case s.Stars >= 2.5:
		return LevelMinimum
	}
	return LevelUnprotected
}

// Scores holds one score a category.
type Scores map[Category]Score

// Known reports whether any category has stars.
func (s Scores) Known() bool {
	for _, score := range s {
		if score.Known {
			return true
		}
	}
	return false
}

// MinimumSet reports whether all three scores reach 3.5, the report's line for adoption of the
// minimum set of standards. It is unknown while one that does not may still do so.
func (s Scores) MinimumSet() Support {
	set := SupportYes
	for _, c := range Categories {
		switch score := s[c]; {
		case score.Level() == LevelProtected:
		case score.Known && !score.Partial:
			return SupportNo
		default:
			set = SupportUnknown
		}
	}
	return set
}

// Score turns verdicts into stars. It is total: every combination of yes, no and unknown has
// an answer. An unknown standard counts as not met, which gives the least stars that are
// certain; where that least is none although better is possible there is no score, because
// "could not measure" is not a 0.
func (p Profile) Score(v Verdicts) Scores {
	scores := Scores{}
	for _, c := range Categories {
		scores[c] = p.Tables[c].score(v)
	}
	return scores
}

func (t Table) score(v Verdicts) Score {
	least := t.best(func(s Standard) bool { return v.Support(s) == SupportYes })
	most := t.best(func(s Standard) bool { return v.Support(s) != SupportNo })
	unmet := t.unmet(v)
	return Score{
		Known:   least.Stars > 0 || most.Stars == 0,
		Stars:   least.Stars,
		Partial: most.Stars > least.Stars,
		Missing: unmet,
		Row:     least,
		Next:    t.next(v, unmet, least.Stars),
	}
}

func (t Table) unmet(v Verdicts) []Standard {
	var unmet []Standard
	for _, s := range t.Criteria {
		if v.Support(s) != SupportYes {
			unmet = append(unmet, s)
		}
	}
	return unmet
}

// next tries every set of unmet standards, of which there are at most 2^12, and returns the
// smallest that gains; of equally small ones the first in the order of the criteria.
func (t Table) next(v Verdicts, unmet []Standard, stars float64) []Standard {
	var next []Standard
	for set := 1; set < 1<<len(unmet); set++ {
		if next != nil && bits.OnesCount(uint(set)) >= len(next) {
			continue
		}
		added := pick(unmet, set)
		met := func(s Standard) bool { return v.Support(s) == SupportYes || slices.Contains(added, s) }
		if t.best(met).Stars > stars {
			next = added
		}
	}
	return next
}

// pick returns the standards whose bits are set.
func pick(from []Standard, set int) []Standard {
	var picked []Standard
	for i, s := range from {
		if set&(1<<i) != 0 {
			picked = append(picked, s)
		}
	}
	return picked
}
