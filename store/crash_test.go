package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"peerscore/assess/dnsname"
)

const crashWriters = 8

func crashDomain(writer int) dnsname.Domain {
	return dnsname.Domain(fmt.Sprintf("w%d.example", writer))
}

// writeUntilKilled adds observations from several goroutines, and says after each which
// writer's it was.
func writeUntilKilled(args []string) error {
	s, err := Open(context.Background(), args[0], Options{Now: newClock(noon).now})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for writer := range crashWriters {
		go func() {
			for i := 0; ; i++ {
				if err := s.AddObservation(context.Background(), observe(crashDomain(writer), fmt.Sprintf("192.0.2.%d", i%7))); err != nil {
					failed <- err
				}
				fmt.Fprintln(os.Stdout, writer) // one write call: no line is cut in two
			}
		}()
	}
	return <-failed
}

// TestKillLosesNothing kills a writing process again and again and compares what it
// acknowledged with what is stored: each writer may have one more that it did not live to tell.
func TestKillLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	var acknowledged [crashWriters]int
	rounds := 8
	for round := range rounds {
		runAndKill(t, path, 200+rand.IntN(2000), &acknowledged)
		s := openPath(t, path, Options{})
		check(t, checkAfresh(t.Context(), s.path))
		for writer, n := range acknowledged {
			got := tally(t, s, crashDomain(writer)).Credited()
			if got < n || got > n+round+1 {
				t.Fatalf("round %d: writer %d has %d sessions stored, %d acknowledged", round, writer, got, n)
			}
		}
		check(t, s.Close())
	}
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	t.Logf("%d kills, %d observations acknowledged, none lost", rounds, total)
}

// runAndKill starts a writer, kills it after so many acknowledgements, and counts those that it gave.
func runAndKill(t *testing.T, path string, after int, acknowledged *[crashWriters]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), "PEERSCORE_STORE_CHILD=write")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var writer int
		if _, err := fmt.Sscan(lines.Text(), &writer); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		acknowledged[writer]++
		if n == after {
			check(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the writer ended by itself: %v %s", err, stderr.String())
	}
}
