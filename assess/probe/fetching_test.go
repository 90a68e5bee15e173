package probe

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe/probetest"
)

// What a certificate names beside revocation lists is never asked: neither the certificates of
// its issuers (AIA) nor OCSP. Of lists three are, for one chain.
func TestNothingElseIsFetched(t *testing.T) {
	dns := zoneServer(t)
	elsewhere := func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"http://aia.hostile.example/issuer.crt"}
		c.OCSPServer = []string{"http://ocsp.hostile.example/"}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, dns)
		defer s.talking.Wait()
		s.zone("hostile.example", "@ MX 10 whole\n@ MX 10 alone\nwhole A 5.6.7.25\nalone A 5.6.8.25\naia A 5.6.7.81\nocsp A 5.6.7.82\ncrl A 5.6.7.80")
		s.put("5.0.0.80:80", s.lists())
		for addr, leaf := range map[string]probetest.Leaf{
			"5.6.7.25:25": {Names: []string{"whole.hostile.example"}, Change: elsewhere},
			"5.6.8.25:25": {Names: []string{"alone.hostile.example"}, Change: elsewhere, Alone: true},
		} {
			s.put(addr, smtp(probetest.SMTPConfig{Certificates: certs(s.issue(leaf))}))
		}
		r := s.runner()
		facts, _ := s.probe(r, "hostile.example")
		var got []string
		for _, h := range facts.Hosts.Hosts {
			c := h.Sessions[0].TLS.Certificate
			got = append(got, h.Name+" "+results(c.Trusted, c.Revoked))
		}
		slices.Sort(got)
		if want := []string{"alone.hostile.example fu", "whole.hostile.example pp"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for address := range s.dialled {
			if address != "5.6.7.25:25" && address != "5.6.8.25:25" && address != "5.0.0.80:80" {
				t.Errorf("%s was dialled", address)
			}
		}

		var path []*x509.Certificate
		for i := range 6 {
			certificate := *s.issue(probetest.Leaf{}).Leaf
			certificate.CRLDistributionPoints = []string{fmt.Sprintf("http://crl.hostile.example/%d.crl", i)}
			path = append(path, &certificate)
		}
		check := r.crls.check(t.Context(), s.env.Resolver, path)
		if n := s.calls("5.6.7.80:80"); n != maxCRLs || check.Result != assess.Unknown {
			t.Errorf("%d lists were asked for: %+v", n, check)
		}
	})
}

// A list that was had, or not, serves all domains: it is asked for again after half a day, or
// an hour.
func TestListsAreCached(t *testing.T) {
	dns := zoneServer(t)
	for name, tt := range map[string]struct {
		peer func(*still) peer
		wait time.Duration
	}{
		"had":     {(*still).lists, crlKeep},
		"not had": {func(*still) peer { return response("HTTP/1.1 404 Not Found\r\nContent-Length: 0", text("")) }, crlRetry},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, dns)
				defer s.talking.Wait()
				s.put("5.0.0.80:80", tt.peer(s))
				for i := range 3 {
					domain := fmt.Sprintf("list%d.example", i)
					s.zone(domain, fmt.Sprintf("@ MX 10 mx\nmx A 5.6.%d.25", i))
					s.put(fmt.Sprintf("5.6.%d.25:25", i), smtp(probetest.SMTPConfig{Certificates: certs(s.issue(probetest.Leaf{Names: []string{"mx." + domain}}))}))
				}
				r := s.runner()
				for i, wait := range []time.Duration{0, tt.wait - time.Minute, 2 * time.Minute} {
					time.Sleep(wait)
					s.probe(r, fmt.Sprintf("list%d.example", i))
					if got, want := s.calls("5.0.0.80:80"), []int{2, 2, 4}[i]; got != want {
						t.Errorf("after domain %d: %d requests, want %d", i, got, want)
					}
				}
			})
		})
	}
}

// No variable of the environment puts a proxy between us and the address that was checked.
func TestNoProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://192.0.2.1:3128")
		t.Setenv(strings.ToLower(name), "http://192.0.2.1:3128")
	}
	dns := zoneServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, dns)
		defer s.talking.Wait()
		s.put("5.0.0.80:80", s.lists())
		s.honest("honest.example", "5.0.1.25")
		r := s.runner()
		facts, _ := s.probe(r, "honest.example")
		if r.web.transport(nil, 0).Proxy != nil || facts.MTASTS.Fetched.Result != assess.Pass || s.calls("192.0.2.1:3128") > 0 {
			t.Errorf("%+v, dialled %v", facts.MTASTS.Fetched, s.dialled)
		}
	})
}
