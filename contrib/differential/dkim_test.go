package differential

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
	"peerscore/milter"
	"peerscore/milter/miltertest"
)

const dkimCases = 3000

// TestDKIM sends generated messages, valid, odd and tampered with, through the milter, and
// holds its answer against dkimpy. A disagreement must be one of the named rules.
func TestDKIM(t *testing.T) {
	const seed = 6376
	python := startPython(t, "dkim, nacl", "dkimpy.py")
	g := newDKIMGenerator(t, rand.New(rand.NewPCG(seed, seed)))
	lab := newDKIMLab(t)
	results, disputes := map[string]int{}, map[string]int{}
	agreed := 0
	for i := range dkimCases {
		c := g.next()
		d := dkimDispute{dkimCase: c, ours: lab.answer(t, c)}
		python.ask(t, c, &d.theirs)
		results[d.ours]++
		if (d.ours == "pass") == (d.theirs.Result == "pass") {
			agreed++
			continue
		}
		rule := slices.IndexFunc(dkimpyRules, func(r dkimRule) bool { return r.applies(d) })
		if rule < 0 {
			t.Errorf("seed %d, case %d: ours %s, dkimpy %+v\n%s\n%q", seed, i, d.ours, d.theirs, c.Keys, c.Message)
			continue
		}
		disputes[dkimpyRules[rule].name+" ("+dkimpyRules[rule].section+")"]++
	}
	t.Logf("DKIM, seed %d: %d of %d cases agree with dkimpy; our results: %v", seed, agreed, dkimCases, results)
	for _, rule := range slices.Sorted(maps.Keys(disputes)) {
		t.Logf("  %4d: dkimpy %s", disputes[rule], rule)
	}
	for _, result := range []string{"pass", "fail", "permerror", "policy"} {
		if results[result] < dkimCases/100 {
			t.Errorf("only %d cases end in %s: the comparison says little", results[result], result)
		}
	}
	if len(disputes) != len(dkimpyRules) {
		t.Errorf("%d of %d rules were needed", len(disputes), len(dkimpyRules))
	}
}

// dkimDispute is a case in which dkimpy answers otherwise than the milter.
type dkimDispute struct {
	dkimCase
	ours   string // as in Authentication-Results
	theirs struct{ Result, Problem string }
}

type dkimRule struct {
	name    string
	section string
	applies func(d dkimDispute) bool
}

var dkimpyRules = []dkimRule{
	{"counts a body of which a part is signed", "RFC 6376, section 8.2", func(d dkimDispute) bool {
		return d.ours == "policy" && d.tag("l") != ""
	}},
	{"counts a key in test mode", "RFC 6376, section 3.6.1", func(d dkimDispute) bool {
		return d.ours == "policy" && d.key("t") != ""
	}},
	{"keeps the white space behind the value of b=", "RFC 6376, section 3.7", func(d dkimDispute) bool {
		return d.ours == "pass" && regexp.MustCompile(`[;\s]b\s*=[^;]*\s;`).MatchString(d.signature)
	}},
	{"takes SHA-1", "RFC 8301, section 3.1", func(d dkimDispute) bool { return d.tag("a") == "rsa-sha1" }},
	{"does not read h= of the key", "RFC 6376, section 3.6.1", func(d dkimDispute) bool { return d.key("h") != "" }},
	{"does not read t=s of the key", "RFC 6376, section 3.6.1", func(d dkimDispute) bool { return d.key("t") == "s" }},
	{"keeps blanks at the end of a last line without line end", "RFC 6376, section 3.4.4", func(d dkimDispute) bool {
		return d.ours == "pass" && regexp.MustCompile(`[ \t]$`).Match(d.Message)
	}},
	{"takes i= in another case than d=, which is left undecided here", "RFC 6376, section 6.1.1", func(d dkimDispute) bool {
		return d.ours == "neutral" && d.tag("i") != "" && d.tag("d") != "example.org"
	}},
}

// dkimCase is a signed message and the DNS that belongs to it.
type dkimCase struct {
	Message []byte
	Keys    map[string]string

	signature string // its tag list
}

// tag is the value of a tag of the signature, of one word.
func (c dkimCase) tag(name string) string { return tagOf(c.signature, name) }

// key is the same for the key record.
func (c dkimCase) key(name string) string {
	for _, record := range c.Keys {
		return tagOf(record, name)
	}
	return ""
}

func tagOf(list, name string) string {
	if m := regexp.MustCompile(`(?:^|[;\s])` + name + `\s*=\s*([^;\s]*)`).FindStringSubmatch(list); m != nil {
		return m[1]
	}
	return ""
}

// dkimLab is a milter that credits every message by its SPF, so that each leaves an observation.
type dkimLab struct {
	keys   map[string]string
	seen   []assess.Observation
	client *miltertest.Client
}

func newDKIMLab(t *testing.T) *dkimLab {
	l := &dkimLab{}
	server := milter.New(milter.Config{
		Resolver: func(int) milter.Resolver { return l }, Recorder: l, Reputation: l, Learner: l, Logger: slog.New(slog.DiscardHandler), Hostname: "mx.own.example",
		Policy: milter.Policy{Authentication: milter.Verify, OwnDomains: []dnsname.Domain{"own.example"}},
	})
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "milter"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	l.client, err = miltertest.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.client.Connect(dkimPeer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.client.Quit() })
	return l
}

var dkimPeer = miltertest.Peer{Addr: netip.MustParseAddr("192.0.2.1"), HELO: "mx.example.org"}

// answer is what the milter says of the DKIM of a message.
func (l *dkimLab) answer(t *testing.T, c dkimCase) string {
	t.Helper()
	l.keys, l.seen = c.Keys, nil
	_, err := l.client.Send(dkimPeer, miltertest.Message{From: "a@example.org", To: []string{"info@own.example"}, Data: c.Message})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.seen) != 1 {
		t.Fatalf("%d observations\n%q", len(l.seen), c.Message)
	}
	return l.seen[0].DKIMResult
}

func (l *dkimLab) LookupTXT(_ context.Context, name string) ([]string, error) {
	name = strings.TrimSuffix(name, ".")
	if record := l.keys[name]; record != "" {
		return []string{record}, nil
	}
	if name == "example.org" {
		return []string{"v=spf1 ip4:192.0.2.1 -all"}, nil
	}
	return nil, &net.DNSError{Name: name, IsNotFound: true}
}

func (l *dkimLab) Exhausted() bool { return false }

// Cached has all answers.
func (l *dkimLab) Cached() spf.Resolver { return l }

func (l *dkimLab) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Name: name, IsNotFound: true}
}

func (l *dkimLab) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, &net.DNSError{Name: name, IsNotFound: true}
}

func (l *dkimLab) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, &net.DNSError{Name: addr, IsNotFound: true}
}

func (l *dkimLab) AddObservation(_ context.Context, o assess.Observation) error {
	l.seen = append(l.seen, o)
	return nil
}

func (l *dkimLab) CountUnauthenticated(dnsname.Domain)                      {}
func (l *dkimLab) Offer(dnsname.Domain)                                     {}
func (l *dkimLab) Learn(dnsname.Domain)                                     {}
func (l *dkimLab) Standing(context.Context, dnsname.Domain) assess.Standing { return assess.Standing{} }
