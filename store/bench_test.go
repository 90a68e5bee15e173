package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// BenchmarkAddObservation is what a message waits for: its observation on disk. "sessions" of
// a case are how many ask at once; each observation comes from one of 1,000 domains, 4 hosts each.
func BenchmarkAddObservation(b *testing.B) {
	for _, sessions := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprint("sessions=", sessions), func(b *testing.B) {
			s, err := Open(b.Context(), b.TempDir()+"/peerscore.db", Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			at := time.Now()
			var n atomic.Uint32
			b.SetParallelism((sessions + 1) / 2)
			if sessions == 1 {
				for b.Loop() {
					add(b, s, benchObservation(n.Add(1), at))
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						add(b, s, benchObservation(n.Add(1), at))
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "observations/s")
			b.ReportMetric(float64(b.N)/float64(s.Counters().Commits), "observations/commit")
		})
	}
}

// add does not mind a machine that is too busy to confirm in time: it is written all the same.
func add(tb testing.TB, s *Store, o assess.Observation) {
	if err := s.AddObservation(context.Background(), o); err != nil && !errors.Is(err, ErrUnconfirmed) {
		tb.Error(err)
	}
}

func benchObservation(n uint32, at time.Time) assess.Observation {
	d := n * 2654435761 % 1000 // scattered
	return assess.Observation{
		At: at, Domain: dnsname.Domain(fmt.Sprintf("peer%d.example", d)), Proof: assess.ProofSPF | assess.ProofDKIM,
		Host:     netip.PrefixFrom(netip.AddrFrom4([4]byte{192, byte(d >> 8), byte(d), byte(n % 4)}), 32),
		StartTLS: assess.Pass, SPF: assess.Pass, DKIM: assess.Pass, TLSVersion: "TLSv1.3",
		SPFResult: "pass", DKIMResult: "pass", DMARCResult: "pass",
		Selectors: []assess.Selector{{Domain: dnsname.Domain(fmt.Sprintf("peer%d.example", d)), Name: "s1"}},
	}
}
