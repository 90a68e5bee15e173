package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// many is a line for each of n numbers.
func many(n int, format string) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, strings.ReplaceAll(format, "#", "%[1]d")+"\n", i)
	}
	return lines.String()
}

// chainOf is a host behind n aliases.
func chainOf(n int) string {
	records := "@ MX 10 a0\n"
	for i := range n {
		records += fmt.Sprintf("a%d CNAME a%d\n", i, i+1)
	}
	return records + fmt.Sprintf("a%d A 5.6.7.25\n", n)
}

// TestHostileZones has what a domain's own name servers may do: whom we dial then, and what we
// say. Nothing of it takes any time, nor more queries than a run has.
func TestHostileZones(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	dns := zoneServer(t)
	const yes, unknown = assess.SupportYes, assess.SupportUnknown
	for _, tt := range []struct {
		name    string
		records string
		dialled string // addresses
		support assess.Support
		say     string
	}{
		{"CNAME loop", "@ MX 10 a\na CNAME b\nb CNAME a", "", unknown, "its addresses are not known: SERVFAIL"},
		{"CNAME to itself", "@ MX 10 a\na CNAME a", "", unknown, "its addresses are not known: SERVFAIL"},
		{"MX to a CNAME", chainOf(1), "5.6.7.25", yes, "a0.hostile.example is an alias of a1.hostile.example"},
		{"8 CNAMEs", chainOf(8), "5.6.7.25", yes, "is an alias of a8.hostile.example"},
		{"9 CNAMEs", chainOf(9), "", unknown, "its addresses are not known: more than 8 CNAMEs"},
		{"CNAME to a forbidden address", "@ MX 10 a\na CNAME b\nb A 127.0.0.1", "", unknown, "its address 127.0.0.1 is never dialled"},
		{"1,000 MX", many(1000, "@ MX # mx#\nmx# A 5.6.7.25"), "", unknown, "its mail hosts are not known: reply with too many records"},
		{"101 MX", many(101, "@ MX # mx#\nmx# A 5.6.7.25"), "", unknown, "its mail hosts are not known: reply with too many records"},
		{"100 MX", many(100, "@ MX # mx#\nmx# A 5.6.#.25"), "5.6.0.25 5.6.1.25 5.6.2.25 5.6.3.25 5.6.4.25", yes, "90 more MX hosts were not tested"},
		{"1,000 addresses", "@ MX 10 mx\n" + wide(1000), "", unknown, "its addresses are not known: reply with too many records"},
		{"100 addresses", "@ MX 10 mx\n" + wide(100), "5.6.0.25 5.6.1.25 5.6.2.25 5.6.3.25 5.6.4.25", yes, "95 more addresses were not tested"},
		{"the same address 10 times", "@ MX 10 mx0\n" + many(10, "@ MX 20 mx#\nmx# A 5.6.7.25"), "5.6.7.25", yes, ""},
		{"loopback", "@ MX 10 mx\nmx A 127.0.0.1\nmx AAAA ::1", "", unknown, "its address 127.0.0.1 is never dialled: it lies in the special-purpose network 127.0.0.0/8"},
		{"loopback, mapped", "@ MX 10 mx\nmx AAAA ::ffff:127.0.0.1", "", unknown, "is never dialled"},
		{"metadata service", "@ MX 10 mx\nmx A 169.254.169.254", "", unknown, "its address 169.254.169.254 is never dialled"},
		{"private beside public", "@ MX 10 mx\nmx A 10.0.0.1\nmx A 5.6.7.25", "5.6.7.25", yes, ""},
		{"an address for a name", "@ MX 10 127.0.0.1.", "", unknown, "it has no address"},
		{"localhost", "@ MX 10 localhost.", "", unknown, "it has no address"},
		{"a name that cannot be asked", `@ MX 10 a\032b`, "", unknown, "not a name of letters, digits, hyphens and underscores"},
		{"null MX among others", "@ MX 0 .\n@ MX 10 mx\nmx A 5.6.7.25", "5.6.7.25", yes, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, dns)
				defer s.talking.Wait()
				good := smtp(probetest.SMTPConfig{Certificates: certs(s.issue(probetest.Leaf{Names: []string{"*.hostile.example"}}))})
				for i := range 256 {
					s.put(fmt.Sprintf("5.6.%d.25:25", i), good)
				}
				s.zone("hostile.example", tt.records)
				usual := s.usualCPU()
				r := s.runner()
				before, busy, asked := allocated(), cpuTime(t), sum(dns.Queries())
				facts, took := s.probe(r, "hostile.example")
				if grown, used, asked := allocated()-before, cpuTime(t)-busy, sum(dns.Queries())-asked; grown > maxHostileOctets || used > maxHostileCPU*usual || asked > DefaultLimits().Queries {
					t.Errorf("it cost %d octets, %s of a processor (%s is usual), %d queries", grown, used, usual, asked)
				}
				wants(t, judged(facts, assess.StartTLS), tt.support, tt.say)
				var dialled []string
				for address, n := range s.dialled {
					addr, mail := strings.CutSuffix(address, ":25")
					switch {
					case !mail: // of revocation lists
					case n != 1:
						t.Errorf("%s was dialled %d times", address, n)
					default:
						dialled = append(dialled, addr)
					}
				}
				slices.Sort(dialled)
				if got := strings.Join(dialled, " "); got != tt.dialled || took > time.Second {
					t.Errorf("dialled %q, want %q; in %s", got, tt.dialled, took)
				}
			})
		})
	}
}

