package spf

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAudit(t *testing.T) {
	z := hosts.with("deep.example.com", "TXT v=spf1 include:deeper.example.com a:a.example.com ?all").
		with("deeper.example.com", "TXT v=spf1 mx:mx.example.com redirect=list.example.com").
		with("broken.example.com", "TXT v=spf1 include:wrong.example.com a:no.example.com -all").
		with("x.loop2.example.com", "TXT v=spf1 include:y.loop2.example.com -all").
		with("y.loop2.example.com", "TXT v=spf1 a:a.example.com redirect=X.loop2.example.com").
		with("big.example.com", "TXT v=spf1 a:1.a.b a:2.a.b a:3.a.b a:4.a.b a:5.a.b a:6.a.b ~all").
		with("mx11.example.com", many(11, "MX 10 no%d.example.com")...).
		with("sub.example.com.list.example.com", "TXT v=spf1 -all")
	for _, c := range []struct {
		record  string
		state   State
		lookups int
		voids   int
		policy  string // "?" when it is not known
		finding string // in errors, unresolved lookups, or warnings when the record is valid
	}{
		{"v=spf1 -all", Valid, 0, 0, "-all", ""},
		{"v=spf1 ip4:192.0.2.1", Valid, 0, 0, "", "are neutral"},
		{"v=spf1 ~ALL a:b.example.com redirect=b.example.com", Valid, 0, 0, "~all", "redirect=b.example.com is ignored"},
		{"v=spf1 a:a.example.com mx:mx.example.com a:v6only.example.com ?all", Valid, 3, 0, "?all", ""},
		{"v=spf1 ptr -all", Valid, 1, 0, "-all", "ptr should not be used"},
		{"v=spf1 +all", Valid, 0, 0, "+all", "+all authorises every host"},
		{"v=spf1 ip4:10.0.0.0/8 -all", Valid, 0, 0, "-all", "very wide"},
		{"v=spf1 redirect=list.example.com", Valid, 1, 0, "-all", ""},
		{"v=spf1 redirect=neutral.example.com", Valid, 1, 0, "?all", ""},
		{"v=spf1 include:deep.example.com ~all", Valid, 5, 0, "~all", ""},
		{"v=spf1 include:list.example.com include:list.example.com -all", Valid, 2, 0, "-all", ""},

		{"v=spf1 a:a..b -all", Valid, 1, 0, "-all", "a:a..b never matches"},
		{"v=spf1 exists:v6only.example.com -all", Valid, 1, 1, "-all", "exists:v6only.example.com finds nothing"},
		{"v=spf1 a:n1.a.b mx:n2.a.b -all", Valid, 2, 2, "-all", "mx:n2.a.b finds nothing (a void lookup)"},
		{"v=spf1 a:n1.a.b mx:n2.a.b exists:n3.a.b -all", Invalid, 3, 3, "-all", "void lookup limit exceeded: 3, and 2 are allowed"},
		{"v=spf1 mx:emptymx.example.com -all", Valid, 1, 0, "-all", ""},
		{"v=spf1 mx:mx11.example.com -all", Invalid, 1, 0, "-all", "example.com: mx:mx11.example.com: more than 10 MX names"},

		{"v=spf1 include:%{i}.example.com exists:%{h}.a.b a:%{l}.a.b mx:%{p}.a.b -all", Valid, 4, 0, "-all", "include:%{i}.example.com depends on the sender"},
		{"v=spf1 include:%{d}.list.example.com -all", Invalid, 1, 0, "-all", "example.com -> example.com.list.example.com: no SPF record"},
		{"v=spf1 a:%{o}.a.b a:%{d2}.a.b -all", Valid, 2, 2, "-all", "a:%{o}.a.b finds nothing"},
		{"v=spf1 redirect=%{i}.example.com", Valid, 1, 0, "?", "redirect=%{i}.example.com depends on the sender"},

		{"v=spf1" + strings.Repeat(" a:a.example.com", 10) + " -all", Valid, 10, 0, "-all", ""},
		{"v=spf1" + strings.Repeat(" a:a.example.com", 11) + " -all", Invalid, 11, 0, "-all", "too many DNS lookups: 11, and 10 are allowed"},
		{"v=spf1 include:deep.example.com include:deep.example.com include:deep.example.com -all", Invalid, 15, 0, "-all", "too many DNS lookups: 15"},

		{"v=spf1 foo", Invalid, 0, 0, "?", `example.com: unknown mechanism in "foo" (octet 7)`},
		{"v=spf1 include:no.example.com -all", Invalid, 1, 0, "-all", "example.com -> no.example.com: no SPF record"},
		{"v=spf1 include:a..b -all", Invalid, 1, 0, "-all", "example.com -> a..b: no SPF record"},
		{"v=spf1 include:twice.example.com -all", Invalid, 1, 0, "-all", "twice.example.com: 2 SPF records"},
		{"v=spf1 include:broken.example.com -all", Invalid, 3, 1, "-all", "example.com -> broken.example.com -> wrong.example.com: unknown mechanism"},
		{"v=spf1 redirect=no.example.com", Invalid, 1, 0, "?", "no SPF record"},
		{"v=spf1 include:example.com -all", Invalid, 1, 0, "-all", "example.com -> example.com: loop"},
		{"v=spf1 redirect=example.com", Invalid, 1, 0, "?", "example.com -> example.com: loop"},
		{"v=spf1 include:x.loop2.example.com -all", Invalid, 4, 0, "-all", "example.com -> x.loop2.example.com -> y.loop2.example.com -> x.loop2.example.com: loop"},
		{"v=spf1 -all include:example.com", Valid, 0, 0, "-all", "stands after all"},

		{"v=spf1 a:fail.example.com -all", Unknown, 1, 0, "-all", "example.com: a:fail.example.com: DNS failure"},
		{"v=spf1 mx:fail.example.com -all", Unknown, 1, 0, "-all", "DNS failure"},
		{"v=spf1 include:fail.example.com -all", Unknown, 1, 0, "-all", "example.com -> fail.example.com: DNS failure"},
		{"v=spf1 redirect=fail.example.com", Unknown, 1, 0, "?", "DNS failure"},
		{"v=spf1 include:fail.example.com include:no.example.com -all", Invalid, 2, 0, "-all", "no SPF record"},
		{"v=spf1 include:fail.example.com include:big.example.com a:a.example.com -all", Invalid, 9, 6, "-all", "void lookup limit exceeded"},
	} {
		r := Audit(t.Context(), z.with("example.com", "TXT unrelated", "TXT "+c.record), "example.com")
		policy := r.Policy
		if !r.PolicyKnown {
			policy += "?"
		}
		if r.State != c.state || r.Lookups != c.lookups || r.Voids != c.voids || policy != c.policy {
			t.Errorf("%s: got %q, %d lookups, %d voids, policy %q; %q %q", c.record, r.State, r.Lookups, r.Voids, policy, r.Errors, r.Unresolved)
		}
		findings := r.Errors
		switch c.state {
		case Unknown:
			findings = r.Unresolved
		case Valid:
			findings = r.Warnings
		}
		text := strings.Join(findings, "\n")
		if !strings.Contains(text, c.finding) || c.finding == "" && text != "" {
			t.Errorf("%s: found %q, want %q", c.record, text, c.finding)
		}
		if len(r.Records) != 1 || r.Records[0] != c.record || r.Visits[0].Record != c.record {
			t.Errorf("%s: records %q", c.record, r.Records)
		}
	}
}

