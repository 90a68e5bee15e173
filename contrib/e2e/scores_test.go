package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type httpHandler = http.HandlerFunc

// TestScores is the whole of peerscore against the truth: real sessions in, real probes out,
// every standard and every score of every provider, the headers on delivered mail, spoofs that
// change nothing, and a daemon that is killed in the middle.
func TestScores(t *testing.T) {
	l := newLab(t)
	l.startProviders()
	d := l.startDaemon(fmt.Sprintf("assess.ca_file = %q", filepath.Join(l.dir, "ca.pem")))
	p := l.startReceiver("default_transport = discard:")
	l.startPostfixProvider()

	l.sendRound("first")
	l.send(message{id: "outgoing", from: "secret.sender@" + ownDomain, rcpt: "secret.recipient@written.example", source: "127.0.0.1", helo: "localhost"})
	for i, prov := range providers {
		if prov.written {
			if got := d.show(prov.domain); got.Sessions.Credited != 0 {
				t.Errorf("%s was written to, and has %+v", prov.domain, got.Sessions)
			}
		} else if prov.silent {
			if out, err := d.cli("assess", prov.domain); err != nil {
				t.Errorf("assess %s: %v: %s", prov.domain, err, out)
			}
		} else if got := d.show(prov.domain).Sessions.Credited; got != 1 {
			t.Errorf("%s: %d sessions credited after the first message of host %s, want 1", prov.domain, got, source(i))
		}
	}
	d.kill() // in the middle of it all; what was acknowledged must still be there
	d.start()
	for _, prov := range providers {
		if got := d.show(prov.domain).Sessions.Credited; !prov.silent && got != 1 {
			t.Errorf("%s: %d sessions after kill -9, want 1", prov.domain, got)
		}
	}
	l.waitForProbes(d)
	l.checkTruth(d)
	l.spoof()
	l.checkTruth(d)
	l.waitFor("the count of the spoofs", func() bool { return d.show("gold.example").Sessions.Unauthenticated == 6 })
	if got := d.show("gold.example").Sessions; got.Credited != 1 {
		t.Errorf("after the spoofs gold.example has %+v, want 1 credited", got)
	}
	l.sendRound("second")
	l.checkHeaders(p)
	l.checkFilters(p.delivered())
	l.guardHeaders(p, d)
	if logs := tail(filepath.Join(l.dir, "peerscore.log"), 1<<20); strings.Contains(logs, "postmaster@") || strings.Contains(logs, "secret.") {
		t.Error("the log holds a local part")
	}
}

// guardHeaders has Postfix itself remove what senders write into our fields, by the header_checks
// of contrib/postfix/main.cf: ours come through, and theirs do not while peerscore is down.
func (l *lab) guardHeaders(p *postfix, d *daemon) {
	l.t.Helper()
	checks := regexp.MustCompile(`(?m)^#(header_checks = .*\n)`).FindStringSubmatch(l.read("../postfix", "main.cf"))
	if checks == nil {
		l.t.Fatal("contrib/postfix/main.cf shows no header_checks")
	}
	l.write(p.conf, "main.cf", l.read(p.conf, "main.cf")+checks[1])
	l.run("", "postfix", "-c", p.conf, "reload")
	n := providerNumber("gold.example")
	forged := message{from: "ceo@gold.example", source: source(n), helo: "mail.gold.example", // dkimpy signs no such header
		header: "Peer-Score: " + ownHost + "; domain=gold.example; identity=1\npeer-SCORE-Identity :\t**\n"}
	for _, c := range []struct{ id, want string }{{"up", "identity=5"}, {"down", ""}} {
		forged.id = "guarded-" + c.id + ".gold.example"
		l.send(forged)
		l.waitFor("delivery", func() bool { return p.delivered()[forged.id] != "" })
		fields := strings.Join(scoreFields.FindAllString(p.delivered()[forged.id], -1), "\n")
		if (fields == "") != (c.want == "") || !strings.Contains(fields, c.want) || strings.Contains(fields, "identity=1") {
			l.t.Errorf("with peerscore %s the message carries %q", c.id, fields)
		}
		if c.id == "up" {
			d.stop()
		}
	}
}

