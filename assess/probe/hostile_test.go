package probe

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/probetest"
)

// maxHostileOctets is what one run with one hostile peer may allocate in all, the peer's own
// bombs included: three revocation lists of the size allowed, several times over while they grow.
const maxHostileOctets = 96 << 20

// maxHostileCPU is how many times what a run with an honest peer takes of a processor one with a
// hostile peer may take, the peer's own part included, and that of the honest one beside it. The
// worst below takes some twenty times as much.
const maxHostileCPU = 60

// usualCPU is what a run with an honest peer takes of a processor: the least of three, since
// others use it too.
func (s *still) usualCPU() time.Duration {
	s.t.Helper()
	least := time.Hour
	for i := range 3 {
		domain := fmt.Sprintf("usual%d.example", i)
		s.honest(domain, fmt.Sprintf("5.0.%d.25", 2+i))
		r := s.runner()
		busy := cpuTime(s.t)
		s.probe(r, domain)
		least = min(least, cpuTime(s.t)-busy)
	}
	s.forgetCalls()
	return least
}

// hostile is one hostile peer: what stands at its addresses, how long it may keep us, and what
// we say of it.
type hostile struct {
	name     string
	records  string // of hostile.example, beside the usual
	smtp     peer   // at 5.6.7.25
	policy   peer   // at 5.6.7.43, inside TLS
	crl      peer   // at 5.6.7.80
	leaf     probetest.Leaf
	within   time.Duration
	standard assess.Standard
	result   assess.Result // of the test that decides
	say      string
}

// run probes the peer, and at the same time, by the same prober, an honest one. Whether that
// took too much of a processor is for the caller to say, since others use it too.
func (h hostile) run(t *testing.T, dns *probetest.DNS) (tooMuch string) {
	s := newStill(t, dns)
	defer s.talking.Wait()
	h.leaf.Names = append(h.leaf.Names, "mx.hostile.example")
	certificate := s.issue(h.leaf)
	good := smtp(probetest.SMTPConfig{Certificates: certs(certificate)})
	for address, p := range map[string]peer{"5.6.7.25:25": h.smtp, "5.6.7.80:80": h.crl, "5.0.0.80:80": s.lists()} {
		if p == nil {
			p = good
		}
		s.put(address, p)
	}
	if h.policy != nil {
		s.put("5.6.7.43:443", s.https("mta-sts.hostile.example", h.policy))
	}
	if h.records == "" {
		h.records = "@ MX 10 mx"
	}
	s.zone("hostile.example", h.records+"\nmx A 5.6.7.25\nmta-sts A 5.6.7.43\ncrl A 5.6.7.80\n_mta-sts TXT \"v=STSv1; id=1\"")
	s.honest("honest.example", "5.0.1.25")

	usual := s.usualCPU()
	r := s.runner()
	before, busy := allocated(), cpuTime(t)
	other := make(chan assess.Facts)
	go func() {
		facts, took := s.probe(r, "honest.example")
		if took > time.Second {
			t.Errorf("the honest peer had to wait for %s", took)
		}
		other <- facts
	}()
	facts, took := s.probe(r, "hostile.example")
	grown, used := allocated()-before, cpuTime(t)-busy
	for standard, verdict := range assess.Judge(assess.Evidence{Facts: new(<-other)}, assess.Rules{}) {
		if slices.Contains([]assess.Standard{assess.StartTLS, assess.X509, assess.MTASTS}, standard) && (verdict.Support != assess.SupportYes || verdict.Unknown > 0) {
			t.Errorf("the honest peer: %s is %s: %s", standard, verdict.Support, say(verdict))
		}
	}
	if took > h.within {
		t.Errorf("it took %s, more than %s", took, h.within)
	}
	if grown > maxHostileOctets {
		t.Errorf("it made us allocate %d octets", grown)
	}
	if used > maxHostileCPU*usual {
		tooMuch = fmt.Sprintf("it took %s of a processor, an honest peer %s", used, usual)
	}
	for address, n := range s.dialled {
		again := address == "5.0.1.25:25" || address == "5.6.7.25:25" && facts.Hosts.Hosts[0].Sessions[0].Stage == assess.StageHandshake
		if n > 1 && address != "5.0.0.80:80" && (!again || n > 2) { // where there are several lists, a second look, and the other certificate
			t.Errorf("%s was dialled %d times", address, n)
		}
	}
	verdict := judged(facts, h.standard)
	i := slices.IndexFunc(verdict.Tests, func(t assess.Test) bool { return t.Result == h.result && strings.Contains(t.Detail, h.say) })
	if i < 0 {
		t.Errorf("no test of %s is %s with %q:\n%s", h.standard, h.result, h.say, say(verdict))
	}
	t.Logf("%s, %s of a processor (%.1f times the usual), %d KiB allocated: %s", took, used.Round(time.Millisecond), float64(used)/float64(usual), grown>>10, firstWith(verdict, h.result))
	return tooMuch
}

