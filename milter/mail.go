package milter

import (
	"strings"

	"peerscore/assess/dmarc"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// mail is what is known of one message before anything is evaluated: whom it came from, its
// envelope and its header. Local parts live as long as it does and leave it in no form.
type mail struct {
	policy   *Policy
	hostname string // the authserv-id where neither policy nor MTA give one
	client   client // as it was at MAIL
	internal bool   // the client is one of ours

	from    string // reverse-path without angle brackets, the domain as A-labels; "" for the null one
	queueID string
	mta     string // the MTA's own name, its macro j
	header  header

	author     dnsname.Domain
	noIdentity string // why there is no author domain
	examined   bool   // an evaluation was begun
}

// readMacros keeps the queue id, which Postfix has not yet at MAIL, and the MTA's name.
func (m *mail) readMacros(values macros) {
	if id := values.get("i"); id != "" {
		m.queueID = id
	}
	if name := values.get("j"); name != "" {
		m.mta = name
	}
}

// readAuthor finds the author domain in the header, or why there is none.
func (m *mail) readAuthor() {
	author, err := dmarc.AuthorDomain(m.header.from())
	if err == nil {
		m.author, err = dnsname.Parse(author)
	}
	if err != nil {
		m.noIdentity = err.Error()
	}
}

// servID is the name under which our header fields speak (RFC 8601, section 2.5).
func (m *mail) servID() string {
	for _, name := range []string{m.policy.AuthservID, m.mta} {
		if name != "" && len(name) <= dnsname.MaxLength && !strings.ContainsFunc(name, notInHostName) {
			return strings.ToLower(name)
		}
	}
	return m.hostname
}

func notInHostName(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", r)
}

// spfDomain is the domain of the identity that SPF checks (RFC 7208, section 2.4).
func (m *mail) spfDomain() string {
	if m.from == "" {
		return m.client.helo
	}
	_, domain, _ := cutLast(m.from, "@")
	return domain
}

func (m *mail) spfQuery() spf.Query {
	return spf.Query{IP: m.client.addr, HELO: m.client.helo, MailFrom: m.from, Receiver: m.servID(), NoExplanation: true}
}

// isOfAuthor reports whether the public suffix list puts a domain and the author's into one
// organisation; nothing speaks for the author where it does not. What is wrong with the DNS of
// another's domain, which is of the sender's choosing, then leaves nothing open.
func (m *mail) isOfAuthor(domain string) bool {
	d, err := dnsname.Parse(domain)
	return err == nil && d.Organisational() == m.author.Organisational()
}
