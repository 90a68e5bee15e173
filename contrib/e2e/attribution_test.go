package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Where the peers of TestAttribution send from.
const (
	victimHost   = "10.5.0.1"
	secondHost   = "10.5.0.2" // bücher.example, and client.example through its provider
	exchangeHost = "10.5.0.3" // an MX host of exchange.example, which its SPF leaves out
	namedHost    = "10.5.0.4" // mail.named.example, without SPF or DKIM
	forwardHost  = "10.5.0.5"
	attackHost   = "10.5.0.6"
	doubtfulHost = "10.5.0.7" // the MX host of doubtful.example, which its SPF doubts
	sharedHost   = "10.5.0.8" // another MX host of exchange.example, and of strangers: to its operator mx.hoster.example
)

// attributionZones are the peers. All signatures are made with one key.
func attributionZones(key string) []zone {
	spf := func(terms string) string { return "@ TXT \"v=spf1 " + terms + "\"\n" }
	return []zone{
		{name: ownDomain, records: "mx A " + receiver + "\n" + key},
		{name: "victim.example", records: key + spf("ip4:"+victimHost+" -all") + "_dmarc TXT \"v=DMARC1; p=reject\"\n"},
		{name: "xn--bcher-kva.example", records: key + spf("ip4:"+secondHost+" -all")},
		{name: "client.example", records: key + spf("include:esp.example -all")},
		{name: "esp.example", records: key + spf("ip4:"+secondHost+" -all")},
		{name: "exchange.example", records: spf("-all") + "@ MX 10 mx\n@ MX 20 mx2\nmx A " + exchangeHost + "\nmx2 A " + sharedHost + "\n"},
		{name: "doubtful.example", records: spf("~all") + "@ MX 10 mx\nmx A " + doubtfulHost + "\n"},
		{name: "hoster.example", records: "mx A " + sharedHost + "\n"},
		{name: "named.example", records: "mail A " + namedHost + "\n"},
		{name: "forwarder.example", records: key + spf("ip4:"+forwardHost+" -all")},
		{name: "attack.example", records: key + spf("ip4:"+attackHost+" -all") +
			"any TXT \"v=spf1 ip4:" + attackHost + " -all\"\n" + strings.Replace(key, "_domainkey", "_domainkey.victim.example'a", 1)},
		{name: "everybody.example", records: key + spf("+all")},
		{name: "10.in-addr.arpa", records: "3.0.5 PTR mx.exchange.example.\n4.0.5 PTR mail.named.example.\n7.0.5 PTR mx.doubtful.example.\n8.0.5 PTR mx.hoster.example.\n"},
	}
}

// letter is one message of TestAttribution.
type letter struct {
	id     string
	source string
	m      message
	change func(string) string // on its way here, once it is signed
	row    string
	score  string // part of Peer-Score; "" for no such field
}

