package view

import (
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/cmd/peerscore/config"
)

// The columns of the first version stay where they are: programs read them by their number. What
// came later is behind them, and a row has its values in the same order.
func TestCSVColumns(t *testing.T) {
	const first = "domain,status,confidentiality,identity,integrity,minimum_set," +
		"starttls,x509,spf,dkim,dmarc,dane,dnssec,mta-sts,tls-rpt,requiretls,credited,first_seen,last_seen,assessed"
	head := strings.Join(CSVHead(), ",")
	if later, kept := strings.CutPrefix(head, first+","); !kept || later != "bimi" {
		t.Errorf("the columns are %s", head)
	}
	r := Report{Assessment: assess.Assessment{Domain: "a.example", Status: assess.StatusScored, Verdicts: assess.Verdicts{
		assess.RequireTLS: {Support: assess.SupportNo}, assess.BIMI: {Support: assess.SupportYes},
	}}}
	r.Evidence.Facts = &assess.Facts{At: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	unknown := strings.Repeat("unknown,", 9)
	if row, want := strings.Join(CSVRow(r), ","), "a.example,scored,,,,unknown,"+unknown+"no,0,,,2026-11-26T12:00:00Z,yes"; row != want {
		t.Errorf("%s, want %s", row, want)
	}
}

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
	none, untold := &assess.OtherFacts{Shown: assess.Check{Result: assess.NotApplicable}}, &assess.OtherFacts{}
	for _, tt := range []struct {
		name     string
		verdicts assess.Verdicts
		mx       []string
		age      time.Duration
		other    *assess.OtherFacts // of the one host
		want     string
	}{
		{"STARTTLS", assess.Verdicts{assess.StartTLS: pass}, nil, time.Hour, none, "a.example encrypt"},
		{"none", assess.Verdicts{assess.StartTLS: verdict(assess.Fail)}, nil, time.Hour, none, ""},
		{"four hosts of five", assess.Verdicts{assess.StartTLS: verdict(assess.Pass, assess.Pass, assess.Pass, assess.Pass, assess.Fail)}, nil, time.Hour, none, ""},
		{"one host unknown", assess.Verdicts{assess.StartTLS: verdict(assess.Pass, assess.Unknown)}, nil, time.Hour, none, ""},
		{"outbound hosts do not matter", assess.Verdicts{assess.StartTLS: outbound}, nil, time.Hour, none, "a.example encrypt"},
		{"never probed", assess.Verdicts{assess.StartTLS: verdict()}, nil, time.Hour, none, ""},
		{"long ago", assess.Verdicts{assess.StartTLS: pass}, nil, 15 * config.Day, none, ""},
		{"DANE", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass}, nil, time.Hour, none, "a.example dane-only"},
		{"DANE without DNSSEC", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: unsupported}, nil, time.Hour, none, "a.example encrypt"},
		{"MTA-STS", assess.Verdicts{assess.StartTLS: pass, assess.MTASTS: pass}, []string{"mx.a.example", "*.b.example"}, time.Hour, none,
			"a.example secure match=mx.a.example:.b.example servername=hostname"},
		{"DANE comes before MTA-STS", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass, assess.MTASTS: pass}, []string{"mx.a.example"}, time.Hour, none,
			"a.example dane-only"},
		{"DANE, of one certificate of two", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass}, nil, time.Hour, nil, "a.example encrypt"},
		{"DANE, of a certificate that nobody sees", assess.Verdicts{assess.StartTLS: pass, assess.DANE: pass, assess.DNSSEC: pass}, nil, time.Hour, untold, "a.example encrypt"},
		{"MTA-STS, of one certificate of two", assess.Verdicts{assess.StartTLS: pass, assess.MTASTS: pass}, []string{"mx.a.example"}, time.Hour, untold, "a.example encrypt"},
		{"a policy that is no list of names", assess.Verdicts{assess.StartTLS: pass, assess.MTASTS: pass}, []string{"mx.a.example protocols=SSLv2"}, time.Hour, none, "a.example encrypt"},
	} {
		r := Report{Assessment: assess.Assessment{Domain: "a.example", Verdicts: tt.verdicts}}
		host := assess.MXHost{Sessions: []assess.SMTPFacts{{Outcome: assess.TLSEstablished, TLS: &assess.TLSFacts{}, Other: tt.other}}}
		r.Evidence.Facts = &assess.Facts{At: now.Add(-tt.age), MTASTS: assess.MTASTSFacts{MX: tt.mx}, Hosts: assess.MXFacts{Hosts: []assess.MXHost{host}}}
		var out strings.Builder
		if err := WritePolicy(&out, r, now.Add(-14*config.Day)); err != nil || strings.TrimSuffix(out.String(), "\n") != tt.want {
			t.Errorf("%s: %q (%v), want %q", tt.name, out.String(), err, tt.want)
		}
	}
}
