package probetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var testZones = []Zone{
	{Name: "example", Signed: true},
	{Name: "signed.example", Signed: true, Records: `
		@          MX    10 mx
		@          MX    20 mx.plain.example.
		@          TXT   "v=spf1 " "-all"
		mx         A     192.0.2.1
		mx         AAAA  2001:db8::1
		_25._tcp.mx TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
		alias      CNAME mx
		out        CNAME www.plain.example.
		dangling   CNAME nothing
		loop1      CNAME loop2
		loop2      CNAME loop1
		*.wild     TXT   "from the wildcard"
		a.b.wild   A     192.0.2.9
		k._domainkey TXT "v=DKIM1; p="
		UPPER      TXT   "case"
	`},
	{Name: "plain.example", Records: "www A 192.0.2.2\nin CNAME mx.signed.example.\n"},
	{Name: "bogus.example", Bogus: true, Records: "@ TXT hidden\n"},
	{Name: "below.bogus.example", Signed: true, Records: "@ TXT hidden\n"},
	{Name: "island.plain.example", Signed: true, Records: "@ TXT island\n"},
}

// ask sends one query, as change leaves it, and returns the reply.
func ask(t *testing.T, s *DNS, network, question string, change func(*dns.Msg)) *dns.Msg {
	t.Helper()
	name, qtype, _ := strings.Cut(question, " ")
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[qtype])
	if change != nil {
		change(query)
	}
	client := &dns.Client{Net: network, Timeout: 30 * time.Second}
	reply, _, err := client.Exchange(query, s.Addr())
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return reply
}

