package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"peerscore/assess/probe/resolver"
	"peerscore/store"
)

// silentResolver swallows questions and counts them.
func silentResolver(t *testing.T) (addr string, asked *atomic.Int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	asked = new(atomic.Int64)
	go func() {
		for buf := make([]byte, 1500); ; asked.Add(1) {
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	return conn.LocalAddr().String(), asked
}

// Where the resolver is dead, mail flows: the first messages wait for it, and once the breaker
// is open nobody is asked and nobody waits. Nothing is credited, and nothing held against anybody.
func TestMailFlowsWithoutResolver(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	addr, asked := silentResolver(t)
	r, err := resolver.New(resolver.Config{Servers: []string{addr}, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	o := openOffice(t, r)
	var letters []letter
	for i := range 55 {
		domain := fmt.Sprintf("d%d.example", i) // nobody's answer helps another
		l := letter{name: domain, peer: at("192.0.2.10", "out."+domain)}
		l.message.From = "anna@" + domain
		l.message.Data = []byte(signedBy(t, domain, compose("anna@"+domain, i)))
		letters = append(letters, l)
	}
	before, err := o.store.Peers(t.Context(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	inserted := o.deliver(letters[:10]...) // five raise the suspicion; the control question is under way during the next
	first := asked.Load()
	inserted = append(inserted, o.deliver(letters[10:]...)...)
	if n := asked.Load() - first; n > 0 && time.Since(began) < 20*time.Second { // the breaker is open for 30
		t.Errorf("%d questions after the first %d", n, first)
	}
	for _, fields := range inserted {
		if i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "Peer-Score: ") }); i < 0 || !strings.HasSuffix(fields[i], "; status=unknown") {
			t.Fatalf("inserted %q", fields)
		}
	}
	if len(inserted) != 55 || first == 0 {
		t.Errorf("%d answers, %d questions", len(inserted), first)
	}
	known, err := o.store.Peers(t.Context(), store.Filter{})
	if err != nil || len(known) != len(before) {
		t.Errorf("known peers: %+v, %v", known, err)
	}
	t.Logf("%d questions for 55 messages", asked.Load())
}
