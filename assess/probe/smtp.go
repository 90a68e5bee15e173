package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"peerscore/assess"
)

// How long a server may take, besides connectTimeout. RFC 5321, section 4.5.3.2 grants minutes to
// clients that have mail to deliver; we only want to know.
const (
	greetingTimeout  = 15 * time.Second
	commandTimeout   = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	dialogueTimeout  = 45 * time.Second // all of it, from connect to the end of the farewell
	farewellTimeout  = time.Second      // QUIT, which nobody answers
)

// maxHandshakeOctets is what the server may send until the handshake is complete: a chain of
// maxChainOctets and as much again for everything else.
const maxHandshakeOctets = 128 << 10

// dialogue is one SMTP dialogue (RFC 5321, RFC 3207) with one address of an MX host: greeting,
// EHLO, STARTTLS, handshake, EHLO, QUIT. It sends no MAIL FROM and no mail, ever.
type dialogue struct {
	dialer *Dialer
	ehlo   string // our own name
	now    func() time.Time
	trace  *trace
	after  string // the stage that the next one waits for
	again  bool   // one was held before with the same address
	// offer, when not nil, takes the place of the handshake and of what follows.
	offer *hello
	// onChain, when not nil, hears of the certificates and the cipher suite before the dialogue is over.
	onChain func(seen assess.TLSFacts)

	conn    net.Conn
	meter   *meter
	replies *replyReader
	facts   assess.SMTPFacts
	end     failedHandshake
}

// step is one of a dialogue, and how long it may take.
type step struct {
	stage   assess.Stage
	timeout time.Duration
	run     func(context.Context) error
}

func (d *dialogue) steps() []step {
	steps := []step{
		{assess.StageConnect, connectTimeout, d.connect},
		{assess.StageGreeting, greetingTimeout, d.greeting},
		{assess.StageEHLO, commandTimeout, d.plainEHLO},
		{assess.StageSTARTTLS, commandTimeout, d.startTLS},
	}
	if d.offer != nil {
		return append(steps, step{assess.StageHandshake, handshakeTimeout, d.sayHello})
	}
	return append(steps, step{assess.StageHandshake, handshakeTimeout, d.handshake}, step{assess.StageTLSEHLO, commandTimeout, d.tlsEHLO})
}

// hold holds the dialogue. Whatever the peer does is in the facts; an outcome that is unknown
// has its reason in Problem. An error means that it failed on our side of the wire, so that the
// facts say nothing about the peer.
func (d *dialogue) hold(ctx context.Context, addr netip.Addr, name string) (assess.SMTPFacts, error) {
	run := ctx
	ctx, cancel := context.WithTimeout(ctx, dialogueTimeout-farewellTimeout)
	defer cancel()
	d.facts = assess.SMTPFacts{Address: addr, ServerName: name, At: d.now().UTC()}
	defer d.close()
	for _, s := range d.steps() {
		d.facts.Stage = s.stage
		if err := d.step(ctx, s); err != nil {
			if run.Err() != nil {
				err = errRunOver
			}
			errors.As(err, &d.end)
			d.facts.Outcome, d.facts.Reason = outcomeOf(err)
			d.facts.Problem = problemOf(s.stage, err)
			return d.facts, ours(err)
		}
	}
	if d.offer != nil {
		d.facts.Outcome = assess.TLSAnswered
		return d.facts, nil
	}
	d.facts.Stage, d.facts.Outcome = assess.StageQuit, assess.TLSEstablished
	return d.facts, nil
}

