package probe

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// TestDialogueRoundTrips has the dialogue over a network where time is exact: connect,
// greeting, EHLO, STARTTLS, TLS 1.3 and EHLO are six round trips, and there is no seventh.
func TestDialogueRoundTrips(t *testing.T) {
	const delay = 40 * time.Millisecond
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	certificate, err := ca.Issue(probetest.Leaf{Names: []string{"mx.example"}})
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		var stages []StageTiming
		server := probetest.UnstartedSMTP(probetest.SMTPConfig{Delay: delay, Certificates: certs(certificate)})
		d := &dialogue{
			dialer: &Dialer{
				Allow: prefixes("192.0.2.0/24"),
				Dial: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go server.Serve(theirs)
					return ours, nil
				},
			},
			ehlo: "probe.example", now: time.Now, trace: newTrace(func(s StageTiming) { stages = append(stages, s) }),
		}
		_, err := d.hold(t.Context(), netip.MustParseAddr("192.0.2.1"), "mx.example")
		must(t, err)
		if d.facts.Outcome != assess.TLSEstablished {
			t.Fatalf("the dialogue ended otherwise: %+v", d.facts)
		}
		if took := stages[len(stages)-1].End; took != 6*delay {
			t.Errorf("the dialogue took %v, want six round trips of %v: %+v", took, delay, stages)
		}
		synctest.Wait()
	})
}
