package milter

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dmarc"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// Time limits of a message (security.md): 5 s for lookups, 8 s that the MTA waits in all, so
// that the observation has time to be committed. What the MTA takes itself to send the message
// does not count. A single question to the DNS is bounded by
// the resolver; see Config.Resolver.
const (
	dnsBudget = 5 * time.Second // all lookups, from the end of the header
	endBudget = 8 * time.Second // all that is done for the message
)

// authentication is what SPF, DKIM and DMARC say of one message.
type authentication struct {
	spf        spf.Outcome
	spfAligned bool // a pass of MAIL FROM is aligned with the author, as a proof needs it
	signatures []signature
	dkim       assess.Result // Pass: aligned and valid. Fail: there is none. Unknown: it could not be told
	valid      []signature   // those that are aligned and valid
	dkimResult string        // the same as a token; "none" without a signature of the author's
	// Fail: the author's record asks for more than the message has. Pass: it does not, or there is
	// no such record. Unknown: it could not be told.
	dmarc       assess.Result
	dmarcResult string // as it was found, or told by an earlier milter
	exhausted   bool   // there were more DNS lookups to make than one message may cause
	incomplete  bool   // some lookup failed for the time being, or something was not evaluated
}

// evaluation is the authentication of one message under way. SPF, the key of each signature
// and the records of DMARC are looked up beside each other while the body arrives; what
// depends on all of them follows at the end of the message.
type evaluation struct {
	message  *message
	resolver *notes
	trusted  trusted // of an earlier milter; nil: everything is verified here
	trusting bool

	ctx           context.Context // of the lookups
	cancel        context.CancelFunc
	spf           spf.Outcome
	spfLooked     <-chan struct{}
	prefetched    <-chan struct{}
	verifications []*verification
	omitted       int // signatures that could be aligned, past the limit
	folding       int // of the fields that go-msgauth is given; see maxFolding
	body          *bodyFeed
	unlapped      int    // octets of the body since the budget was looked at
	gaveUp        string // why there is no result; "" when there is
}

// evaluate begins; the goroutines that it starts end with their lookups, which close cuts short.
func (m *message) evaluate() *evaluation {
	s := m.server
	e := &evaluation{message: m, resolver: newNotes(s.config.Resolver(maxQueries))}
	if e.trusting = m.policy.Authentication == Trust; e.trusting {
		e.trusted = m.header.trustedResults(m.policy)
	}
	e.ctx, e.cancel = context.WithTimeout(context.Background(), dnsBudget)
	e.lookUpSPF()
	var signatures []signature
	signatures, e.omitted = m.header.signatures(m.author, m.policy.AuthenticationResults, s.config.Now())
	for _, sig := range signatures {
		v := e.newVerification(sig)
		if e.trusting {
			v.judge = func(k key) finding { return e.trusted.dkim(&v.signature, k) }
		}
		e.verifications = append(e.verifications, v)
		v.lookUp(e)
	}
	e.body = newBodyFeed(e.verifications)
	e.prefetched = e.lookUp(e.prefetch)
	return e
}

// lookUpSPF evaluates SPF, also where an earlier milter says pass: how wide the pass is, only
// our own look tells. Another result of that milter is taken as it is. Where it says nothing in
// the field that is believed, as OpenDMARC, which puts SPF into one of its own, our own look has
// to do.
func (e *evaluation) lookUpSPF() {
	m := e.message
	_, domain, _ := cutLast("@"+m.from, "@")
	if told := e.trusted.spf(domain); told != "" && told != string(spf.Pass) {
		e.spf, e.spfLooked = spf.Outcome{Result: spf.Result(told), Domain: strings.ToLower(domain)}, nothingToLookUp
		return
	}
	if !m.client.addr.IsValid() {
		e.spfLooked = nothingToLookUp
		return
	}
	query := m.spfQuery(m.from)
	e.spfLooked = e.lookUp(func(r spf.Resolver) {
		e.spf = spf.Outcome{} // stays after a panic
		e.spf = spf.Check(e.ctx, r, query)
	})
}

// spfDomain is the domain of the identity that SPF checks (RFC 7208, section 2.4).
func (m *message) spfDomain() string {
	if m.from == "" {
		return m.client.helo
	}
	_, domain, _ := cutLast(m.from, "@")
	return domain
}

func (m *message) spfQuery(mailFrom string) spf.Query {
	return spf.Query{
		IP: m.client.addr, HELO: m.client.helo, MailFrom: mailFrom,
		Receiver: m.servID(), Now: m.server.config.Now(), NoExplanation: true,
	}
}

// prefetch asks for all that DMARC may need at the end, taking every identifier for one that
// might pass. The answers wait in the notes of the message: at the end nothing is sent.
func (e *evaluation) prefetch(r spf.Resolver) {
	q := dmarc.Message{Author: string(e.message.author), SPF: dmarc.Identifier{Domain: e.message.spfDomain(), TempError: true}}
	for _, v := range e.verifications {
		q.DKIM = append(q.DKIM, dmarc.Identifier{Domain: string(v.signature.domain), TempError: true})
	}
	dmarc.Evaluate(e.ctx, r, q)
	if e.message.bearsName() { // for P-MX and P-HOST
		_, _ = e.message.nameIsTheirs(e.ctx, r)
		if e.message.greetsWithName() {
			_, _ = spf.Publishes(e.ctx, r, string(e.message.author))
		}
	}
}

