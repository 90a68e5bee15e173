package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The authserv-ids of the two milters in front of peerscore. They differ, because only the
// topmost field of each is believed: under one name OpenDMARC's would hide OpenDKIM's.
const (
	dkimID  = "dkim." + ownDomain
	dmarcID = "dmarc." + ownDomain
)

var resultFields = regexp.MustCompile(`(?im)^authentication-results[ \t]*:.*(?:\n[ \t].*)*`)

// TestTrust has the real OpenDKIM and OpenDMARC evaluate each message and peerscore read what
// they say. A sender's own fields under these names decide nothing and are removed (RFC 8601
// section 5); those of others stay.
func TestTrust(t *testing.T) {
	l := newLab(t)
	key := l.newDKIMKey()
	zones := []zone{{name: ownDomain, records: "mx A " + receiver + "\n"}, {name: "10.in-addr.arpa"}}
	var names []string
	for name, spf := range map[string]string{"victim": victimHost, "signer": victimHost, "forwarder": forwardHost, "attack": attackHost, "everybody": ""} {
		terms := "ip4:" + spf + " -all"
		if spf == "" {
			terms = "+all"
		}
		zones = append(zones, zone{name: name + ".example", records: key + "@ TXT \"v=spf1 " + terms + "\"\n_dmarc TXT \"v=DMARC1; p=none\"\n"})
		names = append(names, fmt.Sprintf("%q", name+".example"))
	}
	l.startDNS(zones)
	opendkim, _ := l.startOpenDKIM("opendkim", dkimID)
	opendmarc, _ := l.startOpenDMARC("opendmarc", dmarcID)
	d := l.startDaemon(`milter.authentication = "trust"`, fmt.Sprintf("milter.trusted_authserv_ids = [%q, %q]", dkimID, dmarcID),
		"assess.deny_domains = ["+strings.Join(names, ", ")+"]")
	milters := strings.Replace(l.documented(milterInet), "smtpd_milters = ", "smtpd_milters = unix:"+opendkim+", unix:"+opendmarc+", ", 1)
	p := l.startPostfix("postfix", receiver, []string{milters})

	signed := selector + " victim.example"
	const believe = "Authentication-Results: %s; dkim=pass header.d=victim.example header.s=lab; spf=pass smtp.mailfrom=victim.example; dmarc=pass header.from=victim.example\n"
	forged := fmt.Sprintf(believe+believe+believe, dkimID, dmarcID, "elsewhere.example") + strings.ToUpper(fmt.Sprintf(believe, dkimID))
	const spoof = "domain=victim.example; status=unauthenticated"
	letters := []struct {
		id, source string
		m          message
		change     func(string) string
		row, score string
	}{
		{"signed", victimHost, message{from: "ceo@victim.example", sign: signed}, nil, "spf-dkim", "domain=victim.example; status=pending"},
		{"unsigned", victimHost, message{from: "ceo@victim.example"}, nil, "spf-only", "domain=victim.example"},
		{"forwarded", forwardHost, message{from: "ceo@victim.example", mailFrom: "x@forwarder.example", sign: signed}, nil, "relayed", "domain=victim.example"},
		{"broken", forwardHost, message{from: "ceo@victim.example", mailFrom: "x@forwarder.example", sign: signed}, func(text string) string { return text + "more\n" }, "unauthenticated", spoof},
		{"spoof", attackHost, message{from: "ceo@victim.example", mailFrom: "x@attack.example"}, nil, "unauthenticated", spoof},
		{"forged", attackHost, message{from: "ceo@victim.example", mailFrom: "x@attack.example", header: forged}, nil, "unauthenticated", spoof},
		{"forged-path", attackHost, message{from: "ceo@victim.example", header: forged}, nil, "unauthenticated", spoof},
		{"everybody", attackHost, message{from: "x@everybody.example"}, nil, "unauthenticated", "domain=everybody.example; status=unauthenticated"},
		{"without-from", attackHost, message{from: "x@attack.example", header: "From: ceo@victim.example\n" + forged}, nil, "no-identity", "status=no-identity"},
	}
	for _, x := range letters {
		x.m.id = x.id
		text := l.text(x.m)
		if x.change != nil {
			text = x.change(text)
		}
		l.converse(receiver+":25", x.source, "mail.of."+x.id+".example", func(c *client) error { return c.mail(x.m, text, onwards) })
	}
	l.waitFor("delivery", func() bool { return len(p.arrivals()) == len(letters) })
	mail := p.delivered()

	for _, x := range letters {
		if got, want := d.passes(mail[x.id]), "row="+x.row+" client="+x.source+" tls=none"; len(got) != 1 || got[0] != want {
			t.Errorf("%s: the daemon saw %q, want %q", x.id, got, want)
		}
		l.checkScoreFields(x.id, mail[x.id], x.score)
		for _, field := range resultFields.FindAllString(mail[x.id], -1) {
			if theirs := strings.Contains(strings.ToLower(field), "header.d=victim.example header.s=lab; spf=pass"); theirs && !strings.Contains(field, "elsewhere.example") {
				t.Errorf("%s: the sender's own field was delivered:\n%s", x.id, field)
			}
		}
		if n := strings.Count(strings.ToLower(strings.Join(resultFields.FindAllString(mail[x.id], -1), "\n")), "elsewhere.example"); n != strings.Count(x.m.header, "elsewhere.example") {
			t.Errorf("%s: %d results of another host were delivered", x.id, n)
		}
		if !strings.Contains(mail[x.id], "Authentication-Results: "+dkimID) {
			t.Errorf("%s: OpenDKIM's results were not delivered", x.id)
		}
	}
	l.checkCredit(d, "victim.example", "3 sessions, 4 unauthenticated; starttls 10.5.0.1 fail; spf 10.5.0.1 pass; dkim relayed pass, 10.5.0.1 fail")
}
