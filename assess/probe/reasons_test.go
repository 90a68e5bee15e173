package probe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// What ends a dialogue without an outcome is a reason. TestDialogue has those that a server gives.
func TestReasonOfDialogue(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want assess.Reason
	}{
		{errForbidden{somewhere, "no"}, assess.ReasonAddressForbidden},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, assess.ReasonConnectionFailure},
		{errRunOver, assess.ReasonRunOver},
		{errors.New("whatever"), assess.ReasonDialogueFailure},
		{failedHandshake{how: beyondUs}, assess.ReasonLibraryLimit},
		{broken{outcome: assess.TLSFailed}, ""},
	} {
		outcome, reason := outcomeOf(fmt.Errorf("wrapped: %w", tt.err))
		if reason != tt.want || (outcome == assess.TLSUnknown) == (reason == "") {
			t.Errorf("%v: %q, %q, want %q", tt.err, outcome, reason, tt.want)
		}
	}
}

// Whom a budget does not let begin, and whose certificates were not kept, is told so.
func TestReasonAtTheGate(t *testing.T) {
	known := &assess.SMTPFacts{Outcome: assess.TLSEstablished}
	if got := (visit{addr: somewhere}).without(time.Now(), "budget: no"); got.Reason != assess.ReasonBudgetExhausted {
		t.Errorf("%+v", got)
	}
	if got := (visit{addr: somewhere, known: known}).without(time.Now(), "budget: no"); got.Other.Shown.Reason != assess.ReasonBudgetExhausted || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	if got := told(assess.HostRecord{Session: *known}); got.Reason != assess.ReasonDialogueNotKept || got.Outcome != assess.TLSUnknown {
		t.Errorf("%+v", got)
	}
}

// Each mistake that a chain may have is a reason of its own, as far as the advice differs.
func TestReasonOfChain(t *testing.T) {
	now := time.Now()
	root := (*pkiEntity)(nil).issue(t, "Root", newKey(t))
	issuer := root.issue(t, "Issuer", newKey(t))
	leaf := issuer.issue(t, "", newKey(t))
	stranger := (*pkiEntity)(nil).issue(t, "Stranger", newKey(t))
	namesake := root.issue(t, "Issuer", newKey(t))
	expired := root.issue(t, "Old", newKey(t), func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) })
	server := root.issue(t, "Server", newKey(t), func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 })
	lists := issuer.issue(t, "", newKey(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	for _, tt := range []struct {
		name string
		sent []*pkiEntity
		want assess.Reason
	}{
		{"sound", []*pkiEntity{leaf, issuer}, ""},
		{"self-signed", []*pkiEntity{(*pkiEntity)(nil).issue(t, "", newKey(t))}, assess.ReasonSelfSigned},
		{"no intermediate", []*pkiEntity{leaf}, assess.ReasonIntermediateMissing},
		{"expired intermediate", []*pkiEntity{expired.issue(t, "", newKey(t)), expired}, assess.ReasonIntermediateExpired},
		{"another of the name", []*pkiEntity{leaf, namesake}, assess.ReasonIssuerMismatch},
		{"issued by a server", []*pkiEntity{server.issue(t, "", newKey(t)), server}, assess.ReasonIssuerMismatch},
		{"for lists", []*pkiEntity{lists, issuer}, assess.ReasonKeyUsage},
		{"another root", []*pkiEntity{stranger.issue(t, "", newKey(t)), stranger}, assess.ReasonCertificateUntrusted},
	} {
		c := chain{roots: x509.NewCertPool(), now: now, host: "mx.example", usage: pkix.ServerUsage("TLS_AES_128_GCM_SHA256")}
		c.roots.AddCert(root.Certificate)
		for _, sent := range tt.sent {
			c.certs = append(c.certs, sent.Certificate)
		}
		if got, _ := c.trusted(); got.Reason != tt.want || (got.Result == assess.Pass) != (tt.want == "") {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
	for at, want := range map[time.Time]assess.Reason{now: "", now.AddDate(-2, 0, 0): assess.ReasonCertificateEarly, now.AddDate(2, 0, 0): assess.ReasonCertificateExpired} {
		if got := (chain{certs: []*x509.Certificate{leaf.Certificate}, now: at}).dated(); got.Reason != want {
			t.Errorf("at %s: %+v, want %q", at, got, want)
		}
	}
	for _, reason := range []assess.Reason{assess.ReasonCertificateEncrypted, assess.ReasonCertificateUnreadable} {
		if got := unexamined(reason, "x"); got.Trusted.Reason != reason || got.Named.Reason != reason || got.Dated.Reason != reason || got.Revoked.Reason != reason {
			t.Errorf("%+v", got)
		}
	}
}

// Every reason that the prober gives is asserted by a test, by its name or, in braces, by its token.
func TestEveryReasonIsAsserted(t *testing.T) {
	read := func(pattern string, tests bool) string {
		files, err := filepath.Glob(pattern)
		must(t, err)
		var all strings.Builder
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") == tests {
				text, err := os.ReadFile(file)
				must(t, err)
				all.Write(text)
			}
		}
		return all.String()
	}
	tokens := map[string]string{}
	for _, m := range regexp.MustCompile(`(Reason\w+) +Reason = "([^"]+)"`).FindAllStringSubmatch(read("../*.go", false), -1) {
		tokens[m[1]] = m[2]
	}
	asserted, given := read("*.go", true), 0
	for _, m := range regexp.MustCompile(`\bassess\.(Reason\w+)`).FindAllStringSubmatch(read("*.go", false), -1) {
		given++
		if !strings.Contains(asserted, "assess."+m[1]) && !strings.Contains(asserted, "{"+tokens[m[1]]+"}") {
			t.Errorf("no test asserts %s", m[1])
		}
	}
	if given < 30 {
		t.Errorf("%d reasons are given", given)
	}
}
