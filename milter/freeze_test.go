package milter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/milter/miltertest"
)

// freeze is after how many failures a test is frozen, some minutes apart from each other;
// so many that pass end it.
const freeze, size, thaw = 16, 20, 3

// A filter of our own breaks every signature, and then no more: what fails meanwhile is not
// held against the domains, whose other results count as ever. Twenty that are known for a week
// at most decide nothing.
func TestFreeze(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	z := zone{}
	l := newLab(t, z, func(c *Config) { c.Now = func() time.Time { return now } })
	known := assess.Standing{
		Known: true, Since: now.AddDate(0, 0, -8), Status: assess.StatusScored, Basis: assess.BasisProbeSessions,
		Scores: assess.Scores{assess.Identity: {Known: true, Row: assess.Row{Met: []assess.Standard{assess.SPF, assess.DKIM}}}},
	}
	domain := func(i int) string { return fmt.Sprintf("d%d.example", i) }
	send := func(i int, dkim string) assess.Observation {
		t.Helper()
		d := domain(i)
		peer := outbound
		peer.Addr = netip.AddrFrom4([4]byte{198, 51, byte(i), 1})
		now = now.Add(5 * time.Minute)
		z["TXT "+d] = []string{"v=spf1 ip4:" + peer.Addr.String() + " -all"}
		z["TXT ed._domainkey."+d] = []string{keyRecord(keys["ed"])}
		message := letter("a@" + d)
		switch dkim {
		case "signed":
			message = signed(t, message, d, "ed")
		case "broken":
			message = strings.Replace(signed(t, message, d, "ed"), "here they are", "here they are [scanned]", 1)
		}
		n := len(l.ledger.observations)
		l.send(t, peer, miltertest.Message{From: "a@" + d, Data: []byte(message)})
		if len(l.ledger.observations) != n+1 {
			t.Fatalf("%s: %d observations", d, len(l.ledger.observations)-n)
		}
		return l.ledger.observations[n]
	}
	cheap := known
	cheap.Since = now.AddDate(0, 0, -6)
	for i := range 40 {
		l.ledger.standings[dnsname.Domain(domain(i))] = known
		l.ledger.standings[dnsname.Domain(domain(50+i))] = cheap
	}
	frozen := func(want string) {
		t.Helper()
		if got := strings.Join(l.server.Stats().Frozen, " "); got != want {
			t.Errorf("frozen: %q, want %q", got, want)
		}
	}

	for i := range 20 {
		send(50+i, "broken")
	}
	frozen("")
	for i := range freeze - 1 {
		if o := send(i, "broken"); o.DKIM != assess.Fail {
			t.Errorf("%d: DKIM %s while it may still be theirs", i, o.DKIM)
		}
		send(100+i, "broken") // never met it: tells nothing about us
	}
	frozen("")
	for i := freeze - 1; i < size; i++ {
		if o := send(i, "broken"); o.DKIM != assess.Unknown || o.SPF != assess.Pass || o.DKIMResult != "fail" {
			t.Errorf("%d: DKIM %s (%s), SPF %s", i, o.DKIM, o.DKIMResult, o.SPF)
		}
	}
	if o := send(200, ""); o.DKIM != assess.Unknown {
		t.Errorf("of a new domain: DKIM %s", o.DKIM)
	}
	frozen("DKIM")
	if n := l.server.Stats().Held; n != size-freeze+2 {
		t.Errorf("%d failures were held back", n)
	}

	// Two that still pass change nothing, nor do newcomers; with the third failures count again.
	for i := range 20 {
		send(50+i, "signed")
	}
	for i := range thaw {
		frozen("DKIM")
		if o := send(20+i, "signed"); o.DKIM != assess.Pass {
			t.Errorf("DKIM %s", o.DKIM)
		}
	}
	frozen("")
	if o := send(0, "broken"); o.DKIM != assess.Fail {
		t.Errorf("DKIM %s", o.DKIM)
	}
}
