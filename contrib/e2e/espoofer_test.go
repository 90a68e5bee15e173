package e2e

import "strings"

// espooferLetters are the server cases of espoofer (Chen, Paxson, Jiang, "Composition Kills",
// USENIX Security 2020) as a real Postfix passes them on. The attacker owns attack.example,
// sends from its host, and wants to be taken for victim.example.
func espooferLetters() []letter {
	const (
		victim  = "<admin@victim.example>"
		first   = "<first@attack.example>"
		own     = "any@attack.example"
		spoof   = "domain=victim.example; status=unauthenticated"
		nobody  = "status=no-identity"
		itself  = "domain=attack.example; status=pending"
		encoded = "=?utf-8?B?PGFkbWluQHZpY3RpbS5leGFtcGxlPg==?="
	)
	by := func(sign string, m message) message { m.sign = sign; return m }
	// head puts something else where From was.
	head := func(fields string) func(string) string {
		return func(text string) string {
			_, rest, _ := strings.Cut(text, "\n")
			return fields + "\n" + rest
		}
	}
	nul := func(text string) string {
		return strings.Replace(text, "_domainkey.attack.example.", "_domainkey.attack.example.\x00.any", 1)
	}
	// path has a reverse-path, field a From field that may bring others.
	path := func(mailFrom string) message { return message{from: victim, mailFrom: mailFrom} }
	field := func(from string) message { return message{from: from, mailFrom: own} }
	return []letter{
		{"a1-no-such-subdomain", attackHost, path("any@mailfrom.notexist.victim.example"), nil, "unauthenticated", spoof},
		{"a2-reads-as-empty", attackHost, path("(any@victim.example"), nil, "unauthenticated", spoof},
		{"a3-nul-in-selector", attackHost, by(selector+"._domainkey.attack.example. victim.example", path(own)), nul, "unauthenticated", spoof},
		{"a4-quote-in-d", attackHost, by(selector+` victim.example\'a.attack.example`, path(own)), nil, "unauthenticated", spoof},
		{"a5-parenthesis-in-path", attackHost, path("any@victim.example(a.attack.example"), nil, "unauthenticated", spoof},
		{"a6-quote-in-path", attackHost, path("any@victim.example'@any.attack.example"), nil, "unauthenticated", spoof},
		{"a7-route-in-path", attackHost, path("@victim.example,@any.example:'any@attack.example"), nil, "unauthenticated", spoof},
		{"a8-two-from", attackHost, field(first + "\nFrom: " + victim), nil, "no-identity", nobody},
		{"a8-two-from-turned", attackHost, by(selector+" attack.example", field(victim+"\nFrom: "+first)), nil, "no-identity", nobody},
		{"a9-blank-before", attackHost, path(own), head(" From: " + first + "\nFrom: " + victim), "no-identity", nobody},
		{"a9-blank-before-second", attackHost, field(victim + "\n From: " + first), nil, "no-identity", nobody},
		{"a10-blank-behind", attackHost, path(own), head("From: " + first + "\nFrom : " + victim), "no-identity", nobody},
		{"a11-folded-name", attackHost, path(own), head("From\n : " + first + "\nFrom: " + victim), "no-identity", nobody},
		{"a12-sender", attackHost, field(first + "\nSender: " + victim), nil, "spf-only", itself},
		{"a12-sender-alone", attackHost, path(own), head("Sender: " + victim), "no-identity", nobody},
		{"a13-resent-from", attackHost, field(first + "\nResent-From: " + victim), nil, "spf-only", itself},
		{"a13-resent-from-alone", attackHost, path(own), head("Resent-From: " + victim), "no-identity", nobody},
		{"a14-two-mailboxes", attackHost, field(first + ", " + victim), nil, "no-identity", nobody},
		{"a15-encoded", attackHost, field(encoded + ",<second@attack.example>"), nil, "no-identity", nobody},
		{"a16-route", attackHost, field("<@attack.example,@any.example:admin@victim.example>"), nil, "no-identity", nobody},
		{"a17-quoted-pair", attackHost, field(victim + `\,<second@attack.example>`), nil, "no-identity", nobody},
		{"a18-precedence", attackHost, field("admin@victim.example,<second@attack.example>"), nil, "no-identity", nobody},
		{"a19-behind", attackHost, field("<any@attack.example>admin@victim.example"), nil, "no-identity", nobody},
	}
}
