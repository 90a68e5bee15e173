package milter

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

func TestParseResults(t *testing.T) {
	tests := []struct{ value, want string }{
		{" mx.own.example; spf=pass smtp.mailfrom=example.org", "spf=pass smtp.mailfrom=example.org"},
		{" mx.own.example;\n\tdkim=pass header.d=example.org header.s=k header.b=abc;\n dmarc=fail (p=reject) header.from=example.org", "dkim=pass header.b=abc header.d=example.org header.s=k, dmarc=fail header.from=example.org"},
		{" (hi (there)) MX.own.example 1 ; none", ""},
		{` "mx.own.example"; spf/1=PASS reason="a; dkim=pass" smtp.mailfrom="a b"@example.org`, "spf=pass reason=a; dkim=pass smtp.mailfrom=a b@example.org"},
		{" mx.own.example; dkim = pass header . d = example.org;", "dkim=pass header.d=example.org"},
		{" mx.own.example", ""},
		{" mx.own.example; none", ""},
		{" mx.own.example 1 ;none ; ", ""},
		{" mx.own.example; spf=pass; dkim=none; iprev=pass policy.iprev=192.0.2.1; x-own=y a.b=c body.d=e", "spf=pass, dkim=none, iprev=pass, x-own=y"},
		{" mx.own.example;(a)spf(b)=(c)pass(d)smtp(e).(f)mailfrom(g)=(h)example.org(i)", "spf=pass smtp.mailfrom=example.org"},
		{" mx.own.example;\r\n\tspf\r\n =\r\n pass (a \\) b)\r\n smtp.mailfrom=example.org\r\n", "spf=pass smtp.mailfrom=example.org"},
		{` mx.own.example; dkim=fail reason="it said \"no\"" header.d="example.org"`, `dkim=fail header.d=example.org reason=it said "no"`},
		{" mx.own.example; dkim=pass header.d=example.org; dkim=fail header.d=example.org", "dkim=pass header.d=example.org, dkim=fail header.d=example.org"},
		{" mx.own.example one; spf=pass", "malformed"},
		{` mx.own.example; spf=pass reason="a\`, "malformed"},
		{" mx.own.example; spf=pass )", "malformed"},
		{` mx.own.example; spf=pass \)`, "malformed"},
		{" mx.own.example 1 1; spf=pass", "malformed"},
		{" mx.own.example; none; none=", "malformed"},
		{" mx.own.example; spf=pass =x", "malformed"},
		{" mx.own.example; spf=pass smtp.=x", "spf=pass"}, // of no use, and harmless
		{"", "malformed"},
		{" ; spf=pass", "malformed"},
		{" mx.own.example; spf", "malformed"},
		{" mx.own.example; spf=", "malformed"},
		{" mx.own.example; =pass", "malformed"},
		{" mx.own.example; spf=pass (", "malformed"},
		{` mx.own.example; spf=pass "`, "malformed"},
		{" mx.own.example spf=pass", "malformed"},
		{" mx.own.example; spf=pass smtp.mailfrom", "malformed"},
		{" mx.own.example" + strings.Repeat("; spf=pass", maxMethodResults), strings.TrimSuffix(strings.Repeat("spf=pass, ", maxMethodResults), ", ")},
		{" mx.own.example" + strings.Repeat("; spf=pass", maxMethodResults+1), "malformed"},
		{" mx.own.example; x=" + strings.Repeat("y", maxResultsLength), "malformed"},
	}
	for _, tt := range tests {
		methods, err := parseResults(tt.value)
		var words []string
		for _, m := range methods {
			text := m.method + "=" + m.result
			for _, name := range []string{"header.b", "header.d", "header.from", "header.s", "reason", "smtp.mailfrom"} {
				if v, ok := m.properties[name]; ok {
					text += " " + name + "=" + v
				}
			}
			words = append(words, text)
		}
		got := strings.Join(words, ", ")
		if err != nil {
			got = "malformed"
		}
		if got != tt.want {
			t.Errorf("%.60q: got %q, want %q", tt.value, got, tt.want)
		}
	}
}

