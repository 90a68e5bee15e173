package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// filterCases are delivered messages and what each example of contrib/filters makes of them: a
// flag of Sieve, and the symbol of SpamAssassin and rspamd.
var filterCases = []struct{ id, flag, symbol string }{
	{"second.gold.example", "$PeerProtected", "PEERSCORE_PROTECTED"},
	{"spoof0.gold.example", "$PeerUnproven", "PEERSCORE_UNPROVEN"},
	{"spoof5.gold.example", "$PeerUnproven", "PEERSCORE_UNPROVEN"}, // which brought stars of its own
	{"second.selfsigned.example", "", ""},                          // between the lines
	{"lowered", "$PeerUnprotected", "PEERSCORE_UNPROTECTED"},
	{"flooded", "", ""}, // with stars of its own, too many to be removed
}

// checkFilters gives delivered messages to the real Sieve, SpamAssassin and rspamd with the
// rules of contrib/filters. No provider of the laboratory that can prove itself has less than
// 2.5 stars of identity: one message has its stars taken.
func (l *lab) checkFilters(delivered map[string]string) {
	l.t.Helper()
	lowered := strings.NewReplacer("identity=5", "identity=2", "Peer-Score-Identity: **********", "Peer-Score-Identity: ****")
	delivered["lowered"] = lowered.Replace(delivered["second.gold.example"])
	delivered["flooded"] = "Peer-Score: " + ownHost + "; status=unknown\n" + delivered["second.gold.example"]
	dir := l.subdir("filters")
	for _, name := range []string{"peerscore.sieve", "spamassassin.cf", "rspamd.local.lua"} {
		l.write(dir, strings.Replace(name, "spamassassin.cf", "peerscore.cf", 1), l.read("../filters", name))
	}
	if err := os.Chmod(dir, 0o777); err != nil { // sieve-test compiles as nobody
		l.t.Fatal(err)
	}
	l.write(dir, "dovecot.conf", "mail_uid = nobody\nmail_gid = nogroup\nssl = no\nmail_location = maildir:"+filepath.Join(dir, "mail")+"\n")
	l.write(dir, "00.cf", "util_rb_tld example\nadd_header all Status _TESTS_\n") // instead of SpamAssassin's own rules
	l.write(dir, "00.pre", "loadplugin Mail::SpamAssassin::Plugin::Check\n")
	l.startRspamd(dir)
	for _, c := range filterCases {
		text, ok := delivered[c.id]
		if !ok {
			l.t.Errorf("%s was not delivered", c.id)
			continue
		}
		l.write(dir, "message", text)
		message := filepath.Join(dir, "message")
		sieve := l.run(dir, "sieve-test", "-c", "dovecot.conf", "-C", "peerscore.sieve", message)
		spamassassin := l.run(dir, "sh", "-c", `HOME=. exec spamassassin -L -x --configpath="$0" --siteconfigpath="$0" <message`, dir)
		rspamd := l.run(dir, "rspamc", "-h", filepath.Join(dir, "rspamd.sock"), message)
		for _, found := range []struct{ program, want, got string }{
			{"Sieve", c.flag, strings.Join(regexp.MustCompile(`\$Peer\w+`).FindAllString(sieve, -1), " ")},
			{"SpamAssassin", c.symbol, strings.Join(regexp.MustCompile(`\bPEERSCORE_\w+`).FindAllString(spamassassin, -1), " ")},
			{"rspamd", c.symbol, strings.Join(regexp.MustCompile(`\bPEERSCORE_\w+`).FindAllString(rspamd, -1), " ")},
		} {
			if found.got != found.want {
				l.t.Errorf("%s says %q of %s, want %q", found.program, found.got, c.id, found.want)
			}
		}
	}
}

// startRspamd starts rspamd with our rules and none of its own, which take long to compile.
func (l *lab) startRspamd(dir string) {
	l.t.Helper()
	socket := filepath.Join(dir, "rspamd.sock")
	l.write(dir, "load.lua", "config['regexp'] = {}\ndofile('"+filepath.Join(dir, "rspamd.local.lua")+"')\n")
	l.write(dir, "tld", "example\n")
	l.write(dir, "rspamd.conf", strings.ReplaceAll(`lua = "DIR/load.lua";
options { pidfile = "DIR/rspamd.pid"; filters = "regexp"; url_tld = "DIR/tld"; hs_cache_dir = "DIR"; tempdir = "DIR"; dns { nameserver = ["127.0.0.1"]; } }
logging { type = "console"; level = "warning"; }
actions { reject = 15; }
worker "normal" { bind_socket = "DIR/rspamd.sock mode=0666"; count = 1; }
`, "DIR", dir))
	l.start("rspamd", "rspamd", "-f", "-i", "-u", "root", "-g", "root", "-c", filepath.Join(dir, "rspamd.conf"), "--var=LOCAL_CONFDIR="+dir, "--var=DBDIR="+dir, "--var=RUNDIR="+dir)
	l.waitFor("rspamd", func() bool { return exists(socket) })
}
