package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"peerscore/assess/dnsname"
)

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

// Error is a value that turns out to be wrong when it is used.
type Error struct {
	Key string
	Err error
}

func (e Error) Error() string { return e.Key + ": " + e.Err.Error() }
func (e Error) Unwrap() error { return e.Err }

// check finds the first impossible value and says what would be possible.
func (c *Config) check() (key, problem string) {
	var profile Error
	_, err := c.Profile()
	errors.As(err, &profile)
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
		{"score.profile", err == nil, fmt.Sprint(profile.Err)},
		{"score.window", c.Score.Window >= Duration(Day), "must be at least 1d"},
		{"score.threshold", c.Score.Threshold > 0 && c.Score.Threshold <= 1, "must be above 0 and at most 1"},
		{"store.path", filepath.IsAbs(c.Store.Path), "must be an absolute path"},
		{"store.keep", c.Store.Keep >= c.Score.Window, "must be at least score.window, which is " + c.Score.Window.String()},
		{"http.listen", !c.HTTP.On() || loopback(c.HTTP.Listen), `must be a loopback ADDRESS:PORT such as "127.0.0.1:8895"`},
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

// CheckNamed looks for the group and the files that the configuration of a file names. Its errors
// name file, line and key.
func (c Config) CheckNamed(path string) error {
	var wrong Error
	switch err := c.missing(); {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return err
	}
	if path == "" {
		path = SystemFile
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s:%d: %w", path, lineOf(string(text), wrong.Key), wrong)
}

// missing is the first key that names a group or a file that is not to be had.
func (c Config) missing() error {
	if group := c.Milter.SocketGroup; group != "" {
		if _, err := user.LookupGroup(group); err != nil {
			return Error{"milter.socket_group", fmt.Errorf("there is no group %q", group)}
		}
	}
	_, err := c.Roots()
	return err
}
