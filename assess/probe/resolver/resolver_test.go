package resolver

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"peerscore/assess/probe/probetest"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // servers that do not answer are waited for, whatever the number of processors
	os.Exit(m.Run())
}

var ctx = context.Background()

const digest = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// zones with the kinds of answers that peers give.
var zones = []probetest.Zone{
	{Name: "example", Signed: true},
	{Name: "signed.example", Signed: true, Records: `
		@            MX    20 b.mx
		@            MX    10 A.mx
		@            TXT   "v=spf1 include:_spf.signed.example " "-all"
		@            TXT   "quote \" backslash \\ octets \000\127\255 end"
		a.mx    120  A     192.0.2.1
		a.mx    120  AAAA  2001:db8::1
		a.mx    120  AAAA  ::ffff:192.0.2.3
		_25._tcp.a.mx TLSA 3 1 1 ` + digest + `
		alias   30   CNAME a.mx
		www          CNAME a.plain.example.
		k._domainkey TXT   "v=DKIM1; p="
	`},
	{Name: "plain.example", Records: "a A 192.0.2.2\nnull MX 0 .\n"},
	{Name: "bogus.example", Bogus: true, Records: "@ TXT hidden\n@ MX 10 mx\n"},
	{Name: "expired.example", Expired: true, Records: "@ TXT hidden\n"},
	{Name: "below.bogus.example", Signed: true, Records: "@ TXT hidden\n"},
	{Name: "island.plain.example", Signed: true, Records: "@ TXT island\n"},
	{Name: "wild.example", Signed: true, Records: "* TXT \"from the wildcard\"\n"},
	{Name: "2.0.192.in-addr.arpa", Records: "1 PTR a.mx.signed.example.\n"},
	{Name: "large.example", Signed: true, Records: strings.Repeat("@ TXT \""+strings.Repeat("x", 200)+"\"\n", 20)},
}

