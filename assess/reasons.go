package assess

import "slices"

// Reason says in one token of a closed list why a test came out as it did. A token is an RFC's
// noun phrase, stable once released: it stands in the JSON and in stored facts, and rules read it
// in place of the words beside it.
type Reason string

// Advice is what the peer should do, in words; "" where there is nothing to do.
type Advice string

// Explanation is all that there is to say about a reason.
type Explanation struct {
	Reason   Reason
	Standard Standard // whose tests it explains; "" where it may be those of several
	Results  []Result // that it explains
	Meaning  string
	Advice   Advice
	Section  string // of the RFC, or the draft
}

// Reasons of several standards: the DNS, the dialogues with mail hosts, observed sessions.
const (
	ReasonNotAsked        Reason = "lookup-not-made"
	ReasonLookupTimeout   Reason = "lookup-timeout"
	ReasonLookupFailure   Reason = "lookup-failure"
	ReasonLookupBogus     Reason = "lookup-bogus"
	ReasonLookupSuspect   Reason = "lookup-suspect"
	ReasonNameNonexistent Reason = "name-nonexistent"
	ReasonRecordsAbsent   Reason = "records-absent"

	ReasonAddressAbsent     Reason = "address-absent"
	ReasonAddressForbidden  Reason = "address-forbidden"
	ReasonAddressUntested   Reason = "address-untested"
	ReasonBudgetExhausted   Reason = "budget-exhausted"
	ReasonRunOver           Reason = "run-over"
	ReasonDialogueFailure   Reason = "dialogue-failure"
	ReasonDialogueNotKept   Reason = "dialogue-not-kept"
	ReasonConnectionFailure Reason = "connection-failure"
	ReasonConnectionClosed  Reason = "connection-closed"
	ReasonSMTPTimeout       Reason = "smtp-timeout"
	ReasonServiceRefusal    Reason = "service-refusal"
	ReasonTemporaryFailure  Reason = "temporary-failure"
	ReasonProtocolError     Reason = "protocol-error"
	ReasonLimitExceeded     Reason = "limit-exceeded"
	ReasonTextInjection     Reason = "plain-text-injection"
	ReasonHandshakeCut      Reason = "handshake-cut"
	ReasonHandshakeAlert    Reason = "handshake-alert"
	ReasonLibraryLimit      Reason = "tls-library-limit"
	ReasonTLSNotOffered     Reason = "starttls-not-offered"
	ReasonTLSRefusal        Reason = "starttls-refusal"
	ReasonHandshakeFailure  Reason = "handshake-failure"

	ReasonSessionsUndecided Reason = "sessions-undecided"
)

