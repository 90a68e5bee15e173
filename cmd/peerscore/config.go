package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// systemConfig is read when no --config is given and it exists.
const systemConfig = "/etc/peerscore/peerscore.toml"

// Config is the effective configuration: the defaults, overlaid by one TOML file. Every key
// is optional; interface.md and the example in contrib/ list them.
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

// AssessConfig says whether, how and how often peers are probed.
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

func (c HTTPConfig) on() bool { return c.Listen != "off" && c.Listen != "" }

// LogConfig is what goes to standard error.
type LogConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// defaultConfig is the configuration of a host without a file.
func defaultConfig() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return Config{
		Milter: MilterConfig{
			Listen:         Listeners{{Network: "tcp", Address: "127.0.0.1:8894"}},
			SocketMode:     0o660,
			Authentication: "verify",
			InternalHosts:  privateNetworks(),
			// Lists are empty rather than nil, so that `config show` prints the key.
			TrustedAuthservIDs: []string{}, OwnDomains: []DomainName{},
		},
		Header: HeaderConfig{Score: true, Bars: true},
		Assess: AssessConfig{
			Enabled: true, LearnFromOutgoing: true,
			MaxAge: Duration(7 * day), Retry: Duration(6 * time.Hour),
			EHLO: host, ProbesPerMinute: 30, Concurrency: 16,
			AllowNetworks: []Network{}, DenyNetworks: []Network{}, DenyDomains: []DomainName{},
		},
		DNS:   DNSConfig{Servers: []Server{}, TrustAD: "auto"},
		Score: ScoreConfig{Profile: "mecsa-2018", Window: Duration(30 * day), Threshold: 0.8},
		Store: StoreConfig{Path: defaultStorePath(), Keep: Duration(400 * day)},
		HTTP:  HTTPConfig{Listen: "off"},
		Log:   LogConfig{Level: "info", Format: "text"},
	}
}

// privateNetworks are loopback (RFC 1122, RFC 4291), private (RFC 1918, RFC 4193) and link-local addresses.
func privateNetworks() []Network {
	var networks []Network
	for _, s := range []string{
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
		"::1/128", "fc00::/7", "fe80::/10",
	} {
		networks = append(networks, Network(netip.MustParsePrefix(s)))
	}
	return networks
}

const systemStore = "/var/lib/peerscore/peerscore.db"

