package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The addresses of the Sendmail under test. It listens on port 25 of both, and on port 587 of
// the first for users who log in.
const (
	sendmailReceiver  = "127.0.0.26"
	sendmailReceiver6 = "2001:db8:25::26"
	source6           = "2001:db8:2::1" // where gold.example sends from over IPv6
)

// sendmail is one Sendmail daemon with its own configuration and queue.
type sendmail struct {
	l       *lab
	mail    string // where delivered messages arrive, one file each
	address string
}

// sendmailRoot is where contrib/test unpacks Debian's packages.
func sendmailRoot() string {
	if dir := os.Getenv("PEERSCORE_SENDMAIL"); dir != "" {
		return dir
	}
	return filepath.Join(os.TempDir(), "peerscore-sendmail")
}

// sendmailProgram is the daemon, wherever the release of Debian has it.
func sendmailProgram(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"usr/libexec/sendmail/sendmail", "usr/lib/sm.bin/sendmail"} {
		if path = filepath.Join(sendmailRoot(), path); exists(path) {
			return path
		}
	}
	reason := "Sendmail is not unpacked in " + sendmailRoot() + "; contrib/test does that"
	if os.Getenv("PEERSCORE_FULL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

// startSendmail runs a real Sendmail with contrib/sendmail/peerscore.m4. The certificate is a
// file of the laboratory.
func (l *lab) startSendmail(name, certificate string) *sendmail {
	l.t.Helper()
	program := sendmailProgram(l.t)
	l.findLibraries()
	dir := l.subdir(name)
	s := &sendmail{l: l, mail: l.subdir(name + "/mail"), address: sendmailReceiver}
	l.subdir(name + "/incoming")
	l.run("", "mount", "-t", "tmpfs", "tmpfs", l.subdir(name+"/queue"))
	l.t.Cleanup(func() { l.run("", "umount", "-l", filepath.Join(dir, "queue")) })
	if err := os.Chmod(l.subdir(name+"/queue"), 0o700); err != nil {
		l.t.Fatal(err)
	}
	l.placeKey(name+"/tls", certificate)
	l.run("testdata", "gcc", "-static", "-O", fmt.Sprintf("-DDIR=%q", dir), "-o", filepath.Join(dir, "deliver"), "deliver.c")
	filter, err := filepath.Abs("../sendmail/peerscore.m4")
	if err != nil {
		l.t.Fatal(err)
	}
	args := []string{}
	for macro, value := range map[string]string{
		"_CF_DIR_": filepath.Join(sendmailRoot(), "usr/share/sendmail/cf") + "/",
		"LAB_DIR":  dir, "LAB_HOST": ownHost, "LAB_DOMAIN": ownDomain, "LAB_CERTIFICATE": keyDir + "/certificate.pem", "LAB_FILTER": filter,
		"LAB_ADDRESS": sendmailReceiver, "LAB_ADDRESS6": sendmailReceiver6,
	} {
		args = append(args, "-D"+macro+"="+value)
	}
	l.write(dir, "sendmail.cf", l.run("", "m4", append(args, "testdata/sendmail.mc")...))
	l.start(name, program, "-bD", "-q10s", "-C"+filepath.Join(dir, "sendmail.cf"), "-X"+filepath.Join(l.dir, name+".log"))
	l.waitFor("Sendmail", func() bool { return listens(s.address+":25") && listens("["+sendmailReceiver6+"]:25") })
	return s
}

// keyDir is covered by a folder of the laboratory.
const keyDir = "/etc/ssl/private"

// placeKey puts key and certificate where Sendmail takes them from: no file in a folder that
// everybody may write to, and /tmp is one, and none that others may read.
func (l *lab) placeKey(dir, certificate string) {
	l.t.Helper()
	dir = l.subdir(dir)
	l.write(dir, "certificate.pem", l.read(l.dir, certificate))
	if err := os.Chmod(filepath.Join(dir, "certificate.pem"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.cover(keyDir, dir)
}

// findLibraries shows the dynamic linker what was unpacked beside Sendmail. Its program changes
// its group, so that an environment variable would not do; the cache is bound in this namespace only.
func (l *lab) findLibraries() {
	l.t.Helper()
	cache := filepath.Join(l.dir, "ld.so.cache")
	dirs := append(l.glob(filepath.Join(sendmailRoot(), "usr/lib/*-linux-gnu*")), l.glob(filepath.Join(sendmailRoot(), "lib/*-linux-gnu*"))...)
	l.run("", "ldconfig", append([]string{"-C", cache}, dirs...)...)
	l.cover("/etc/ld.so.cache", cache)
}

// delivered and arrivals are as those of postfix.
func (s *sendmail) delivered() map[string]string { return first(s.arrivals()) }

func (s *sendmail) arrivals() map[string][]string {
	s.l.t.Helper()
	return s.l.arrivals(s.l.glob(filepath.Join(s.mail, "*")))
}

// TestSendmail is peerscore behind a real Sendmail: what that tells of a session reaches the
// record, and what is recorded reaches the mail.
func TestSendmail(t *testing.T) {
	l := newLab(t)
	l.startProviders()
	d := l.startDaemon(fmt.Sprintf("assess.ca_file = %q", filepath.Join(l.dir, "ca.pem")), `assess.deny_domains = ["plain.example", "selfsigned.example"]`)
	if out, err := d.cli("assess", "gold.example"); err != nil {
		t.Fatalf("assess: %v\n%s", err, out)
	}
	l.addUser("sasl/Sendmail.conf", "sasl/sasldb2", "sasldb_path: "+filepath.Join(l.dir, "sasl/sasldb2"))
	l.cover("/usr/lib/sasl2", l.subdir("sasl"))
	s := l.startSendmail("sendmail", "own.pem")
	l.sendThroughSendmail()

	const stars = "confidentiality=5; identity=5; integrity=5"
	cases := []struct {
		id    string
		said  string // what the daemon logged
		score string // part of Peer-Score; "" for no such field
	}{
		{id: "tls", said: "row=spf-dkim client=" + source(0) + " tls=TLSv1.3", score: stars},
		{id: "plain", said: "row=spf-dkim client=" + source(6) + " tls=none", score: "domain=plain.example; status=pending"},
		{id: "ipv6", said: "row=spf-dkim client=" + source6 + " tls=TLSv1.3", score: stars},
		{id: "unsigned", said: "row=spf-only client=" + source(2) + " tls=TLSv1.3", score: "domain=selfsigned.example; status=pending"},
		// One session, the second message of which has nothing of the first but the client.
		{id: "first", said: "row=spf-dkim client=" + source(0) + " tls=TLSv1.3", score: stars},
		{id: "second", said: "row=unauthenticated client=" + source(0) + " tls=TLSv1.3", score: "domain=silver.example; status=unauthenticated"},
		{id: "reset", said: "row=spf-dkim client=" + source(0) + " tls=TLSv1.3", score: stars},
		{id: "forged", said: "row=unauthenticated client=" + source(6) + " tls=none", score: "domain=gold.example; status=unauthenticated"},
		{id: "internal", said: "row=internal client=127.0.0.1 tls=none"},
		{id: "submitted", said: "row=internal client=" + source(0) + " tls=TLSv1.3"},
	}
	l.waitFor("delivery", func() bool { return len(s.delivered()) >= len(cases) })
	mail := s.delivered()
	for _, c := range cases {
		text, ok := mail[c.id]
		if !ok {
			t.Errorf("%s was not delivered", c.id)
			continue
		}
		if got := d.passes(text); !slices.Equal(got, []string{c.said}) {
			t.Errorf("%s: the daemon saw %q, want %q", c.id, got, c.said)
		}
		l.checkScoreFields(c.id, text, c.score)
	}
	l.checkCredit(d, "gold.example", "4 sessions, 1 unauthenticated; starttls 10.2.1.1 pass, 2001:db8:2::/64 pass; spf 10.2.1.1 pass, 2001:db8:2::/64 pass; dkim 10.2.1.1 pass, 2001:db8:2::/64 pass")
	l.killDuringData(d, s)
}

// gold is a message that its provider may send and signs.
func gold(id string) message {
	return message{id: id, from: "someone@gold.example", sign: selector + " gold.example"}
}

// sendThroughSendmail sends what TestSendmail has in its table.
func (l *lab) sendThroughSendmail() {
	l.t.Helper()
	const helo = "mail.gold.example"
	v4, v6 := sendmailReceiver+":25", "["+sendmailReceiver6+"]:25"
	l.converse(v4, source(0), helo, overTLS(helo), l.mail(gold("tls")))
	l.converse(v4, source(6), helo, l.mail(message{id: "plain", from: "someone@plain.example", sign: selector + " plain.example"}))
	l.converse(v6, source6, helo, overTLS(helo), l.mail(gold("ipv6")))
	l.converse(v4, source(2), helo, overTLS(helo), l.mail(message{id: "unsigned", from: "someone@selfsigned.example"}))
	l.converse(v4, "127.0.0.1", helo, l.mail(message{id: "internal", from: "someone@" + ownDomain}))
	l.converse(v4, source(6), helo, l.mail(message{id: "forged", from: "someone@gold.example", mailFrom: "x@plain.example", header: strings.Repeat("Peer-Score: "+ownHost+
		"; domain=gold.example; proof=dkim+spf; confidentiality=5\npeer-SCORE-Identity:\t**********\nPEER-SCORE-CONFIDENTIALITY:\n *****\n", 5)}))
	l.converse(v4, source(0), helo, overTLS(helo),
		l.mail(gold("first")),
		l.mail(message{id: "second", from: "someone@silver.example", mailFrom: "bounce@gold.example"}),
		says(250, "MAIL FROM:<someone@gold.example>"), says(250, "RCPT TO:<user@"+ownDomain+">"), says(250, "RSET"),
		l.mail(gold("reset")),
	)
	secret := base64.StdEncoding.EncodeToString([]byte("\x00someone@" + ownDomain + "\x00" + userPassword))
	l.converse(sendmailReceiver+":587", source(0), "laptop", overTLS("laptop"), says(235, "AUTH PLAIN "+secret), l.mail(message{id: "submitted", from: "someone@" + ownDomain}))
}

// killDuringData ends the daemon while Sendmail is in the middle of a message: that message
// and those after it are delivered, and a daemon that is back is used again.
func (l *lab) killDuringData(d *daemon, s *sendmail) {
	l.t.Helper()
	const helo = "mail.gold.example"
	interrupted := gold("interrupted")
	l.converse(s.address+":25", source(0), helo, overTLS(helo),
		func(c *client) error {
			return c.mail(interrupted, l.text(interrupted), func(stage string) {
				if stage == "body" {
					d.kill()
				}
			})
		}, l.mail(gold("without")))
	l.waitFor("delivery without the daemon", func() bool { return s.delivered()["interrupted"] != "" && s.delivered()["without"] != "" })

	d.start()
	l.converse(s.address+":25", source(0), helo, overTLS(helo), l.mail(gold("again")))
	l.waitFor("delivery with the daemon", func() bool { return s.delivered()["again"] != "" })
	mail := s.delivered()
	l.checkScoreFields("interrupted", mail["interrupted"], "")
	l.checkScoreFields("without", mail["without"], "")
	l.checkScoreFields("again", mail["again"], "confidentiality=5")
}
