package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// message is one mail that a peer sends with swaks.
type message struct {
	id       string // of the Message-ID
	from     string // author, and the reverse-path unless mailFrom is set
	mailFrom string // "<>" is the null reverse-path
	source   string // the address that it comes from
	helo     string
	plain    bool   // no TLS
	sign     string // "SELECTOR DOMAIN" signed by dkimpy
	canon    string // how the signature canonicalises header and body; "simple" when empty
	header   string // further header lines, each ended by a line feed
	body     string
	to       string // the Postfix under test when empty
	rcpt     string // user@own.example when empty
}

func (m message) reversePath() string {
	switch m.mailFrom {
	case "":
		return m.from
	case "<>":
		return ""
	}
	return m.mailFrom
}

func (m message) recipient() string {
	if m.rcpt == "" {
		return "user@" + ownDomain
	}
	return m.rcpt
}

// selector is the one DKIM selector of the laboratory; every provider uses the same key.
const selector = "lab"

// newDKIMKey makes an RSA key with openssl and returns the TXT record of the selector.
func (l *lab) newDKIMKey() (record string) {
	l.t.Helper()
	dir := l.subdir("dkim")
	l.run(dir, "openssl", "genrsa", "-traditional", "-out", "key.pem", "2048")
	public := l.run(dir, "openssl", "rsa", "-in", "key.pem", "-pubout")
	lines := strings.Split(strings.TrimSpace(public), "\n")
	b64 := strings.Join(lines[1:len(lines)-1], "")
	return fmt.Sprintf("%s._domainkey TXT \"v=DKIM1; k=rsa; p=%s\" \"%s\"\n", selector, b64[:200], b64[200:])
}

// text is the message as it goes over the wire, signed where asked. The odd spacing of the
// Subject survives only if every hop keeps header fields octet by octet.
func (l *lab) text(m message) string {
	l.t.Helper()
	body := m.body
	if body == "" {
		body = "Hello,\n\nthis is " + m.id + ".\n"
	}
	text := fmt.Sprintf("From: %s\nTo: postmaster@%s\nSubject:  odd   spacing\tof %s\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nMessage-ID: <%s>\n%s\n%s",
		m.from, ownDomain, m.id, m.id, m.header, body)
	if m.sign == "" {
		return text
	}
	file := filepath.Join(l.subdir("out"), m.id)
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "\n", "\r\n")), 0o644); err != nil {
		l.t.Fatal(err)
	}
	sel, domain, _ := strings.Cut(m.sign, " ")
	signed := l.run("", "sh", "-c", fmt.Sprintf("dkimsign --hcanon %[1]s --bcanon %[1]s %[2]s %[3]s %[4]s < %[5]s", cmp.Or(m.canon, "simple"), sel, domain, filepath.Join(l.dir, "dkim/key.pem"), file))
	if !strings.Contains(signed, "DKIM-Signature:") {
		l.t.Fatalf("dkimpy does not sign %s: %s", m.id, signed)
	}
	return strings.ReplaceAll(signed, "\r\n", "\n")
}

// send delivers one message with swaks, over TLS unless plain, and fails unless it is accepted.
func (l *lab) send(m message) {
	l.t.Helper()
	if out, err := l.trySend(m); err != nil {
		l.t.Errorf("message %s was not accepted: %v\n%s", m.id, err, out)
	}
}

func (l *lab) trySend(m message) (string, error) {
	l.t.Helper()
	file := filepath.Join(l.subdir("out"), m.id+".eml")
	if err := os.WriteFile(file, []byte(l.text(m)), 0o644); err != nil {
		l.t.Fatal(err)
	}
	reversePath := m.mailFrom
	if reversePath == "" {
		reversePath = m.from
	}
	server := m.to
	if server == "" {
		server = receiver
	}
	args := []string{
		"--server", server, "--port", "25", "--local-interface", m.source, "--helo", m.helo, "--timeout", "30",
		"--from", reversePath, "--to", m.recipient(), "--data", "@" + file, "--suppress-data",
	}
	if !m.plain {
		args = append(args, "--tls")
	}
	return l.try("", "swaks", args...)
}

// submit gives a message to the sendmail command of the Postfix that is configured in conf.
func (l *lab) submit(conf string, m message) {
	l.t.Helper()
	dir := l.subdir("out")
	l.write(dir, m.id, l.text(m))
	l.run(dir, "sh", "-c", fmt.Sprintf("sendmail -C %s -f %s %s <%s", conf, m.from, m.recipient(), m.id))
}
