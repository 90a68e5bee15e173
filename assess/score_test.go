package assess

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// printed2018 are the tables of assess/methodology.md, section 3 as they stand there; "-" means any.
var printed2018 = map[Category]string{
	Confidentiality: `
stars starttls x509 dane dnssec
5     yes      -    yes  yes
4.5   yes      yes  no   yes
4.5   yes      yes  yes  no
4     yes      yes  no   no
3.5   yes      no   yes  no
3.5   yes      no   no   yes
3     yes      no   no   no
0     no       -    -    -`,
	Identity: `
stars spf dkim dmarc dnssec
5     yes yes  yes   yes
4.5   yes yes  yes   no
4     yes yes  no    yes
4     yes no   yes   -
4     no  yes  yes   -
3.5   yes yes  no    no
3.5   no  yes  no    yes
3.5   yes no   no    yes
3     yes no   no    no
2.5   no  yes  no    no
2.5   no  no   yes   -
0     no  no   no    -`,
	Integrity: `
stars starttls x509 dkim dmarc dnssec
5     -        -    yes  yes   yes
5     yes      yes  yes  yes   no
4     yes      yes  yes  no    yes
3.5   no       -    yes  yes   no
3.5   yes      no   yes  yes   no
3.5   no       -    yes  no    yes
3.5   yes      no   yes  no    yes
3.5   yes      -    yes  no    no
3.5   yes      yes  no   yes   yes
3     no       -    yes  no    no
3     yes      yes  no   yes   no
2.5   yes      no   no   yes   -
2.5   no       -    no   yes   -
2     yes      yes  no   no    -
1     yes      no   no   no    -
0     no       -    no   no    -`,
}

// printed2020 are the tables of assess/methodology.md, section 4 as they stand there, in half-stars.
var printed2020 = map[Category]string{
	Confidentiality: `
10 {StartTLS, DANE, DNSSEC}; {StartTLS, x509, MTA-STS}; {StartTLS, x509, DANE, DNSSEC}; {StartTLS, x509, DANE, MTA-STS}; {StartTLS, x509, DANE, DNSSEC, MTA-STS}
8 {StartTLS, x509, DNSSEC}
7 {StartTLS, x509}; {StartTLS, x509, DANE}
6 {StartTLS, DNSSEC}; {StartTLS, DANE}; {StartTLS, MTA-STS}
5 {StartTLS}`,
	Identity: `
10 {SPF, SPFp, DKIM, DMARC, DMARCp, DNSSEC}
9 {SPF, DKIM, DMARC, DMARCp, DNSSEC}; {SPF, SPFp, DKIM, DMARC, DNSSEC}
8 {SPF, DKIM, DMARC, DNSSEC}; {SPF, DMARC, DMARCp, DNSSEC}; {SPF, SPFp, DKIM, DNSSEC}; {SPF, SPFp, DKIM, DMARC, DMARCp}; {DKIM, DMARC, DMARCp, DNSSEC}
7 {SPF, DMARC, DMARCp}; {SPF, DKIM, DMARC, DMARCp}; {SPF, SPFp, DMARC, DNSSEC}; {SPF, SPFp, DKIM, DMARC}; {DKIM, DMARC, DMARCp}
6 {DKIM, DMARC, DNSSEC}; {SPF, DKIM, DNSSEC}; {SPF, DKIM, DMARC}; {SPF, SPFp, DKIM}; {SPF, DMARC, DNSSEC}; {SPF, SPFp, DMARC}; {SPF, SPFp}; {SPF, SPFp, DNSSEC}
5 {SPF, DMARC}; {SPF, DKIM}; {DKIM, DMARC}
4 {DKIM, DNSSEC}; {SPF, DNSSEC}; {DMARC, DNSSEC}; {DMARC, DMARCp, DNSSEC}
3 {SPF}; {DKIM}; {DMARC}`,
	Integrity: `
10 {DKIM, DMARC, DMARCp, DNSSEC}
8 {DKIM, DMARC, DNSSEC}; {DKIM, DNSSEC}
7 {DKIM, DMARC, DMARCp}
6 {DKIM, DMARC}; {DKIM}
4 {DMARC, DNSSEC}
2 {DMARC}; {DNSSEC}`,
}

var names2020 = map[string]Standard{
	"StartTLS": StartTLS12, "x509": X509, "DANE": DANE, "DNSSEC": DNSSEC, "MTA-STS": MTASTS,
	"SPF": SPF, "SPFp": SPFPolicy, "DKIM": DKIM, "DMARC": DMARC, "DMARCp": DMARCPolicy,
}

// oracle holds the stars of every set of supported standards, independently of the profile.
// A set is written as the sorted names of its members.
type oracle map[string]float64

func setOf(standards []Standard) string {
	return fmt.Sprint(slices.Sorted(slices.Values(standards)))
}

