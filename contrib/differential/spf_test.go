package differential

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	blitiri "blitiri.com.ar/go/spf"

	"peerscore/assess/spf"
)

const spfCases = 8000

// TestSPF evaluates generated zones with package spf, with blitiri.com.ar/go/spf and with pyspf.
// A disagreement must be one of the named rules.
func TestSPF(t *testing.T) {
	const seed = 7208
	python := startPySPF(t)
	g := spfGenerator{rand.New(rand.NewPCG(seed, seed))}
	results, disputes := map[spf.Result]int{}, map[string]int{}
	agreed := map[string]int{}
	for i := range spfCases {
		c := g.next()
		d := spfDispute{spfCase: c, ours: c.evaluate(t), records: c.reached()}
		results[d.ours.Result]++
		for _, peer := range []struct {
			name   string
			answer spfAnswer
			rules  []spfRule
		}{{"blitiri", c.askBlitiri(t), blitiriRules}, {"pyspf", python.ask(t, c), pyspfRules}} {
			d.theirs = peer.answer
			if d.settled() {
				agreed[peer.name]++
				continue
			}
			rule := slices.IndexFunc(peer.rules, func(r spfRule) bool { return r.applies(d) })
			if rule < 0 {
				zone, _ := json.Marshal(c)
				t.Errorf("seed %d, case %d: ours %s (%s) %q, %s %+v\n%s\n%s", seed, i, d.ours.Result, d.ours.Problem, d.ours.Explanation, peer.name, d.theirs, d.records, zone)
				continue
			}
			disputes[peer.name+" "+peer.rules[rule].name+" ("+peer.rules[rule].section+")"]++
		}
	}
	t.Logf("SPF, seed %d: %d of %d cases agree with blitiri, %d with pyspf; our results: %v", seed, agreed["blitiri"], spfCases, agreed["pyspf"], results)
	for _, rule := range slices.Sorted(maps.Keys(disputes)) {
		t.Logf("  %4d: %s", disputes[rule], rule)
	}
	for _, result := range []spf.Result{spf.None, spf.Neutral, spf.Pass, spf.Fail, spf.SoftFail, spf.TempError, spf.PermError} {
		if results[result] < spfCases/100 {
			t.Errorf("only %d cases end in %s: the comparison says little", results[result], result)
		}
	}
	if rules := len(blitiriRules) + len(pyspfRules); len(disputes) != rules {
		t.Errorf("%d of %d rules were needed", len(disputes), rules)
	}
}

// spfAnswer is a peer's answer. The explanation is "-" where the peer has none.
type spfAnswer struct {
	Result, Explanation, Problem string
}

// settled tells whether the peer gives our result and, if it is a fail and the peer explains, our explanation.
func (d spfDispute) settled() bool {
	return string(d.ours.Result) == d.theirs.Result &&
		(d.ours.Result != spf.Fail || d.theirs.Explanation == "-" || d.theirs.Explanation == d.ours.Explanation)
}

func (c *spfCase) evaluate(t *testing.T) spf.Outcome {
	out := spf.Check(t.Context(), c, spf.Query{IP: netip.MustParseAddr(c.IP), HELO: c.HELO, MailFrom: c.From, Receiver: c.Receiver})
	c.heard = true
	return out
}

// reached are the SPF records at the names that our evaluation looked up, a line each.
func (c *spfCase) reached() string {
	var records []string
	for name := range c.asked {
		for _, line := range c.lines(name) {
			if text, ok := strings.CutPrefix(line, "TXT "); ok && strings.HasPrefix(strings.ToLower(text), "v=spf1") {
				records = append(records, text)
			}
		}
	}
	return strings.Join(records, "\n")
}

func (c *spfCase) askBlitiri(t *testing.T) spfAnswer {
	result, err := blitiri.CheckHostWithSender(net.ParseIP(c.IP), c.HELO, c.From, blitiri.WithResolver(c), blitiri.WithContext(t.Context()))
	return spfAnswer{string(result), "-", fmt.Sprint(err)}
}

// pySPF is Debian's pyspf in a child process.
type pySPF struct {
	questions *json.Encoder
	answers   *bufio.Scanner
}

func startPySPF(t *testing.T) *pySPF {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import spf").CombinedOutput(); err != nil {
		if os.Getenv("PEERSCORE_FULL") == "1" {
			t.Fatalf("pyspf is missing: %v\n%s", err, out)
		}
		t.Skip("python3-spf is not installed: left out SPF against blitiri and pyspf")
	}
	child := exec.Command(python, "testdata/pyspf.py")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		child.Wait()
	})
	return &pySPF{json.NewEncoder(stdin), bufio.NewScanner(stdout)}
}

func (p *pySPF) ask(t *testing.T, c *spfCase) (a spfAnswer) {
	if err := p.questions.Encode(c); err != nil {
		t.Fatal(err)
	}
	if !p.answers.Scan() {
		t.Fatalf("pyspf ended: %v", p.answers.Err())
	}
	if err := json.Unmarshal(p.answers.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if a.Explanation == "SPF fail - not authorized" { // its default
		a.Explanation = ""
	}
	return a
}