// wide is a host with n addresses.
func wide(n int) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "mx A 5.%d.%d.25\n", 6+i/256, i%256)
	}
	return lines.String()
}

// A name whose address changes between two lookups is asked where the lookup before the
// dialling said, and refused where that is no public address.
func TestRebinding(t *testing.T) {
	dns := zoneServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, dns)
		defer s.talking.Wait()
		s.put("5.6.7.25:25", smtp(probetest.SMTPConfig{}))
		s.zone("rebind.example", "@ MX 10 mx\n_mta-sts TXT \"v=STSv1; id=1\"")
		public, loopback := netip.MustParseAddr("5.6.7.25"), netip.MustParseAddr("127.0.0.1")
		for _, name := range []string{"mx.rebind.example", "mta-sts.rebind.example"} {
			s.dns.Rebind(name, public, loopback)
		}
		r := s.runner()
		first, _ := s.probe(r, "rebind.example")
		time.Sleep(time.Minute) // past what the cache keeps
		second, _ := s.probe(r, "rebind.example")
		if h := first.Hosts.Hosts[0]; len(h.Sessions) != 1 || h.Sessions[0].Address != public {
			t.Errorf("first: %+v", h)
		}
		if h := second.Hosts.Hosts[0]; len(h.Sessions) != 0 || !slices.Equal(h.Refused, []netip.Addr{loopback}) {
			t.Errorf("second: %+v", h)
		}
		if detail := second.MTASTS.Fetched.Detail; !strings.Contains(detail, "127.0.0.1 is never dialled") {
			t.Errorf("second policy: %q", detail)
		}
		if len(s.dialled) != 2 || s.calls("5.6.7.25:25") != 1 || s.calls("5.6.7.25:443") != 1 {
			t.Errorf("dialled: %v", s.dialled)
		}
	})
}

// One run sends 60 queries, and those of BIMI, however many names its records hold.
func TestQueriesOfARun(t *testing.T) {
	dns := zoneServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, dns)
		s.zone("hostile.example", many(10, "@ MX # mx#\nmx# A 5.6.#.25\nmx# TXT x\ns#._domainkey TXT \"v=DKIM1; p=\"\ni# TXT \"v=spf1 a:a#.hostile.example -all\"\na# A 5.5.5.1")+
			`@ TXT "v=spf1`+strings.ReplaceAll(many(10, " include:i#.hostile.example"), "\n", "")+` -all"`)
		before := sum(dns.Queries())
		facts, _ := s.probe(s.runner(), "hostile.example")
		if n := sum(dns.Queries()) - before; n > DefaultLimits().Queries+bimiQueries || n < DefaultLimits().Queries/2 {
			t.Errorf("%d queries", n)
		}
		if len(facts.Hosts.Hosts) != 10 {
			t.Errorf("%d hosts", len(facts.Hosts.Hosts))
		}
	})
}

func sum(counts map[string]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}
