// Cost looks for inputs that cost peerscore more than they cost whoever sends them. Other
// fuzzers look for crashes; this one maximises CPU time, memory and DNS queries per octet of
// messages, headers, signatures, macros, DNS answers, SMTP dialogues, certificates, revocation
// lists and policies:
//
//	go run ./contrib/cost [-for 60s] [-seed N] [-surface REGEXP] [-replay INPUT]
//
// Each surface is an input that a stranger controls. An input is pieces, most of them odd,
// repeated and put together, and a few knobs. A search by mutation keeps the inputs that come
// closest to a limit and varies them. An input above a limit is measured again five times
// before it counts; then it is printed in a form that -replay takes, and the exit status is 1.
//
// CPU is never held against the clock of this machine but against an ordinary input of the same
// size in the same run; memory and queries are counted.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("cost: ")
	duration := flag.Duration("for", time.Minute, "how long to search, all surfaces together")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the search; the same seed tries the same inputs first")
	pattern := flag.String("surface", "", "search only surfaces whose name matches")
	replay := flag.String("replay", "", "measure one input, as an earlier run printed it")
	flag.Parse()
	only, err := regexp.Compile(*pattern)
	if err != nil {
		log.Fatal(err)
	}
	if *replay != "" {
		if err := measureOne(os.Stdout, *replay); err != nil {
			log.Fatal(err)
		}
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	fmt.Printf("seed %d\n", *seed)
	above, err := searchAll(os.Stdout, only, rand.New(rand.NewPCG(*seed, 0)), *duration, stop)
	if err != nil {
		log.Fatal(err)
	}
	if above > 0 {
		log.Fatalf("%d surfaces have an input above a limit", above)
	}
}

// turn is how long one surface is searched before the next has its turn, and how much longer
// those are searched whose inputs take long.
const (
	turn     = time.Second
	longTurn = 5 * time.Second
)

// searchAll searches the surfaces in turns and returns how many have an input above a limit.
func searchAll(w io.Writer, only *regexp.Regexp, rng *rand.Rand, duration time.Duration, stop <-chan os.Signal) (above int, err error) {
	var searches []*search
	for _, s := range surfaces() {
		if !only.MatchString(s.name) {
			continue
		}
		one, err := newSearch(s, rng)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
		defer one.bench.Close()
		searches = append(searches, one)
	}
	if len(searches) == 0 {
		return 0, fmt.Errorf("no surface matches %q", only)
	}
	end := time.Now().Add(duration)
	for i := 0; i < len(searches) || time.Now().Before(end); i++ { // each has one turn at least
		select {
		case <-stop:
			return summarise(w, searches[:min(i, len(searches))])
		default:
		}
		s, length := searches[i%len(searches)], turn
		if s.surface.slow {
			length = longTurn
		}
		if err := s.run(length); err != nil {
			return 0, fmt.Errorf("%s: %w", s.surface.name, err)
		}
	}
	return summarise(w, searches)
}

// summarise prints the worst input of each surface.
func summarise(w io.Writer, searches []*search) (above int, err error) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "surface\tinputs\tworst: octets\tCPU/ordinary\tof\theld KiB\tof\tqueries\tof\tverdict")
	for _, s := range searches {
		worst, err := s.confirm()
		if err != nil {
			return above, fmt.Errorf("%s: %w", s.surface.name, err)
		}
		verdict := "ok"
		if worst.share > 1 {
			verdict = "ABOVE"
			above++
		}
		l := s.surface.limits
		fmt.Fprintf(table, "%s\t%d\t%d\t%.2f\t%g\t%d\t%d\t%d\t%d\t%s\n", s.surface.name, s.tried,
			worst.octets, worst.ratio, l.ratio, worst.use.held>>10, l.held>>10, worst.use.queries, l.queries, verdict)
	}
	if err := table.Flush(); err != nil {
		return above, err
	}
	for _, s := range searches {
		fmt.Fprintf(w, "%s: %s\n", s.surface.name, s.best[0].genome)
	}
	return above, nil
}
