package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"peerscore/assess"
)

// broken ends a dialogue with an outcome of the peer's making, or with a reason why it is unknown.
type broken struct {
	outcome assess.StartTLSOutcome
	reason  assess.Reason // "" where the outcome says it
	problem string
}

// undecided is broken where nobody knows whether the peer means it.
func undecided(reason assess.Reason, format string, args ...any) broken {
	return broken{assess.TLSUnknown, reason, fmt.Sprintf(format, args...)}
}

func (b broken) Error() string { return b.problem }

// errRunOver is a dialogue that was cut short by the end of its run.
var errRunOver = errors.New("the run was over")

// ours is the error if it arose on our side of the wire, else nil.
func ours(err error) error {
	if errors.As(err, &errForbidden{}) {
		return err
	}
	for _, own := range []error{errRunOver, syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.EPERM, syscall.EACCES} {
		if errors.Is(err, own) {
			return err
		}
	}
	return nil
}

// outcomeOf turns the error that ended a dialogue into its outcome. Whatever the peer may not
// have meant is unknown, for a reason.
func outcomeOf(err error) (assess.StartTLSOutcome, assess.Reason) {
	var b broken
	var end failedHandshake
	switch {
	case errors.As(err, &b):
		return b.outcome, b.reason
	case errors.As(err, &end):
		return assess.TLSUnknown, end.how.reason()
	case errors.Is(err, errRunOver):
		return assess.TLSUnknown, assess.ReasonRunOver
	case timedOut(err):
		return assess.TLSUnknown, assess.ReasonSMTPTimeout
	case closed(err):
		return assess.TLSUnknown, assess.ReasonConnectionClosed
	case errors.As(err, &errForbidden{}):
		return assess.TLSUnknown, assess.ReasonAddressForbidden
	case errors.Is(err, errLimit):
		return assess.TLSUnknown, assess.ReasonLimitExceeded
	case errors.Is(err, errNotSMTP):
		return assess.TLSUnknown, assess.ReasonProtocolError
	case errors.As(err, new(syscall.Errno)):
		return assess.TLSUnknown, assess.ReasonConnectionFailure
	}
	return assess.TLSUnknown, assess.ReasonDialogueFailure
}

// problemOf is the error that ended a dialogue in words.
func problemOf(stage assess.Stage, err error) string {
	text := err.Error()
	var number syscall.Errno
	switch {
	case errors.As(err, &broken{}), errors.As(err, &failedHandshake{}):
	case timedOut(err):
		text = "timeout"
	case closed(err):
		text = "the server closed the connection"
	case errors.As(err, &number):
		text = number.Error()
	}
	return string(stage) + ": " + text
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func closed(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// refusal is a reply of a server that does not want to talk, now or ever.
func refusal(r reply, format string, args ...any) broken {
	if r.temporary() {
		return undecided(assess.ReasonTemporaryFailure, format, args...)
	}
	return undecided(assess.ReasonServiceRefusal, format, args...)
}