// startPostfixProvider is a provider that is itself a Postfix: it receives on its MX address and
// sends what is submitted to it through its own SMTP client, signed by OpenDKIM.
func (l *lab) startPostfixProvider() {
	l.t.Helper()
	n := providerNumber("postfix.example")
	dir := l.subdir("sign")
	l.write(dir, "conf", fmt.Sprintf("Mode s\nSocket local:%s/socket\nUMask 000\nUserID root\nSyslog no\nDomain postfix.example\nSelector %s\nKeyFile %s\nCanonicalization relaxed/simple\nInternalHosts 127.0.0.0/8\nRequireSafeKeys no\n",
		dir, selector, filepath.Join(l.dir, "dkim/key.pem")))
	l.start("sign", "opendkim", "-f", "-x", filepath.Join(dir, "conf"))
	l.waitFor("the signer", func() bool { return exists(filepath.Join(dir, "socket")) })
	l.startPostfix("provider", mxAddress(n, 0), []string{
		"myhostname = mail.postfix.example", "myorigin = postfix.example", "virtual_mailbox_domains = postfix.example",
		"mynetworks = 127.0.0.0/8", "smtp_bind_address = " + source(n), "smtp_tls_security_level = may",
		"smtpd_tls_chain_files = " + filepath.Join(l.dir, "postfix.pem"), "smtpd_milters = unix:" + dir + "/socket", "non_smtpd_milters = $smtpd_milters",
	})
}

func providerNumber(domain string) int {
	for n, p := range providers {
		if p.domain == domain {
			return n
		}
	}
	panic("no provider is called " + domain)
}

// sendRound sends one message of every provider that sends.
func (l *lab) sendRound(round string) {
	l.t.Helper()
	for n, p := range providers {
		if p.silent {
			continue
		}
		m := message{id: round + "." + p.domain, from: "secret.sender@" + p.domain, source: source(n), helo: "mail." + p.domain, plain: p.plain, header: forgedFields}
		switch {
		case p.mx[0] == "postfix" && round == "first": // submission; its Postfix does the rest
			m.to, m.source, m.plain = mxAddress(n, 0), "127.0.0.1", true
		case p.mx[0] == "postfix":
			l.submit(filepath.Join(l.dir, "provider/etc"), m)
			continue
		case p.dkim:
			m.sign = selector + " " + p.domain
		}
		l.send(m)
	}
	l.waitFor("the mail of the Postfix provider", func() bool {
		return strings.Contains(tail(filepath.Join(l.dir, "provider.log"), 1<<20), round+".postfix.example") &&
			strings.Count(tail(filepath.Join(l.dir, "provider.log"), 1<<20), "status=sent") >= map[string]int{"first": 1, "second": 2}[round]
	})
}

// waitForProbes waits until the daemon has assessed every provider by itself.
func (l *lab) waitForProbes(d *daemon) {
	l.t.Helper()
	for n := range 60 { // starts are delayed by up to a minute
		pending := 0
		for _, p := range providers {
			if got := d.show(p.domain); got.Basis == "sessions" || got.Status == "pending" {
				pending++
			}
		}
		if pending == 0 {
			return
		}
		if n%5 == 0 {
			l.t.Logf("%d providers are still to be assessed", pending)
		}
		time.Sleep(3 * time.Second) // of real time: the daemon is another process
	}
	l.t.Error("not all providers were assessed")
}

// checkTruth compares every standard and every score with the table.
func (l *lab) checkTruth(d *daemon) {
	l.t.Helper()
	for _, p := range providers {
		got := d.show(p.domain)
		stars := got.stars("confidentiality") + "/" + got.stars("identity") + "/" + got.stars("integrity")
		var supports []string
		for _, s := range []string{"starttls", "x509", "spf", "dkim", "dmarc", "dane", "dnssec"} {
			supports = append(supports, map[string]string{"yes": "y", "no": "n", "unknown": "?"}[got.Standards[s].Support])
		}
		if stars != p.stars || strings.Join(supports, " ") != p.supports {
			out, _ := d.cli("explain", p.domain)
			l.t.Errorf("%s: %s and %v, want %s and %s\n%s", p.domain, stars, supports, p.stars, p.supports, out)
		}
	}
}

