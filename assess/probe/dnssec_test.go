package probe

import (
	"context"
	"strings"
	"testing"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

// TestDNSSEC puts the six questions to domains of which one thing is signed, insecure, bogus or
// not to be had. The answers are those of domain, txt, mx, mx-host, mx-host-txt, tlsa: p(ass),
// f(ail), b(ogus), u(nknown), n(ot applicable); _dmarc, where there is one, comes after txt.
func TestDNSSEC(t *testing.T) {
	l := newLab(t)
	set := func(name, records string, change func(*probetest.Zone)) {
		zone := probetest.Zone{Name: name, Signed: true, Records: records}
		if change != nil {
			change(&zone)
		}
		must(t, l.dns.Set(zone))
	}
	unsigned := func(z *probetest.Zone) { z.Signed = false }
	bogus := func(z *probetest.Zone) { z.Expired = true }
	suspect := func(z *probetest.Zone) { z.Bogus = true }
	const full = "@ TXT x\n@ MX 10 mx\nmx A 127.1.1.1\n_25._tcp.mx TLSA 3 1 1 aa"
	set("signed.example", full, nil)
	set("unsigned.example", full, unsigned)
	set("bogus.example", full, bogus)
	set("below.bogus.example", full, nil)
	set("suspect.example", full, suspect)
	set("suspectdmarc.example", full, nil)
	set("_dmarc.suspectdmarc.example", "@ TXT \"v=DMARC1; p=none\"", suspect)
	set("bare.example", "@ MX 10 mx\nmx A 127.1.1.1", nil)
	set("dmarc.example", full+"\n_dmarc TXT \"v=DMARC1; p=none\"", nil)
	set("loosedmarc.example", full, nil)
	set("_dmarc.loosedmarc.example", "@ TXT \"v=DMARC1; p=none\"", unsigned)
	set("bogusdmarc.example", full, nil)
	set("_dmarc.bogusdmarc.example", "@ TXT \"v=DMARC1; p=none\"", bogus)
	set("null.example", "@ MX 0 .\n@ TXT x", nil)
	set("implicit.example", "@ A 127.1.1.1\n@ TXT x", nil)
	set("hosted.example", "@ TXT x\n@ MX 10 mx.unsigned.example.", nil)
	set("badhost.example", "@ TXT x\n@ MX 10 mx.bogus.example.", nil)
	set("ghost.example", "@ TXT x\n@ MX 10 nobody.signed.example.", nil)
	set("deep.example", "@ TXT x\n@ MX 10 a.b.mx.signed.example.", nil)
	set("loosetlsa.example", "@ TXT x\n@ MX 10 mx\nmx A 127.1.1.1", nil)
	set("_tcp.mx.loosetlsa.example", "_25 TLSA 3 1 1 aa", unsigned)
	set("bogustlsa.example", "@ TXT x\n@ MX 10 mx\nmx A 127.1.1.1", nil)
	set("_tcp.mx.bogustlsa.example", "_25 TLSA 3 1 1 aa", bogus)
	set("lost.example", full, nil)
	l.dns.Fail("lost.example TXT", probetest.ServFail)
	set("lostmx.example", full, nil)
	l.dns.Fail("lostmx.example MX", probetest.Refused)
	const yes, no = assess.SupportYes, assess.SupportNo
	for _, tt := range []struct {
		domain, results string
		support         assess.Support
		say             string
	}{
		{"signed.example", "pppppp", yes, "domain: pass: signed, and the signatures hold"},
		{"unsigned.example", "ffffff", no, "mx-host: fail: not signed"},
		{"bogus.example", "bbbb", no, "domain: bogus: does not validate, so that validating resolvers refuse it: DNSSEC validation failed"},
		{"below.bogus.example", "bbbb", no, ""},
		{"suspect.example", "uuuu", assess.SupportUnknown, "domain: unknown: not known: DNSSEC validation failed, SERVFAIL, DNSSEC Bogus: no valid signature for suspect.example.; lost packets look the same, so it counts only when a run at least 15 minutes later finds it too"},
		{"suspectdmarc.example", "ppupppp", yes, "dmarc: unknown"},
		{"bare.example", "pnppnn", yes, "txt: not-applicable"},
		{"dmarc.example", "ppppppp", yes, "_dmarc.dmarc.example [] dmarc: pass"},
		{"loosedmarc.example", "ppfpppp", no, "dmarc: fail: not signed"},
		{"bogusdmarc.example", "ppbpppp", no, "dmarc: bogus"},
		{"null.example", "ppp", yes, ""},
		{"implicit.example", "ppnppn", yes, ""},
		{"hosted.example", "pppfff", no, "mx.unsigned.example [] mx-host: fail: not signed"},
		{"badhost.example", "pppbbb", no, "mx.bogus.example [] mx-host: bogus"},
		{"ghost.example", "pppnpn", yes, "mx-host: not-applicable: the name does not exist"},
		{"deep.example", "pppnpn", yes, ""},
		{"loosetlsa.example", "pppppf", no, "tlsa: fail: not signed"},
		{"bogustlsa.example", "pppppb", no, "tlsa: bogus"},
		{"lost.example", "puppup", yes, "txt: unknown: not known: SERVFAIL"}, // the zone of the host is that of the domain
		{"lostmx.example", "ppu", yes, "mx: unknown: not known: REFUSED"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			v := judged(l.probe(tt.domain), assess.DNSSEC)
			var letters strings.Builder
			for _, test := range v.Tests {
				letters.WriteByte(test.Result.String()[0])
			}
			if letters.String() != tt.results {
				t.Errorf("%s, want %s:\n%s", letters.String(), tt.results, say(v))
			}
			wants(t, v, tt.support, tt.say)
		})
	}
}

// A resolver that does not validate, or that nobody is to believe, knows nothing of DNSSEC.
func TestDNSSECBlind(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server probetest.DNSConfig
		config resolver.Config
		fail   string
	}{
		{name: "does not validate", server: probetest.DNSConfig{NotValidating: true}},
		{name: "is not believed", config: resolver.Config{TrustAD: resolver.TrustNever}},
		{name: "does not answer the self-test", fail: ". *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.Zones = []probetest.Zone{{Name: "example", Signed: true}, {Name: "signed.example", Signed: true, Records: "@ TXT x\n@ MX 10 mx\nmx A 127.1.1.1"}}
			server, err := probetest.NewDNS(tt.server)
			must(t, err)
			defer server.Close()
			if tt.fail != "" {
				server.Fail(tt.fail, probetest.ServFail)
			}
			tt.config.Servers = []string{server.Addr()}
			dns, err := resolver.New(tt.config)
			must(t, err)
			dns.SelfTest(context.Background())
			l := newLab(t)
			l.env.Resolver = dns
			v := judged(l.probe("signed.example"), assess.DNSSEC)
			wants(t, v, assess.SupportUnknown, "the resolver does not validate, or is not known to")
			if v.Passed+v.Failed > 0 {
				t.Errorf("something is known:\n%s", say(v))
			}
		})
	}
}
