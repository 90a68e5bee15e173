package manual

// glossary are the terms of peerscore's own that its output uses.
var glossary = []struct{ term, meaning string }{
	{"peer", "A domain that mail is exchanged with, in the role of a mail provider."},
	{"proof", "What shows that a message comes from its author domain: `dkim`, `spf`, `mx` or `host` (see HEADER FIELDS). Without one, a message can claim any domain and changes no score."},
	{"credited session", "A message that was proven to come from its author domain, so that what was observed counts for that domain: TLS, SPF and DKIM of the host that sent it. All others are counted as unauthenticated, if at all."},
	{"test", "One check of one standard on one host, record or domain. It passes, fails, or could not be measured; `explain` lists them."},
	{"support", "Whether a domain supports a standard: yes if at least 80 % (`score.threshold`) of the tests with a known result pass."},
	{"judgement", "The scores of a domain at one time, with the tests that they rest on. `history` lists past ones, `rescore` makes them anew."},
	{"frozen", "A test that everybody fails at once, and did not before. The cause is then probably on this host, so that failures are held against nobody until peers pass again."},
}
