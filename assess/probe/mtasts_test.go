package probe

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/mtasts"
	"peerscore/assess/probe/probetest"
)

// TestMTASTS shows records, policies, policy hosts and MX hosts of all kinds, each domain with
// a web server and a mail server of its own. The tables of package mtasts go deeper into syntax.
func TestMTASTS(t *testing.T) {
	l := newLab(t)
	other, err := probetest.NewCA(probetest.CAConfig{Name: "Other CA"})
	must(t, err)
	const yes, no, unknown = assess.SupportYes, assess.SupportNo, assess.SupportUnknown
	type leaf = probetest.Leaf
	policy := func(mx ...string) []string {
		lines := []string{"version: STSv1", "mode: enforce"}
		for _, pattern := range mx {
			lines = append(lines, "mx: "+pattern)
		}
		return append(lines, "max_age: 604800")
	}
	mode := func(mode string) []string {
		return []string{"version: STSv1", "mode: " + mode, "mx: mx.@", "max_age: 86400"}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	yesterday := leaf{NotBefore: time.Now().AddDate(0, 0, -9), NotAfter: time.Now().AddDate(0, 0, -1)}
	for i, tt := range []struct {
		name    string
		records string           // at _mta-sts; a good one when empty
		policy  []string         // lines; @ is the domain; a good one when nil
		page    http.HandlerFunc // in place of a policy
		web     leaf             // certificate of the policy host
		host    leaf             // certificate of the MX host
		foreign string           // "web" or "host" has a certificate of an unknown authority
		mail    *probetest.SMTPConfig
		support assess.Support
		say     string
	}{
		{name: "enforce", support: yes, say: `mx: pass: listed as mx.`},
		{name: "wildcard", policy: policy("*.@"), support: yes, say: "listed as *."},
		{name: "several patterns", policy: policy("a.example", "mx.@", "b.example"), support: yes},
		{name: "testing", policy: mode("testing"), support: no, say: `mode "testing" protects nothing; set it to enforce`},
		{name: "none", policy: mode("none"), support: no, say: `mode "none" protects nothing`},

		{name: "no record", records: "@ A 192.0.2.1", support: no, say: "record: fail: there is no MTA-STS record"},
		{name: "other records beside it", records: "_mta-sts TXT x\n_mta-sts TXT \"v=STSv1; id=1\"", support: yes},
		{name: "two records", records: "_mta-sts TXT \"v=STSv1; id=1\"\n_mta-sts TXT \"v=STSv1; id=2\"", support: no, say: "several MTA-STS records"},
		{name: "record without id", records: `_mta-sts TXT "v=STSv1;"`, support: no, say: "record: fail: MTA-STS record with an error"},
		{name: "long record", records: `_mta-sts TXT "v=STSv1; id=1"` + strings.Repeat(` "; x=`+strings.Repeat("y", 240)+`"`, 20), support: unknown, say: "MTA-STS record too large"},
		{name: "another version", records: `_mta-sts TXT "v=STSv2; id=1"`, support: no, say: `"v=STSv2; id=1" does not begin with "v=STSv1;", so senders ignore it`},
		{name: "record at an alias", records: "_mta-sts CNAME s\ns TXT \"v=STSv1; id=1\"", support: yes},

		{name: "no policy", page: http.NotFound, support: no, say: "policy host does not answer with status 200"},
		{name: "redirect", page: probetest.Redirect("https://mta-sts.enforce.example/"), support: no, say: "policy host redirects, which senders must not follow"},
		{name: "trouble today", page: status(503), support: unknown, say: "503"},
		{name: "too many requests", page: status(429), support: unknown, say: "429"},
		{name: "HTML", page: probetest.Page("text/html", []byte(strings.Join(policy("*.example"), "\n"))), support: no, say: "policy is not served as text/plain"},
		{name: "compressed", page: probetest.GzipBomb(1 << 20), support: no, say: "policy is compressed"},
		{name: "too large", page: probetest.Page("text/plain", make([]byte, mtasts.MaxPolicy+1)), support: no, say: "past a limit"},
		{name: "large header", page: probetest.HeaderBomb(64 << 10), support: unknown, say: "policy: unknown"},
		{name: "no version", policy: []string{"mode: enforce", "mx: mx.@", "max_age: 1"}, support: no, say: "MTA-STS policy with an error: "},
		{name: "no mx", policy: policy(), support: no, say: "MTA-STS policy with an error: "},
		{name: "policy host of another name", web: leaf{Names: []string{"www.@"}}, support: no, say: "the policy host's certificate is not valid"},
		{name: "expired policy host", web: yesterday, support: no, say: "the policy host's certificate is not valid"},
		{name: "self-signed policy host", web: leaf{SelfSigned: true}, support: no, say: "the policy host's certificate is not valid: self-signed, not trusted; fix it: senders do as if there were no policy {mta-sts-policy-host-certificate}"},
		{name: "policy host of nobody's authority", foreign: "web", support: no, say: "the policy host's certificate is not valid"},
		{name: "policy host with what Go does not evaluate", web: leaf{Change: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 7}, Critical: true, Value: []byte{0x30, 0}}}
		}}, support: unknown, say: "the policy cannot be had: whether the policy host's certificate is valid is not known: "},
		{name: "policy host that may sign lists only", web: leaf{Change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }}, support: no, say: "by its key usage"},
		{name: "policy host with a common name only", web: leaf{Names: []string{}, CommonName: "mta-sts.@"}, support: no, say: "the policy host's certificate is not valid"},
		{name: "no policy host", records: "_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts TXT x", support: no, say: "has no address"},
		{name: "dead policy host", records: "_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 127.0.2.200", support: unknown, say: "the policy cannot be had: "},
		{name: "private policy host", records: "_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 10.0.0.1", support: unknown, say: "the policy cannot be had: "},

		{name: "not listed", policy: policy("mx.elsewhere.example"), support: no, say: "mx: fail: the policy does not list it as mx; fix the policy or the host: senders that honour MTA-STS do not deliver {mta-sts-host-not-listed}"},
		{name: "wildcard of two labels", policy: policy("*.example"), support: no, say: "the policy does not list it"},
		{name: "MX host of another name", host: leaf{Names: []string{"www.example"}}, support: no, say: "mx: fail: x509: certificate is valid for www.example, not mx."},
		{name: "a CN does not count", host: leaf{CommonName: "mx.@", Names: []string{}}, support: no, say: "mx: fail: "},
		{name: "expired MX host", host: yesterday, support: no, say: "mx: fail: expired on"},
		{name: "self-signed MX host", host: leaf{SelfSigned: true}, support: no, say: "mx: fail: self-signed"},
		{name: "MX host of nobody's authority", foreign: "host", support: no, say: "mx: fail: missing intermediate"},
		{name: "MX host without STARTTLS", mail: &probetest.SMTPConfig{}, support: no, say: "mx: fail: ehlo: EHLO does not list STARTTLS"},
		{name: "MX host that is busy", mail: &probetest.SMTPConfig{Steps: steps{"greeting": probetest.Say("421 busy")}}, support: yes, say: "mx: unknown: greeting: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			domain := fmt.Sprintf("m%d.example", i)
			spell := func(names ...string) []string {
				for i, name := range names {
					names[i] = strings.ReplaceAll(name, "@", domain)
				}
				return names
			}
			ca := map[bool]*probetest.CA{true: other, false: l.ca}
			if tt.web.Names == nil {
				tt.web.Names = []string{"mta-sts.@"}
			}
			if tt.host.Names == nil {
				tt.host.Names = []string{"mx.@"}
			}
			spell(tt.web.Names...)
			spell(tt.host.Names...)
			tt.host.CommonName = strings.ReplaceAll(tt.host.CommonName, "@", domain)
			web, err := ca[tt.foreign == "web"].Issue(tt.web)
			must(t, err)
			host, err := ca[tt.foreign == "host"].Issue(tt.host)
			must(t, err)
			if tt.mail == nil {
				tt.mail = &probetest.SMTPConfig{Certificates: certs(host)}
			}
			if tt.records == "" {
				tt.records = `_mta-sts TXT "v=STSv1; id=1"`
			}
			if tt.policy == nil {
				tt.policy = policy("mx.@")
			}
			if tt.page == nil {
				tt.page = probetest.Policy(spell(tt.policy...)...)
			}
			addr := fmt.Sprintf("127.0.2.%d", i+1)
			if !strings.Contains(tt.records, "\nmta-sts ") {
				tt.records += "\nmta-sts A " + addr
			}
			l.servePolicy(addr, web, probetest.PolicyPath(domain), tt.page)
			l.mailHost(i, domain, *tt.mail, tt.records)
			facts := l.probe(domain)
			wants(t, judged(facts, assess.MTASTS), tt.support, tt.say)
			for path, n := range l.web.Requests() {
				if n != 1 || path != probetest.PolicyPath(domain) {
					t.Errorf("%d requests for %s", n, path)
				}
			}
		})
	}
}
