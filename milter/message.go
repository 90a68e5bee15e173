package milter

import (
	"context"
	"slices"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"peerscore/assess"
	"peerscore/assess/dmarc"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// maxRecipients is how many distinct recipient domains of one message are learned.
const maxRecipients = 100

// message is one mail on its way through: from MAIL to the end of the message. Local parts
// live as long as it does and leave it in no form.
type message struct {
	server *Server
	policy *Policy
	client client // as it was at MAIL

	from       string // reverse-path without angle brackets, the domain as A-labels; "" for the null one
	recipients []dnsname.Domain
	queueID    string
	mta        string // the MTA's own name, its macro j
	header     header

	budget budget
	watch  stopwatch     // of the session's goroutine, while it works for this message
	woke   time.Time     // when it last began to
	took   time.Duration // how long it did before, what it waited for included

	internal    bool
	author      dnsname.Domain
	noIdentity  string      // why there is no author domain
	notRecorded string      // why the observation was not safe when the message was answered
	evaluation  *evaluation // nil where nothing is to be evaluated
}

func (s *Server) newMessage(c client, from string) *message {
	m := &message{server: s, policy: s.policy.Load(), client: c, from: strings.Clone(from)}
	if local, domain, found := cutLast(from, "@"); found {
		m.from = local + "@" + asciiDomain(domain)
	}
	m.internal = c.internal(m.policy.InternalHosts)
	m.budget.limit = s.cpuBudget
	m.watch.budget = &m.budget
	return m
}

// asciiDomain is a domain of the envelope with A-labels for U-labels, in which SPF does not read
// it (RFC 8616, section 4). What is no domain stays as it is.
func asciiDomain(domain string) string {
	if strings.ContainsFunc(domain, notASCII) {
		if d, err := dnsname.Parse(domain); err == nil {
			return string(d)
		}
	}
	return domain
}

// wake begins, and rest ends, a time in which the session's goroutine does not wait for the MTA.
func (m *message) wake() {
	m.woke = time.Now()
	m.watch.start()
}

func (m *message) rest() {
	m.watch.stop()
	m.took += time.Since(m.woke)
}

// worked is how long the MTA has waited for this message, or could have.
func (m *message) worked() time.Duration {
	if m.woke.IsZero() {
		return m.took
	}
	return m.took + time.Since(m.woke)
}

// readMacros keeps the queue id, which Postfix has not yet at MAIL, and the MTA's name.
func (m *message) readMacros(values macros) {
	if id := values.get("i"); id != "" {
		m.queueID = id
	}
	if name := values.get("j"); name != "" {
		m.mta = name
	}
}

// servID is the name under which our header fields speak (RFC 8601, section 2.5).
func (m *message) servID() string {
	for _, name := range []string{m.policy.AuthservID, m.mta} {
		if name != "" && len(name) <= dnsname.MaxLength && !strings.ContainsFunc(name, notInHostName) {
			return strings.ToLower(name)
		}
	}
	return m.server.config.Hostname
}

func notInHostName(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", r)
}

// addRecipient remembers whom our own users write to: the domain, nothing else.
func (m *message) addRecipient(to string) {
	if !m.internal || !m.policy.LearnRecipients || len(m.recipients) >= maxRecipients {
		return
	}
	d, err := dnsname.ParseAddressOrDomain(to)
	if err == nil && d.CheckPeer() == nil && !m.policy.owns(d) && !slices.Contains(m.recipients, d) {
		m.recipients = append(m.recipients, d)
	}
}

// begin starts what can start once the header is complete.
func (m *message) begin() {
	if m.header.complete || m.internal {
		return
	}
	m.header.complete = true
	m.budget.size.Add(int64(m.header.size))
	if m.header.size > exactSize {
		m.budget.exact = true
		m.watch.lap()
	}
	if m.header.flaw != "" {
		return
	}
	author, err := dmarc.AuthorDomain(m.header.from())
	if err != nil {
		m.noIdentity = err.Error()
	} else if m.author, err = dnsname.Parse(author); err != nil {
		m.noIdentity = err.Error()
	}
	if m.author != "" || m.policy.AuthenticationResults {
		m.evaluation = m.evaluate()
	}
}

// body takes a chunk of the body.
func (m *message) body(chunk []byte) {
	if m.evaluation != nil {
		m.evaluation.write(chunk)
	}
}

// end decides about the message, has it recorded, and returns what to change in its header.
func (m *message) end() []change {
	ctx, cancel := context.WithTimeout(context.Background(), endBudget-m.worked())
	defer cancel()
	m.begin()

	var a authentication
	evaluated := m.header.flaw == ""
	if evaluated && m.evaluation != nil {
		a, evaluated = m.evaluation.finish(ctx)
	}
	standing := assess.Standing{}
	if m.author != "" {
		m.watch.pause(func() { standing = m.server.config.Reputation.Standing(ctx, m.author) })
	}
	d := decision{row: rowIncomplete, status: statusUnknown}
	if evaluated || m.internal {
		d = attribute(m.testify(a, standing))
	} else {
		m.server.counters.notEvaluated.Add(1)
	}
	if a.exhausted {
		m.server.counters.exhausted.Add(1)
	}
	m.countLimits(a)
	if d.observation != nil {
		m.server.freezer.settle(d.observation, standing)
	}
	m.watch.pause(func() { m.carryOut(ctx, d) })
	changes := m.changes(d, a, standing)
	m.watch.lap()
	m.log(d, a)
	return changes
}

// testify puts together what was seen.
func (m *message) testify(a authentication, standing assess.Standing) testimony {
	t := testimony{
		at: m.server.config.Now(), author: m.author, host: assess.ClientHost(m.client.addr),
		internal: m.internal, own: m.policy.owns(m.author), nullPath: m.from == "",
		startTLS: m.client.startTLS, tlsVersion: m.client.tlsVersion, cipher: m.client.cipher,
		spf: string(a.spf.Result), spfAligned: a.spfAligned, spfNarrow: a.spf.Narrow(),
		dkim: a.dkim, dkimResult: a.dkimResult, dmarcResult: a.dmarcResult,
		dmarc: a.dmarc, handedOn: m.header.changedOnTheWay(), incomplete: a.incomplete,
	}
	if d, err := dnsname.Parse(a.spf.Domain); err == nil && a.spf.Identity == spf.MailFrom {
		t.spfDomain = d
	}
	for i, s := range a.valid {
		if i == 0 {
			t.signature = s.id()
		}
		t.selectors = append(t.selectors, assess.Selector{Domain: s.domain, Name: s.selector})
	}
	m.proveHost(&t, slices.Contains(standing.MX, m.client.addr))
	return t
}

// proveHost adds the proofs that rest on the client's confirmed name: P-MX, and P-HOST where
// nothing stronger holds.
func (m *message) proveHost(t *testimony, isMX bool) {
	mayBeHost := !isMX && !t.incomplete && !t.proofs().Has(assess.ProofSPF) && m.greetsWithName()
	if m.evaluation == nil || !m.bearsName() || !isMX && !mayBeHost {
		return
	}
	ctx, resolver := context.Background(), m.evaluation.remembered()
	theirs, err := m.nameIsTheirs(ctx, resolver)
	t.isMX, t.incomplete = theirs && isMX, t.incomplete || err != nil
	if !theirs || !mayBeHost {
		return
	}
	published, err := spf.Publishes(ctx, resolver, string(m.author))
	t.isOwnHost, t.incomplete = !published && err == nil, err != nil
}

// bearsName reports whether the client's confirmed name lies within the author's organisation
// by the public suffix list.
func (m *message) bearsName() bool {
	if m.author == "" || !m.client.addr.IsValid() {
		return false
	}
	name, err := dnsname.Parse(m.client.name)
	return err == nil && name.Within(m.author.Organisational())
}

// greetsWithName reports whether the client gave its confirmed name with EHLO or HELO.
func (m *message) greetsWithName() bool {
	return m.client.name != "" && strings.EqualFold(strings.TrimSuffix(m.client.helo, "."), m.client.name)
}

// nameIsTheirs reports whether a name for which bearsName holds lies within the author's
// organisational domain by the tree walk of RFC 9989, section 4.10.2, too: the public suffix list
// does not know every provider that gives names below its own to strangers. An error is a
// temporary failure.
func (m *message) nameIsTheirs(ctx context.Context, r spf.Resolver) (bool, error) {
	name, err := dnsname.Parse(m.client.name)
	if err != nil || name.Within(m.author) {
		return err == nil, nil
	}
	org, err := dmarc.OrganisationalDomain(ctx, r, string(m.author))
	return err == nil && name.Within(dnsname.Domain(org)), err
}

// carryOut tells the store and the assessor.
func (m *message) carryOut(ctx context.Context, d decision) {
	s := m.server
	s.counters.rows[d.row].Add(1)
	if d.observation != nil {
		if err := s.config.Recorder.AddObservation(ctx, *d.observation); err != nil {
			s.counters.notRecorded.Add(1)
			m.notRecorded = err.Error()
		}
	}
	if d.status == statusUnauthenticated && d.row != rowOwnDomain { // of our own domains nothing is kept
		s.config.Recorder.CountUnauthenticated(m.author)
	}
	if d.probe {
		s.config.Learner.Offer(m.author)
	}
	if d.learn {
		for _, domain := range m.recipients {
			if ctx.Err() == nil {
				s.config.Learner.Learn(domain)
			}
		}
	}
}

// close ends what the message started.
func (m *message) close() {
	if m.evaluation != nil {
		m.evaluation.close()
	}
}

// countLimits counts the limits that the message ran into, each once.
func (m *message) countLimits(a authentication) {
	var met [limits]bool
	met[limitHeader] = m.header.flaw != ""
	if m.evaluation != nil {
		met[limitTime], met[limitCPU] = m.evaluation.gaveUp == tooLate, m.evaluation.gaveUp == tooDear
	}
	for _, s := range a.signatures {
		if l, ok := s.finding.limit(); ok {
			met[l] = true
		}
	}
	for i := range met {
		if met[i] {
			m.server.counters.limits[i].Add(1)
		}
	}
}

// log writes the one line of the message. Its text from the MTA and the peer is quoted by the
// handler. The message took that long here, in all its stages and with what was waited for; the
// CPU time is that of all goroutines.
func (m *message) log(d decision, a authentication) {
	m.server.config.Logger.Info("message",
		"queue", m.queueID, "row", d.row.String(), "domain", m.author, "proof", d.proof.String(),
		"client", m.client.addr, "tls", m.client.tlsVersion,
		"spf", a.spf.Result, "dkim", a.dkimResult, "dmarc", a.dmarcResult,
		"problem", m.problem(a), "took", m.worked(), "cpu", m.budget.spent())
}

// problem says in a few words why something could not be told; "" when all could.
func (m *message) problem(a authentication) string {
	switch {
	case m.header.flaw != "":
		return m.header.flaw
	case m.evaluation != nil && m.evaluation.gaveUp != "":
		return m.evaluation.gaveUp
	case m.noIdentity != "":
		return m.noIdentity
	case m.notRecorded != "":
		return "not recorded: " + m.notRecorded
	case a.exhausted:
		return "too many DNS lookups"
	case a.spf.Problem != "" && a.spf.Result != spf.None:
		return a.spf.Problem
	}
	for _, s := range a.signatures {
		if s.finding.result != assess.Pass {
			return "dkim: " + s.finding.reason
		}
	}
	return ""
}

// apply asks the MTA for a change.
func (c change) apply(m *gomilter.Modifier) error {
	if c.index > 0 {
		return m.ChangeHeader(c.index, c.name, "")
	}
	return m.InsertHeader(0, c.name, " "+c.value)
}