func TestAuditRecordCount(t *testing.T) {
	for _, c := range []struct {
		lines  []string
		state  State
		count  int
		policy bool
	}{
		{nil, Absent, 0, true},
		{[]string{"TXT something", "TXT v=spf10 -all"}, Absent, 0, true},
		{[]string{"TXT  v=spf1 -all"}, Absent, 0, true},
		{[]string{"TXT \"v = SPF1, mx -all\""}, Absent, 0, true},
		{[]string{"TXT v=spf1 -all", "TXT something"}, Valid, 1, true},
		{[]string{"TXT v=spf1 -all", "TXT v=spf1 -all"}, Invalid, 2, false},
		{[]string{"FAIL"}, Unknown, 0, false},
	} {
		r := Audit(t.Context(), zone{"example.com": c.lines}, "example.com.")
		if lookalike := strings.Contains(strings.Join(r.Warnings, ""), "is no SPF record"); lookalike != (c.state == Absent && len(c.lines) > 0) {
			t.Errorf("%q: warnings %q", c.lines, r.Warnings)
		}
		if r.State != c.state || len(r.Records) != c.count || r.PolicyKnown != c.policy || len(r.Visits) != 1 {
			t.Errorf("%q: got %+v", c.lines, r)
		}
	}
}

func TestAuditChain(t *testing.T) {
	z := zone{
		"example.com":      {"TXT v=spf1 a ?include:a.example.com include:gone.example.com redirect=b.example.com", "A 192.0.2.1"},
		"a.example.com":    {"TXT v=spf1 include:deep.example.com exists:deep.example.com -all"},
		"deep.example.com": {"TXT v=spf1 a:b.example.com mx ip4:192.0.2.0/24", "A 192.0.2.1"},
		"b.example.com":    {"TXT v=spf1 ip4:1.2.3 -all"},
	}
	var lines []string
	r := Audit(t.Context(), z, "example.com")
	for _, v := range r.Visits {
		lines = append(lines, fmt.Sprintf("%s [%d]", v, v.Lookups))
	}
	want := `example.com -> v=spf1 a ?include:a.example.com include:gone.example.com redirect=b.example.com [4]
  ?include:a.example.com -> v=spf1 include:deep.example.com exists:deep.example.com -all [2]
    include:deep.example.com -> v=spf1 a:b.example.com mx ip4:192.0.2.0/24 [2]
  include:gone.example.com -> (no SPF record) [0]
  redirect=b.example.com -> v=spf1 ip4:1.2.3 -all (not an address for ip4 in "ip4:1.2.3" (octet 7)) [0]`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r.Lookups != 8 || r.Voids != 2 || len(r.Errors) != 2 {
		t.Errorf("got %+v", r)
	}
}