// expand2018 writes every dash out as yes and as no. It fails where two rows disagree or no
// row answers.
func expand2018(t *testing.T, criteria []Standard, table string) oracle {
	t.Helper()
	o := oracle{}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	header := strings.Fields(lines[0])[1:]
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		stars, err := strconv.ParseFloat(cells[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		for set := range subsets(criteria) {
			matches := true
			for i, name := range header {
				met := slices.Contains(set, Standard(name))
				matches = matches && (cells[1+i] == "-" || met == (cells[1+i] == "yes"))
			}
			if !matches {
				continue
			}
			if other, ok := o[setOf(set)]; ok {
				t.Fatalf("two rows answer %v: %v and %v", set, other, stars)
			}
			o[setOf(set)] = stars
		}
	}
	if len(o) != 1<<len(criteria) {
		t.Fatalf("%d of %d sets have a row", len(o), 1<<len(criteria))
	}
	return o
}

// expand2020 takes the listed sets as they are, and for every other the best listed subset.
func expand2020(t *testing.T, criteria []Standard, table string) oracle {
	t.Helper()
	listed := oracle{}
	sets := map[string][]Standard{}
	for line := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
		halves, list, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(halves)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq(list, "; ") {
			var set []Standard
			for name := range strings.SplitSeq(strings.Trim(text, "{}"), ", ") {
				set = append(set, names2020[name])
			}
			listed[setOf(set)], sets[setOf(set)] = float64(n)/2, set
		}
	}
	o := oracle{}
	for set := range subsets(criteria) {
		stars, ok := listed[setOf(set)]
		for key, other := range sets {
			if !ok && !slices.ContainsFunc(other, func(s Standard) bool { return !slices.Contains(set, s) }) {
				o[setOf(set)] = max(o[setOf(set)], listed[key])
			}
		}
		if ok {
			o[setOf(set)] = stars
		}
	}
	return o
}

// subsets yields every set of the criteria.
func subsets(criteria []Standard) iter.Seq[[]Standard] {
	return func(yield func([]Standard) bool) {
		for set := range 1 << len(criteria) {
			if !yield(pick(criteria, set)) {
				return
			}
		}
	}
}

// answers yields every combination of yes, no and unknown.
func answers(criteria []Standard) iter.Seq[Verdicts] {
	return func(yield func(Verdicts) bool) {
		n := 1
		for range criteria {
			n *= 3
		}
		for code := range n {
			v := Verdicts{}
			for _, s := range criteria {
				v[s] = Verdict{Support: []Support{SupportYes, SupportNo, SupportUnknown}[code%3]}
				code /= 3
			}
			if !yield(v) {
				return
			}
		}
	}
}

func withSupport(v Verdicts, criteria []Standard, want ...Support) []Standard {
	var found []Standard
	for _, s := range criteria {
		if slices.Contains(want, v.Support(s)) {
			found = append(found, s)
		}
	}
	return found
}

