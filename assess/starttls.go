package assess

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	StartTLS   Standard = "starttls"     // RFC 3207
	StartTLS12 Standard = "starttls-1.2" // with TLS 1.2 or later
)

const (
	ReasonTLSEstablished       Reason = "tls-established"
	ReasonTLSAnswered          Reason = "tls-answered"
	ReasonSessionsEncrypted    Reason = "sessions-encrypted"
	ReasonSessionsInPlainText  Reason = "sessions-in-plain-text"
	ReasonTLSVersionUnknown    Reason = "tls-version-unknown"
	ReasonTLSVersionDeprecated Reason = "tls-version-deprecated"
	ReasonSessionsTLS12        Reason = "sessions-tls-1.2"
	ReasonSessionsDeprecated   Reason = "sessions-deprecated"
)

var startTLSReasons = []Explanation{
	{ReasonTLSEstablished, StartTLS, in(Pass), "The handshake is complete, and EHLO was answered inside TLS.", "", "RFC 3207, section 4"},
	{ReasonTLSAnswered, StartTLS, in(Pass), "The server answers with TLS of a kind that peerscore's library cannot go on from.", "", "RFC 8446, section 4.1.3"},
	{ReasonSessionsEncrypted, StartTLS, in(Pass), "The host sent all its sessions in TLS.", "", "RFC 3207, section 4"},
	{ReasonSessionsInPlainText, StartTLS, in(Pass, Fail), "The host sent some of its sessions in plain text; few enough, where it passes.", "let it use TLS whenever it is offered", "RFC 3207, section 4"},
}

var startTLS12Reasons = []Explanation{
	{ReasonTLSVersionUnknown, StartTLS12, in(Unknown), "It is not known which version of TLS the server speaks.", "", "RFC 8446, section 4.1.3"},
	{ReasonTLSVersionDeprecated, StartTLS12, in(Fail), "The server speaks nothing later than TLS 1.1.", "offer TLS 1.2 and 1.3", "RFC 8996, section 4"},
	{ReasonSessionsTLS12, StartTLS12, in(Pass), "The host sent all its sessions in TLS 1.2 or later.", "", "RFC 8996, section 4"},
	{ReasonSessionsDeprecated, StartTLS12, in(Pass, Fail), "The host sent some of its sessions in an older version or in plain text; few enough, where it passes.", "let it use TLS 1.2 or later whenever it is offered", "RFC 8996, section 4"},
}

// StartTLSOutcome is how far an SMTP dialogue came on its way to TLS.
type StartTLSOutcome string

const (
	TLSUnknown     StartTLSOutcome = ""            // could not be tested: see SMTPFacts.Problem
	TLSEstablished StartTLSOutcome = "established" // handshake complete and EHLO answered inside
	TLSAnswered    StartTLSOutcome = "answered"    // a ServerHello came, of a kind that our TLS library cannot go on from: see SMTPFacts.Problem
	TLSNotOffered  StartTLSOutcome = "not-offered" // EHLO did not list STARTTLS
	TLSRefused     StartTLSOutcome = "refused"     // listed, and answered with 5xx
	TLSFailed      StartTLSOutcome = "failed"      // 220, then no handshake: protocol error or alert, not a timeout; a cut connection only when a later run found the same
)

// Stage is a step of an SMTP dialogue.
type Stage string

// The stages in their order.
const (
	StageConnect   Stage = "connect"
	StageGreeting  Stage = "greeting"
	StageEHLO      Stage = "ehlo"
	StageSTARTTLS  Stage = "starttls"
	StageHandshake Stage = "handshake"
	StageTLSEHLO   Stage = "tls-ehlo" // EHLO inside TLS
	StageQuit      Stage = "quit"
)

// KeptLines is how many lines of a reply to EHLO are kept.
const KeptLines = 64

// SMTPFacts is one dialogue with one address of an MX host: greeting, EHLO, STARTTLS, EHLO, QUIT.
type SMTPFacts struct {
	Address    netip.Addr      `json:"address"`
	ServerName string          `json:"server_name"` // the SNI that was sent
	At         time.Time       `json:"at"`
	Stage      Stage           `json:"stage"` // the last one reached
	Outcome    StartTLSOutcome `json:"outcome,omitempty"`
	Suspect    StartTLSOutcome `json:"suspect,omitempty"` // what the outcome is if the next dialogue with the address ends the same
	Reason     Reason          `json:"reason,omitempty"`  // why the outcome is unknown
	Problem    string          `json:"problem,omitempty"` // the same in words, or why the outcome is unknown or negative; may quote the peer
	Greeting   string          `json:"greeting,omitempty"`
	EHLO       []string        `json:"ehlo,omitempty"`     // reply lines in plain text
	TLSEHLO    []string        `json:"tls_ehlo,omitempty"` // reply lines inside TLS
	TLS        *TLSFacts       `json:"tls,omitempty"`
	Other      *OtherFacts     `json:"other,omitempty"` // nil while nobody asked
}

// result of a dialogue: what could not be tested is unknown, everything short of TLS fails.
func (o StartTLSOutcome) result() Result {
	switch o {
	case TLSEstablished, TLSAnswered:
		return Pass
	case TLSNotOffered, TLSRefused, TLSFailed:
		return Fail
	}
	return Unknown
}

// hidden reports whether there is TLS with a certificate that our TLS library cannot see.
func (s SMTPFacts) hidden() bool {
	return s.Outcome == TLSAnswered && (s.TLS == nil || len(s.TLS.Chain) == 0)
}

