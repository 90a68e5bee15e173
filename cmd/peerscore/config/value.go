package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"peerscore/assess/dnsname"
)

// Day is 24 hours, whatever the clock does.
const Day = 24 * time.Hour

// Duration reads and writes durations as Go does, plus a "d" for days of 24 hours ("7d", "1d12h").
type Duration time.Duration

// UnmarshalText reads "90s", "6h", "7d" or "1d12h"; it refuses negative durations.
func (d *Duration) UnmarshalText(text []byte) error {
	s, total := string(text), time.Duration(0)
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a valid duration; write 30s, 6h or 7d", s)
		}
		total, s = time.Duration(n)*Day, rest
	}
	if s != "" {
		rest, err := time.ParseDuration(s)
		if err != nil || rest < 0 {
			return fmt.Errorf("%q is not a valid duration; write 30s, 6h or 7d", text)
		}
		total += rest
	} else if len(text) == 0 {
		return fmt.Errorf("an empty duration; write 30s, 6h or 7d")
	}
	*d = Duration(total)
	return nil
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes whole days as "7d", the rest as Go does.
func (d Duration) String() string {
	if t := time.Duration(d); t >= Day && t%Day == 0 {
		return fmt.Sprintf("%dd", t/Day)
	}
	return ShortDuration(time.Duration(d))
}

// ShortDuration writes "720h" rather than "720h0m0s".
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Network is an address or a CIDR range.
type Network netip.Prefix

// UnmarshalText reads "192.0.2.0/24", "2001:db8::/32" or a single address.
func (n *Network) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil {
		*n = Network(netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a valid network; write 192.0.2.0/24 or 2001:db8::/32", text)
	}
	if p != p.Masked() {
		return fmt.Errorf("%q has host bits set; did you mean %s?", text, p.Masked())
	}
	*n = Network(p)
	return nil
}

// MarshalText writes CIDR notation.
func (n Network) MarshalText() ([]byte, error) { return netip.Prefix(n).MarshalText() }

// Prefixes are networks of the configuration as net/netip has them.
func Prefixes(networks []Network) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range networks {
		out = append(out, netip.Prefix(n))
	}
	return out
}

// Server is the address of a DNS resolver, port 53 unless named.
type Server string

// UnmarshalText reads "127.0.0.1", "127.0.0.1:5353", "::1" or "[::1]:53".
func (s *Server) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil {
		*s = Server(net.JoinHostPort(addr.String(), "53"))
		return nil
	}
	ap, err := netip.ParseAddrPort(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a resolver; write an IP address, or ADDRESS:PORT", text)
	}
	*s = Server(ap.String())
	return nil
}

// FileMode is a file mode in octal, as in "0660".
type FileMode os.FileMode

// UnmarshalTOML reads octal permission bits in quotes. A number would be taken for decimal by
// TOML and for octal by its writer.
func (m *FileMode) UnmarshalTOML(value any) error {
	text, ok := value.(string)
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || !ok || n > 0o777 {
		return fmt.Errorf("%v is not a file mode; write octal in quotes such as \"0660\"", value)
	}
	*m = FileMode(n)
	return nil
}

// MarshalText writes four octal digits.
func (m FileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Listener is one milter socket, as OpenDKIM and Postfix write it.
type Listener struct {
	Network string // tcp, unix
	Address string // host:port, or a path
}

// UnmarshalText reads "inet:8894@127.0.0.1", "inet6:8894@::1", "unix:/path" or "local:/path".
func (l *Listener) UnmarshalText(text []byte) error {
	kind, rest, _ := strings.Cut(string(text), ":")
	switch kind {
	case "unix", "local":
		if !filepath.IsAbs(rest) {
			return fmt.Errorf("%q: the socket needs an absolute path", text)
		}
		*l = Listener{"unix", filepath.Clean(rest)}
		return nil
	case "inet", "inet6":
		port, host, _ := strings.Cut(rest, "@")
		if host == "" {
			host = map[string]string{"inet": "127.0.0.1", "inet6": "::1"}[kind]
		}
		address := net.JoinHostPort(strings.Trim(host, "[]"), port)
		if !validHostPort(address) {
			return fmt.Errorf("%q: write inet:PORT@ADDRESS", text)
		}
		*l = Listener{"tcp", address}
		return nil
	}
	return fmt.Errorf("%q is not a milter socket; write inet:8894@127.0.0.1 or unix:/path", text)
}

// String is the notation that UnmarshalText reads.
func (l Listener) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	host, port, _ := net.SplitHostPort(l.Address)
	return "inet:" + port + "@" + host
}

// MarshalText is String.
func (l Listener) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Listeners is one socket or a list of them.
type Listeners []Listener

// UnmarshalTOML accepts a string or an array of strings.
func (ls *Listeners) UnmarshalTOML(value any) error {
	values, isList := value.([]any)
	if !isList {
		values = []any{value}
	}
	*ls = nil
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%v is not a milter socket; write \"inet:8894@127.0.0.1\" or \"unix:/path\"", v)
		}
		var l Listener
		if err := l.UnmarshalText([]byte(s)); err != nil {
			return err
		}
		*ls = append(*ls, l)
	}
	return nil
}

// DomainName is a domain in either spelling, kept as A-labels.
type DomainName dnsname.Domain

// UnmarshalText normalises.
func (d *DomainName) UnmarshalText(text []byte) error {
	domain, err := dnsname.Parse(string(text))
	*d = DomainName(domain)
	return err
}

// Domains are names of the configuration.
func Domains(names []DomainName) []dnsname.Domain {
	var out []dnsname.Domain
	for _, n := range names {
		out = append(out, dnsname.Domain(n))
	}
	return out
}