func serve(t testing.TB, cfg probetest.DNSConfig) *probetest.DNS {
	t.Helper()
	if cfg.Zones == nil {
		cfg.Zones = zones
	}
	s, err := probetest.NewDNS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newResolver is a resolver that asks addrs, tested.
func newResolver(t testing.TB, cfg Config, addrs ...string) *Resolver {
	t.Helper()
	cfg.Servers = addrs
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tested(t testing.TB, cfg Config, addrs ...string) *Resolver {
	t.Helper()
	r := newResolver(t, cfg, addrs...)
	if v := r.SelfTest(ctx); v.Validates != ValidatesYes {
		t.Fatalf("self-test: %+v", v)
	}
	return r
}

// summary is the part of an answer that a table can hold.
func summary(a Answer) string {
	parts := []string{string(a.Status), string(a.Security)}
	if a.Canonical != a.Name {
		parts = append(parts, "-> "+strings.Join(a.Aliases, " -> "))
	}
	if a.Reason != "" {
		parts = append(parts, a.Reason)
	}
	if a.Zone != "" {
		parts = append(parts, "zone "+a.Zone)
	}
	return strings.Join(append(parts, a.Records...), "|")
}

// sorted is the summary with the records in a fixed order: those of a set have none.
func sorted(a Answer) string {
	a.Records = slices.Sorted(slices.Values(a.Records))
	return summary(a)
}

func parseType(t *testing.T, mnemonic string) Type {
	t.Helper()
	for _, rtype := range []Type{A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, DS, DNSKEY, TLSA} {
		if rtype.String() == mnemonic {
			return rtype
		}
	}
	t.Fatalf("no type %s", mnemonic)
	return 0
}

func TestQuery(t *testing.T) {
	r := tested(t, Config{}, serve(t, probetest.DNSConfig{
		Failures: map[string]probetest.Failure{"refused.example *": probetest.Refused, "servfail.example *": probetest.ServFail},
	}).Addr())
	tests := []struct {
		name string
		t    Type
		want string
		ttl  time.Duration
	}{
		{"signed.example", MX, "found|secure|20 b.mx.signed.example|10 a.mx.signed.example", 300 * time.Second},
		{"Signed.Example.", TXT, "found|secure|v=spf1 include:_spf.signed.example -all|quote \" backslash \\ octets \x00\x7f\xff end", 300 * time.Second},
		{"a.mx.signed.example", A, "found|secure|192.0.2.1", 120 * time.Second},
		{"a.mx.signed.example", AAAA, "found|secure|2001:db8::1|::ffff:192.0.2.3", 120 * time.Second},
		{"_25._tcp.a.mx.signed.example", TLSA, "found|secure|3 1 1 " + digest, 300 * time.Second},
		{"signed.example", NS, "found|secure|ns.signed.example", 300 * time.Second},
		{"signed.example", SOA, "found|secure|zone signed.example|ns.signed.example. hostmaster.signed.example. 1 3600 600 86400 60", 60 * time.Second},
		{"alias.signed.example", A, "found|secure|-> a.mx.signed.example|192.0.2.1", 30 * time.Second},
		{"alias.signed.example", CNAME, "found|secure|a.mx.signed.example", 30 * time.Second},
		{"alias.signed.example", MX, "nodata|secure|-> a.mx.signed.example|zone signed.example", 30 * time.Second},
		{"www.signed.example", A, "found|insecure|-> a.plain.example|192.0.2.2", 300 * time.Second},
		{"www.signed.example", CNAME, "found|secure|a.plain.example", 300 * time.Second},
		{"_domainkey.signed.example", TXT, "nodata|secure|zone signed.example", 60 * time.Second},
		{"_domainkey.plain.example", TXT, "nxdomain|insecure|zone plain.example", 60 * time.Second},
		{"sub.signed.example", SOA, "nxdomain|secure|zone signed.example", 60 * time.Second},
		{"null.plain.example", MX, "found|insecure|0 .", 300 * time.Second},
		{"1.2.0.192.in-addr.arpa", PTR, "found|insecure|a.mx.signed.example", 300 * time.Second},
		{"bogus.example", TXT, "failed|suspect|SERVFAIL", failureTTL},
		{"expired.example", TXT, "failed|bogus|SERVFAIL", failureTTL},
		{"www.bogus.example", A, "failed|suspect|SERVFAIL", failureTTL},
		{"servfail.example", A, "failed||SERVFAIL", failureTTL},
		{"refused.example", A, "failed||REFUSED", failureTTL},
		{"large.example", TXT, "found|secure" + strings.Repeat("|"+strings.Repeat("x", 200), 20), 300 * time.Second},
		{"white space.example", TXT, "failed||" + ReasonName, 0},
	}
	for _, tt := range tests {
		got := r.Query(ctx, tt.name, tt.t)
		if summary(got) != tt.want || got.TTL != tt.ttl {
			t.Errorf("%s %s = %q for %v\nwant %q for %v", tt.name, tt.t, summary(got), got.TTL, tt.want, tt.ttl)
		}
	}
}

func TestQueryFields(t *testing.T) {
	r := tested(t, Config{}, serve(t, probetest.DNSConfig{}).Addr())
	if got, want := r.Query(ctx, "signed.example", MX).MX, []MXRecord{{20, "b.mx.signed.example"}, {10, "a.mx.signed.example"}}; !slices.Equal(got, want) {
		t.Errorf("MX = %v, want %v", got, want)
	}
	if got, want := r.Query(ctx, "a.mx.signed.example", AAAA).Addrs, []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.3")}; !slices.Equal(got, want) {
		t.Errorf("AAAA = %v, want %v", got, want)
	}
	got := r.Query(ctx, "_25._tcp.a.mx.signed.example", TLSA).TLSA
	if len(got) != 1 || got[0].Usage != 3 || got[0].Selector != 1 || got[0].MatchingType != 1 || fmt.Sprintf("%x", got[0].Data) != digest {
		t.Errorf("TLSA = %v", got)
	}
	bogus := r.Query(ctx, "bogus.example", TXT)
	if want := "DNSSEC Bogus: no valid signature for bogus.example."; bogus.EDE != want {
		t.Errorf("EDE = %q, want %q", bogus.EDE, want)
	}
}

// The AD bit decides only where it is believed and the server is known to validate.
func TestSecurity(t *testing.T) {
	validating := serve(t, probetest.DNSConfig{})
	blind := serve(t, probetest.DNSConfig{NotValidating: true})
	tests := []struct {
		server   *probetest.DNS
		trust    TrustAD
		tested   bool
		name     string
		security Security
	}{
		{validating, TrustLoopback, true, "signed.example", Secure},
		{validating, TrustLoopback, true, "a.plain.example", Insecure},
		{validating, TrustLoopback, true, "bogus.example", Suspect},
		{validating, TrustLoopback, true, "expired.example", Bogus},
		{validating, TrustAlways, true, "signed.example", Secure},
		{validating, TrustLoopback, false, "signed.example", Secure},
		{validating, TrustLoopback, false, "a.plain.example", Indeterminate},
		{validating, TrustLoopback, false, "bogus.example", Indeterminate},
		{validating, TrustLoopback, false, "expired.example", Indeterminate},
		{validating, TrustNever, true, "signed.example", Indeterminate},
		{validating, TrustNever, true, "a.plain.example", Indeterminate},
		{validating, TrustNever, true, "bogus.example", Indeterminate},
		{blind, TrustLoopback, true, "signed.example", Indeterminate},
		{blind, TrustLoopback, true, "a.plain.example", Indeterminate},
		{blind, TrustLoopback, true, "bogus.example", Indeterminate},
	}
	for _, tt := range tests {
		r := newResolver(t, Config{TrustAD: tt.trust}, tt.server.Addr())
		if tt.tested {
			r.SelfTest(ctx)
		}
		if got := r.Query(ctx, tt.name, TXT).Security; got != tt.security {
			t.Errorf("%s, trust %s, validates %q: %q, want %q", tt.name, tt.trust, r.Validation().Validates, got, tt.security)
		}
	}
}

func TestSecondServer(t *testing.T) {
	failing := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{
		"signed.example TXT": probetest.ServFail, "signed.example MX": probetest.Timeout,
	}})
	good := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{Timeout: time.Second}, failing.Addr(), good.Addr())
	for _, rtype := range []Type{TXT, MX} {
		if got := r.Query(ctx, "signed.example", rtype); got.Status != Found {
			t.Errorf("%s: %+v", rtype, got)
		}
	}
	if n := good.Queries()["signed.example TXT"]; n != 1 {
		t.Errorf("the second server was asked %d times, want once", n)
	}
}

