package milter

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// maxRecipients is how many distinct recipient domains of one message are learned.
const maxRecipients = 100

// message is one mail on its way through: from MAIL to the end of the message.
type message struct {
	mail
	server     *Server
	recipients []dnsname.Domain

	budget budget
	watch  stopwatch     // of the session's goroutine, while it works for this message
	woke   time.Time     // when it last began to
	took   time.Duration // how long it did before, what it waited for included

	evaluation  *evaluation // nil where nothing is to be evaluated
	notRecorded string      // why the observation was not safe when the message was answered
}

func (s *Server) newMessage(c client, from string) *message {
	m := &message{server: s, mail: mail{policy: s.policy.Load(), hostname: s.config.Hostname, client: c, from: strings.Clone(from)}}
	if local, domain, found := cutLast(from, "@"); found {
		m.from = local + "@" + dnsname.ALabels(domain)
	}
	m.internal = c.internal(m.policy.InternalHosts)
	m.budget.limit = s.cpuBudget
	m.watch.budget = &m.budget
	return m
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
	m.readAuthor()
	if m.examined = m.author != "" || m.policy.AuthenticationResults; m.examined {
		m.evaluation = &evaluation{
			mail: &m.mail, now: m.server.config.Now(), watch: &m.watch, contain: m.server.contain,
			resolver: newNotes(m.server.config.Resolver(maxQueries)),
		}
		m.evaluation.begin()
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
	changes, left := m.changes(d, a, standing)
	if left > 0 {
		m.undressed(left)
	}
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
		spf: a.spf.Result, spfAligned: a.spfAligned, spfNarrow: a.spf.Narrow(),
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
		t.selectors = append(t.selectors, assess.Selector{Domain: s.Domain, Name: s.Selector})
	}
	t.proveHost(a.host, slices.Contains(standing.MX, m.client.addr))
	return t
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

// undressed counts a message whose forged fields stay, and names it in the log.
func (m *message) undressed(copies int) {
	m.server.counters.undressed.Add(1)
	m.server.log.log(slog.LevelWarn, "forged score fields left in place: too many", "queue", m.queueID, "client", m.client.addr, "copies", copies)
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
