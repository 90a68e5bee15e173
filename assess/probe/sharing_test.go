package probe

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// 200 domains share the two addresses of one provider: whatever they call its hosts, each
// address is connected to once, and all have what it said. Within the week nobody connects again.
func TestOneConnectionForAllDomains(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const domains = 200
	dns := zoneServer(t)
	for _, tt := range []struct {
		name string
		mx   func(i int) string
	}{
		{"one host name", func(int) string { return "mx.provider.example" }},
		{"a host name each, in one certificate", func(i int) string { return fmt.Sprintf("c%d.mx.provider.example", i) }},
		{"a host name each, in the domain itself", func(i int) string { return fmt.Sprintf("mx.d%d.example", i) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, dns)
				defer s.talking.Wait()
				names := []string{"mx.provider.example", "*.mx.provider.example"}
				records := "mx A 5.6.7.25\nmx AAAA 2a01:6:7::25\n*.mx A 5.6.7.25\n*.mx AAAA 2a01:6:7::25"
				s.zone("provider.example", records)
				for i := range domains {
					domain := fmt.Sprintf("d%d.example", i)
					names = append(names, "mx."+domain)
					s.zone(domain, "@ MX 10 "+tt.mx(i)+".\nmx A 5.6.7.25\nmx AAAA 2a01:6:7::25")
				}
				if !strings.HasPrefix(tt.mx(0), "mx.d0.") {
					names = names[:2]
				}
				mail := smtp(probetest.SMTPConfig{Certificates: certs(s.issue(probetest.Leaf{Names: names, CRLs: []string{}}))})
				s.put("5.6.7.25:25", mail)
				s.put("[2a01:6:7::25]:25", mail)
				s.env.Memory = NewMemory() // as a store, it outlives the prober
				for range 2 {
					r := s.runner()
					var runs sync.WaitGroup
					places := make(chan struct{}, 20) // the name server is a real one, on a machine that may be busy
					for i := range domains {
						places <- struct{}{}
						runs.Go(func() {
							defer func() { <-places }()
							facts, _ := s.probe(r, fmt.Sprintf("d%d.example", i))
							for _, standard := range []assess.Standard{assess.StartTLS, assess.X509} {
								if v := judged(facts, standard); v.Support != assess.SupportYes || len(facts.Hosts.Hosts[0].Sessions) != 2 {
									t.Errorf("%s: %s is %s: %s", facts.Domain, standard, v.Support, say(v))
								}
							}
						})
					}
					runs.Wait()
					if s.calls("5.6.7.25:25") != 1 || s.calls("[2a01:6:7::25]:25") != 1 {
						t.Errorf("connections: %v", s.dialled)
					}
					time.Sleep(6 * 24 * time.Hour)
				}
			})
		})
	}
}