// In trust mode the results are those of the topmost field under a trusted name. What a sender
// supplies below it, or under a name that only looks like it, is not believed.
func TestTrust(t *testing.T) {
	const earlier = "Authentication-Results: mx.own.example; spf=pass smtp.mailfrom=a@example.org;\r\n dkim=pass header.d=example.org header.s=ed; dmarc=pass header.from=example.org\r\n"
	const failed = "Authentication-Results: mx.own.example; spf=fail smtp.mailfrom=example.org;\r\n dkim=fail header.d=example.org; dmarc=fail header.from=example.org\r\n"
	broken := signed(t, letter("a@example.org"), "example.org", "ed")
	broken = strings.Replace(broken, "here they are", "here they were", 1) // which only we would notice
	tests := []struct {
		name   string
		fields string
		peer   miltertest.Peer
		row    row
		dkim   assess.Result
		left   int // Authentication-Results in what is delivered
	}{
		{"all pass", earlier, outbound, rowSPFDKIM, assess.Pass, 1},
		{"the sender's below it", failed + earlier, stranger, rowUnauthenticated, assess.Unknown, 1},
		{"the sender's alone, under another name", strings.ReplaceAll(earlier, "mx.own", "mx.other"), stranger, rowIncomplete, assess.Unknown, 1},
		{"under no name", strings.Replace(earlier, "mx.own.example;", ";", 1), stranger, rowIncomplete, assess.Unknown, 1},
		{"the long s is no s", strings.ReplaceAll(earlier, "mx.own", "\u017fcan.own"), stranger, rowIncomplete, assess.Unknown, 1},
		{"nor is the sign of Kelvin a k", strings.ReplaceAll(earlier, "mx.own", "\u212aeep.own"), stranger, rowIncomplete, assess.Unknown, 1},
		{"another case", strings.ReplaceAll(earlier, "mx.own", "MX.OWN"), outbound, rowSPFDKIM, assess.Pass, 1},
		{"malformed", strings.Replace(earlier, "; dmarc", "; (dmarc", 1), stranger, rowIncomplete, assess.Unknown, 1},
		{"nothing at all", "", outbound, rowSPFOnly, assess.Unknown, 0},
		{"another selector", strings.Replace(earlier, "header.s=ed", "header.s=rsa", 1), outbound, rowSPFOnly, assess.Unknown, 1},
		{"another domain", strings.ReplaceAll(earlier, "header.d=example.org", "header.d=else.example"), outbound, rowSPFOnly, assess.Unknown, 1},
		{"DKIM fails", strings.Replace(earlier, "dkim=pass", "dkim=fail", 1), outbound, rowSPFOnly, assess.Fail, 1},
		{"DKIM temperror", strings.Replace(earlier, "dkim=pass", "dkim=temperror", 1), outbound, rowSPFOnly, assess.Unknown, 1},
		{"SPF fails, whatever we would find", strings.Replace(earlier, "spf=pass", "spf=fail", 1), outbound, rowRelayed, assess.Pass, 1},
		{"SPF of HELO beside it", strings.Replace(earlier, "spf=pass", "spf=fail smtp.helo=x.example; spf=pass", 1), outbound, rowSPFDKIM, assess.Pass, 1},
		{"SPF of HELO alone", strings.ReplaceAll(earlier, "smtp.mailfrom=a@", "smtp.helo="), outbound, rowSPFDKIM, assess.Pass, 1},
		{"SPF of another MAIL FROM", strings.ReplaceAll(earlier, "smtp.mailfrom=a@example.org", "smtp.mailfrom=example.net"), outbound, rowSPFDKIM, assess.Pass, 1},
		{"SPF temperror", strings.Replace(earlier, "spf=pass", "spf=temperror", 1), outbound, rowRelayed, assess.Pass, 1},
		{"another signature", strings.Replace(earlier, "header.s=ed", "header.b=AAAAAAAA", 1), outbound, rowSPFOnly, assess.Unknown, 1},
		{"by its i=", strings.Replace(earlier, "header.d=", "header.i=@news.", 1), outbound, rowSPFOnly, assess.Unknown, 1},
		{"by the i= of d=", strings.Replace(earlier, "header.d=", "header.i=@", 1), outbound, rowSPFDKIM, assess.Pass, 1},
		{"our own name is no more believed than others", strings.ReplaceAll(earlier, "mx.own", "score.own"), stranger, rowIncomplete, assess.Unknown, 0},
		{"copies everywhere", failed + earlier + "X-Y: z\r\n" + strings.ReplaceAll(earlier, "mx.own", "scan.own") + earlier + strings.ReplaceAll(earlier, "mx.own", "mx.other"), outbound, rowRelayed, assess.Unknown, 3},
		{"copies everywhere, DMARC not told at the top", strings.Replace(failed, "; dmarc=fail header.from=example.org", "", 1) + earlier + "X-Y: z\r\n" + strings.ReplaceAll(earlier, "mx.own", "scan.own"), outbound, rowRelayed, assess.Pass, 2},
		{"DMARC fails, whatever we would find", strings.Replace(earlier, "dmarc=pass", "dmarc=fail", 1), outbound, rowSPFDKIM, assess.Unknown, 1},
		{"SPF passes, but not by what we find", earlier, stranger, rowRelayed, assess.Pass, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, world, func(c *Config) {
				c.Policy.Authentication = Trust
				c.Policy.AuthservID = "score.own.example"
				c.Policy.TrustedAuthservIDs = []string{"mx.own.example", "scan.own.example", "keep.own.example"}
			})
			got := l.send(t, tt.peer, miltertest.Message{From: "a@example.org", Data: []byte(tt.fields + broken)})
			rows := l.server.Stats().Messages
			if rows[tt.row.String()] != 1 {
				t.Errorf("rows %v, want %s\n%s", rows, tt.row, l.logged)
			}
			if o := l.ledger.observations; len(o) > 0 && o[0].DKIM != tt.dkim || len(o) == 0 && tt.dkim != assess.Unknown {
				t.Errorf("observations %+v, want DKIM %v", o, tt.dkim)
			}
			if n := len(values(got, resultsField)); n != tt.left {
				t.Errorf("%d fields are left, want %d:\n%s", n, tt.left, got)
			}
		})
	}
}

