// Package config is the configuration: the keys, their defaults and values, what is wrong with them,
// and what each part of the daemon takes from them.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
)

// SystemFile is read when no --config is given and it exists.
const SystemFile = "/etc/peerscore/peerscore.toml"

// Config is the effective configuration: the defaults, overlaid by one TOML file. Every key
// is optional; peerscore.toml(5) and the example in contrib/ list them.
type Config struct {
	Milter MilterConfig `toml:"milter"`
	Header HeaderConfig `toml:"header"`
	Assess AssessConfig `toml:"assess"`
	DNS    DNSConfig    `toml:"dns"`
	Score  ScoreConfig  `toml:"score"`
	Store  StoreConfig  `toml:"store"`
	HTTP   HTTPConfig   `toml:"http"`
	Log    LogConfig    `toml:"log"`
}

// MilterConfig says where the milter listens and whose mail it looks at.
type MilterConfig struct {
	Listen             Listeners    `toml:"listen"`
	SocketMode         FileMode     `toml:"socket_mode"`
	SocketGroup        string       `toml:"socket_group"`
	Authentication     string       `toml:"authentication"` // verify, trust
	AuthservID         string       `toml:"authserv_id"`    // empty: the MTA's {j}, else the host name
	TrustedAuthservIDs []string     `toml:"trusted_authserv_ids"`
	InternalHosts      []Network    `toml:"internal_hosts"`
	OwnDomains         []DomainName `toml:"own_domains"`
}

// HeaderConfig chooses the header fields that delivered mail carries.
type HeaderConfig struct {
	Score                 bool `toml:"score"`
	Bars                  bool `toml:"bars"`
	AuthenticationResults bool `toml:"authentication_results"`
}

// AssessConfig reports whether, how and how often peers are probed.
type AssessConfig struct {
	Enabled           bool         `toml:"enabled"`
	LearnFromOutgoing bool         `toml:"learn_from_outgoing"`
	MaxAge            Duration     `toml:"max_age"`
	Retry             Duration     `toml:"retry"`
	EHLO              string       `toml:"ehlo"`
	AllowNetworks     []Network    `toml:"allow_networks"`
	DenyNetworks      []Network    `toml:"deny_networks"`
	DenyDomains       []DomainName `toml:"deny_domains"`
	ProbesPerMinute   int          `toml:"probes_per_minute"`
	Concurrency       int          `toml:"concurrency"`
	CAFile            string       `toml:"ca_file"`
}

// DNSConfig names the resolver, and whether its AD bit is believed.
type DNSConfig struct {
	Servers []Server `toml:"servers"`
	TrustAD string   `toml:"trust_ad"` // auto, always, never
}

// ScoreConfig is how evidence becomes stars.
type ScoreConfig struct {
	Profile   string   `toml:"profile"`
	Window    Duration `toml:"window"`
	Threshold float64  `toml:"threshold"`
}

// StoreConfig is where the reputation lives, and how long.
type StoreConfig struct {
	Path string   `toml:"path"`
	Keep Duration `toml:"keep"`
}

// HTTPConfig is the optional HTTP listener.
type HTTPConfig struct {
	Listen string `toml:"listen"` // off, or a loopback ADDRESS:PORT
}

// On reports whether there is to be one.
func (c HTTPConfig) On() bool { return c.Listen != "off" && c.Listen != "" }

// LogConfig is what goes to standard error.
type LogConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Default is the configuration of a host without a file.
func Default() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return Config{
		Milter: MilterConfig{
			Listen:         Listeners{{Network: "tcp", Address: "127.0.0.1:8894"}},
			SocketMode:     0o660,
			Authentication: "verify",
			InternalHosts:  PrivateNetworks(),
			// Lists are empty rather than nil, so that `config show` prints the key.
			TrustedAuthservIDs: []string{}, OwnDomains: []DomainName{},
		},
		Header: HeaderConfig{Score: true, Bars: true},
		Assess: AssessConfig{
			Enabled: true, LearnFromOutgoing: true,
			MaxAge: Duration(7 * Day), Retry: Duration(6 * time.Hour),
			EHLO: host, ProbesPerMinute: 30, Concurrency: 16,
			AllowNetworks: []Network{}, DenyNetworks: []Network{}, DenyDomains: []DomainName{},
		},
		DNS:   DNSConfig{Servers: []Server{}, TrustAD: "auto"},
		Score: ScoreConfig{Profile: "mecsa-2018", Window: Duration(30 * Day), Threshold: 0.8},
		Store: StoreConfig{Path: defaultStorePath(), Keep: Duration(400 * Day)},
		HTTP:  HTTPConfig{Listen: "off"},
		Log:   LogConfig{Level: "info", Format: "text"},
	}
}

// PrivateNetworks are loopback (RFC 1122, RFC 4291), private (RFC 1918, RFC 4193) and link-local addresses.
func PrivateNetworks() []Network {
	var networks []Network
	for _, s := range []string{
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
		"::1/128", "fc00::/7", "fe80::/10",
	} {
		networks = append(networks, Network(netip.MustParsePrefix(s)))
	}
	return networks
}

// SystemStore is the database of the daemon.
const SystemStore = "/var/lib/peerscore/peerscore.db"

// defaultStorePath is the system's database for root, for a service that systemd gave a state
// directory, and for whoever may read it; else the user's own.
func defaultStorePath() string {
	if state := os.Getenv("STATE_DIRECTORY"); state != "" {
		return filepath.Join(state, "peerscore.db")
	}
	if os.Geteuid() == 0 {
		return SystemStore
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return SystemStore
		}
		state = filepath.Join(home, ".local", "state")
	}
	own := filepath.Join(state, "peerscore", "peerscore.db")
	if _, err := os.Stat(own); err != nil && Readable(SystemStore) {
		return SystemStore
	}
	return own
}

// Readable reports whether this user may read a file.
func Readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Load reads the file over the defaults. An empty path means the system's file, which
// may be absent; a named file must exist. Its errors name file, line and key.
func Load(path string) (Config, error) {
	c := Default()
	named := path != ""
	if !named {
		path = SystemFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w; --config names another", err)
	}
	if err := c.Parse(string(text)); err != nil {
		return c, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// Parse overlays TOML text. Its errors begin with the line number.
func (c *Config) Parse(text string) error {
	meta, err := toml.Decode(text, c)
	if err != nil {
		return tomlProblem(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0].String()
		return fmt.Errorf("%d: %s: no such key; `peerscore config show` lists them all", lineOf(text, key), key)
	}
	if key, problem := c.check(); problem != "" {
		return fmt.Errorf("%d: %s: %s", lineOf(text, key), key, problem)
	}
	return nil
}