func attributionLetters() []letter {
	signed := func(from, mailFrom string) message {
		_, domain, _ := strings.Cut(from, "@")
		return message{from: from, mailFrom: mailFrom, sign: selector + " " + domain}
	}
	by := func(signer string, m message) message { m.sign = selector + " " + signer; return m }
	add := func(header string, m message) message { m.header += header; return m }
	footer := func(text string) string { return text + "-- \nto unsubscribe, see below\n" }
	subject := func(text string) string { return strings.Replace(text, "Subject: ", "Subject: [list]", 1) }
	const (
		victim = "ceo@victim.example"
		bounce = "bounce@attack.example"
		spoof  = "domain=victim.example; status=unauthenticated"
		nobody = "status=no-identity"
		list   = "List-Id: <list.forwarder.example>\n"
	)
	return []letter{
		{"signed", victimHost, signed(victim, ""), nil, "spf-dkim", "domain=victim.example; status=pending"},
		{"unsigned", victimHost, message{from: victim}, nil, "spf-only", "domain=victim.example"},
		{"idn-a-label", secondHost, signed("info@xn--bcher-kva.example", ""), nil, "spf-dkim", "domain=xn--bcher-kva.example"},
		{"idn-u-label", secondHost, by("xn--bcher-kva.example", message{from: "info@bücher.example", mailFrom: "info@xn--bcher-kva.example"}), nil, "spf-dkim", "domain=xn--bcher-kva.example"},
		{"forwarded", forwardHost, signed(victim, ""), nil, "relayed", "domain=victim.example"},
		{"srs", forwardHost, signed(victim, "SRS0=HHH=TT=victim.example=ceo@forwarder.example"), nil, "relayed", "domain=victim.example"},
		{"list-intact", forwardHost, add(list, signed(victim, "list-bounces@forwarder.example")), nil, "relayed", "domain=victim.example"},
		{"list-broken", forwardHost, add(list, signed(victim, "list-bounces@forwarder.example")), footer, "unauthenticated", spoof},
		{"list-subject", forwardHost, add(list, signed(victim, "list-bounces@forwarder.example")), subject, "unauthenticated", spoof},
		{"list-of-its-own", forwardHost, add(list, signed("list@forwarder.example", "list-bounces@forwarder.example")), nil, "spf-dkim", "domain=forwarder.example"},
		{"esp-spf", secondHost, message{from: "news@client.example"}, nil, "spf-only", "domain=client.example"},
		{"esp-own-path", secondHost, signed("news@client.example", "bounce@esp.example"), nil, "relayed", "domain=client.example"},
		{"esp-signs-for-itself", secondHost, by("esp.example", message{from: "news@victim.example", mailFrom: "bounce@esp.example"}), nil, "unauthenticated", spoof},
		{"replayed", attackHost, signed(victim, bounce), nil, "relayed", "domain=victim.example"},
		{"bounce-signed", victimHost, signed(victim, "<>"), nil, "null-path", "domain=victim.example"},
		{"bounce-bare", victimHost, message{from: victim, mailFrom: "<>"}, nil, "unauthenticated", spoof},
		{"exchange", exchangeHost, message{from: "info@exchange.example"}, nil, "mx-only", "domain=exchange.example; status=unauthenticated"},
		{"exchange-neighbour", sharedHost, message{from: "info@exchange.example", helo: "mx2.exchange.example"}, nil, "unauthenticated", "domain=exchange.example; status=unauthenticated"},
		{"doubtful", doubtfulHost, message{from: "info@doubtful.example"}, nil, "mx-only", "domain=doubtful.example; proof=mx; confidentiality=unknown; identity=3"},
		{"named", namedHost, message{from: "info@named.example", helo: "mail.named.example"}, nil, "host-only", "domain=named.example"},
		{"named-elsewhere", attackHost, message{from: "info@named.example", helo: "mail.named.example", mailFrom: "<>"}, nil, "unauthenticated", "domain=named.example; status=unauthenticated"},
		{"everybody-signed", attackHost, signed("info@everybody.example", ""), nil, "wide-spf", "domain=everybody.example"},
		{"everybody", attackHost, message{from: "info@everybody.example"}, nil, "unauthenticated", "domain=everybody.example; status=unauthenticated"},
		{"own-from-outside", attackHost, message{from: "boss@" + ownDomain, mailFrom: bounce}, nil, "own-domain", "domain=" + ownDomain + "; status=unauthenticated"},
		{"own-proven", attackHost, signed("boss@"+ownDomain, bounce), nil, "own-domain", "domain=" + ownDomain + "; status=unknown"},
		{"own-from-inside", "127.0.0.1", message{from: "boss@" + ownDomain}, nil, "internal", ""},

		{"spoof", attackHost, message{from: victim}, nil, "unauthenticated", spoof},
		{"spoof-own-path", attackHost, message{from: victim, mailFrom: bounce}, nil, "unauthenticated", spoof},
		{"spoof-signed", attackHost, by("attack.example", message{from: victim, mailFrom: bounce}), nil, "unauthenticated", spoof},
		{"spoof-subdomain", attackHost, message{from: victim, mailFrom: "x@nowhere.victim.example"}, nil, "unauthenticated", spoof},
		{"tampered", attackHost, signed(victim, bounce), footer, "unauthenticated", spoof},
		{"quoted", attackHost, message{from: `<"admin@victim.example"@attack.example>`, mailFrom: bounce}, nil, "spf-only", "domain=attack.example"},
		{"display-name", attackHost, message{from: `"ceo@victim.example" <x@attack.example>`, mailFrom: bounce}, nil, "spf-only", "domain=attack.example"},
		{"two-from", attackHost, add("From: "+victim+"\n", message{from: "x@attack.example", mailFrom: bounce}), nil, "no-identity", nobody},
		{"two-mailboxes", attackHost, message{from: "x@attack.example, " + victim, mailFrom: bounce}, nil, "no-identity", nobody},
		{"group", attackHost, message{from: "victims: " + victim + ";", mailFrom: bounce}, nil, "no-identity", nobody},
		{"route", attackHost, message{from: "<@attack.example:" + victim + ">", mailFrom: bounce}, nil, "no-identity", nobody},
		{"behind", attackHost, message{from: "<x@attack.example>" + victim, mailFrom: bounce}, nil, "no-identity", nobody},
		{"literal", attackHost, message{from: "ceo@[10.5.0.1]", mailFrom: bounce}, nil, "no-identity", nobody},
	}
}

