package milter

import (
	"net/netip"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"peerscore/assess"
)

// wantedMacros replaces the MTA's own lists. Postfix has the TLS macros at MAIL but not at the
// end of the message, Sendmail the queue id at connect already; whatever is asked for at a
// stage that does not have it is simply not sent.
var wantedMacros = map[gomilter.Stage][]string{
	gomilter.StageConnect:  {"j", "_", "{daemon_name}", "{client_addr}", "{client_name}", "{client_resolve}"},
	gomilter.StageHelo:     {"{tls_version}", "{cipher}", "{verify}"},
	gomilter.StageMailFrom: {"i", "j", "_", "{daemon_name}", "{client_addr}", "{client_name}", "{client_resolve}", "{auth_type}", "{auth_authen}", "{tls_version}", "{cipher}", "{verify}"},
	gomilter.StageRcptTo:   {"i"},
	gomilter.StageEOH:      {"i", "j"},
	gomilter.StageEOM:      {"i", "j"},
}

// maxMacro is how much of a macro's value is kept; some are text from the peer.
const maxMacro = 1024

// macros are those of one stage: go-milter forgets them at the next. A macro of one letter
// comes with or without its braces.
type macros map[string]string

func (m macros) get(name string) string {
	value, ok := m[name]
	if !ok {
		value = m["{"+name+"}"]
	}
	return strings.Clone(value[:min(len(value), maxMacro)])
}

// client is what the MTA tells of the host at the other end of the SMTP session.
type client struct {
	addr      netip.Addr // zero when the MTA names none
	local     bool       // no network between, as in Sendmail's submissions from standard input
	name      string     // reverse name that resolves back to the address, in lower case; "" when there is none
	helo      string     // as the client gave it
	submitted bool       // SASL-authenticated, or over a submission service

	startTLS           assess.Result // Pass over TLS, Fail in plain text, Unknown when the MTA does not tell
	tlsVersion, cipher string        // as the MTA names them; the version is "none" in plain text
}

// connected is a client after the connect command.
func connected(name, family string, addr string, m macros) client {
	c := client{local: (family == "unknown" || family == "unix") && m.get("{client_addr}") == ""}
	if a, err := netip.ParseAddr(addr); err == nil {
		c.addr = a.Unmap().WithZone("")
	}
	c.readName(name, m)
	c.readAddress(m)
	return c
}

// readAddress takes the address from the macros where they name one: Sendmail's "IPv6:" in
// front of an address is lost on go-milter, and XCLIENT changes it within a session.
func (c *client) readAddress(m macros) {
	text := m.get("{client_addr}")
	if text == "" { // "user@name [address] (may be forged)"
		_, rest, _ := strings.Cut(m.get("_"), "[")
		text, _, _ = strings.Cut(rest, "]")
	}
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		c.addr, c.local = addr.Unmap().WithZone(""), false
	}
}

// readName keeps a name only where the MTA confirmed that it resolves back: Postfix says
// "unknown" otherwise; Sendmail gives an address literal, or the name and says that it is forged.
func (c *client) readName(name string, m macros) {
	if macro := m.get("{client_name}"); macro != "" {
		name = macro
	}
	resolved := m.get("{client_resolve}")
	confirmed := resolved == "OK" || resolved == "" && !strings.Contains(m.get("_"), "(may be forged)")
	if name = strings.ToLower(strings.TrimSuffix(name, ".")); confirmed && name != "unknown" && !strings.HasPrefix(name, "[") {
		c.name = name
	} else {
		c.name = ""
	}
}

// readTLS learns of TLS. STARTTLS comes once in a session and stays, so that its absence means
// something only in the macros that come with MAIL.
func (c *client) readTLS(m macros) {
	version := m.get("{tls_version}")
	if version == "" || version == "NONE" {
		return
	}
	c.startTLS, c.tlsVersion, c.cipher = assess.Pass, version, m.get("{cipher}")
}

// readMail takes what comes with MAIL, the last stage at which Postfix tells of TLS and login.
func (c *client) readMail(m macros) {
	c.readAddress(m)
	if m.get("{client_name}") != "" {
		c.readName("", m)
	}
	c.submitted = m.get("{auth_authen}") != "" || m.get("{auth_type}") != "" || m.get("{daemon_name}") == "ORIGINATING"
	c.readTLS(m)
	told := m.get("{client_addr}") != "" || m.get("j") != "" || m.get("{verify}") != ""
	if c.startTLS == assess.Unknown && told {
		c.startTLS, c.tlsVersion = assess.Fail, "none"
	}
}

// internal reports whether the mail of this client is our own (milter/attribution.md, row "internal").
func (c *client) internal(networks []netip.Prefix) bool {
	if c.submitted || c.local || c.addr.IsLoopback() {
		return true
	}
	for _, n := range networks {
		if n.Contains(c.addr) {
			return true
		}
	}
	return false
}

// reentry reports whether the client is a program of this host that gives mail back to the MTA:
// a content filter. What it brings has been here before.
func (c *client) reentry() bool { return c.addr.IsLoopback() }
