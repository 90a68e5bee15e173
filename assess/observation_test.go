package assess

import (
	"net/netip"
	"testing"
)

func TestProof(t *testing.T) {
	for _, tt := range []struct {
		proof Proof
		want  string
		path  bool
	}{
		{0, "", false},
		{ProofDKIM, "dkim", false},
		{ProofSPF, "spf", true},
		{ProofSPF | ProofDKIM, "dkim+spf", true},
		{ProofMX | ProofDKIM, "dkim+mx", true},
		{ProofHost, "host", true},
		{ProofSPF | ProofDKIM | ProofMX | ProofHost, "dkim+spf+mx+host", true},
	} {
		if tt.proof.String() != tt.want || tt.proof.Path() != tt.path {
			t.Errorf("%d: %q, path %v", tt.proof, tt.proof, tt.proof.Path())
		}
	}
	if p := ProofSPF | ProofMX; !p.Has(ProofSPF) || p.Has(ProofSPF|ProofDKIM) {
		t.Error("Has asks for all of the set")
	}
}

func TestClientHost(t *testing.T) {
	for _, tt := range []struct{ addr, want, subject string }{
		{"192.0.2.1", "192.0.2.1/32", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1/32", "192.0.2.1"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/64"},
	} {
		host := ClientHost(netip.MustParseAddr(tt.addr))
		if host.String() != tt.want || (HostTally{Host: host}).Subject() != tt.subject {
			t.Errorf("%s: %s, %s", tt.addr, host, HostTally{Host: host}.Subject())
		}
	}
	relayed := ClientHost(netip.Addr{})
	if relayed.IsValid() || !(Observation{Host: relayed}).Relayed() || (HostTally{Host: relayed}).Subject() != "relayed" {
		t.Errorf("no address: %s", relayed)
	}
	if got := (HostTally{Host: netip.MustParsePrefix("192.0.2.0/24")}).Subject(); got != "192.0.2.0/24" {
		t.Errorf("a coarsened host: %s", got)
	}
}

func TestCount(t *testing.T) {
	var c Count
	for _, r := range []Result{Pass, Pass, Fail, Unknown, NotApplicable} {
		c.Add(r)
	}
	if c != (Count{Passed: 2, Failed: 1}) {
		t.Errorf("%+v", c)
	}
	tally := tallyOf(HostTally{Sessions: 2}, HostTally{Sessions: 3})
	if tally.Credited() != 5 {
		t.Errorf("credited %d", tally.Credited())
	}
}

func TestResultText(t *testing.T) {
	for _, r := range []Result{Unknown, Pass, Fail, Bogus, NotApplicable} {
		text, err := r.MarshalText()
		var again Result
		if err != nil || again.UnmarshalText(text) != nil || again != r {
			t.Errorf("%d: %q, %v", r, text, err)
		}
	}
	var r Result
	if r.UnmarshalText([]byte("maybe")) == nil || Result(9).String() != "Result(9)" {
		t.Error("an unknown result is taken")
	}
}

func TestThreshold(t *testing.T) {
	for _, tt := range []struct {
		threshold     float64
		passed, known int
		want          bool
	}{
		{0, 4, 5, true}, {0, 2, 3, false}, {0.8, 8, 10, true}, {0.8, 79, 100, false}, {0.8, 80, 100, true},
		{0.07, 7, 100, true}, {0.57, 57, 100, true}, {1, 9, 10, false}, {1, 10, 10, true}, {0.8, 800_000_000, 1_000_000_000, true},
	} {
		if got := (Rules{Threshold: tt.threshold}).met(tt.passed, tt.known); got != tt.want {
			t.Errorf("%d of %d at %v: %v", tt.passed, tt.known, tt.threshold, got)
		}
	}
}