// A bogus answer is not asked for elsewhere: a server that does not validate would have it.
func TestBogusIsFinal(t *testing.T) {
	validating, blind := serve(t, probetest.DNSConfig{}), serve(t, probetest.DNSConfig{NotValidating: true})
	r := newResolver(t, Config{}, validating.Addr(), blind.Addr())
	r.SelfTest(ctx)
	for name, want := range map[string]Security{"bogus.example": Suspect, "expired.example": Bogus} {
		if got := r.Query(ctx, name, TXT); got.Security != want || got.Status != Failed {
			t.Errorf("%+v", got)
		}
	}
}

func TestOneFlight(t *testing.T) {
	s := serve(t, probetest.DNSConfig{Delay: 50 * time.Millisecond})
	r := newResolver(t, Config{}, s.Addr())
	canceled, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i == 0 {
				r.Query(canceled, "signed.example", TXT)
				return
			}
			if got := r.Query(ctx, "signed.example", TXT); got.Status != Found {
				t.Errorf("one of the waiters got %+v", got)
			}
		})
	}
	cancel()
	wg.Wait()
	if n := s.Queries()["signed.example TXT"]; n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
}

func TestContext(t *testing.T) {
	s := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{"slow.example *": probetest.Timeout}})
	r := newResolver(t, Config{}, s.Addr())
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if got := r.Query(short, "slow.example", A); got.Reason != ReasonTimeout {
		t.Errorf("%+v", got)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if got := r.Query(over, "signed.example", TXT); got.Reason != ReasonCanceled || s.Queries()["signed.example TXT"] != 0 {
		t.Errorf("%+v, sent %d times", got, s.Queries()["signed.example TXT"])
	}
	r.Query(ctx, "signed.example", TXT)
	if got := r.Query(over, "signed.example", TXT); got.Status != Found {
		t.Errorf("in the cache: %+v", got)
	}
}