// defaultStorePath is the system's database for root, for a service that systemd gave a state
// directory, and for whoever may read it; else the user's own.
func defaultStorePath() string {
	if state := os.Getenv("STATE_DIRECTORY"); state != "" {
		return filepath.Join(state, "peerscore.db")
	}
	if os.Geteuid() == 0 {
		return systemStore
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return systemStore
		}
		state = filepath.Join(home, ".local", "state")
	}
	own := filepath.Join(state, "peerscore", "peerscore.db")
	if _, err := os.Stat(own); err != nil && readable(systemStore) {
		return systemStore
	}
	return own
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// loadConfig reads the file over the defaults. An empty path means the system's file, which
// may be absent; a named file must exist. Its errors name file, line and key.
func loadConfig(path string) (Config, error) {
	c := defaultConfig()
	named := path != ""
	if !named {
		path = systemConfig
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w; --config names another", err)
	}
	if err := c.parse(string(text)); err != nil {
		return c, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// parse overlays TOML text. Its errors begin with the line number.
func (c *Config) parse(text string) error {
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

// tomlMessage is how the library words every error: where, the last key read, and what.
var tomlMessage = regexp.MustCompile(`^toml: line (\d+)(?: \(last key "(.*?)"\))?: (?s:(.*))$`)

// tomlTypes is how it words a value of the wrong type, and what we say instead.
var tomlTypes = []struct {
	theirs *regexp.Regexp
	ours   string
}{
	{regexp.MustCompile(`^incompatible types: .* destination has type boolean$`), "must be true or false"},
	{regexp.MustCompile(`^incompatible types: .* destination has type integer$`), "must be a whole number"},
	{regexp.MustCompile(`^incompatible types: .* destination has type float$`), "must be a number"},
	{regexp.MustCompile(`^incompatible types: .* destination has type string$`), "must be text in quotes"},
	{regexp.MustCompile(`^incompatible types: .* destination has type slice$`), `must be a list, such as ["...", "..."]`},
	{regexp.MustCompile(`^type mismatch for .*: expected table but found .*$`), "is a table of keys, not a value"},
}

// tomlProblem reshapes an error of the library into ours: line, key, problem.
func tomlProblem(err error) error {
	m := tomlMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("1: %w", err)
	}
	line, key, problem := m[1], m[2], m[3]
	for _, t := range tomlTypes {
		problem = t.theirs.ReplaceAllLiteralString(problem, t.ours)
	}
	if key == "" {
		return fmt.Errorf("%s: %s", line, problem)
	}
	return fmt.Errorf("%s: %s: %s", line, key, problem)
}

// check finds the first impossible value and says what would be possible.
func (c *Config) check() (key, problem string) {
	_, profileErr := c.profile()
	for _, rule := range []struct {
		key     string
		ok      bool
		problem string
	}{
		{"milter.listen", len(c.Milter.Listen) > 0, "must name at least one socket"},
		{"milter.authentication", oneOf(c.Milter.Authentication, "verify", "trust"), `must be "verify" or "trust"`},
		{"milter.authserv_id", c.Milter.AuthservID == "" || validHostName(c.Milter.AuthservID), "must be a host name of letters, digits and hyphens"},
		{"milter.trusted_authserv_ids", c.Milter.Authentication != "trust" || len(c.Milter.TrustedAuthservIDs) > 0,
			`must name whose Authentication-Results are believed when milter.authentication is "trust"`},
		{"assess.max_age", c.Assess.MaxAge >= Duration(time.Hour), "must be at least 1h"},
		{"assess.retry", c.Assess.Retry >= Duration(time.Minute), "must be at least 1m"},
		{"assess.ehlo", validHostName(c.Assess.EHLO), "must be a host name of letters, digits and hyphens"},
		{"assess.probes_per_minute", c.Assess.ProbesPerMinute >= 1 && c.Assess.ProbesPerMinute <= 6000, "must be between 1 and 6000"},
		{"assess.concurrency", c.Assess.Concurrency >= 2 && c.Assess.Concurrency <= 1024, "must be between 2 and 1024"},
		{"dns.trust_ad", oneOf(c.DNS.TrustAD, "auto", "always", "never"), `must be "auto", "always" or "never"`},
		{"score.profile", profileErr == nil, fmt.Sprint(profileErr)},
		{"score.window", c.Score.Window >= Duration(day), "must be at least 1d"},
		{"score.threshold", c.Score.Threshold > 0 && c.Score.Threshold <= 1, "must be above 0 and at most 1"},
		{"store.path", filepath.IsAbs(c.Store.Path), "must be an absolute path"},
		{"store.keep", c.Store.Keep >= c.Score.Window, "must be at least score.window, which is " + c.Score.Window.String()},
		{"http.listen", !c.HTTP.on() || loopback(c.HTTP.Listen), `must be a loopback ADDRESS:PORT such as "127.0.0.1:8895"`},
		{"log.level", oneOf(c.Log.Level, "debug", "info", "warn", "error"), `must be "debug", "info", "warn" or "error"`},
		{"log.format", oneOf(c.Log.Format, "text", "json"), `must be "text" or "json"`},
	} {
		if !rule.ok {
			return rule.key, rule.problem
		}
	}
	return "", ""
}

func oneOf(s string, allowed ...string) bool {
	for _, a := range allowed {
		if s == a {
			return true
		}
	}
	return false
}

// profile is a built-in one by its name, or one of the operator's own by the path of its file.
func (c *Config) profile() (assess.Profile, error) {
	if !filepath.IsAbs(c.Score.Profile) {
		return assess.LoadProfile(c.Score.Profile)
	}
	return readProfile(c.Score.Profile)
}

func validHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n > 0 && n < 65536
}

// loopback reports whether nobody but this host can reach an ADDRESS:PORT.
func loopback(s string) bool {
	address, err := netip.ParseAddrPort(s)
	return err == nil && address.Addr().IsLoopback() && address.Port() > 0
}

// validHostName accepts a single label too: many hosts are called by one.
func validHostName(s string) bool {
	if _, err := dnsname.Parse(s); err == nil {
		return true
	}
	_, err := dnsname.Parse(s + ".example")
	return err == nil && !strings.Contains(s, ".")
}

// lineOf finds the line on which a dotted key is set, by following table headers; the last
// line of its table header, or 1, where the key itself is not written.
func lineOf(text, key string) int {
	table, found := "", 1
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = strings.Trim(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]), "[] \t")
			if key == table || strings.HasPrefix(key, table+".") {
				found = i + 1
			}
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		name = strings.ReplaceAll(strings.Trim(strings.TrimSpace(name), `"'`), " ", "")
		if table != "" {
			name = table + "." + name
		}
		if name == key || strings.HasPrefix(key, name+".") {
			return i + 1
		}
	}
	return found
}
