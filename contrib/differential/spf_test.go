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
	python := startPython(t, "spf", "pyspf.py")
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
		}{{"blitiri", c.askBlitiri(t), blitiriRules}, {"pyspf", askPySPF(t, python, c), pyspfRules}} {
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

// settled reports whether the peer gives our result and, if it is a fail and the peer explains, our explanation.
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

// pythonPeer is a library of Debian's Python in a child process: one JSON object a line in, one out.
type pythonPeer struct {
	questions *json.Encoder
	answers   *bufio.Scanner
}

func startPython(t *testing.T, modules, script string) *pythonPeer {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import "+modules).CombinedOutput(); err != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatalf("a module of Python is missing: %v\n%s", err, out)
		}
		t.Skipf("Python has no %s: left out the comparison with it", modules)
	}
	child := exec.Command(python, "testdata/"+script)
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
	return &pythonPeer{json.NewEncoder(stdin), bufio.NewScanner(stdout)}
}

func (p *pythonPeer) ask(t *testing.T, question, answer any) {
	t.Helper()
	if err := p.questions.Encode(question); err != nil {
		t.Fatal(err)
	}
	if !p.answers.Scan() {
		t.Fatalf("Python ended: %v", p.answers.Err())
	}
	if err := json.Unmarshal(p.answers.Bytes(), answer); err != nil {
		t.Fatal(err)
	}
}

func askPySPF(t *testing.T, p *pythonPeer, c *spfCase) (a spfAnswer) {
	p.ask(t, c, &a)
	if a.Explanation == "SPF fail - not authorized" { // its default
		a.Explanation = ""
	}
	return a
}
