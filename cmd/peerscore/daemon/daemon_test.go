package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
)

// Whether the resolver validates is asked again every day, and the log says when it no longer does.
func TestDailySelfTest(t *testing.T) {
	dns, err := probetest.NewDNS(probetest.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		d := &Daemon{resolver: r, log: slog.New(slog.NewTextHandler(&log, nil))}
		go d.daily(t.Context())
		time.Sleep(config.Day + time.Hour)
		dns.Fail(". DNSKEY", probetest.ServFail)
		time.Sleep(config.Day)
		synctest.Wait()
		if text := log.String(); strings.Count(text, "validates=") != 2 || !strings.Contains(text, "level=INFO msg=resolver") || !strings.Contains(text, "level=WARN msg=resolver") {
			t.Error(text)
		}
	})
}
