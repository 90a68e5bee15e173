package probe

import (
	"context"
	"net/netip"
	"strings"

	"peerscore/assess"
)

// talks are the dialogues that it takes to learn whether an address speaks TLS. One is enough,
// unless it ends in the handshake:
//
//   - A connection that is cut may have been cut by the network or a restart. One more dialogue
//     mostly tells; where it does not, the server is suspected, and gate.remember convicts it
//     when a later run finds the same.
//   - An alert may only say that crypto/tls is not what the server wants. A hello made by hand
//     offers more: a server that answers it speaks TLS, one that refuses it too does not.
type talks struct {
	addr  netip.Addr
	name  string // of the server
	begin func() *dialogue
	again again
}

// talk has one dialogue, which says offer in place of the handshake if there is one.
func (t talks) talk(ctx context.Context, offer *hello) (assess.SMTPFacts, ending, error) {
	d := t.begin()
	d.offer = offer
	facts, err := d.hold(ctx, t.addr, t.name)
	return facts, d.ending, err
}

// hold finds out. The error is that of dialogue.hold.
func (t talks) hold(ctx context.Context) (assess.SMTPFacts, error) {
	facts, how, err := t.talk(ctx, nil)
	wasCut := how == cutOff
	if wasCut {
		first := facts.Problem
		if problem := t.again(ctx); problem != "" {
			return remarked(facts, problem), nil
		}
		if facts, how, err = t.talk(ctx, nil); facts.Outcome == assess.TLSUnknown && how == otherEnding {
			facts.Problem = first + "; on another connection " + facts.Problem
		}
	}
	if how == otherEnding || err != nil {
		return facts, err
	}
	if problem := t.again(ctx); problem != "" {
		return remarked(facts, problem), nil
	}
	shown, end, err := t.show(ctx, anyKey)
	if err != nil {
		return facts, err
	}
	switch {
	case shown.Outcome == assess.TLSAnswered:
		shown.Problem = "it answers, and peerscore's TLS library cannot go on: " + strings.TrimPrefix(facts.Problem, stageHandshake+": ")
		return shown, nil
	case how == beyondUs || end == otherEnding:
		return remarked(facts, "on another connection "+shown.Problem), nil
	case wasCut || end == cutOff:
		facts.Suspect = assess.TLSFailed
		return remarked(facts, "on other connections too; it counts as a failure when a later run finds the same"), nil
	}
	facts.Outcome = assess.TLSFailed
	return facts, nil
}

// show says hello by hand, and again without TLS 1.3 where that hides the certificate. Facts that
// have no chain then are of a server that has nothing but TLS 1.3, or no such certificate.
func (t talks) show(ctx context.Context, key keyKind) (assess.SMTPFacts, ending, error) {
	shown, how, err := t.talk(ctx, &hello{key: key})
	if shown.Outcome != assess.TLSAnswered || len(shown.TLS.Chain) > 0 || t.again(ctx) != "" {
		return shown, how, err
	}
	if older, _, err := t.talk(ctx, &hello{key: key, noTLS13: true}); err == nil && older.Outcome == assess.TLSAnswered {
		shown.TLS.Chain = older.TLS.Chain
	}
	return shown, how, nil
}

func remarked(facts assess.SMTPFacts, remark string) assess.SMTPFacts {
	facts.Problem += "; " + remark
	return facts
}