func firstWith(v assess.Verdict, r assess.Result) string {
	for _, t := range v.Tests {
		if t.Result == r {
			return t.Detail
		}
	}
	return ""
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func runHostile(t *testing.T, peers []hostile) {
	dns := zoneServer(t)
	for _, h := range peers {
		t.Run(h.name, func(t *testing.T) {
			tooMuch := "not run"
			for range 3 { // as often as the honest peer
				if tooMuch != "" {
					synctest.Test(t, func(t *testing.T) { tooMuch = h.run(t, dns) })
				}
			}
			if tooMuch != "" {
				t.Error(tooMuch)
			}
		})
	}
}

// TestHostileMailHosts has everything that a mail host may do to a prober. Nothing of it is
// taken for a fault of the peer that it may not have meant, and none of it costs another's
// probe any time. TestDialogue and TestDialogueTimes have each step.
func TestHostileMailHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	ca, err := probetest.NewCA(probetest.CAConfig{})
	must(t, err)
	good, err := ca.Issue(probetest.Leaf{Names: []string{"mx.hostile.example"}})
	must(t, err)
	const unknown, s = assess.Unknown, time.Second
	does := func(stage string, step probetest.Step) peer {
		return smtp(probetest.SMTPConfig{Certificates: certs(good), Steps: steps{stage: step}})
	}
	says := func(stage string, lines ...string) peer { return does(stage, probetest.Say(lines...)) }
	presents := func(chain ...[]byte) peer {
		return smtp(probetest.SMTPConfig{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: good.PrivateKey}}})
	}
	names := make([]string, 5000)
	for i := range names {
		names[i] = fmt.Sprintf("host-%d.hostile.example", i)
	}
	named, err := ca.Issue(probetest.Leaf{Names: names})
	must(t, err)
	var peers []hostile
	for _, tt := range []struct {
		name   string
		smtp   peer
		within time.Duration
		result assess.Result
		say    string
	}{
		{"tarpit", does("greeting", probetest.Silence), 17 * s, unknown, "greeting: timeout"},
		{"an octet a second", does("greeting", probetest.Drip(strings.Repeat("220-hello\r\n", 100), s)), 17 * s, unknown, "greeting: timeout"},
		{"an octet a second to EHLO", does("EHLO", probetest.Drip(strings.Repeat("250-hello\r\n", 100), s)), 12 * s, unknown, "ehlo: timeout"},
		{"an octet a second in the handshake", does("STARTTLS", func(c *probetest.SMTPConn) bool {
			return c.Say("220 go") && readSome(c) && probetest.Drip("\x16\x03\x03\x40\x00"+strings.Repeat("\x02", 1<<14), s)(c)
		}), 12 * s, unknown, "handshake: timeout"},
		{"endless greeting", does("greeting", probetest.Endless("220-hello\r\n")), 2 * s, unknown, "greeting: past a limit: a reply of more than 128 lines"},
		{"endless EHLO", does("EHLO", probetest.Endless("250-"+strings.Repeat("x", 1000)+"\r\n")), 2 * s, unknown, "ehlo: past a limit: more than 65536 octets of replies"},
		{"1 GB line", does("greeting", probetest.LongLine("220 ", 1<<30)), 2 * s, unknown, "greeting: past a limit: a line of more than 2048 octets"},
		{"1 GB line inside TLS", does("TLS EHLO", probetest.LongLine("250 ", 1<<30)), 2 * s, unknown, "tls-ehlo: past a limit: a line of more than 2048 octets"},
		{"1 GB of handshake", does("STARTTLS", func(c *probetest.SMTPConn) bool {
			return c.Say("220 go") && readSome(c) && probetest.Endless("\x16\x03\x03\x01\x00"+strings.Repeat("\x00", 256))(c)
		}), 2 * s, assess.Fail, "handshake: "},
		{"421", says("greeting", "421 4.3.2 shutting down"), 2 * s, unknown, `greeting: the server does not want to talk: "421 4.3.2 shutting down"`},
		{"421 to EHLO", says("EHLO", "421 too many connections"), 2 * s, unknown, `ehlo: EHLO was put off: "421 too many connections"`},
		{"451 to EHLO", says("EHLO", "451 try later"), 2 * s, unknown, `ehlo: EHLO was put off: "451 try later"`},
		{"454 to STARTTLS", says("STARTTLS", "454 TLS not available"), 2 * s, unknown, `starttls: STARTTLS was put off: "454 TLS not available"`},
		{"421 to STARTTLS", says("STARTTLS", "421 bye"), 2 * s, unknown, `starttls: STARTTLS was put off: "421 bye"`},
		{"STARTTLS hangs", does("STARTTLS", probetest.Silence), 12 * s, unknown, "starttls: timeout"},
		{"handshake hangs", does("STARTTLS", probetest.SilentHandshake), 12 * s, unknown, "handshake: timeout"},
		{"injection", does("STARTTLS", probetest.Inject("250 injected")), 2 * s, unknown, "starttls: injection: plain text follows the 220 to STARTTLS"},
		{"plain text after STARTTLS", does("STARTTLS", func(c *probetest.SMTPConn) bool {
			return c.Say("220 go") && readSome(c) && c.Say("250 ok")
		}), 2 * s, assess.Fail, "handshake: the server answers with something that is not TLS"},
		{"control characters", says("greeting", "554 \x1b[2J\x07 \xff"), 2 * s, unknown, `"554 \x1b[2J\a \xff"`},
		{"1,000 certificates", presents(slices.Repeat([][]byte{good.Certificate[0]}, 1000)...), 2 * s, unknown, "exceeds maximum of 262144 bytes"},
		{"100 certificates", presents(slices.Repeat([][]byte{good.Certificate[0]}, 100)...), 2 * s, unknown, "handshake: past a limit: a chain of 100 certificates"},
		{"a chain of 70 KiB", presents(padded(t, ca, 70<<10)), 2 * s, unknown, "handshake: past a limit: a chain of 7"},
		{"a SAN of 5,000 names", presents(named.Certificate...), 2 * s, unknown, "handshake: past a limit: "},
		{"a key of 16384 bits", presents(hugeKey(t, ca)), 2 * s, unknown, "handshake: server sent certificate containing RSA key larger than 8192 bits"},
		{"an intermediate with a key of 16384 bits", presents(good.Certificate[0], hugeKey(t, ca)), 2 * s, unknown, "handshake: server sent certificate containing RSA key larger than 8192 bits"},
		{"hang-up", does("greeting", probetest.Hangup()), 2 * s, unknown, "greeting: the server closed the connection"},
	} {
		peers = append(peers, hostile{name: tt.name, smtp: tt.smtp, within: tt.within, standard: assess.StartTLS, result: tt.result, say: tt.say})
	}
	peers = append(peers, hostile{
		name: "a mesh of authorities", smtp: smtp(probetest.SMTPConfig{Certificates: certs(mesh(t, pkix.MaxCertificates-1))}),
		within: 2 * s, standard: assess.X509, result: assess.Fail, say: "trusted root",
	})
	runHostile(t, peers)
}