// forgedFields are 50 copies of ours in odd case and folding.
var forgedFields = strings.Repeat("Peer-Score: "+ownHost+"; domain=gold.example; proof=dkim+spf; confidentiality=5; identity=5; integrity=5\n"+
	"PEER-SCORE:\n "+ownHost+";\n\tdomain=gold.example; confidentiality=5\n"+
	"peer-SCORE-Identity:\t**********\n"+
	"pEER-sCORE-cONFIDENTIALITY:\n\t**********\n"+
	"Peer-Score-Integrity:**********\n", 10)

// spoof sends messages that claim to be from gold.example and are not.
func (l *lab) spoof() {
	l.t.Helper()
	evil := source(providerNumber("plain.example"))
	for i, m := range []message{
		{from: "ceo@gold.example", helo: "mail.gold.example"},
		{from: "ceo@gold.example", mailFrom: "<>", helo: "mail.gold.example"},
		{from: "ceo@gold.example", mailFrom: "bounce@plain.example", helo: "mail.plain.example"},
		{from: "ceo@gold.example", mailFrom: "bounce@plain.example", helo: "mail.plain.example", sign: selector + " plain.example"},
		{from: "ceo@gold.example", helo: "mail.gold.example", plain: true, sign: selector + " nosuch.gold.example"},
		{from: "ceo@gold.example", helo: "mail.gold.example", header: forgedFields + "peer-SCORE-Identity :\t**********\n"},
		{from: "<ceo@gold.example>, <x@plain.example>", mailFrom: "x@plain.example", helo: "mail.plain.example"},
		{from: "\"ceo@gold.example\"@plain.example", mailFrom: "<>", helo: "mail.plain.example"},
	} {
		m.id, m.source = fmt.Sprintf("spoof%d.gold.example", i), evil
		l.send(m)
	}
}

var scoreFields = regexp.MustCompile(`(?im)^peer-score[^:]*:.*(?:\n[ \t].*)*`)

// checkHeaders looks at every message that was delivered.
func (l *lab) checkHeaders(p *postfix) {
	l.t.Helper()
	var delivered map[string]string
	l.waitFor("delivery", func() bool {
		delivered = p.delivered()
		return !slices.ContainsFunc(providers, func(prov provider) bool { return !prov.silent && delivered["second."+prov.domain] == "" })
	})
	for _, prov := range providers {
		if prov.silent {
			continue
		}
		found := scoreFields.FindAllString(delivered["second."+prov.domain], -1)
		fields, ours := strings.Join(found, "\n"), 1
		for i, category := range []string{"confidentiality", "identity", "integrity"} {
			stars := strings.TrimSuffix(strings.Split(prov.stars, "/")[i], "p")
			if stars != "-" && stars != "0" { // a bar of no stars is none
				ours++
			}
			if stars != "-" && !regexp.MustCompile(`\b`+category+"="+regexp.QuoteMeta(stars)+`(;|\s|$)`).MatchString(fields) {
				l.t.Errorf("%s: no %s=%s in\n%s", prov.domain, category, stars, fields)
			}
		}
		if len(found) != ours || !strings.Contains(fields, "domain="+prov.domain) {
			l.t.Errorf("%s: %d fields, want %d, or not named in\n%s", prov.domain, len(found), ours, fields)
		}
		if prov.dkim && !strings.Contains(fields, "proof=dkim+spf;") {
			l.t.Errorf("%s: not proven by DKIM and SPF in\n%s", prov.domain, fields)
		}
	}
	for id, text := range delivered {
		fields := strings.Join(scoreFields.FindAllString(text, -1), "\n")
		if strings.HasPrefix(id, "spoof") && (strings.Contains(fields, "*") || strings.Contains(fields, "confidentiality=")) {
			l.t.Errorf("%s carries stars:\n%s", id, fields)
		}
		if strings.Count(strings.ToLower(fields), "peer-score:") != 1 {
			l.t.Errorf("%s does not carry exactly one Peer-Score:\n%s", id, fields)
		}
	}
}
