package resolver_test

import (
	"context"
	"fmt"
	"log"

	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
)

// startDNS is a validating resolver on loopback, and the zones behind it.
func startDNS() *probetest.DNS {
	dns, err := probetest.NewDNS(probetest.DNSConfig{
		Zones: []probetest.Zone{
			{Name: "example.org", Signed: true, Records: `
				@           MX    10 mx
				mx          CNAME mail7.provider.example.
				_25._tcp.mx TLSA  3 1 1 00`},
			{Name: "provider.example", Records: "mail7 A 192.0.2.25"},
			{Name: "broken.example", Bogus: true, Records: "@ MX 10 mx.broken.example."},
		},
		Failures: map[string]probetest.Failure{"silent.example MX": probetest.ServFail},
	})
	if err != nil {
		log.Fatal(err)
	}
	return dns
}

// Five questions, and how far DNSSEC vouches for each answer. An alias out of a signed zone into
// one that is not leaves the whole insecure; what is bogus is no answer at all, and a failure
// is not an absence.
func ExampleResolver_Query() {
	dns := startDNS()
	defer dns.Close()
	r, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("validates:", r.SelfTest(context.Background()).Validates)
	for _, question := range []struct {
		name string
		kind resolver.Type
	}{
		{"example.org", resolver.MX}, {"mx.example.org", resolver.A}, {"nothing.example.org", resolver.TXT},
		{"broken.example", resolver.MX}, {"silent.example", resolver.MX},
	} {
		got := r.Query(context.Background(), question.name, question.kind)
		fmt.Printf("%s: %s %q %q\n", question.name, got.Status, got.Security, got.Records)
	}
	// Output:
	// validates: yes
	// example.org: found "secure" ["10 mx.example.org"]
	// mx.example.org: found "insecure" ["192.0.2.25"]
	// nothing.example.org: nxdomain "secure" []
	// broken.example: failed "suspect" []
	// silent.example: failed "" []
}