// A hostile policy costs neither many queries nor much memory.
func TestAuditBounds(t *testing.T) {
	flood := func(term string) string {
		return "TXT v=spf1" + strings.Repeat(" "+term, (MaxRecordLength-10)/(len(term)+1))
	}
	for _, record := range []string{flood("include:a.b"), flood("include:a..b"), flood("include:example.com"), flood("a:%{h}"), flood("ptr"), flood("mx"), flood("x=")} {
		z := &counting{zone: zone{"example.com": {record}, "a.b": {record}}}
		r := Audit(t.Context(), z, "example.com")
		if z.queries > MaxQueries || len(r.Visits) > maxFollowed+1 {
			t.Errorf("%.30s: %d queries, %d visits", record, z.queries, len(r.Visits))
		}
		if n := max(len(r.Errors), len(r.Unresolved), len(r.Warnings)); n > maxFindings+2 {
			t.Errorf("%.30s: %d findings", record, n)
		}
	}
	// A tree that never repeats, so that only the budget ends it.
	r := Audit(t.Context(), endless{}, "example.com")
	if r.State != Invalid || len(r.Visits) > MaxQueries+1 {
		t.Errorf("endless: %s, %d visits", r.State, len(r.Visits))
	}
}

// counting counts the questions.
type counting struct {
	zone
	queries int
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.queries++
	return c.zone.LookupTXT(ctx, name)
}

func (c *counting) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	c.queries++
	return c.zone.LookupNetIP(ctx, network, host)
}

// endless has a record for every name, which leads to another name.
type endless struct{ zone }

func (endless) LookupTXT(context.Context, string) ([]string, error) {
	return []string{"v=spf1 redirect=a.%{d}"}, nil
}

func TestAuditTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		z := silent{hosts.with("example.com", "TXT v=spf1 a:a.example.com include:list.example.com -all")}
		r := Audit(t.Context(), z, "example.com")
		if r.State != Unknown || !strings.Contains(strings.Join(r.Unresolved, "\n"), timeLimitExceeded) {
			t.Errorf("got %+v", r)
		}
		if took := time.Since(start); took != MaxDuration {
			t.Errorf("took %v", took)
		}
	})
}
