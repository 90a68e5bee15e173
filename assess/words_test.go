package assess

import (
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	long := strings.Repeat("é", 1000)
	for _, tt := range []struct{ got, want string }{
		{quoted("a\x1b[31m\r\n\"b\""), `"a\x1b[31m\r\n\"b\""`},
		{quoted("\xff"), `"�"`},
		{quoted(long), `"` + long[:maxQuoted] + ` ..."`},
		{told(`ehlo: the server refuses EHLO: "502 no"`), `ehlo: the server refuses EHLO: "502 no"`},
		{told("a\x1b\n\u202eb"), `a\x1b\n\u202eb`},
		{told(long), long[:maxQuoted] + " ..."},
		{told("a" + long), "a" + long[:maxQuoted-2] + " ..."},
		{hostName("*.Mail_1.example.org"), "*.Mail_1.example.org"},
		{hostName("a b"), `"a b"`},
		{hostName(""), `""`},
		{failed().missing(), "timeout"},
		{bogus().missing(), "DNSSEC validation failed, SERVFAIL"},
		{denied("TXT").missing(), "there are no TXT records"},
		{Lookup{Status: LookupNXDomain}.missing(), "the name does not exist"},
		{Lookup{Status: LookupFailed}.missing(), "no usable answer"},
		{Lookup{Status: LookupFailed, Security: BogusAnswer}.missing(), "DNSSEC validation failed"},
		{Lookup{}.missing(), "not asked"},
		{Lookup{Reason: "the budget is spent"}.missing(), "the budget is spent"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
