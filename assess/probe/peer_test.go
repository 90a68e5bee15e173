package probe

import (
	"context"
	"crypto"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// mailHost is a provider with one MX host, "mx" below the domain, which is one of so many in the lab.
func (l *lab) mailHost(i int, domain string, cfg probetest.SMTPConfig, records ...string) *probetest.SMTP {
	l.t.Helper()
	addr := fmt.Sprintf("127.1.%d.1", i)
	l.zone(domain, strings.Join(append(records, "@ MX 10 mx", "mx A "+addr), "\n"))
	return l.serveSMTP(addr, cfg)
}

// judged is what facts are worth by the report's rules.
func judged(facts assess.Facts, s assess.Standard) assess.Verdict {
	return assess.Judge(assess.Evidence{Facts: &facts}, assess.Rules{})[s]
}

// say is everything that a verdict says, with advice and reasons.
func say(v assess.Verdict) string {
	var lines []string
	for _, t := range v.Tests {
		found := t.Detail
		if advice := t.Reason.Advice(); advice != "" {
			found += "; " + string(advice)
		}
		lines = append(lines, fmt.Sprintf("%s [%s] %s: %s: %s {%s}", t.Subject, t.Address, t.Test, t.Result, found, t.Reason))
	}
	return strings.Join(append(lines, v.Notes...), "\n")
}

// wants checks a verdict and that it says something, "" being anything.
func wants(t *testing.T, v assess.Verdict, support assess.Support, text string) {
	t.Helper()
	if v.Support != support || !strings.Contains(say(v), text) {
		t.Errorf("%s is %s, want %s with %q:\n%s", v.Standard, v.Support, support, text, say(v))
	}
}

// results are the results of checks by their first letters.
func results(checks ...assess.Check) string {
	var letters strings.Builder
	for _, c := range checks {
		letters.WriteByte(c.Result.String()[0])
	}
	return letters.String()
}

// elsewhere dials the addresses of a laboratory for those of the world.
func elsewhere(l *lab, addrs map[string]string) *Dialer {
	return &Dialer{Ports: l.ports, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		there, ok := addrs[ap.Addr().String()]
		if !ok {
			return nil, fmt.Errorf("nobody lives at %s", ap)
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(there, fmt.Sprint(ap.Port())))
	}}
}

// hasPrefix reports whether a line begins so; every list has a line that begins with nothing.
func hasPrefix(lines []string, prefix string) bool {
	return prefix == "" || slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, prefix) })
}

// rsa is a key that no other certificate has.
func (l *lab) rsa() crypto.Signer {
	l.t.Helper()
	key, err := probetest.RSAKey(2048)
	must(l.t, err)
	return key
}
