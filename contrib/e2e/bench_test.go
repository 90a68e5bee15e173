package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

// contest is one load that all contenders carry in turn.
type contest struct {
	name     string
	size     int // octets of a message
	parallel int // sessions at once
	bare     bool
	goals    [2]goal // msg/s of peerscore over that of each rival
	cpuGoals [2]goal // its CPU time a message over theirs
}

// goal is a bound that must hold and one that is aimed at; zero is no goal.
type goal struct{ must, aim float64 }

const (
	small = 2 << 10
	large = 100 << 10
)

var (
	smallGoals = [2]goal{{1, 1.3}, {1.5, 2}}
	largeGoals = [2]goal{{0.85, 1.15}, {1.1, 1.5}}
	cpuGoals   = [2]goal{{0.75, 0.45}, {0.5, 0.3}}
	memoryGoal = goal{64, 48} // MiB
)

var contests = []contest{
	{"Postfix, 2 KB, parallelism 1", small, 1, false, smallGoals, cpuGoals},
	{"Postfix, 2 KB, parallelism 10", small, 10, false, smallGoals, cpuGoals},
	{"Postfix, 2 KB, parallelism 50", small, 50, false, smallGoals, cpuGoals},
	{"Postfix, 100 KB, parallelism 1", large, 1, false, largeGoals, [2]goal{}},
	{"Postfix, 100 KB, parallelism 10", large, 10, false, largeGoals, [2]goal{}},
	{"Postfix, 100 KB, parallelism 50", large, 50, false, largeGoals, [2]goal{}},
	{"bare socket, 2 KB, parallelism 10", small, 10, true, [2]goal{{2, 4}, {3.5, 7}}, [2]goal{}},
	{"bare socket, 100 KB, parallelism 10", large, 10, true, [2]goal{{1.1, 2.5}, {1.7, 3.5}}, [2]goal{}},
}

// BenchmarkMilter measures peerscore beside OpenDKIM and the chain OpenDKIM+OpenDMARC, which
// evaluates SPF too: through a real Postfix and against the bare milter sockets, interleaved.
// It prints medians of paired ratios and what they should be. contrib/bench/milter calls it;
// PEERSCORE_BENCH_ROUNDS (5) and PEERSCORE_BENCH_MESSAGES (400) scale it, and
// PEERSCORE_BENCH_CONTESTS, a regular expression, chooses from the contests.
func BenchmarkMilter(b *testing.B) {
	l := newLab(b)
	field := l.startContenders()
	rounds, messages := fromEnv("PEERSCORE_BENCH_ROUNDS", 5), fromEnv("PEERSCORE_BENCH_MESSAGES", 400)
	chosen := regexp.MustCompile(os.Getenv("PEERSCORE_BENCH_CONTESTS"))
	texts := map[int]string{small: l.benchMessage(small), large: l.benchMessage(large)}
	l.checkContenders(field, texts[small])

	raw, verdict := newTable(), newTable()
	fmt.Fprintln(raw, "medians\tmsg/s alone\tOpenDKIM\tchain\tpeerscore\tms CPU: OpenDKIM\tchain\tpeerscore\t")
	fmt.Fprintln(verdict, "medians of paired ratios\tfigure\tmust\t\taim\t\t")
	peak := 0.0
	for _, c := range contests {
		if !chosen.MatchString(c.name) {
			continue
		}
		crowded := c.size == large && c.parallel == 50
		if crowded {
			l.resetPeak(field.peerscore)
		}
		results := l.compete(field, c, texts[c.size], rounds, messages)
		if crowded {
			peak = l.peakMemory(field.peerscore)
		}
		results.print(raw, verdict, c)
	}
	if peak > 0 {
		judge(verdict, "peak resident MiB, 100 KB, parallelism 50", peak, memoryGoal, true)
	}
	l.checkRecorded(field)
	fmt.Println()
	raw.Flush()
	fmt.Println()
	verdict.Flush()
}

func newTable() *tabwriter.Writer {
	return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
}

// rate is one measurement.
type rate struct {
	perSecond float64
	cpu       time.Duration // of the milters, a message
}

// results are the measurements of one contest, by contender and round.
type results [][]rate

// compete has every contender carry the load once a round, each round beginning with another.
// A first round, which is not counted, wakes everybody up.
func (l *lab) compete(f field, c contest, text string, rounds, messages int) results {
	contenders := f.all()
	if c.bare {
		messages *= 4 // there is no Postfix to wait for
	}
	r := make(results, len(contenders))
	for round := -1; round < rounds; round++ {
		for i := range contenders {
			i = (i + max(round, 0)) % len(contenders)
			switch {
			case c.bare && len(contenders[i].sockets) == 0:
			case round < 0:
				l.load(contenders[i], c, text, c.parallel)
			default:
				r[i] = append(r[i], l.load(contenders[i], c, text, messages))
			}
		}
	}
	return r
}

// print adds a contest to the tables. The contenders are no milter, the two rivals, peerscore.
func (r results) print(raw, verdict *tabwriter.Writer, c contest) {
	speed := func(m rate) float64 { return m.perSecond }
	cpu := func(m rate) float64 { return float64(m.cpu) / float64(time.Millisecond) }
	alone := "-"
	if len(r[0]) > 0 {
		alone = fmt.Sprintf("%.0f", r.median(0, speed))
	}
	fmt.Fprintf(raw, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t\n", c.name,
		alone, r.median(1, speed), r.median(2, speed), r.median(3, speed), r.median(1, cpu), r.median(2, cpu), r.median(3, cpu))
	for i, rival := range []string{"OpenDKIM", "the chain"} {
		judge(verdict, c.name+", msg/s against "+rival, r.ratio(i+1, speed), c.goals[i], false)
	}
	for i, rival := range []string{"OpenDKIM", "the chain"} {
		judge(verdict, c.name+", CPU against "+rival, r.ratio(i+1, cpu), c.cpuGoals[i], true)
	}
}

func (r results) median(contender int, value func(rate) float64) float64 {
	var values []float64
	for _, m := range r[contender] {
		values = append(values, value(m))
	}
	return median(values)
}

// ratio is the median of what peerscore, the last, has over the contender in the same round.
func (r results) ratio(contender int, value func(rate) float64) float64 {
	var ratios []float64
	for round, theirs := range r[contender] {
		ratios = append(ratios, value(r[len(r)-1][round])/value(theirs))
	}
	return median(ratios)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// judge adds a line with the goal, unless there is none.
func judge(t *tabwriter.Writer, what string, figure float64, g goal, atMost bool) {
	if g == (goal{}) {
		return
	}
	sign := "≥"
	if atMost {
		sign = "≤"
	}
	word := func(bound float64) string {
		if figure == bound || (figure < bound) == atMost {
			return "met"
		}
		return "missed"
	}
	fmt.Fprintf(t, "%s\t%.2f\t%s %g\t%s\t%s %g\t%s\t\n", what, figure, sign, g.must, word(g.must), sign, g.aim, word(g.aim))
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
