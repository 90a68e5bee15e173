package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"peerscore/assess/dnsname"
)

// A process that reads and does not end keeps the log from being copied: the log says so, is
// bounded, and is written again when that process is gone.
func TestLogIsBounded(t *testing.T) {
	const limit = 2 << 20
	var log bytes.Buffer
	s := open(t, Options{Limits: Limits{Log: limit}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	stored := second(t, s.path)
	_, err := stored.ExecContext(t.Context(), "BEGIN; SELECT count(*) FROM domain")
	check(t, err)
	acknowledged := 0
	for acknowledged < 2000 && err == nil {
		d := dnsname.Domain(fmt.Sprintf("d%d.example", acknowledged))
		if err = s.SaveAssessment(t.Context(), assessed(d, noon)); err == nil {
			acknowledged++
		}
	}
	info, statErr := os.Stat(s.path + "-wal")
	check(t, statErr)
	if !errors.Is(err, errLogFull) || info.Size() > limit+limit/10 {
		t.Errorf("error %v, %d octets after %d writes", err, info.Size(), acknowledged)
	}
	if n := strings.Count(log.String(), "a process has been reading for long"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	_, err = stored.ExecContext(t.Context(), "ROLLBACK")
	check(t, err)
	addAll(t, s, observe("b.example", "192.0.2.1"))
	if got := count(t, s, "domain"); got != acknowledged+2 {
		t.Errorf("%d domains, want %d", got, acknowledged+2)
	}
	t.Logf("%d octets of log after %d writes", info.Size(), acknowledged)
}

// A full log that nobody reads is copied while the store is closed, too, for what waits then.
func TestFullLogAtTheEnd(t *testing.T) {
	s := open(t, Options{Limits: Limits{Log: 100_000}})
	for i := range 30 {
		addAll(t, s, observe(crashDomain(i), "192.0.2.1"))
	}
	begun, hold, closed := make(chan struct{}), make(chan struct{}), make(chan error)
	go s.write(context.WithoutCancel(t.Context()), func(*tx) error { close(begun); <-hold; return nil })
	<-begun
	_ = s.AddObservation(ended(t), observe("z.example", "192.0.2.1")) // waits in memory
	go func() { closed <- s.Close() }()
	<-s.writer.ctx.Done()
	close(hold)
	check(t, <-closed)
	if c := s.Counters(); c.Committed != 31 || c.Lost != 0 || c.Log <= 100_000 {
		t.Errorf("%+v", c)
	}
}
