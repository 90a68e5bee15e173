package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

const (
	maxServers = 3 // as libc has it
	resolvConf = "/etc/resolv.conf"
	dnsPort    = 53
)

// TrustAD is a policy for the AD bit, spelled as in the configuration (dns.trust_ad).
type TrustAD string

const (
	TrustLoopback TrustAD = "auto"   // believe servers on loopback addresses
	TrustAlways   TrustAD = "always" // believe every server: the path to them is safe
	TrustNever    TrustAD = "never"
)

// server is one recursive resolver.
type server struct {
	addr    netip.AddrPort
	trusted bool        // its AD bit is believed
	passed  atomic.Bool // the self-test
}

// validates reports whether the server is known to validate, and believed.
func (s *server) validates() bool { return s.trusted && s.passed.Load() }

// security is what an answer of the server with this AD bit is.
func (s *server) security(authenticated bool) Security {
	switch {
	case s.trusted && authenticated:
		return Secure
	case s.validates():
		return Insecure
	}
	return Indeterminate
}

func parseServers(cfg Config) ([]*server, error) {
	trust := cfg.TrustAD
	switch trust {
	case "":
		trust = TrustLoopback
	case TrustLoopback, TrustAlways, TrustNever:
	default:
		return nil, fmt.Errorf("trust_ad is %q, want auto, always or never", trust)
	}
	texts := cfg.Servers
	if len(texts) == 0 {
		var err error
		if texts, err = systemServers(resolvConf); err != nil {
			return nil, fmt.Errorf("find the resolver: %w", err)
		}
	}
	if len(texts) > maxServers {
		return nil, fmt.Errorf("%d DNS servers, want %d at most", len(texts), maxServers)
	}
	servers := make([]*server, len(texts))
	for i, text := range texts {
		addr, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		trusted := trust == TrustAlways || trust == TrustLoopback && addr.Addr().IsLoopback()
		servers[i] = &server{addr: addr, trusted: trusted}
	}
	return servers, nil
}

// systemServers are the first name servers of a resolv.conf file, or the local one where it
// names none or does not exist, as resolv.conf(5) has it.
func systemServers(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var servers []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" && len(servers) < maxServers {
			servers = append(servers, fields[1])
		}
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1"}
	}
	return servers, nil
}

// parseServer reads an IP address with or without a port.
func parseServer(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(addr, dnsPort), nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("DNS server %q: want an IP address, with or without a port", text)
	}
	return addr, nil
}

func serverList(servers []*server) string {
	var list []string
	for _, s := range servers {
		list = append(list, s.addr.String())
	}
	return strings.Join(list, " ")
}
