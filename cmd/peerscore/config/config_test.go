package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"peerscore/assess/probe"
)

func TestConfigParse(t *testing.T) {
	tests := []struct {
		name, text, wantErr string
	}{
		{"empty", "", ""},
		{"one socket", "[milter]\nlisten = \"unix:/run/peerscore/milter.sock\"", ""},
		{"two sockets", "milter.listen = [\"inet:8894@127.0.0.1\", \"local:/run/p.sock\"]", ""},
		{"days", "[assess]\nmax_age = \"14d\"", ""},
		{"U-label", "[milter]\nown_domains = [\"bücher.example\"]", ""},
		{"unknown key", "[milter]\n\nlisten = \"inet:1@127.0.0.1\"\nlisen = 1", "4: milter.lisen: no such key"},
		{"unknown table", "\n[milta]\nx = 1", "2: milta: no such key"},
		{"syntax", "[milter\n", "expected '.' or ']' to end table name"},
		{"wrong type", "[header]\nscore = \"yes\"", "2: header.score: "},
		{"bad socket", "[milter]\nlisten = \"tcp:1\"", "not a milter socket"},
		{"relative socket", "[milter]\nlisten = \"unix:run/x\"", "absolute path"},
		{"bad duration", "[assess]\nmax_age = \"a week\"", "2: assess.max_age: \"a week\" is not a valid duration"},
		{"negative duration", "[assess]\nretry = \"-6h\"", "not a valid duration"},
		{"impossible value", "[score]\n# comment\nthreshold = 1.5", "3: score.threshold: must be above 0"},
		{"unknown profile", "[score]\nprofile = \"mecsa-1999\"", "2: score.profile: no score profile is called \"mecsa-1999\"; there are mecsa-2018, mecsa-2020, or the absolute path"},
		{"trust nobody", "[milter]\nauthentication = \"trust\"", "milter.trusted_authserv_ids: must name"},
		{"denied network", "[assess]\ndeny_networks = [\"192.0.2.0/33\"]", "is not a valid network; write 192.0.2.0/24"},
		{"network with host bits", "[assess]\nallow_networks = [\"192.0.2.1/24\"]", "did you mean 192.0.2.0/24"},
		{"bad resolver", "[dns]\nservers = [\"resolver.example\"]", "not a resolver"},
		{"bad mode", "[milter]\nsocket_mode = \"rw\"", "not a file mode"},
		{"mode that TOML reads as decimal 432", "[milter]\nsocket_mode = 0o660", "2: milter.socket_mode: 432 is not a file mode; write octal in quotes"},
		{"text for a number", "assess.concurrency = \"many\"", "1: assess.concurrency: must be a whole number"},
		{"half a dialogue", "assess.concurrency = 2.5", "1: assess.concurrency: must be a whole number"},
		{"text for a share", "score.threshold = \"most\"", "1: score.threshold: must be a number"},
		{"one for a list", "milter.own_domains = \"example.net\"", "1: milter.own_domains: must be a list, such as ["},
		{"a value for a table", "milter = 3", "1: milter: is a table of keys, not a value"},
		{"a name that would end a header field", "milter.authserv_id = \"mx; x\"", "1: milter.authserv_id: must be a host name"},
		{"sessions that outlive their judgement", "[store]\nkeep = \"10d\"", "2: store.keep: must be at least score.window, which is 30d"},
		{"too many dialogues", "assess.concurrency = 5000", "1: assess.concurrency: must be between 2 and 1024"},
		{"a port that is none", "milter.listen = \"inet:99999@127.0.0.1\"", "write inet:PORT@ADDRESS"},
		{"relative store", "[store]\npath = \"peers.db\"", "2: store.path: must be an absolute path"},
		{"bad domain", "[assess]\ndeny_domains = [\"localhost\"]", "single label"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			err := c.Parse(tt.text)
			if tt.wantErr == "" && err != nil {
				t.Fatalf("parse: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// A scoring table of the operator's own is a file in the form of assess/profiles/.
func TestOwnProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.json")
	one := `{"criteria": ["starttls"], "rows": [{"stars": 5, "met": ["starttls"]}]}`
	for _, tt := range []struct{ text, wantErr string }{
		{fmt.Sprintf(`{"name": "own-1", "source": "", "date": "", "tables": {"confidentiality": %[1]s, "identity": %[1]s, "integrity": %[1]s}}`, one), ""},
		{fmt.Sprintf(`{"name": "own; x", "tables": {"confidentiality": %[1]s, "identity": %[1]s, "integrity": %[1]s}}`, one), "1: score.profile: " + path + ": score profile: its name needs lower-case letters"},
		{`{"name": "own-1"}`, "1: score.profile: " + path + ": score profile own-1, confidentiality: between 1 and 12 criteria"},
		{"stars", "1: score.profile: " + path + ": score profile: invalid character"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		c := Default()
		err := c.Parse(fmt.Sprintf("score.profile = %q", path))
		if tt.wantErr != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.wantErr) {
				t.Errorf("%s: %v, want %q", tt.text, err, tt.wantErr)
			}
			continue
		}
		if p, profileErr := c.Profile(); err != nil || profileErr != nil || p.Name != "own-1" {
			t.Errorf("%v, %v: %+v", err, profileErr, p)
		}
	}
}

// What `config show` prints must be read back as the same configuration.
func TestConfigRoundTrip(t *testing.T) {
	want := Default()
	got := Config{}
	if err := got.Parse(show(t, want)); err != nil {
		t.Fatalf("%v in\n%s", err, show(t, want))
	}
	if show(t, got) != show(t, want) {
		t.Errorf("read back as\n%s\nwant\n%s", show(t, got), show(t, want))
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * Day, "1d12h": 36 * time.Hour, "6h": 6 * time.Hour, "90s": 90 * time.Second, "0s": 0,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q = %v, %v; want %v", text, time.Duration(d), err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "-7d", "7d-1h", "week", "99999999d"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, time.Duration(d))
		}
	}
}

// The example in contrib/ must say exactly what the defaults are, key by key.
func TestExampleConfigIsTheDefault(t *testing.T) {
	example, err := os.ReadFile("../../../contrib/peerscore.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	got := want
	if err := got.Parse(string(example)); err != nil {
		t.Fatal(err)
	}
	if show(t, got) != show(t, want) {
		t.Errorf("the example configures\n%s\nthe default is\n%s", show(t, got), show(t, want))
	}
	meta, err := toml.Decode(show(t, want), &map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range meta.Keys() {
		if name := key[len(key)-1]; !strings.Contains(string(example), name) {
			t.Errorf("the example does not mention %s", key)
		}
	}
}

func show(t *testing.T, c Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := toml.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What the operator configures must reach the parts that it is about.
func TestConfigReachesTheParts(t *testing.T) {
	c := Default()
	if err := c.Parse("[assess]\nprobes_per_minute = 7\nconcurrency = 6\nmax_age = \"3d\"\nretry = \"2h\"\nenabled = false\n" +
		"[score]\nthreshold = 0.5\nwindow = \"20d\"\n[store]\nkeep = \"90d\""); err != nil {
		t.Fatal(err)
	}
	if l := c.Limits(); l.ProbesPerMinute != 7 || l.AtOnce != 6 || l.Reserved != 3 {
		t.Errorf("limits %+v", l)
	}
	if s := c.Schedule(); s.MaxAge != 3*Day || s.Retry != 2*time.Hour || s.Concurrency != 6 {
		t.Errorf("schedule %+v", s)
	}
	if r := c.Rules(); r.Threshold != 0.5 || !r.Passive {
		t.Errorf("rules %+v", r)
	}
	if o := c.StoreOptions(nil); o.Window != 20*Day || o.Keep != 90*Day {
		t.Errorf("store options %+v", o)
	}
	if l := Default().Limits(); l != probe.DefaultLimits() {
		t.Errorf("the default is %+v, the prober says %+v", l, probe.DefaultLimits())
	}
}

// Every key of peerscore.toml(5), with its default; what depends on the host is left out.
var defaults = map[string]string{
	"milter.listen": `["inet:8894@127.0.0.1"]`, "milter.socket_mode": `"0660"`, "milter.socket_group": `""`,
	"milter.authentication": `"verify"`, "milter.authserv_id": `""`, "milter.trusted_authserv_ids": `[]`,
	"milter.internal_hosts": `["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"]`,
	"milter.own_domains":    `[]`,
	"header.score":          "true", "header.bars": "true", "header.authentication_results": "false",
	"assess.enabled": "true", "assess.learn_from_outgoing": "true", "assess.max_age": `"7d"`, "assess.retry": `"6h"`,
	"assess.ehlo": "the host name", "assess.allow_networks": "[]", "assess.deny_networks": "[]", "assess.deny_domains": "[]",
	"assess.probes_per_minute": "30", "assess.concurrency": "16", "assess.ca_file": `""`,
	"dns.servers": "[]", "dns.trust_ad": `"auto"`,
	"score.profile": `"mecsa-2018"`, "score.window": `"30d"`, "score.threshold": "0.8",
	"store.path": `"/var/lib/peerscore/peerscore.db"`, "store.keep": `"400d"`,
	"http.listen": `"off"`, "log.level": `"info"`, "log.format": `"text"`,
}

func TestDefaults(t *testing.T) {
	documented := map[string]bool{}
	for _, k := range Keys {
		documented[k.Name] = true
		if got := k.Value(); got != defaults[k.Name] {
			t.Errorf("the default of %s is %s, want %s", k.Name, got, defaults[k.Name])
		}
	}
	meta, err := toml.Decode(show(t, Default()), &map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range meta.Keys() {
		if len(key) == 2 && !documented[key.String()] {
			t.Errorf("no page tells of %s", key)
		}
	}
	if len(documented) != len(defaults) {
		t.Errorf("%d keys, want %d", len(documented), len(defaults))
	}
}

// A key that is set must not be lost on the way: each takes a value other than its default.
func TestEveryKeyCanBeSet(t *testing.T) {
	for key, value := range map[string]string{
		"milter.listen": `"unix:/run/m.sock"`, "milter.socket_mode": `"0600"`, "milter.socket_group": `"postfix"`,
		"milter.authserv_id": `"mx.example.net"`, "milter.trusted_authserv_ids": `["mx.example.net"]`,
		"milter.internal_hosts": `["192.0.2.0/24", "2001:db8::1"]`, "milter.own_domains": `["example.net"]`,
		"header.score": "false", "header.bars": "false", "header.authentication_results": "true",
		"assess.enabled": "false", "assess.learn_from_outgoing": "false", "assess.max_age": `"1d"`, "assess.retry": `"90m"`,
		"assess.ehlo": `"mail.example.net"`, "assess.allow_networks": `["10.1.0.0/16"]`, "assess.deny_networks": `["198.41.0.4"]`, "assess.deny_domains": `["example.com"]`,
		"assess.probes_per_minute": "5", "assess.concurrency": "4", "assess.ca_file": `"/etc/ssl/own.pem"`,
		"dns.servers": `["127.0.0.53", "[::1]:5353"]`, "dns.trust_ad": `"never"`,
		"score.profile": `"mecsa-2020"`, "score.window": `"14d"`, "score.threshold": "0.75",
		"store.path": `"/srv/p.db"`, "store.keep": `"60d"`, "http.listen": `"[::1]:8895"`, "log.level": `"debug"`, "log.format": `"json"`,
	} {
		c := Default()
		if err := c.Parse(key + " = " + value); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if show(t, c) == show(t, Default()) {
			t.Errorf("%s = %s changes nothing", key, value)
		}
	}
}