// suspects reports whether a later run may find out what this one left open.
func (f *Facts) suspects() bool {
	return len(f.Suspicions) > 0 || slices.ContainsFunc(f.Hosts.Hosts, func(h MXHost) bool {
		return slices.ContainsFunc(h.Sessions, func(s SMTPFacts) bool {
			return s.Outcome == TLSUnknown && s.Suspect != TLSUnknown || s.Other != nil && s.Other.Shown.Result == Unknown && s.Other.Cut
		})
	})
}

// session is the negotiated version, cipher and key exchange, as evidence.
func (s SMTPFacts) session() string {
	switch {
	case s.TLS == nil:
		return "TLS"
	case s.TLS.KeyExchange == "":
		return told(s.TLS.Version + ", " + s.TLS.Cipher)
	}
	return told(s.TLS.Version + ", " + s.TLS.Cipher + ", " + s.TLS.KeyExchange)
}

// judgeStartTLS asks each MX host for TLS, and each outbound host whether its sessions used it,
// under one threshold. Any version counts; old ones are noted.
func judgeStartTLS(v *Verdict, e Evidence, r Rules) {
	v.eachHost(e.Facts, func(h MXHost) []Test {
		v.noteHost(h)
		return []Test{perAddress(e.Facts, h, "starttls", speaksTLS)}
	})
	v.eachSender(e.Tally, r, sessionTest{"starttls", func(h HostTally) Count { return h.StartTLS }, ReasonSessionsEncrypted, ReasonSessionsInPlainText, saySessions("TLS")})
	v.Support = v.support(r)
}

func speaksTLS(s SMTPFacts) Check {
	c := Check{Result: s.Outcome.result(), Reason: s.reason(), Detail: told(s.Problem)}
	switch {
	case s.Outcome == TLSEstablished:
		c.Detail = s.session()
	case s.Outcome == TLSAnswered:
		c.Detail = s.session() + " (" + c.Detail + ")"
	case c.Detail == "":
		c.Detail = map[StartTLSOutcome]string{
			TLSUnknown:    "could not be tested",
			TLSNotOffered: "EHLO does not list STARTTLS",
			TLSRefused:    "STARTTLS is listed and refused",
			TLSFailed:     "the handshake fails",
		}[s.Outcome]
	}
	return c
}

func (v *Verdict) noteHost(h MXHost) {
	if h.Alias != "" {
		v.note("%s is an alias of %s: MX records must name the host itself (RFC 5321, section 5.1)", h.Name, hostName(h.Alias))
	}
	if h.Omitted > 0 {
		v.note("%s: %d more addresses were not tested", h.Name, h.Omitted)
	}
	for _, s := range h.Sessions {
		if s.TLS != nil && s.TLS.Deprecated {
			v.note("%s [%s] speaks %s, which RFC 8996 retires: offer TLS 1.2 and 1.3", h.Name, s.Address, told(s.TLS.Version))
		}
	}
}

// judgeStartTLS12 is StartTLS where only TLS 1.2 and later count.
func judgeStartTLS12(v *Verdict, e Evidence, r Rules) {
	v.eachHost(e.Facts, func(h MXHost) []Test {
		return []Test{perAddress(e.Facts, h, "tls-1.2", speaksTLS12)}
	})
	v.eachSender(e.Tally, r, sessionTest{"tls-1.2", HostTally.startTLS12, ReasonSessionsTLS12, ReasonSessionsDeprecated, saySessions("TLS 1.2 or later")})
	v.Support = v.support(r)
}

// reason is why a dialogue came to its outcome.
func (s SMTPFacts) reason() Reason {
	switch s.Outcome {
	case TLSEstablished:
		return ReasonTLSEstablished
	case TLSAnswered:
		return ReasonTLSAnswered
	case TLSNotOffered:
		return ReasonTLSNotOffered
	case TLSRefused:
		return ReasonTLSRefusal
	case TLSFailed:
		return ReasonHandshakeFailure
	}
	return Check{Reason: s.Reason}.because("", "", ReasonDialogueFailure)
}

func speaksTLS12(s SMTPFacts) Check {
	switch {
	case s.Outcome.result() != Pass:
		return speaksTLS(s)
	case s.TLS == nil:
		return Check{Unknown, ReasonTLSVersionUnknown, "the TLS version is not known"}
	case s.TLS.Deprecated:
		return Check{Fail, ReasonTLSVersionDeprecated, told(s.TLS.Version) + " only"}
	}
	return speaksTLS(s)
}

// deprecatedVersions are the names that OpenSSL, and hence the MTAs, give to what RFC 8996 retires.
var deprecatedVersions = []string{"SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1"}

// startTLS12 turns the sessions that used an old version into failures.
func (h HostTally) startTLS12() Count {
	c, old := h.StartTLS, 0
	for _, version := range deprecatedVersions {
		old += h.TLSVersions[version]
	}
	old = min(old, c.Passed)
	return Count{Passed: c.Passed - old, Failed: c.Failed + old}
}

// saySessions words the sessions of an outbound host.
func saySessions(what string) func(HostTally, Count) string {
	return func(h HostTally, c Count) string {
		text := fmt.Sprintf("%s in %d of %d sessions", what, c.Passed, c.Passed+c.Failed)
		if versions := h.versions(); versions != "" {
			text += " (" + versions + ")"
		}
		return text
	}
}