func newDNS(t *testing.T, cfg DNSConfig) *DNS {
	t.Helper()
	s, err := NewDNS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func wantAD(m *dns.Msg) { m.AuthenticatedData = true }
func wantDO(m *dns.Msg) { m.SetEdns0(dnsUDPSize, true) }
func wantCD(m *dns.Msg) { m.SetEdns0(dnsUDPSize, true); m.CheckingDisabled = true }

// rdata is the answer section as "TYPE rdata", signatures left out.
func rdata(section []dns.RR) string {
	var out []string
	for _, rr := range section {
		if rr.Header().Rrtype != dns.TypeRRSIG {
			out = append(out, dns.Type(rr.Header().Rrtype).String()+" "+strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return strings.Join(out, "; ")
}

func TestResolver(t *testing.T) {
	s := newDNS(t, DNSConfig{Zones: testZones})
	tests := []struct {
		question string
		rcode    string
		secure   bool
		answer   string
	}{
		{"signed.example MX", "NOERROR", true, "MX 10 mx.signed.example.; MX 20 mx.plain.example."},
		{"SIGNED.example TXT", "NOERROR", true, `TXT "v=spf1 " "-all"`},
		{"mx.signed.example A", "NOERROR", true, "A 192.0.2.1"},
		{"mx.signed.example AAAA", "NOERROR", true, "AAAA 2001:db8::1"},
		{"upper.signed.example TXT", "NOERROR", true, `TXT "case"`},
		{"_25._tcp.mx.signed.example TLSA", "NOERROR", true, "TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
		{"alias.signed.example A", "NOERROR", true, "CNAME mx.signed.example.; A 192.0.2.1"},
		{"alias.signed.example CNAME", "NOERROR", true, "CNAME mx.signed.example."},
		{"alias.signed.example TXT", "NOERROR", true, "CNAME mx.signed.example."},
		{"out.signed.example A", "NOERROR", false, "CNAME www.plain.example.; A 192.0.2.2"},
		{"out.signed.example CNAME", "NOERROR", true, "CNAME www.plain.example."},
		{"in.plain.example A", "NOERROR", false, "CNAME mx.signed.example.; A 192.0.2.1"},
		{"dangling.signed.example A", "NXDOMAIN", true, "CNAME nothing.signed.example."},
		{"loop1.signed.example A", "SERVFAIL", false, ""},
		{"x.wild.signed.example TXT", "NOERROR", true, `TXT "from the wildcard"`},
		{"y.x.wild.signed.example TXT", "NOERROR", true, `TXT "from the wildcard"`},
		{"x.wild.signed.example MX", "NOERROR", true, ""},
		{"b.wild.signed.example TXT", "NOERROR", true, ""}, // exists, through a.b.wild
		{"_domainkey.signed.example TXT", "NOERROR", true, ""},
		{"_domainkey.plain.example TXT", "NXDOMAIN", false, ""},
		{"nothing.signed.example A", "NXDOMAIN", true, ""},
		{"signed.example A", "NOERROR", true, ""},
		{"www.plain.example A", "NOERROR", false, "A 192.0.2.2"},
		{"island.plain.example TXT", "NOERROR", false, `TXT "island"`},
		{"plain.example DS", "NOERROR", true, ""},
		{"bogus.example TXT", "SERVFAIL", false, ""},
		{"below.bogus.example TXT", "SERVFAIL", false, ""},
		{"nowhere.invalid A", "NXDOMAIN", true, ""},
		{"signed.example ANY", "NOTIMP", false, ""},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			for i, change := range []func(*dns.Msg){wantAD, wantDO} {
				reply := ask(t, s, network, tt.question, change)
				if got := dns.RcodeToString[reply.Rcode]; got != tt.rcode || rdata(reply.Answer) != tt.answer || reply.AuthenticatedData != tt.secure {
					t.Errorf("%s over %s, %d: %s %q AD %v, want %s %q %v", tt.question, network, i,
						got, rdata(reply.Answer), reply.AuthenticatedData, tt.rcode, tt.answer, tt.secure)
				}
			}
		}
		if reply := ask(t, s, "udp", tt.question, nil); reply.AuthenticatedData {
			t.Errorf("%s: AD without AD or DO in the query", tt.question)
		}
		if reply := ask(t, s, "udp", tt.question, wantCD); reply.AuthenticatedData {
			t.Errorf("%s: AD with CD in the query", tt.question)
		}
	}
}

func TestBogus(t *testing.T) {
	s := newDNS(t, DNSConfig{Zones: testZones})
	for _, name := range []string{"bogus.example TXT", "below.bogus.example TXT"} {
		reply := ask(t, s, "udp", name, wantDO)
		ede, _ := reply.IsEdns0().Option[0].(*dns.EDNS0_EDE)
		if ede == nil || ede.InfoCode != dns.ExtendedErrorCodeDNSBogus {
			t.Errorf("%s: no EDE 6 in %v", name, reply)
		}
		if got := rdata(ask(t, s, "udp", name, wantCD).Answer); got != `TXT "hidden"` {
			t.Errorf("%s with CD: %q", name, got)
		}
	}
	blind := newDNS(t, DNSConfig{Zones: testZones, NotValidating: true})
	for _, name := range []string{"bogus.example TXT", "signed.example TXT"} {
		if reply := ask(t, blind, "udp", name, wantDO); reply.AuthenticatedData || len(reply.Answer) == 0 {
			t.Errorf("%s of a resolver that does not validate: %v", name, reply)
		}
	}
}

func TestFailures(t *testing.T) {
	s := newDNS(t, DNSConfig{Zones: testZones, Failures: map[string]Failure{
		"mx.signed.example A": ServFail, "www.plain.example *": Refused, "slow.example *": Timeout,
	}})
	for question, want := range map[string]int{
		"mx.signed.example A":    dns.RcodeServerFailure,
		"mx.signed.example AAAA": dns.RcodeSuccess,
		"alias.signed.example A": dns.RcodeServerFailure, // through the CNAME
		"www.plain.example TXT":  dns.RcodeRefused,
	} {
		if reply := ask(t, s, "udp", question, nil); reply.Rcode != want {
			t.Errorf("%s: %s", question, dns.RcodeToString[reply.Rcode])
		}
	}
	s.Fail("MX.signed.example. A", "")
	if reply := ask(t, s, "udp", "mx.signed.example A", nil); rdata(reply.Answer) != "A 192.0.2.1" {
		t.Errorf("after the failure was taken back: %v", reply)
	}
	client := &dns.Client{Timeout: 50 * time.Millisecond}
	if reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("slow.example.", dns.TypeA), s.Addr()); err == nil {
		t.Errorf("a question that times out was answered: %v", reply)
	}
	if n := s.Queries()["mx.signed.example A"]; n != 2 {
		t.Errorf("mx.signed.example A was counted %d times, want 2", n)
	}
}

func TestSet(t *testing.T) {
	s := newDNS(t, DNSConfig{Zones: []Zone{{Name: "signed.example", Signed: true, Records: "@ TXT old\n"}}})
	anchor := s.TrustAnchor()
	before := rdata(ask(t, s, "udp", "signed.example DNSKEY", nil).Answer)
	for _, zone := range []Zone{
		{Name: "signed.example", Signed: true, Records: "@ TXT new\n"},
		{Name: "sub.signed.example", Records: "@ TXT below\n"},
	} {
		if err := s.Set(zone); err != nil {
			t.Fatal(err)
		}
	}
	for question, want := range map[string]string{
		"signed.example TXT":     `TXT "new"`,
		"sub.signed.example TXT": `TXT "below"`,
		"signed.example DNSKEY":  before,
	} {
		if got := rdata(ask(t, s, "udp", question, wantDO).Answer); got != want {
			t.Errorf("%s = %q, want %q", question, got, want)
		}
	}
	if s.TrustAnchor() != anchor {
		t.Error("the root's key changed")
	}
	if err := s.Set(Zone{Name: "a.example", Records: "b.example. A 192.0.2.1"}); err == nil {
		t.Error("a record outside its zone was taken")
	}
	if err := s.Set(Zone{Name: "a.example", Records: "@ A not-an-address"}); err == nil {
		t.Error("a malformed record was taken")
	}
}

func TestTruncation(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "@ TXT %q\n", fmt.Sprintf("record %02d of a set that is too large for UDP", i))
	}
	s := newDNS(t, DNSConfig{Zones: []Zone{{Name: "large.example", Signed: true, Records: text.String()}}})
	reply := ask(t, s, "udp", "large.example TXT", wantDO)
	reply.Compress = true
	if !reply.Truncated || reply.Len() > dnsUDPSize {
		t.Errorf("over UDP: truncated %v, %d octets", reply.Truncated, reply.Len())
	}
	if reply := ask(t, s, "tcp", "large.example TXT", wantDO); reply.Truncated || len(reply.Answer) != 61 {
		t.Errorf("over TCP: truncated %v, %d records", reply.Truncated, len(reply.Answer))
	}
}

// TestSignatures verifies every RRset that an authoritative server sends, and that each denial
// carries NSEC records that deny. Real resolvers judge the same in package resolver.
func TestSignatures(t *testing.T) {
	s := newDNS(t, DNSConfig{Zones: testZones, Authoritative: true})
	root, err := dns.NewRR(s.TrustAnchor())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]*dns.DNSKEY{".": root.(*dns.DNSKEY)}
	for _, zone := range []string{"example", "signed.example", "bogus.example"} {
		key := ask(t, s, "tcp", zone+" DNSKEY", nil).Answer[0].(*dns.DNSKEY)
		ds := ask(t, s, "tcp", zone+" DS", nil).Answer[0].(*dns.DS)
		if !strings.EqualFold(key.ToDS(dns.SHA256).Digest, ds.Digest) {
			t.Errorf("%s: the DS in the zone above is of another key", zone)
		}
		keys[dns.Fqdn(zone)] = key
	}
	tests := []struct {
		question, answer, denial string
		valid                    bool
	}{
		{"signed.example MX", "MX 10 mx.signed.example.; MX 20 mx.plain.example.", "", true},
		{"out.signed.example A", "CNAME www.plain.example.", "", true}, // the other zone is another question
		{"x.wild.signed.example TXT", `TXT "from the wildcard"`, "a.b.wild.signed.example. signed.example.", true},
		{"x.wild.signed.example MX", "", "a.b.wild.signed.example. signed.example.; *.wild.signed.example. a.b.wild.signed.example.", true},
		{"signed.example A", "", "signed.example. k._domainkey.signed.example.", true},
		{"no.signed.example A", "", "_25._tcp.mx.signed.example. ns.signed.example.; signed.example. k._domainkey.signed.example.", true},
		{"plain.example DS", "", "plain.example. signed.example.", true},
		{"_domainkey.signed.example TXT", "", "signed.example. k._domainkey.signed.example.", true},
		{"bogus.example TXT", `TXT "hidden"`, "", false},
	}
	for _, tt := range tests {
		reply := ask(t, s, "tcp", tt.question, wantDO)
		if reply.AuthenticatedData || !reply.Authoritative || reply.RecursionAvailable {
			t.Errorf("%s: not the reply of a name server: %v", tt.question, reply.MsgHdr)
		}
		if got := rdata(reply.Answer); got != tt.answer {
			t.Errorf("%s = %q, want %q", tt.question, got, tt.answer)
		}
		var denials []string
		for _, rr := range reply.Ns {
			if nsec, ok := rr.(*dns.NSEC); ok {
				denials = append(denials, nsec.Hdr.Name+" "+nsec.NextDomain)
			}
		}
		if got := strings.Join(denials, "; "); got != tt.denial {
			t.Errorf("%s: denied by %q, want %q", tt.question, got, tt.denial)
		}
		verified := verify(t, slices.Concat(reply.Answer, reply.Ns), keys)
		if verified != tt.valid {
			t.Errorf("%s: signatures verify: %v, want %v", tt.question, verified, tt.valid)
		}
	}
}