// eachTable runs a test for every table of both profiles, with its oracle.
func eachTable(t *testing.T, test func(t *testing.T, profile Profile, c Category, o oracle)) {
	for _, p := range []struct {
		name   string
		tables map[Category]string
		expand func(*testing.T, []Standard, string) oracle
	}{
		{"mecsa-2018", printed2018, expand2018},
		{"mecsa-2020", printed2020, expand2020},
	} {
		profile, err := LoadProfile(p.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range Categories {
			t.Run(p.name+"/"+string(c), func(t *testing.T) {
				test(t, profile, c, p.expand(t, profile.Tables[c].Criteria, p.tables[c]))
			})
		}
	}
}

// Every combination of known answers has the stars that assess/methodology.md prints for it.
func TestScoreEqualsPrintedRows(t *testing.T) {
	eachTable(t, func(t *testing.T, profile Profile, c Category, o oracle) {
		for set := range subsets(profile.Tables[c].Criteria) {
			v := Verdicts{}
			for _, s := range profile.Tables[c].Criteria {
				v[s] = Verdict{Support: SupportNo}
			}
			for _, s := range set {
				v[s] = Verdict{Support: SupportYes}
			}
			score := profile.Score(v)[c]
			if !score.Known || score.Partial || score.Stars != o[setOf(set)] {
				t.Errorf("%v: %+v, want %v stars", set, score, o[setOf(set)])
			}
		}
		t.Logf("%d sets", len(o))
	})
}

// Adding a standard never lowers the stars.
func TestScoreIsMonotone(t *testing.T) {
	eachTable(t, func(t *testing.T, profile Profile, c Category, _ oracle) {
		criteria := profile.Tables[c].Criteria
		for v := range answers(criteria) {
			before := profile.Score(v)[c]
			for _, s := range criteria {
				old := v[s]
				v[s] = Verdict{Support: SupportYes}
				if after := profile.Score(v)[c]; after.Stars < before.Stars || before.Known && !after.Known {
					t.Fatalf("%v and %s: from %v to %v stars", withSupport(v, criteria, SupportYes), s, before.Stars, after.Stars)
				}
				v[s] = old
			}
		}
	})
}

// For every combination of yes, no and unknown the score is held against the stars of all the
// ways in which the unknown answers might turn out.
func TestScoreIsTotal(t *testing.T) {
	eachTable(t, func(t *testing.T, profile Profile, c Category, o oracle) {
		criteria := profile.Tables[c].Criteria
		combinations := 0
		for v := range answers(criteria) {
			combinations++
			yes, unknown := withSupport(v, criteria, SupportYes), withSupport(v, criteria, SupportUnknown)
			least, most := o[setOf(yes)], 0.0
			for turned := range subsets(unknown) {
				most = max(most, o[setOf(slices.Concat(yes, turned))])
			}
			score := profile.Score(v)[c]
			if score.Stars != least || score.Partial != (most > least) || score.Known != (least > 0 || most == 0) {
				t.Fatalf("yes %v, unknown %v: %+v, want from %v to %v stars", yes, unknown, score, least, most)
			}
			if want := withSupport(v, criteria, SupportNo, SupportUnknown); !slices.Equal(score.Missing, want) {
				t.Fatalf("yes %v: missing %v, want %v", yes, score.Missing, want)
			}
			checkRow(t, score, yes)
			checkNext(t, score, yes, withSupport(v, criteria, SupportNo, SupportUnknown), o)
		}
		t.Logf("%d combinations", combinations)
	})
}

func checkRow(t *testing.T, score Score, yes []Standard) {
	t.Helper()
	if score.Row.Stars != score.Stars || slices.ContainsFunc(score.Row.Met, func(s Standard) bool { return !slices.Contains(yes, s) }) {
		t.Fatalf("yes %v: %v stars by row %+v", yes, score.Stars, score.Row)
	}
}

// checkNext holds the cheapest gain against every set that could be added.
func checkNext(t *testing.T, score Score, yes, unmet []Standard, o oracle) {
	t.Helper()
	cheapest := -1
	for added := range subsets(unmet) {
		if o[setOf(slices.Concat(yes, added))] > score.Stars && (cheapest < 0 || len(added) < cheapest) {
			cheapest = len(added)
		}
	}
	switch {
	case cheapest < 0 && len(score.Next) > 0, cheapest >= 0 && len(score.Next) != cheapest:
		t.Fatalf("yes %v: next %v, want %d standards", yes, score.Next, cheapest)
	case cheapest >= 0 && o[setOf(slices.Concat(yes, score.Next))] <= score.Stars:
		t.Fatalf("yes %v: next %v gains nothing", yes, score.Next)
	}
}

// Nothing known is no score, never 0.
func TestScoreOfNothing(t *testing.T) {
	eachTable(t, func(t *testing.T, profile Profile, c Category, _ oracle) {
		if score := profile.Score(Verdicts{})[c]; score.Known || score.Level() != LevelUnknown {
			t.Errorf("%+v", score)
		}
	})
}

func TestLevel(t *testing.T) {
	for _, tt := range []struct {
		score Score
		want  Level
	}{
		{Score{}, LevelUnknown},
		{Score{Stars: 5}, LevelUnknown},
		{Score{Known: true}, LevelUnprotected},
		{Score{Known: true, Stars: 2}, LevelUnprotected},
		{Score{Known: true, Stars: 2.5}, LevelMinimum},
		{Score{Known: true, Stars: 3}, LevelMinimum},
		{Score{Known: true, Stars: 3.5}, LevelProtected},
		{Score{Known: true, Stars: 5}, LevelProtected},
	} {
		if got := tt.score.Level(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.score, got, tt.want)
		}
	}
}

func TestMinimumSet(t *testing.T) {
	enough, short := Score{Known: true, Stars: 3.5}, Score{Known: true, Stars: 3}
	atLeast, atLeastEnough := Score{Known: true, Stars: 3, Partial: true}, Score{Known: true, Stars: 4, Partial: true}
	for _, tt := range []struct {
		scores Scores
		want   Support
	}{
		{Scores{Confidentiality: enough, Identity: enough, Integrity: enough}, SupportYes},
		{Scores{Confidentiality: enough, Identity: atLeastEnough, Integrity: enough}, SupportYes},
		{Scores{Confidentiality: enough, Identity: short, Integrity: enough}, SupportNo},
		{Scores{Confidentiality: enough, Identity: atLeast, Integrity: enough}, SupportUnknown},
		{Scores{Confidentiality: enough, Identity: atLeast, Integrity: short}, SupportNo},
		{Scores{Confidentiality: enough, Identity: enough}, SupportUnknown},
		{Scores{Identity: short}, SupportNo},
		{nil, SupportUnknown},
	} {
		if got := tt.scores.MinimumSet(); got != tt.want {
			t.Errorf("%v: %v", tt.scores, got)
		}
	}
}

func BenchmarkScore(b *testing.B) {
	for _, name := range ProfileNames() {
		profile, err := LoadProfile(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				profile.Score(Verdicts{SPF: {Support: SupportYes}})
			}
		})
	}
}
