package assess

import (
	"slices"
	"strings"
)

// RequireTLS is RFC 8689.
const RequireTLS Standard = "requiretls"

const (
	ReasonRequireTLSOffered    Reason = "requiretls-offered"
	ReasonRequireTLSNotOffered Reason = "requiretls-not-offered"
	ReasonRequireTLSUnseen     Reason = "requiretls-unseen"
)

var requireTLSReasons = []Explanation{
	{ReasonRequireTLSOffered, RequireTLS, in(Pass), "EHLO inside TLS lists REQUIRETLS.", "", "RFC 8689, section 2"},
	{ReasonRequireTLSNotOffered, RequireTLS, in(Fail), "EHLO inside TLS does not list REQUIRETLS.", "turn it on if the mail server knows it (no score asks for it)", "RFC 8689, section 2"},
	{ReasonRequireTLSUnseen, RequireTLS, in(Unknown), "EHLO inside TLS was not asked, or only its first lines were kept.", "", "RFC 8689, section 2"},
}

// judgeRequireTLS asks whether each MX host offers REQUIRETLS (RFC 8689), which counts inside
// TLS only (section 2).
func judgeRequireTLS(v *Verdict, e Evidence, r Rules) {
	v.eachHost(e.Facts, func(h MXHost) []Test {
		return []Test{perAddress(e.Facts, h, "requiretls", offersRequireTLS)}
	})
	v.Support = v.support(r)
}

func offersRequireTLS(s SMTPFacts) Check {
	switch s.Outcome {
	case TLSEstablished:
	case TLSAnswered:
		return Check{Unknown, ReasonRequireTLSUnseen, "EHLO inside TLS was not asked: " + told(s.Problem)}
	default:
		return speaksTLS(s)
	}
	for _, line := range s.TLSEHLO[min(1, len(s.TLSEHLO)):] { // the first holds the server's name
		if len(line) > 4 && strings.EqualFold(strings.TrimSpace(line[4:]), "REQUIRETLS") { // "250-REQUIRETLS"
			return Check{Pass, ReasonRequireTLSOffered, "EHLO lists REQUIRETLS"}
		}
	}
	if len(s.TLSEHLO) >= KeptLines || slices.Contains(s.TLSEHLO, CutMark) {
		return Check{Unknown, ReasonRequireTLSUnseen, "only the first lines of EHLO inside TLS were kept, and REQUIRETLS is not among them"}
	}
	return Check{Fail, ReasonRequireTLSNotOffered, "EHLO inside TLS does not list REQUIRETLS"}
}
