package miltertest

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Peer is the SMTP client at the other end of the MTA's session.
type Peer struct {
	Addr       netip.Addr
	Name       string // the confirmed reverse name; empty: "unknown", as Postfix says
	HELO       string
	TLSVersion string // "TLSv1.3"; empty for plain text
	Cipher     string
	Login      string // the SASL user name of a submission; empty for none

	// Macros override or add to what follows from the fields above, at every stage; an empty
	// value takes a macro away.
	Macros map[string]string
}

// Message is one transaction.
type Message struct {
	QueueID string
	From    string   // the reverse-path without angle brackets; empty for <>
	To      []string // the same for recipients
	Data    []byte   // RFC 5322, lines ending in CR LF

	parsed *parsed // see Parse
}

// parsed is a message as it goes over the wire.
type parsed struct {
	fields []field
	body   []byte
}

// Parse takes the message apart, which else each sending of it does: whoever measures what the
// milter costs does so beforehand. Data must not change afterwards.
func (m *Message) Parse() { m.parsed = m.parse() }

func (m *Message) parse() *parsed {
	if m.parsed != nil {
		return m.parsed
	}
	header, body := split(m.Data)
	return &parsed{fields(header), body}
}

// ownHost is the name of the MTA that the client plays, the macro j.
const ownHost = "mx.receiver.example"

// allMacros is what is known of a peer at any time.
func (p Peer) allMacros() map[string]string {
	name := p.Name
	if name == "" {
		name = "unknown"
	}
	m := map[string]string{
		"j": ownHost, "v": "miltertest", "{daemon_name}": "smtpd",
		"_": fmt.Sprintf("%s [%s]", name, p.Addr), "{client_name}": name, "{client_addr}": p.Addr.String(),
	}
	if p.TLSVersion != "" {
		m["{tls_version}"], m["{cipher}"], m["{cipher_bits}"] = p.TLSVersion, p.Cipher, "256"
	}
	if p.Login != "" {
		m["{auth_type}"], m["{auth_authen}"] = "PLAIN", p.Login
	}
	for k, v := range p.Macros {
		m[k] = v
		if v == "" {
			delete(m, k)
		}
	}
	return m
}

// Connect tells the milter of a new SMTP session and its EHLO. With TLS there are two, as
// there are in SMTP: EHLO, STARTTLS, and EHLO again after an abort.
func (c *Client) Connect(p Peer) error {
	name := p.Name
	if name == "" {
		name = "unknown"
	}
	data := cstrings(nil, name)
	switch {
	case !p.Addr.IsValid():
		data = append(data, 'U')
	case p.Addr.Unmap().Is4():
		data = cstrings(append(data, '4', 0x80, 0), p.Addr.Unmap().String())
	default:
		data = cstrings(append(data, '6', 0x80, 0), p.Addr.String())
	}
	macros := p.allMacros()
	plain := p
	plain.TLSVersion = ""
	if err := c.macros('C', plain.allMacros()); err != nil {
		return err
	}
	if err := c.step('C', stepNoConnect, noConnectReply, data); err != nil {
		return err
	}
	if p.TLSVersion != "" {
		if err := c.HELO(p.HELO, plain.allMacros()); err != nil {
			return err
		}
		if err := c.Abort(); err != nil {
			return err
		}
	}
	return c.HELO(p.HELO, macros)
}

// HELO sends one EHLO with its macros.
func (c *Client) HELO(name string, macros map[string]string) error {
	if err := c.macros('H', macros); err != nil {
		return err
	}
	return c.step('H', stepNoHELO, noHELOReply, cstrings(nil, name))
}

// Abort gives up the transaction at hand (RSET).
func (c *Client) Abort() error { return c.Write('A', nil) }

// Envelope sends MAIL and RCPT of a message.
func (c *Client) Envelope(p Peer, m Message) error {
	macros := p.allMacros()
	if err := c.macros('M', macros); err != nil {
		return err
	}
	if err := c.step('M', stepNoMail, noMailReply, cstrings(nil, "<"+m.From+">")); err != nil {
		return err
	}
	if m.QueueID != "" {
		macros["i"] = m.QueueID
	}
	for _, to := range m.To {
		if err := c.macros('R', macros); err != nil {
			return err
		}
		if err := c.step('R', stepNoRcpt, noRcptReply, cstrings(nil, "<"+to+">")); err != nil {
			return err
		}
	}
	return nil
}

// Header sends the header of a message, field by field, and its end.
func (c *Client) Header(p Peer, m Message) error {
	for _, f := range m.parse().fields {
		if c.Steps&leadingSpace == 0 {
			f.value = strings.TrimPrefix(f.value, " ")
		}
		if err := c.step('L', stepNoHeader, noHeaderReply, cstrings(nil, f.name, f.value)); err != nil {
			return err
		}
	}
	if err := c.macros('N', c.endMacros(p, m)); err != nil {
		return err
	}
	return c.step('N', stepNoEOH, noEOHReply, nil)
}

// Body sends body in the chunks of the protocol.
func (c *Client) Body(body []byte) error {
	for len(body) > 0 {
		n := min(len(body), chunkSize)
		if err := c.step('B', stepNoBody, noBodyReply, body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// Send plays one whole message and returns what the milter answered at its end.
func (c *Client) Send(p Peer, m Message) (Answer, error) {
	m.Parse()
	if err := c.Envelope(p, m); err != nil {
		return Answer{}, err
	}
	if err := c.Header(p, m); err != nil {
		return Answer{}, err
	}
	if err := c.Body(m.parsed.body); err != nil {
		return Answer{}, err
	}
	return c.End(p, m)
}

// End sends the end of a message and reads the answer.
func (c *Client) End(p Peer, m Message) (Answer, error) {
	if err := c.macros('E', c.endMacros(p, m)); err != nil {
		return Answer{}, err
	}
	if err := c.Write('E', nil); err != nil {
		return Answer{}, err
	}
	return c.readAnswer()
}

// endMacros are those of Postfix at the end of header and of message: no TLS, no login.
func (c *Client) endMacros(p Peer, m Message) map[string]string {
	p.TLSVersion, p.Login = "", ""
	macros := p.allMacros()
	if m.QueueID != "" {
		macros["i"] = m.QueueID
	}
	return macros
}

// split cuts a message behind the empty line that ends its header.
func split(data []byte) (header, body []byte) {
	header, body, found := bytes.Cut(data, []byte("\r\n\r\n"))
	if !found {
		return data, nil
	}
	return append(bytes.Clone(header), "\r\n"...), body
}

type field struct{ name, value string }

// fields takes a header apart. Values keep the blank behind the colon; their folds become LF,
// as MTAs pass them on.
func fields(header []byte) []field {
	var list []field
	rest := strings.TrimSuffix(string(header), "\r\n")
	for more := true; more; {
		end := 0 // of the field, which goes on where a line begins with white space
		for {
			next := strings.Index(rest[end:], "\r\n")
			if next < 0 {
				end, more = len(rest), false
				break
			}
			end += next
			if after := rest[end+2:]; after == "" || after[0] != ' ' && after[0] != '\t' {
				break
			}
			end += 2
		}
		name, value, _ := strings.Cut(strings.ReplaceAll(rest[:end], "\r\n", "\n"), ":")
		list = append(list, field{name, value})
		if more {
			rest = rest[end+2:]
		}
	}
	return list
}
