package probe

import (
	"context"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
)

// lookup asks one question and writes down when. The answer comes in both forms: with the
// resolver's typed records, and as a fact.
func (t *Target) lookup(ctx context.Context, name string, qtype resolver.Type, after string) (resolver.Answer, assess.Lookup) {
	defer t.trace.begin(stageOf(name, qtype), after)()
	answer := t.dns.Query(ctx, name, qtype)
	return answer, fact(answer)
}

// stageOf is what the trace calls a question.
func stageOf(name string, qtype resolver.Type) string { return qtype.String() + " " + name }

// fact is the one place where an answer of the resolver becomes a fact.
func fact(a resolver.Answer) assess.Lookup {
	l := assess.Lookup{
		Name: a.Name, Type: a.Type.String(),
		Status:   assess.LookupStatus(a.Status),
		Security: assess.Security(a.Security),
		Records:  a.Records,
	}
	if a.Status == resolver.Failed {
		l.Timeout = a.Reason == resolver.ReasonTimeout
		if l.Reason = a.Reason; a.EDE != "" {
			l.Reason += ", " + a.EDE
		}
	}
	return l
}
