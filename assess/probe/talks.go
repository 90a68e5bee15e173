package probe

import (
	"bytes"
	"context"
	"crypto/x509"
	"net/netip"

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

// talk has one dialogue, which says offer in place of the handshake if there is one. The end is
// that of its handshake.
func (t talks) talk(ctx context.Context, offer *hello) (assess.SMTPFacts, failedHandshake, error) {
	d := t.begin()
	d.offer = offer
	facts, err := d.hold(ctx, t.addr, t.name)
	return facts, d.end, err
}

// hold finds out. The error is that of dialogue.hold.
func (t talks) hold(ctx context.Context) (assess.SMTPFacts, error) {
	facts, last, err := t.talk(ctx, nil)
	wasCut := last.how == cutOff
	if wasCut {
		first := facts.Problem
		if problem := t.again(ctx); problem != "" {
			return unbudgeted(facts, problem), nil
		}
		if facts, last, err = t.talk(ctx, nil); facts.Outcome == assess.TLSUnknown && last.how == otherEnding {
			facts.Problem = first + "; on another connection " + facts.Problem
		}
	}
	if last.how == otherEnding || err != nil {
		return facts, err
	}
	if problem := t.again(ctx); problem != "" {
		return unbudgeted(facts, problem), nil
	}
	shown, end, err := t.show(ctx, anyKey)
	if err != nil {
		return facts, err
	}
	switch {
	case shown.Outcome == assess.TLSAnswered:
		shown.Problem = "it answers, and peerscore's TLS library cannot go on: " + last.problem
		return shown, nil
	case last.how == beyondUs || end == otherEnding:
		facts.Reason = shown.Reason
		return remarked(facts, "on another connection "+shown.Problem), nil
	case wasCut || end == cutOff:
		facts.Suspect = assess.TLSFailed
		return remarked(facts, "on other connections too; it counts as a failure when a later run finds the same"), nil
	}
	facts.Outcome, facts.Reason = assess.TLSFailed, ""
	return facts, nil
}

// show says hello by hand, and again without TLS 1.3 where that hides the certificate. Facts that
// come without a chain all the same say why in Problem.
func (t talks) show(ctx context.Context, key keyKind) (assess.SMTPFacts, ending, error) {
	shown, end, err := t.talk(ctx, &hello{key: key})
	how := end.how
	if shown.Outcome != assess.TLSAnswered || len(shown.TLS.Chain) > 0 {
		return shown, how, err
	}
	if shown.Problem = t.again(ctx); shown.Problem != "" {
		shown.Reason = assess.ReasonBudgetExhausted
		return shown, how, nil
	}
	older, then, err := t.talk(ctx, &hello{key: key, noTLS13: true})
	switch {
	case err != nil || then.how != refused && older.Outcome != assess.TLSAnswered:
		shown.Reason, shown.Problem = older.Reason, older.Problem
	case older.Outcome == assess.TLSAnswered:
		shown.TLS.Chain = older.TLS.Chain
	case how != otherGroup:
		shown.Reason, shown.Problem = assess.ReasonCertificateEncrypted, "there is one, which TLS 1.3 encrypts"
	case key != anyKey && !then.version: // TLS 1.3 had not come as far as the certificates
		return older, refused, nil
	default:
		shown.Reason, shown.Problem = assess.ReasonCertificateEncrypted, "it speaks TLS 1.3 only, and no group that was offered with a key"
	}
	return shown, how, nil
}

// other asks the server of a dialogue for the certificate that it has for clients that take only
// the other kind of key. The error is that of dialogue.hold.
func (t talks) other(ctx context.Context, facts assess.SMTPFacts) (assess.SMTPFacts, error) {
	shown, how, err := t.show(ctx, otherKind(facts.TLS.Chain))
	if how == cutOff && t.again(ctx) == "" {
		shown, how, err = t.show(ctx, otherKind(facts.TLS.Chain))
	}
	found := assess.OtherFacts{At: shown.At, Shown: assess.Check{Reason: shown.Reason, Detail: shown.Problem}, Cut: how == cutOff}
	answered := shown.Outcome == assess.TLSAnswered
	switch {
	case answered && len(shown.TLS.Chain) == 0:
	case answered && !bytes.Equal(shown.TLS.Chain[0], facts.TLS.Chain[0]):
		found.Shown, found.TLS = assess.Check{Result: assess.Pass}, shown.TLS
	case answered, how == refused, found.Cut && facts.Other != nil && facts.Other.Cut:
		found.Shown.Result, found.Shown.Reason = assess.NotApplicable, ""
	case found.Cut:
		found.Shown.Detail += ", as servers do that have none; it is believed when a later run finds the same"
	}
	facts.Other = &found
	return facts, err
}

// otherKind is the kind of key that the certificate does not have.
func otherKind(chain [][]byte) keyKind {
	leaf, err := x509.ParseCertificate(chain[0])
	if err == nil && leaf.PublicKeyAlgorithm == x509.RSA {
		return curveKey
	}
	return rsaKey
}

// unbudgeted are facts for which a budget left no second look: it says so first.
func unbudgeted(facts assess.SMTPFacts, problem string) assess.SMTPFacts {
	facts.Reason, facts.Problem = assess.ReasonBudgetExhausted, problem+"; "+facts.Problem
	return facts
}

func remarked(facts assess.SMTPFacts, remark string) assess.SMTPFacts {
	facts.Problem += "; " + remark
	return facts
}
