package milter

import (
	"net/netip"
	"testing"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

// world is the DNS that most tests share.
var world = zone{
	"TXT example.org":                {"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"},
	"TXT _dmarc.example.org":         {"v=DMARC1; p=reject"},
	"TXT ed._domainkey.example.org":  {keyRecord(keys["ed"])},
	"TXT rsa._domainkey.example.org": {keyRecord(keys["rsa"])},
}

var (
	outbound = miltertest.Peer{Addr: netip.MustParseAddr("192.0.2.1"), Name: "out.example.org", HELO: "out.example.org", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}
	stranger = miltertest.Peer{Addr: netip.MustParseAddr("198.51.100.9"), HELO: "stranger.example.net"}
)

func TestTwoMessagesInOneSession(t *testing.T) {
	l := newLab(t, world)
	c := l.dial(t)
	if err := c.Connect(outbound); err != nil {
		t.Fatal(err)
	}
	m := miltertest.Message{From: "a@example.org", To: []string{"info@own.example"}, Data: []byte(signed(t, letter("a@example.org"), "example.org", "ed"))}
	deliver(t, c, outbound, m)
	got := deliver(t, c, outbound, m)
	t.Log(got, l.logged.String())
	if len(l.ledger.observations) != 2 || l.ledger.observations[1].StartTLS != assess.Pass {
		t.Fatalf("%+v", l.ledger.observations)
	}
}