// verify reports whether every RRset has a signature, and all are valid.
func verify(t *testing.T, section []dns.RR, keys map[string]*dns.DNSKEY) bool {
	t.Helper()
	sets := map[rrKey][]dns.RR{}
	sigs := map[rrKey]*dns.RRSIG{}
	for _, rr := range section {
		if sig, ok := rr.(*dns.RRSIG); ok {
			sigs[rrKey{sig.Hdr.Name, sig.TypeCovered}] = sig
		} else {
			key := rrKey{rr.Header().Name, rr.Header().Rrtype}
			sets[key] = append(sets[key], rr)
		}
	}
	for key, set := range sets {
		sig := sigs[key]
		if sig == nil {
			t.Errorf("%v has no signature", key)
			return false
		}
		if err := sig.Verify(keys[sig.SignerName], set); err != nil || !sig.ValidityPeriod(time.Now()) {
			return false
		}
	}
	return len(sets) > 0
}

func TestManyNames(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const zones, clients, each = 20_000, 8, 200
	cfg := DNSConfig{Zones: make([]Zone, zones)}
	for i := range cfg.Zones {
		cfg.Zones[i] = Zone{Name: fmt.Sprintf("d%d.example", i), Signed: i%2 == 0, Records: "@ TXT \"v=spf1 -all\"\nmx A 192.0.2.1\n"}
	}
	start := time.Now()
	s := newDNS(t, cfg)
	t.Logf("%d zones in %v", zones, time.Since(start))
	start = time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				n := (c*each + i) * 7 % zones
				reply := ask(t, s, "udp", fmt.Sprintf("d%d.example TXT", n), wantDO)
				if len(reply.Answer) == 0 || reply.AuthenticatedData != (n%2 == 0) {
					t.Errorf("d%d.example: %v", n, reply)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d queries in %v", clients*each, time.Since(start))
}

func TestDelay(t *testing.T) {
	const delay = 30 * time.Millisecond
	s := newDNS(t, DNSConfig{Delay: delay})
	start := time.Now()
	ask(t, s, "udp", "nowhere.example A", nil)
	if took := time.Since(start); took < delay {
		t.Errorf("the reply came after %v, want at least %v", took, delay)
	}
}