// step runs one step within its time and what is left of the whole.
func (d *dialogue) step(ctx context.Context, s step) error {
	name := d.facts.ServerName + " [" + d.facts.Address.String() + "] " + string(s.stage)
	if d.again {
		name += ", again"
	}
	defer d.trace.begin(name, d.after)()
	d.after = name
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if d.conn != nil {
		// The deadline is absolute, so that one octet a second gains nothing.
		conn := d.conn
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	return s.run(ctx)
}

func (d *dialogue) connect(ctx context.Context) error {
	conn, err := d.dialer.DialAddress(ctx, d.facts.Address, portSMTP)
	if err != nil {
		return err
	}
	d.meter = &meter{Conn: conn}
	d.conn, d.replies = d.meter, newReplyReader(d.meter)
	return nil
}

func (d *dialogue) greeting(context.Context) error {
	r, err := d.replies.read()
	d.facts.Greeting = strings.Join(kept(r.lines[:min(1, len(r.lines))]), "")
	switch {
	case err != nil:
		return err
	case r.code != 220:
		return refusal(r, "the server does not want to talk: %q", r)
	}
	return nil
}

func (d *dialogue) plainEHLO(context.Context) error {
	r, err := d.command("EHLO " + d.ehlo)
	d.facts.EHLO = kept(r.lines)
	switch {
	case err != nil:
		return err
	case r.temporary():
		return undecided(assess.ReasonTemporaryFailure, "EHLO was put off: %q", r)
	case r.code == 500 || r.code == 502:
		// What speaks HELO only has no extensions (RFC 5321, section 3.2), hence no STARTTLS.
		return broken{assess.TLSNotOffered, "", fmt.Sprintf("the server does not know EHLO: %q", r)}
	case r.code/100 != 2:
		return refusal(r, "the server does not want to talk: %q", r)
	case !hasKeyword(r.lines, "STARTTLS"):
		return broken{assess.TLSNotOffered, "", "EHLO does not list STARTTLS"}
	}
	return nil
}

// startTLS asks for TLS. What stands in the buffer after the 220 came in plain text, from
// whomever, and would be taken for the server's words inside TLS (CVE-2011-0411): then nothing
// of this dialogue can be believed.
func (d *dialogue) startTLS(context.Context) error {
	r, err := d.command("STARTTLS")
	switch {
	case err != nil:
		return err
	case r.temporary():
		return undecided(assess.ReasonTemporaryFailure, "STARTTLS was put off: %q", r)
	case r.code != 220:
		return broken{assess.TLSRefused, "", fmt.Sprintf("STARTTLS is listed and refused: %q", r)}
	case d.replies.buffered() > 0:
		d.replies = nil // no QUIT: it is not known who listens
		return undecided(assess.ReasonTextInjection, "injection: plain text follows the 220 to STARTTLS")
	}
	return nil
}

// tlsEHLO asks again inside TLS: what was said before is void (RFC 3207, section 4.2).
func (d *dialogue) tlsEHLO(context.Context) error {
	d.replies = newReplyReader(d.conn)
	r, err := d.command("EHLO " + d.ehlo)
	d.facts.TLSEHLO = kept(r.lines)
	switch {
	case err != nil:
		return err
	case r.temporary():
		return undecided(assess.ReasonTemporaryFailure, "EHLO inside TLS was put off: %q", r)
	case r.code == 500 || r.code == 502:
		return broken{assess.TLSFailed, "", fmt.Sprintf("the server refuses EHLO inside TLS: %q", r)}
	case r.code/100 != 2:
		return refusal(r, "the server does not want to talk inside TLS: %q", r)
	}
	return nil
}

func (d *dialogue) command(line string) (reply, error) {
	if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return d.replies.read()
}

// close says QUIT wherever the dialogue ended in good order, and the farewell of TLS. Nobody
// waits for answers, and a server that does not read is left without.
func (d *dialogue) close() {
	if d.conn == nil {
		return
	}
	defer d.meter.Close()
	d.conn.SetDeadline(time.Now().Add(farewellTimeout))
	if d.replies == nil {
		return
	}
	meter := d.meter // closing TLS would take its own 5 s for the farewell
	defer time.AfterFunc(farewellTimeout, func() { meter.Close() }).Stop()
	if _, err := io.WriteString(d.conn, "QUIT\r\n"); err == nil {
		d.conn.Close()
	}
}

// What is kept of a reply.
const (
	keptLines  = assess.KeptLines
	keptOctets = 256 // of a line
)

// kept is as much of a reply as is worth to be stored.
func kept(lines []string) []string {
	var short []string
	for _, line := range lines[:min(len(lines), keptLines)] {
		short = append(short, line[:min(len(line), keptOctets)])
	}
	return short
}

// hasKeyword looks for an extension in the lines of an EHLO reply, after the first, which
// holds the server's name (RFC 5321, section 4.1.1.1).
func hasKeyword(lines []string, keyword string) bool {
	for i, line := range lines {
		if i == 0 || len(line) < 4 {
			continue
		}
		word, _, _ := strings.Cut(line[4:], " ")
		if strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

// meter counts what a peer sends. Past the limit, if there is one, the connection is of no more
// use in either direction. It may be read, written and closed by several goroutines, as net/http
// does; only allow may not meet them.
type meter struct {
	net.Conn
	limit int64
	read  atomic.Int64
}

// allow lets so many octets come from now on.
func (m *meter) allow(octets int64) {
	m.limit = octets
	m.read.Store(0)
}

func (m *meter) past() error {
	if m.limit > 0 && m.read.Load() >= m.limit {
		return fmt.Errorf("%w: more than %d octets", errLimit, m.limit)
	}
	return nil
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.past(); err != nil {
		return 0, err
	}
	n, err := m.Conn.Read(p)
	m.read.Add(int64(n))
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	if err := m.past(); err != nil {
		return 0, err
	}
	return m.Conn.Write(p)
}
