package main

import (
	"strings"
	"testing"
	"time"

	"peerscore/assess"
)

// Postfix is told to ask for no more than every host of the peer has shown of late.
func TestPostfixPolicy(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	verdict := func(results ...assess.Result) assess.Verdict {
		v := assess.Verdict{Support: assess.SupportYes}
		for _, r := range results {
			v.Tests = append(v.Tests, assess.Test{Direction: assess.Inbound, Result: r})
		}
		return v
	}
	pass := verdict(assess.Pass, assess.NotApplicable)
	outbound := verdict(assess.Pass)
	outbound.Tests = append(outbound.Tests, assess.Test{Direction: assess.Outbound, Result: assess.Fail})
	unsupported := pass
	unsupported.Support = assess.SupportNo
	for _, tt := range []struct {
		name     string
		verdicts assess.Verdicts
		mx       []string
		age      time.Duration
		want     string
	}{
		{"STARTTLS", assess.Verdicts{assess.StartTLS: pass}, nil, time.Hour, "a.example encrypt"},
		{"none", assess.Verdicts{assess.StartTLS: verdict(assess.Fail)}, nil, time.Hour, ""},
		{"four hosts of five", assess.Verdicts{assess.StartTLS: verdict(assess.Pass, assess.Pass, assess.Pass, assess.Pass, assess.Fail)}, nil, time.Hour, ""},
		{"one host unknown", assess.Verdicts{assess.StartTLS: verdict(assess.Pass, assess.Unknown)}, nil, time.Hour, ""},
		{"outbound hosts do not matter", assess.Verdicts{assess.StartTLS: outbound}, nil, time.Hour, "a.example encrypt"},
		{"never probed", assess.Verdicts{assess.StartTLS: verdict()}, nil, time.Hour, ""},
		{"long ago", assess.Verdicts{assess.StartTLS: pass}, nil, 15 * day, ""},
		{"DANE", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass}, nil, time.Hour, "a.example dane-only"},
		{"DANE without DNSSEC", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: unsupported}, nil, time.Hour, "a.example encrypt"},
		{"MTA-STS", assess.Verdicts{assess.StartTLS: pass, assess.MTASTS: pass}, []string{"mx.a.example", "*.b.example"}, time.Hour,
			"a.example secure match=mx.a.example:.b.example servername=hostname"},
		{"DANE comes before MTA-STS", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass, assess.MTASTS: pass}, []string{"mx.a.example"}, time.Hour,
			"a.example dane-only"},
		{"a policy that is no list of names", assess.Verdicts{assess.StartTLS: pass, assess.MTASTS: pass}, []string{"mx.a.example protocols=SSLv2"}, time.Hour, "a.example encrypt"},
	} {
		r := report{Assessment: assess.Assessment{Domain: "a.example", Verdicts: tt.verdicts}}
		r.Evidence.Facts = &assess.Facts{At: now.Add(-tt.age), MTASTS: assess.MTASTSFacts{MX: tt.mx}}
		var out strings.Builder
		if err := writePolicy(&out, r, now.Add(-14*day)); err != nil || strings.TrimSuffix(out.String(), "\n") != tt.want {
			t.Errorf("%s: %q (%v), want %q", tt.name, out.String(), err, tt.want)
		}
	}
}
