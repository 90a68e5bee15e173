package main

import (
	"bytes"
	"os"
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
		{"bad socket", "[milter]\nlisten = \"tcp:1\"", "no milter socket"},
		{"relative socket", "[milter]\nlisten = \"unix:run/x\"", "absolute path"},
		{"bad duration", "[assess]\nmax_age = \"a week\"", "2: assess.max_age: \"a week\" is no duration"},
		{"negative duration", "[assess]\nretry = \"-6h\"", "no duration"},
		{"impossible value", "[score]\n# comment\nthreshold = 1.5", "3: score.threshold: must be above 0"},
		{"unknown profile", "[score]\nprofile = \"mecsa-1999\"", "2: score.profile: must be one of mecsa-2018"},
		{"trust nobody", "[milter]\nauthentication = \"trust\"", "milter.trusted_authserv_ids: must name"},
		{"network with host bits", "[assess]\nallow_networks = [\"192.0.2.1/24\"]", "did you mean 192.0.2.0/24"},
		{"bad resolver", "[dns]\nservers = [\"resolver.example\"]", "no resolver"},
		{"bad mode", "[milter]\nsocket_mode = \"rw\"", "no file mode"},
		{"relative store", "[store]\npath = \"peers.db\"", "2: store.path: must be an absolute path"},
		{"bad domain", "[assess]\ndeny_domains = [\"localhost\"]", "single label"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := defaultConfig()
			err := c.parse(tt.text)
			if tt.wantErr == "" && err != nil {
				t.Fatalf("parse: %v", err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// What `config show` prints must be read back as the same configuration.
func TestConfigRoundTrip(t *testing.T) {
	want := defaultConfig()
	got := Config{}
	if err := got.parse(show(t, want)); err != nil {
		t.Fatalf("%v in\n%s", err, show(t, want))
	}
	if show(t, got) != show(t, want) {
		t.Errorf("read back as\n%s\nwant\n%s", show(t, got), show(t, want))
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "1d12h": 36 * time.Hour, "6h": 6 * time.Hour, "90s": 90 * time.Second, "0s": 0,
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
	example, err := os.ReadFile("../../contrib/peerscore.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	got := want
	if err := got.parse(string(example)); err != nil {
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
	c := defaultConfig()
	if err := c.parse("[assess]\nprobes_per_minute = 7\nconcurrency = 6\nmax_age = \"3d\"\nretry = \"2h\"\nenabled = false\n" +
		"[score]\nthreshold = 0.5\nwindow = \"20d\"\n[store]\nkeep = \"90d\""); err != nil {
		t.Fatal(err)
	}
	if l := c.limits(); l.ProbesPerMinute != 7 || l.AtOnce != 6 || l.Reserved != 3 {
		t.Errorf("limits %+v", l)
	}
	if s := c.schedule(); s.MaxAge != 3*day || s.Retry != 2*time.Hour || s.Concurrency != 6 {
		t.Errorf("schedule %+v", s)
	}
	if r := c.rules(); r.Threshold != 0.5 || !r.Passive {
		t.Errorf("rules %+v", r)
	}
	if o := c.storeOptions(nil); o.Window != 20*day || o.Keep != 90*day {
		t.Errorf("store options %+v", o)
	}
	if l := defaultConfig().limits(); l != probe.DefaultLimits() {
		t.Errorf("the default is %+v, the prober says %+v", l, probe.DefaultLimits())
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