// finish waits for everything, as long as ctx and the budget allow; it reports whether there is a
// result. When not, gaveUp has the reason.
func (e *evaluation) finish(ctx context.Context) (a authentication, complete bool) {
	if e.gaveUp != "" {
		return a, false
	}
	e.body.end()
	if !e.await(ctx, e.spfLooked) {
		return a, false
	}
	a.spf = e.spf
	for _, v := range e.verifications {
		v.signature.finding = v.finding
		a.signatures = append(a.signatures, v.signature)
	}
	if !e.await(ctx, e.prefetched) {
		return a, false
	}
	e.align(&a)
	if e.message.watch.lap(); e.message.budget.exceeded() {
		e.gaveUp = tooDear
	}
	return a, e.gaveUp == ""
}

// await waits for a lookup, as long as ctx allows.
func (e *evaluation) await(ctx context.Context, looked <-chan struct{}) bool {
	select {
	case <-looked: // as for most mail
		return true
	default:
	}
	e.message.watch.pause(func() {
		select {
		case <-looked:
		case <-ctx.Done():
			e.gaveUp = tooLate
		}
	})
	return e.gaveUp == ""
}

// align brings the results together with the author domain. What is not known by now stays so.
func (e *evaluation) align(a *authentication) {
	q := dmarc.Message{Author: string(e.message.author), SPF: dmarc.Identifier{
		Domain: a.spf.Domain, Pass: a.spf.Result == spf.Pass, TempError: a.spf.Result == spf.TempError || a.spf.Result == "",
	}}
	for _, s := range a.signatures {
		q.DKIM = append(q.DKIM, dmarc.Identifier{
			Domain: string(s.domain), Pass: s.finding.result == assess.Pass, TempError: s.finding.result == assess.Unknown,
		})
	}
	if e.omitted > 0 { // what they would have shown is not known
		q.DKIM = append(q.DKIM, dmarc.Identifier{Domain: q.Author, TempError: true})
	}
	result := dmarc.Evaluate(context.Background(), e.remembered(), q)
	e.readDMARC(a, string(result.Result))
	a.spfAligned = q.SPF.Pass && a.spf.Identity == spf.MailFrom && e.forProof(result.SPF) == dmarc.Yes
	a.exhausted = e.resolver.Exhausted() || a.spf.Exhausted || errors.Is(result.Err, dmarc.ErrTooManyQueries)
	a.incomplete = e.resolver.Exhausted() || result.Err != nil || q.SPF.TempError && e.spfCouldAlign() || e.omitted > 0

	a.dkim, a.dkimResult = assess.Fail, "none"
	if e.omitted > 0 {
		a.dkim = assess.Unknown
	}
	for i, s := range a.signatures {
		switch aligned := e.forProof(result.DKIM[i]); {
		case aligned == dmarc.No:
			continue
		case s.finding.result == assess.Pass && aligned == dmarc.Yes:
			a.valid = append(a.valid, s)
		case s.finding.result != assess.Fail:
			a.dkim = assess.Unknown
			a.incomplete = a.incomplete || s.finding.untold()
		}
		a.dkimResult = s.finding.token
	}
	if len(a.valid) > 0 {
		a.dkim, a.dkimResult = assess.Pass, "pass"
	}
}

// readDMARC takes the result of DMARC: that of an earlier milter where it told one.
func (e *evaluation) readDMARC(a *authentication, found string) {
	a.dmarcResult = found
	if e.trusting {
		a.dmarcResult = e.trusted.dmarc(e.message.author)
		found = cmp.Or(a.dmarcResult, found)
	}
	switch found {
	case string(dmarc.ResultFail):
		a.dmarc = assess.Fail
	case string(dmarc.ResultTempError):
		a.dmarc = assess.Unknown
	default:
		a.dmarc = assess.Pass
	}
}

// forProof is the alignment of an identifier that a proof needs: in the mode that the author's
// record asks for, and relaxed only where the public suffix list agrees with the tree walk that
// both are of one organisation (attribution.md). Tenants below a public suffix whose DMARC
// record lacks psd=y are strangers to each other, whatever the walk says.
func (e *evaluation) forProof(a dmarc.Alignment) dmarc.Answer {
	if !e.ofOneOrganisation(a.Domain) {
		return dmarc.No
	}
	return a.Aligned
}

// ofOneOrganisation reports whether the public suffix list puts a domain and the author's into
// one organisation; nothing speaks for the author where it does not. What is wrong with the DNS
// of another's domain, which is of the sender's choosing, then leaves nothing open.
func (e *evaluation) ofOneOrganisation(domain string) bool {
	d, err := dnsname.Parse(domain)
	return err == nil && d.Organisational() == e.message.author.Organisational()
}

// spfCouldAlign reports whether a pass of MAIL FROM could speak for the author.
func (e *evaluation) spfCouldAlign() bool {
	_, domain, _ := cutLast(e.message.from, "@")
	return e.ofOneOrganisation(domain)
}

// write gives a chunk to the signatures.
func (e *evaluation) write(chunk []byte) {
	if e.gaveUp != "" {
		return
	}
	e.message.budget.size.Add(int64(len(chunk)))
	e.body.write(chunk)
	if e.unlapped += len(chunk); e.unlapped >= pieceSize {
		e.unlapped = 0
		if e.message.watch.lap(); e.message.budget.exceeded() {
			e.giveUp(tooDear)
		}
	}
}

// giveUp ends what still runs; there will be no result.
func (e *evaluation) giveUp(reason string) {
	e.gaveUp = reason
	e.cancel()
	e.body.giveUp(reason)
}

// close ends what still runs; the results are lost.
func (e *evaluation) close() {
	if e.cancel(); !e.body.ended {
		e.body.giveUp("given up")
	}
}