// TestAttribution sends what milter/attribution.md tells apart through a real Postfix: spoofs,
// forwarders, SRS, lists, providers that send for others, bounces, replays, our own domain from
// outside, and the cases of espoofer. What each message is worth is in the log and on the message; what all of them left
// is in the record. The unit and property tests of milter and cmd/peerscore have more spellings.
func TestAttribution(t *testing.T) {
	l := newLab(t)
	zones := attributionZones(l.newDKIMKey())
	l.startDNS(zones)
	var names []string
	for _, z := range zones {
		names = append(names, fmt.Sprintf("%q", z.name))
	}
	// The daemon probes nobody, so that no score comes in between; the operator has two probed.
	d := l.startDaemon("assess.deny_domains = [" + strings.Join(names, ", ") + "]")
	l.write(l.dir, "probe.toml", fmt.Sprintf("store.path = %q\nassess.allow_networks = [\"10.0.0.0/8\"]\n", d.db))
	if out, err := l.try("", d.program[0], "assess", "--config", l.dir+"/probe.toml", "exchange.example", "doubtful.example"); err != nil {
		t.Fatalf("assess: %v\n%s", err, out)
	}
	p := l.startPostfix("postfix", receiver, []string{l.documented(milterInet), "smtputf8_enable = no", "strict_rfc821_envelopes = no"})
	letters := append(attributionLetters(), espooferLetters()...)
	for _, x := range letters {
		x.m.id, x.m.source = x.id, x.source
		helo := x.m.helo
		if helo == "" {
			helo = "mail.of." + x.id + ".example"
		}
		text := l.text(x.m)
		if x.change != nil {
			signed := text
			if text = x.change(signed); text == signed {
				t.Errorf("%s is not changed on its way", x.id)
			}
		}
		copies := 1
		if x.id == "replayed" {
			copies = 3 // of the very same message, which are worth one
		}
		for range copies {
			l.converse(receiver+":25", x.source, helo, func(c *client) error { return c.mail(x.m, text, onwards) })
		}
	}
	l.waitFor("delivery", func() bool { return len(p.arrivals()) == len(letters) })
	mail := p.delivered()
	for _, x := range letters {
		if got, want := d.passes(mail[x.id]), "row="+x.row+" client="+x.source+" tls=none"; len(got) != 1 || got[0] != want {
			t.Errorf("%s: the daemon saw %q, want %q", x.id, got, want)
		}
		l.checkScoreFields(x.id, mail[x.id], x.score)
	}
	l.checkCredits(d)
}

// checkCredits holds what all letters left against what they entitle to, test by test.
func (l *lab) checkCredits(d *daemon) {
	l.t.Helper()
	want := map[string]string{
		// a1 to a7 of espoofer are unauthenticated, a12 and a13 the attacker's own
		// signed, unsigned; forwarded, srs, list-intact, replayed and bounce-signed are relayed
		"victim.example":        "7 sessions, 16 unauthenticated; starttls 10.5.0.1 fail; spf 10.5.0.1 pass; dkim relayed pass, 10.5.0.1 fail",
		"xn--bcher-kva.example": "2 sessions, 0 unauthenticated; starttls 10.5.0.2 fail; spf 10.5.0.2 pass; dkim 10.5.0.2 pass",
		"client.example":        "2 sessions, 0 unauthenticated; starttls 10.5.0.2 fail; spf 10.5.0.2 pass; dkim relayed pass, 10.5.0.2 fail",
		"exchange.example":      "1 sessions, 2 unauthenticated; starttls 10.5.0.3 unknown; spf 10.5.0.3 fail; dkim 10.5.0.3 unknown",
		"doubtful.example":      "1 sessions, 0 unauthenticated; starttls 10.5.0.7 fail; spf 10.5.0.7 fail; dkim 10.5.0.7 fail",
		"named.example":         "1 sessions, 1 unauthenticated; starttls 10.5.0.4 unknown; spf 10.5.0.4 unknown; dkim 10.5.0.4 unknown",
		"forwarder.example":     "1 sessions, 0 unauthenticated; starttls 10.5.0.5 fail; spf 10.5.0.5 pass; dkim 10.5.0.5 pass",
		"attack.example":        "4 sessions, 0 unauthenticated; starttls 10.5.0.6 fail; spf 10.5.0.6 pass; dkim 10.5.0.6 fail",
		"everybody.example":     "1 sessions, 1 unauthenticated; dkim relayed pass",
	}
	for domain, want := range want {
		l.checkCredit(d, domain, want)
	}
	for _, domain := range []string{ownDomain, "esp.example"} {
		if _, err := d.tryShow(domain); err == nil {
			l.t.Errorf("%s is known", domain)
		}
	}
}

// checkCredit is patient: the counter of the unauthenticated is written a while later.
func (l *lab) checkCredit(d *daemon, domain, want string) {
	l.t.Helper()
	var got string
	for range 20 {
		if got = l.credits(d, domain); got == want {
			return
		}
		l.run("", "sleep", "0.5")
	}
	l.t.Errorf("%s: %s\nwant %s", domain, got, want)
}

// credits is what the sessions of a domain show, from its JSON.
func (l *lab) credits(d *daemon, domain string) string {
	l.t.Helper()
	out, err := d.cli("show", "--json", domain)
	if err != nil {
		return err.Error()
	}
	var shown struct {
		Standards map[string]struct {
			Tests []struct{ Subject, Direction, Result string }
		}
		Sessions struct{ Credited, Unauthenticated int }
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%d sessions, %d unauthenticated", shown.Sessions.Credited, shown.Sessions.Unauthenticated)
	for _, standard := range []string{"starttls", "spf", "dkim"} {
		var results []string
		for _, t := range shown.Standards[standard].Tests {
			if t.Direction == "outbound" {
				results = append(results, t.Subject+" "+t.Result)
			}
		}
		if results != nil {
			text += "; " + standard + " " + strings.Join(results, ", ")
		}
	}
	return text
}