// A view of the cache alone sends nothing, and does not wait for what others have sent.
func TestCached(t *testing.T) {
	s := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{"slow.example *": probetest.Timeout}})
	r := newResolver(t, Config{}, s.Addr())
	cached := r.Limited(1, nil).Cached()
	if got := cached.Query(ctx, "signed.example", TXT); got.Reason != ReasonNotCached || s.Queries()["signed.example TXT"] != 0 {
		t.Errorf("%+v, sent %d times", got, s.Queries()["signed.example TXT"])
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	r.Query(short, "slow.example", A) // still under way
	if got := cached.Query(ctx, "slow.example", A); got.Reason != ReasonNotCached {
		t.Errorf("under way: %+v", got)
	}
	r.Query(ctx, "signed.example", TXT)
	if got := cached.Query(ctx, "signed.example", TXT); got.Status != Found || cached.Exhausted() {
		t.Errorf("in the cache: %+v", got)
	}
}

func TestLimited(t *testing.T) {
	s := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{}, s.Addr())
	limited := r.Limited(2, nil)
	names := []string{"a.plain.example", "signed.example", "a.plain.example", "third.example", "signed.example"}
	want := []string{"", "", "", ReasonBudget, ""} // what is in the cache costs nothing
	for i, name := range names {
		if got := limited.Query(ctx, name, A); got.Reason != want[i] {
			t.Errorf("question %d: %+v, want %q", i, got, want[i])
		}
	}
	if got := r.Query(ctx, "third.example", A); got.Status != NXDomain {
		t.Errorf("the failure of a limited view was kept: %+v", got)
	}
	slow := r.Limited(10, rate.NewLimiter(rate.Every(time.Hour), 1))
	slow.Query(ctx, "fourth.example", A)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if got := slow.Query(short, "fifth.example", A); got.Reason != ReasonRate {
		t.Errorf("past the rate: %+v", got)
	}
	if n := s.Queries()["fifth.example A"]; n != 0 {
		t.Errorf("a question past the rate was sent")
	}
}

// What follows from a question counts: another try, TCP, and a second look with CD set.
func TestLimitedCountsQueries(t *testing.T) {
	s := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{"slow.example *": probetest.Timeout}})
	for _, tt := range []struct {
		name    string
		queries int // that an answer takes
		reason  string
	}{
		{"a.plain.example", 1, ""},
		{"large.example", 2, ""},
		{"bogus.example", 2, "SERVFAIL"},
		{"slow.example", 2, ReasonTimeout},
	} {
		for n := range 3 {
			r := tested(t, Config{Timeout: 200 * time.Millisecond}, s.Addr())
			limited, before := r.Limited(n, nil), s.Queries()[tt.name+" TXT"]
			reason, exhausted := tt.reason, n < tt.queries
			if exhausted {
				reason = ReasonBudget
			}
			if got := limited.Query(ctx, tt.name, TXT); got.Reason != reason || limited.Exhausted() != exhausted {
				t.Errorf("%s with %d queries: %+v, exhausted %v", tt.name, n, got, limited.Exhausted())
			}
			if sent := s.Queries()[tt.name+" TXT"] - before; sent != min(n, tt.queries) {
				t.Errorf("%s with %d queries: %d were sent", tt.name, n, sent)
			}
			if got := r.Query(ctx, tt.name, TXT); got.Reason != tt.reason {
				t.Errorf("%s after a limited view had none left: %+v", tt.name, got)
			}
		}
	}
}

// Whoever waits for a question that another view began and may not end asks it again.
func TestLimitOfAnother(t *testing.T) {
	s := serve(t, probetest.DNSConfig{Delay: 50 * time.Millisecond})
	r := newResolver(t, Config{}, s.Addr())
	var both sync.WaitGroup
	both.Go(func() { r.Limited(1, nil).Query(ctx, "large.example", TXT) })
	for s.Queries()["large.example TXT"] == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := r.Query(ctx, "large.example", TXT); got.Status != Found {
		t.Errorf("%+v", got)
	}
	both.Wait()
}