// An earlier milter names the domain of MAIL FROM in either spelling.
func TestTrustedSPF(t *testing.T) {
	for _, name := range []string{"bücher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE."} {
		told := trusted{{method: "spf", result: "fail", properties: map[string]string{"smtp.mailfrom": "ü@" + name}}}
		if got := told.spf("xn--bcher-kva.example"); got != "fail" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// An earlier milter does the arithmetic; whether the key may be used at all is for us to see.
func TestTrustedKeys(t *testing.T) {
	record := keyRecord(keys["ed"])
	tests := []struct {
		records []string
		want    assess.Result
	}{
		{[]string{record}, assess.Pass},
		{[]string{record + "; t=y"}, assess.Unknown},
		{[]string{rsaRecord(512, 3)}, assess.Fail},
		{[]string{rsaRecord(8192, 3)}, assess.Unknown},
		{[]string{record, record}, assess.Fail},
		{[]string{record + "; h=sha1"}, assess.Fail},
		{[]string{record + "; s=tlsrpt"}, assess.Fail},
		{[]string{strings.Replace(record, "ed25519", "Ed25519", 1)}, assess.Fail},
		{[]string{"k=ed25519; p=AAAA"}, assess.Fail},
		{[]string{strings.TrimPrefix(record, "v=DKIM1; ") + "; v=DKIM1"}, assess.Pass},
		{nil, assess.Fail},
		{[]string{"SERVFAIL"}, assess.Unknown},
	}
	for _, tt := range tests {
		z := maps.Clone(world)
		z["TXT ed._domainkey.example.org"] = tt.records
		l := newLab(t, z, func(c *Config) {
			c.Policy.Authentication, c.Policy.TrustedAuthservIDs = Trust, []string{"mx.own.example"}
		})
		m := fromExample(t)
		m.Data = append([]byte("Authentication-Results: mx.own.example; spf=pass; dkim=pass header.d=example.org\r\n"), m.Data...)
		l.send(t, outbound, m)
		if o := l.ledger.observations; len(o) != 1 || o[0].DKIM != tt.want {
			t.Errorf("%.60q: %+v, want %v", tt.records, o, tt.want)
		}
	}
}

// The DMARC result is the one for the author domain, and kept as it was told.
func TestTrustedDMARC(t *testing.T) {
	for value, want := range map[string]string{
		"dmarc=fail header.from=example.org": "fail", "dmarc=pass": "pass", "dmarc=bestguesspass header.from=Example.ORG": "bestguesspass",
		"dmarc=fail header.from=example.net; dmarc=pass header.from=example.org": "pass", "dmarc=pass header.from=example.net": "", "spf=pass": "",
	} {
		l := newLab(t, world, func(c *Config) {
			c.Policy.Authentication, c.Policy.TrustedAuthservIDs = Trust, []string{"mx.own.example"}
		})
		m := fromExample(t)
		m.Data = append([]byte("Authentication-Results: mx.own.example; spf=pass; "+value+"\r\n"), m.Data...)
		l.send(t, outbound, m)
		credited := 1
		if want == "fail" {
			credited = 0
		}
		if o := l.ledger.observations; len(o) != credited || credited > 0 && o[0].DMARCResult != want {
			t.Errorf("%s: %+v, want %q", value, o, want)
		}
		if told := fmt.Sprintf(" dmarc=%s ", cmp.Or(want, `""`)); !strings.Contains(l.logged.String(), told) {
			t.Errorf("%s: %s", value, l.logged)
		}
	}
}

// What was believed of one message is not believed of the next in the session.
func TestTrustEndsWithTheMessage(t *testing.T) {
	l := newLab(t, world, func(c *Config) {
		c.Policy.Authentication, c.Policy.TrustedAuthservIDs = Trust, []string{"mx.own.example"}
	})
	c := l.dial(t)
	if err := c.Connect(stranger); err != nil {
		t.Fatal(err)
	}
	m := fromExample(t)
	m.Data = append([]byte("Authentication-Results: mx.own.example; spf=fail; dkim=pass header.d=example.org\r\n"), m.Data...)
	for _, next := range []miltertest.Message{m, fromExample(t), m} {
		play(t, c, stranger, next)
	}
	if rows := l.server.Stats().Messages; rows["relayed"] != 2 || rows["incomplete"] != 1 {
		t.Errorf("rows %v", rows)
	}
}
