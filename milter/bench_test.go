package milter

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

// benchMessage is a signed message of about size bytes with 25 fields.
func benchMessage(b *testing.B, size int) miltertest.Message {
	var more []string
	for range 18 {
		more = append(more, "Received: from relay.example.org by mx.example.org with ESMTPS;\r\n\tFri, 20 Nov 2026 10:00:00 +0000")
	}
	text := letter("Anna <anna@example.org>", more...)
	const line = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n"
	text += strings.Repeat(line, max(0, size-len(text))/len(line))
	return miltertest.Message{
		QueueID: "4fQ1aB2cDe", From: "anna@example.org", To: []string{"info@own.example"},
		Data: []byte(signed(b, text, "example.org", "rsa", relaxed)),
	}
}

// benchmark plays messages through a Unix socket, one session for ten of them. The CPU time
// that it reports is that of both ends.
func benchmark(b *testing.B, size int) {
	m := benchMessage(b, size)
	l := newLab(b, world, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	l.ledger.standings["example.org"] = assess.Standing{Known: true}
	b.SetBytes(int64(len(m.Data)))
	b.SetParallelism(5) // ten clients on two cores
	var sent atomic.Int64
	before := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var c *miltertest.Client
		for n := 0; pb.Next(); n++ {
			if n%10 == 0 {
				if c != nil {
					c.Quit()
				}
				c = l.dial(b)
				if err := c.Connect(outbound); err != nil {
					b.Error(err)
					return
				}
			}
			if answer, err := c.Send(outbound, m); err != nil || answer.Code != 'c' {
				b.Errorf("answer %q: %v", answer.Code, err)
				return
			}
			sent.Add(1)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(sent.Load())/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(sent.Load()), "cpu-µs/msg")
	if credited := len(l.ledger.observations); credited != int(sent.Load()) {
		b.Fatalf("%d observations of %d messages", credited, sent.Load())
	}
}

func cpuTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkMessage2K(b *testing.B)   { benchmark(b, 2<<10) }
func BenchmarkMessage100K(b *testing.B) { benchmark(b, 100<<10) }
