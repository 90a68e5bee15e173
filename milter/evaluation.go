package milter

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/dmarc"
	"peerscore/assess/spf"
)

// dnsBudget is the time that all lookups of a message may take, from the end of its header
// (assess/probe/limits.md, section 1). A single question to the DNS is bounded by the resolver; see Config.Resolver.
const dnsBudget = 5 * time.Second

// evaluation is the authentication of one message under way. SPF, the key of each signature
// and the records of DMARC are looked up beside each other while the body arrives; what
// depends on all of them follows at the end of the message.
type evaluation struct {
	mail     *mail
	now      time.Time
	watch    *stopwatch   // of the session's goroutine
	contain  func(func()) // calls what may panic
	resolver *notes
	trusted  trusted // of an earlier milter; nil: everything is verified here
	trusting bool

	ctx           context.Context // of the lookups
	cancel        context.CancelFunc
	spf           spf.Outcome
	spfLooked     <-chan struct{}
	host          hostName
	prefetched    <-chan struct{} // the records of DMARC, and host
	verifications []*verification
	omitted       int // signatures that could be aligned, past the limit
	folding       int // of the fields that go-msgauth is given; see maxFolding
	body          *bodyFeed
	unlapped      int    // octets of the body since the budget was looked at
	gaveUp        string // why there is no result; "" when there is
}

// begin starts the lookups; their goroutines end with them, which close cuts short.
func (e *evaluation) begin() {
	if e.trusting = e.mail.policy.Authentication == Trust; e.trusting {
		e.trusted = e.mail.header.trustedResults(e.mail.policy)
	}
	e.ctx, e.cancel = context.WithTimeout(context.Background(), dnsBudget)
	e.lookUpSPF()
	var signatures []signature
	signatures, e.omitted = e.mail.header.signatures(e.mail.author, e.mail.policy.AuthenticationResults, e.now)
	for _, s := range signatures {
		e.verifications = append(e.verifications, e.verify(s, e.mail.header.foldingLimit(len(signatures))))
	}
	e.body = newBodyFeed(e.verifications)
	e.prefetched = e.lookUp(e.prefetch)
}

// verify begins with a signature: its key is looked up, unless its text decides.
func (e *evaluation) verify(s signature, foldingLimit int) *verification {
	v := newVerification(s, &e.mail.header, e.watch, e.contain)
	if e.folding += v.folding(); e.folding > foldingLimit && v.finding == (finding{}) {
		v.finding = notEvaluated(tooManyFolds)
	}
	if e.trusting {
		v.judge = func(k dkim.Key) finding { return e.trusted.dkim(&v.signature, k) }
	}
	if v.finding == (finding{}) {
		v.looked = e.lookUp(func(r spf.Resolver) { v.fetchKey(e.ctx, r) })
	}
	return v
}

// lookUpSPF evaluates SPF, also where an earlier milter says pass: how wide the pass is, only
// our own look tells. Another result of that milter is taken as it is. Where it says nothing in
// the field that is believed, as OpenDMARC, which puts SPF into one of its own, our own look has
// to do.
func (e *evaluation) lookUpSPF() {
	_, domain, _ := cutLast("@"+e.mail.from, "@")
	if told := e.trusted.spf(domain); told != "" && told != spf.Pass {
		e.spf, e.spfLooked = spf.Outcome{Result: told, Domain: strings.ToLower(domain)}, nothingToLookUp
		return
	}
	if !e.mail.client.addr.IsValid() {
		e.spfLooked = nothingToLookUp
		return
	}
	query := e.mail.spfQuery()
	query.Now = e.now
	e.spfLooked = e.lookUp(func(r spf.Resolver) {
		e.spf = spf.Outcome{} // stays after a panic
		e.spf = spf.Check(e.ctx, r, query)
	})
}

// lookUp calls look with what the resolver has in memory, which for most mail is all that look
// needs, and spares it a goroutine. What was not there look is to get beside the others; the
// channel is closed once it has. What a panic left undone stays so. The budget of the message pays
// for both.
func (e *evaluation) lookUp(look func(spf.Resolver)) <-chan struct{} {
	cached := e.resolver.cached()
	complete := false
	e.contain(func() {
		look(cached)
		complete = !cached.gap
	})
	if complete {
		return nothingToLookUp
	}
	done := make(chan struct{})
	go e.contain(func() {
		defer close(done)
		watch := stopwatch{budget: e.watch.budget}
		watch.start()
		defer watch.stop()
		look(metered{e.resolver, &watch})
	})
	return done
}

// prefetch asks for all that DMARC may need at the end, taking every identifier for one that
// might pass, and for what the client's name proves. The answers wait in the notes of the message:
// at the end nothing is sent.
func (e *evaluation) prefetch(r spf.Resolver) {
	q := dmarc.Message{Author: string(e.mail.author), SPF: dmarc.Identifier{Domain: e.mail.spfDomain(), TempError: true}}
	for _, v := range e.verifications {
		q.DKIM = append(q.DKIM, dmarc.Identifier{Domain: string(v.signature.Domain), TempError: true})
	}
	if e.mail.bearsName() { // stays after a panic
		e.host = hostName{theirsErr: errUntold, greets: e.mail.greetsWithName(), spfErr: errUntold}
	}
	dmarc.Evaluate(e.ctx, r, q)
	e.host = e.mail.lookUpHost(e.ctx, r)
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
	a.host = e.host
	if e.watch.lap(); e.watch.budget.exceeded() {
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
	e.watch.pause(func() {
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
	q := dmarc.Message{Author: string(e.mail.author), SPF: dmarc.Identifier{
		Domain: a.spf.Domain, Pass: a.spf.Result == spf.Pass, TempError: a.spf.Result == spf.TempError || a.spf.Result == "",
	}}
	for _, s := range a.signatures {
		q.DKIM = append(q.DKIM, dmarc.Identifier{
			Domain: string(s.Domain), Pass: s.finding.result == assess.Pass, TempError: s.finding.result == assess.Unknown,
		})
	}
	if e.omitted > 0 { // what they would have shown is not known
		q.DKIM = append(q.DKIM, dmarc.Identifier{Domain: q.Author, TempError: true})
	}
	result := dmarc.Evaluate(context.Background(), e.resolver.cached(), q)
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
		a.dmarcResult = e.trusted.dmarc(e.mail.author)
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
// both are of one organisation (milter/attribution.md, "Alignment"). Tenants below a public suffix whose DMARC
// record lacks psd=y are strangers to each other, whatever the walk says.
func (e *evaluation) forProof(a dmarc.Alignment) dmarc.Answer {
	if !e.mail.isOfAuthor(a.Domain) {
		return dmarc.No
	}
	return a.Aligned
}

// spfCouldAlign reports whether a pass of MAIL FROM could speak for the author.
func (e *evaluation) spfCouldAlign() bool {
	_, domain, _ := cutLast(e.mail.from, "@")
	return e.mail.isOfAuthor(domain)
}

// write gives a chunk to the signatures.
func (e *evaluation) write(chunk []byte) {
	if e.gaveUp != "" {
		return
	}
	e.watch.budget.size.Add(int64(len(chunk)))
	e.body.write(chunk)
	if e.unlapped += len(chunk); e.unlapped >= pieceSize {
		e.unlapped = 0
		if e.watch.lap(); e.watch.budget.exceeded() {
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