func TestConfig(t *testing.T) {
	tests := []struct {
		servers []string
		trust   TrustAD
		want    string // the addresses, or the error
	}{
		{[]string{"127.0.0.1"}, "", "127.0.0.1:53"},
		{[]string{"127.0.0.1:5353", "::1", "[::1]:54", "[::1]"}[:3], TrustNever, "127.0.0.1:5353 [::1]:53 [::1]:54"},
		{[]string{"[::1]"}, TrustAlways, "[::1]:53"},
		{[]string{"localhost"}, "", `DNS server "localhost": want an IP address, with or without a port`},
		{[]string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}, "", "4 DNS servers, want 3 at most"},
		{[]string{"127.0.0.1"}, "yes", `trust_ad is "yes", want auto, always or never`},
	}
	for _, tt := range tests {
		r, err := New(Config{Servers: tt.servers, TrustAD: tt.trust})
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = serverList(r.servers)
		}
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.servers, got, tt.want)
		}
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	const local = "127.0.0.1"
	got, err := systemServers(file)
	if err != nil || !slices.Equal(got, []string{local}) {
		t.Errorf("without the file: %v, %v", got, err)
	}
	for text, want := range map[string][]string{
		"": {local},
		"# comment\nsearch example.org\noptions edns0 trust-ad\n":                              {local},
		"nameserver 192.0.2.1\nnameserver 2001:db8::1\n":                                       {"192.0.2.1", "2001:db8::1"},
		"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n": {"10.0.0.1", "10.0.0.2", "10.0.0.3"},
	} {
		writeFile(t, file, text)
		if got, err := systemServers(file); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	if _, err := systemServers(t.TempDir()); err == nil {
		t.Error("a folder was read as resolv.conf")
	}
}

// More questions at once than there are slots wait, and fail when their time is over.
func TestTooManyAtOnce(t *testing.T) {
	r := newResolver(t, Config{Timeout: 20 * time.Millisecond}, serve(t, probetest.DNSConfig{}).Addr())
	for range maxInFlight {
		r.places.all <- struct{}{}
	}
	if got := r.Query(ctx, "signed.example", TXT); got.Reason != ReasonBusy || got.TTL != 0 {
		t.Errorf("%+v", got)
	}
}

// Silent names of one organisation leave the places of all others free, and of its own as many
// as it may take are taken and given back.
func TestSilentOrganisationLeavesRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	silent := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{Timeout: time.Second}, silent.Addr())
	var wg sync.WaitGroup
	for i := range maxInFlight {
		name := fmt.Sprintf("n%d.silent.example", i)
		silent.Fail(name+" TXT", probetest.Timeout)
		wg.Go(func() { r.Query(ctx, name, TXT) })
	}
	for len(r.places.all) < maxOfOrganisation {
		time.Sleep(time.Millisecond)
	}
	if got := r.Query(ctx, "signed.example", TXT); got.Status != Found {
		t.Errorf("another organisation's name: %+v", got)
	}
	if n := len(r.places.all); n > maxOfOrganisation {
		t.Errorf("one organisation takes %d places", n)
	}
	wg.Wait()
	if len(r.places.all)+len(r.places.of) != 0 {
		t.Errorf("%d places and %d organisations are left", len(r.places.all), len(r.places.of))
	}
}

// A question holds its slot until it ends, however it ends.
func TestSlotIsHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	silent := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{"slow.example *": probetest.Timeout}})
	r := newResolver(t, Config{Timeout: time.Second}, silent.Addr())
	ended := make(chan Answer)
	go func() { ended <- r.Query(ctx, "slow.example", TXT) }()
	for silent.Queries()["slow.example TXT"] == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := len(r.places.all); n != 1 {
		t.Errorf("%d slots are taken", n)
	}
	if got := <-ended; got.Reason != ReasonTimeout || len(r.places.all) != 0 {
		t.Errorf("%+v, %d slots are taken", got, len(r.places.all))
	}
}

// A defect in the handling of a reply fails the question, not the process.
func TestPanic(t *testing.T) {
	r := newResolver(t, Config{}, "127.0.0.1")
	r.servers[0] = nil
	if got := r.Query(ctx, "signed.example", TXT); got.Reason != ReasonInternal {
		t.Errorf("%+v", got)
	}
}

func TestTrusted(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "192.0.2.1": false, "10.0.0.1": false} {
		r := newResolver(t, Config{}, addr)
		if r.servers[0].trusted != want {
			t.Errorf("%s trusted: %v, want %v", addr, !want, want)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	r := tested(b, Config{}, serve(b, probetest.DNSConfig{}).Addr())
	r.Query(ctx, "signed.example", TXT)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r.Query(ctx, "signed.example", TXT).Status != Found {
				b.Fatal("missed")
			}
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	r := tested(b, Config{}, serve(b, probetest.DNSConfig{}).Addr())
	b.ReportAllocs()
	for b.Loop() {
		r.cache.clear()
		if r.Query(ctx, "signed.example", TXT).Status != Found {
			b.Fatal("no answer")
		}
	}
}