var sharedReasons = []Explanation{
	{ReasonNotAsked, "", in(Unknown), "The run did not ask the question.", "", "RFC 1034, section 3.7"},
	{ReasonLookupTimeout, "", in(Unknown), "No answer came in time.", "", "RFC 1035, section 7.2"},
	{ReasonLookupFailure, "", in(Unknown), "The resolver had no usable answer, such as SERVFAIL or a malformed reply.", "", "RFC 1035, section 4.1.1"},
	{ReasonLookupBogus, "", in(Unknown), "DNSSEC validation failed in two runs, so that there is no answer to go by; the standard dnssec has the failure.", "", "RFC 4035, section 4.3"},
	{ReasonLookupSuspect, "", in(Unknown), "DNSSEC validation failed. Lost packets look the same: it counts when a later run finds it too.", "", "RFC 4035, section 4.3"},
	{ReasonNameNonexistent, "", in(Unknown, NotApplicable), "The name does not exist.", "", "RFC 8020, section 2"},
	{ReasonRecordsAbsent, "", in(Unknown, NotApplicable), "The name exists and has no records of the type.", "", "RFC 2308, section 2.2"},

	{ReasonAddressAbsent, "", in(Unknown), "A mail host has no address.", "remove it from the MX records, or give it one", "RFC 5321, section 5.1"},
	{ReasonAddressForbidden, "", in(Unknown), "The address is never dialled: it is not a public one, or the configuration excludes it.", "", "RFC 6890, section 2.2.1"},
	{ReasonAddressUntested, "", in(Unknown), "None of the host's addresses was tested.", "", "RFC 5321, section 5.1"},
	{ReasonBudgetExhausted, "", in(Unknown), "A budget of peerscore did not let the dialogue begin, or go on.", "", "RFC 5321, section 4.5.4.1"},
	{ReasonRunOver, "", in(Unknown), "The run ended before the dialogue did.", "", "RFC 5321, section 4.5.3.2"},
	{ReasonDialogueFailure, "", in(Unknown), "The dialogue failed, and says nothing about the peer.", "", "RFC 5321, section 3.8"},
	{ReasonDialogueNotKept, "", in(Unknown), "The dialogue was held earlier, and its certificates were too large to be kept.", "", "RFC 5280, section 4"},
	{ReasonConnectionFailure, "", in(Unknown), "The connection was refused, reset or could not be made.", "", "RFC 5321, section 4.5.4.1"},
	{ReasonConnectionClosed, "", in(Unknown), "The server closed the connection in the middle of the dialogue.", "", "RFC 5321, section 3.8"},
	{ReasonSMTPTimeout, "", in(Unknown), "The server did not answer in time.", "", "RFC 5321, section 4.5.3.2"},
	{ReasonServiceRefusal, "", in(Unknown), "The server greets with something else than 220, or rejects EHLO.", "", "RFC 5321, section 3.1"},
	{ReasonTemporaryFailure, "", in(Unknown), "The server answers with a temporary failure.", "", "RFC 5321, section 4.2.1"},
	{ReasonProtocolError, "", in(Unknown), "The server does not speak SMTP.", "", "RFC 5321, section 4.2"},
	{ReasonLimitExceeded, "", in(Unknown), "The server says more than peerscore reads.", "", "RFC 5321, section 4.5.3.1"},
	{ReasonTextInjection, "", in(Unknown), "Plain text follows the 220 to STARTTLS, from whomever: nothing of the dialogue can be believed.", "", "RFC 3207, section 6"},
	{ReasonHandshakeCut, "", in(Unknown), "The connection was cut in the handshake, as servers without a certificate and broken networks do: it counts when a later run finds it too.", "", "RFC 8446, section 6"},
	{ReasonHandshakeAlert, "", in(Unknown), "The server ended the handshake, and it could not be found out whether it would with every client.", "", "RFC 8446, section 6.2"},
	{ReasonLibraryLimit, "", in(Unknown), "The handshake failed at something that only peerscore's TLS library does not take.", "", "RFC 8446, section 4.4"},
	{ReasonTLSNotOffered, "", in(Fail, NotApplicable), "EHLO does not list STARTTLS.", "turn on TLS in the mail server, and see that no firewall rewrites EHLO", "RFC 3207, section 4"},
	{ReasonTLSRefusal, "", in(Fail, NotApplicable), "STARTTLS is listed, and refused with a permanent failure.", serverLog, "RFC 3207, section 4"},
	{ReasonHandshakeFailure, "", in(Fail, NotApplicable), "The server answers STARTTLS with 220 and there is no TLS.", serverLog, "RFC 3207, section 4.1"},

	{ReasonSessionsUndecided, "", in(Unknown), "None of the host's credited sessions decides the test.", "", "RFC 8601, section 2.7"},
}

const serverLog Advice = "look into the server's log: mostly it cannot read its certificate or key"

func in(results ...Result) []Result { return results }

// Explanations are those of all reasons, standard by standard; first those of several.
var Explanations = func() []Explanation {
	all := slices.Clone(sharedReasons)
	for _, s := range standards() {
		all = append(all, s.reasons...)
	}
	return all
}()

var explanationOf = func() map[Reason]Explanation {
	of := map[Reason]Explanation{}
	for _, e := range Explanations {
		of[e.Reason] = e
	}
	return of
}()

// Advice is what the peer should do about it.
func (r Reason) Advice() Advice { return explanationOf[r].Advice }

// because is the reason that the prober gave, else the one that stands for a result: facts of
// before there were reasons have none.
func (c Check) because(pass, fail, unknown Reason) Reason {
	switch {
	case c.Reason != "":
		return c.Reason
	case c.Result == Pass:
		return pass
	case c.Result == Fail, c.Result == Bogus:
		return fail
	}
	return unknown
}

// reason says why there are no records.
func (l Lookup) reason() Reason {
	switch {
	case l.Status == LookupNXDomain:
		return ReasonNameNonexistent
	case l.Status == LookupNoData:
		return ReasonRecordsAbsent
	case l.Status == LookupUnknown && l.Reason == "":
		return ReasonNotAsked
	case l.Security == BogusAnswer:
		return ReasonLookupBogus
	case l.Security == SuspectAnswer:
		return ReasonLookupSuspect
	case l.Timeout:
		return ReasonLookupTimeout
	}
	return ReasonLookupFailure
}
