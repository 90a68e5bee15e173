package spf

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// conformance opens a file of cases that other projects wrote. They are not part of this repository.
func conformance(t *testing.T, name string) *os.File {
	t.Helper()
	folder := os.Getenv("PEERSCORE_CONFORMANCE")
	if folder == "" {
		t.Skipf("PEERSCORE_CONFORMANCE is not set: spf/%s left out", name)
	}
	f, err := os.Open(filepath.Join(folder, "spf", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// oneOrMore is a scalar or a list of scalars in the suite's YAML.
type oneOrMore []string

func (o *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]string)(o))
	}
	*o = oneOrMore{n.Value}
	return nil
}

type suiteSection struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               oneOrMore
		Explanation          *string
	}
	ZoneData map[string][]yaml.Node
}

// zone turns the suite's zone data into ours: SPF entries stand for TXT where a name has no TXT
// entry, NONE removes one, a bare TIMEOUT fails every type not listed before it.
func (s suiteSection) zone(t *testing.T) zone {
	z := zone{}
	for name, entries := range s.ZoneData {
		name = strings.ToLower(name)
		hasTXT := slices.ContainsFunc(entries, func(n yaml.Node) bool {
			return n.Kind == yaml.MappingNode && n.Content[0].Value == "TXT"
		})
		for _, n := range entries {
			if n.Kind == yaml.ScalarNode {
				z[name] = append(z[name], "FAIL")
				continue
			}
			var values oneOrMore
			if err := n.Content[1].Decode(&values); err != nil {
				t.Fatal(err)
			}
			rrtype, separator := n.Content[0].Value, " "
			switch {
			case rrtype == "SPF" && hasTXT, slices.Equal(values, oneOrMore{"NONE"}):
				continue
			case rrtype == "SPF", rrtype == "TXT":
				rrtype, separator = "TXT", ""
			}
			z[name] = append(z[name], rrtype+" "+strings.Join(values, separator))
		}
	}
	return z
}

// TestRFC7208Suite runs the suite of RFC 7208 as pyspf distributes it.
func TestRFC7208Suite(t *testing.T) {
	decoder := yaml.NewDecoder(conformance(t, "pyspf-rfc7208-tests.yml"))
	cases, passed, preferred, explanations, explained := 0, 0, 0, 0, 0
	for {
		var section suiteSection
		if err := decoder.Decode(&section); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		z := section.zone(t)
		for name, c := range section.Tests {
			cases++
			out := Check(t.Context(), z, Query{
				IP: netip.MustParseAddr(c.Host), HELO: c.Helo, MailFrom: c.MailFrom, Receiver: "mx.receiver.example",
			})
			ok := slices.Contains(c.Result, string(out.Result))
			if out.Result == Result(c.Result[0]) {
				preferred++
			}
			if c.Explanation != nil && *c.Explanation != "DEFAULT" {
				explanations++
				ok = ok && out.Explanation == *c.Explanation
				if ok {
					explained++
				}
			} else if c.Explanation != nil {
				ok = ok && out.Explanation == ""
			}
			if !ok {
				t.Errorf("%s: %s: got %q (%s), explanation %q, want %q", section.Description, name, out.Result, out.Problem, out.Explanation, c.Result)
				continue
			}
			passed++
		}
	}
	t.Logf("RFC 7208 suite: %d of %d cases, %d with the preferred result, %d of %d explanation texts", passed, cases, preferred, explained, explanations)
	if cases < 203 {
		t.Errorf("only %d cases were read", cases)
	}
}

// TestStaticSyntax checks records without a sender.
func TestStaticSyntax(t *testing.T) {
	var cases []struct {
		Input string
		Valid bool
		Note  string
	}
	if err := json.NewDecoder(conformance(t, "static_syntax.json")).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, c := range cases {
		if _, err := Parse(c.Input); (err == nil) != c.Valid {
			t.Errorf("%s: got %v, want valid=%v (%s)", c.Input, err, c.Valid, c.Note)
			continue
		}
		passed++
	}
	t.Logf("SPF static syntax: %d of %d cases", passed, len(cases))
}

// TestStaticLimits audits domains whose policies break a limit.
func TestStaticLimits(t *testing.T) {
	var cases []struct {
		Record, Domain, Error string
		Targets               map[string]string
		MXCount               int `json:"mx_count"`
	}
	if err := json.NewDecoder(conformance(t, "static_limits.json")).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{
		"too many DNS lookups": TooManyLookups,
		"void lookup limit":    VoidLimitExceeded,
		"loop":                 "loop",
		"too many MX names":    tooManyMXNames,
	}
	passed := 0
	for _, c := range cases {
		domain := cmp.Or(c.Domain, "example.com")
		z := zone{domain: append(many(c.MXCount, "MX 10 mx%d.example.com"), "TXT "+c.Record, "A 192.0.2.1")}
		if all := c.Targets["*"]; all != "" {
			for _, field := range strings.Fields(c.Record) {
				if target, ok := strings.CutPrefix(field, "include:"); ok {
					z[target] = []string{"TXT " + all, "A 192.0.2.1"}
				}
			}
		}
		r := Audit(t.Context(), z, domain)
		if errors := strings.Join(r.Errors, "\n"); r.State != Invalid || !strings.Contains(errors, ours[c.Error]) {
			t.Errorf("%s: got %s %q, want %s", c.Record, r.State, errors, c.Error)
			continue
		}
		passed++
	}
	t.Logf("SPF static limits: %d of %d cases", passed, len(cases))
}
