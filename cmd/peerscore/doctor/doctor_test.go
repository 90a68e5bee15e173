package doctor

import (
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
)

func TestJudgeMilters(t *testing.T) {
	tcp := config.Listeners{{Network: "tcp", Address: "127.0.0.1:8894"}}
	socket := config.Listeners{{Network: "unix", Address: "/var/spool/postfix/peerscore/milter.sock"}}
	for _, tt := range []struct {
		milters string
		sockets config.Listeners
		want    string
	}{
		{"{ inet:127.0.0.1:8894, default_action=accept, connect_timeout=2s }", tcp, "ok: smtpd_milters has inet:127.0.0.1:8894"},
		{"inet:localhost:8891, { inet:localhost:8894, default_action=accept }", tcp, "ok: smtpd_milters has inet:localhost:8894"},
		{"{ unix:peerscore/milter.sock, default_action=accept }", socket, "ok: smtpd_milters has unix:peerscore/milter.sock"},
		{"inet:127.0.0.1:8894", tcp, "fail: smtpd_milters has inet:127.0.0.1:8894 without default_action=accept"},
		{"inet:localhost:8891", tcp, "fail: smtpd_milters does not name peerscore"},
		{"", tcp, "fail: smtpd_milters does not name peerscore"},
	} {
		s := judgeMilters(tt.milters, tt.sockets)
		if got := s.Result + ": " + s.Detail; !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: %s, want %s", tt.milters, got, tt.want)
		}
	}
}

func TestExaminations(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		got  Symptom
		want string
	}{
		{examineClock(now.Add(25*time.Hour), now), "fail it says 2026-11-26T12:00:00Z, and a peer was assessed at 2026-11-27T13:00:00Z"},
		{examineResolver(resolver.Validation{Validates: resolver.ValidatesYes}), "ok it validates"},
		{examineResolver(resolver.Validation{Validates: resolver.ValidatesNo, Detail: "x"}), "fail it does not validate, so that DNSSEC and DANE stay unknown: x"},
		{examinePort("a.example", nil), "unknown a.example has no mail host that could be tried; name another domain"},
		{examinePort("a.example", hostsThat("", "")), "fail no mail host of a.example answers (timeout); if that goes for others too, the network keeps port 25 closed"},
		{examinePort("a.example", hostsThat("", "220 mx")), "ok mx.a.example, a mail host of a.example, answers"},
	} {
		if got := tt.got.Result + " " + tt.got.Detail; got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	if s := examineClock(now, now); s.Result == "fail" {
		t.Errorf("a clock at the time of the last assessment: %+v", s)
	}
}

// hostsThat are facts of one mail host with a session for each greeting; "" is a timeout.
func hostsThat(greetings ...string) *assess.Facts {
	host := assess.MXHost{Name: "mx.a.example"}
	for _, g := range greetings {
		host.Sessions = append(host.Sessions, assess.SMTPFacts{Greeting: g, Problem: "timeout"})
	}
	return &assess.Facts{Hosts: assess.MXFacts{Hosts: []assess.MXHost{host}}}
}

// The shares of each category, copied from the report, are those of one population.
