package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe/probetest"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/demo"
	"peerscore/cmd/peerscore/manual"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// The object of peerscore(1), with what may stand in each place: "|" separates alternatives.
// Objects may have more fields than these, never fewer.
const domainShape = `{
 "schema": "1", "domain": "text", "profile": "text", "status": "scored|pending|unknown|no-mail",
 "scores": {"confidentiality": SCORE, "identity": SCORE, "integrity": SCORE},
 "minimum_set": "bool|null",
 "standards": {"starttls": STANDARD, "x509": STANDARD, "spf": STANDARD, "dkim": STANDARD, "dmarc": STANDARD,
   "dane": STANDARD, "dnssec": STANDARD, "mta-sts": STANDARD, "tls-rpt": STANDARD, "requiretls": STANDARD, "bimi": STANDARD},
 "sessions": {"window": "720h", "credited": "count", "hosts": "count", "unauthenticated": "count"},
 "first_seen": "time|null", "last_seen": "time|null", "assessed": "time|null", "next_assessment": "time"}`

const scoreShape = `{"stars": "stars|null", "level": "protected|minimum|unprotected|unknown", "partial": "bool",
 "missing": ["starttls|x509|spf|dkim|dmarc|dane|dnssec|mta-sts"]}`

const standardShape = `{"support": "yes|no|unknown", "passed": "count", "failed": "count", "unknown": "count", "estimate": "bool",
 "tests": [{"subject": "text", "address": "text|null", "direction": "inbound|outbound", "test": "text",
   "result": "pass|fail|unknown|bogus|not-applicable", "reason": "REASON", "detail": "text", "advice": "text|null", "at": "time|null"}]}`

var shape = strings.NewReplacer("SCORE", scoreShape, "STANDARD", strings.ReplaceAll(standardShape, "REASON", reasonTokens())).Replace(domainShape)

// reasonTokens are those of the manual.
func reasonTokens() string {
	var tokens []string
	for _, e := range assess.Explanations {
		tokens = append(tokens, string(e.Reason))
	}
	return strings.Join(tokens, "|")
}

// TestJSON holds every kind of answer against the object that peerscore(1) promises.
func TestJSON(t *testing.T) {
	world := startLab(t)
	if err := world.DNS.Set(probetest.Zone{Name: "null.example", Records: "@ MX 0 ."}); err != nil {
		t.Fatal(err)
	}
	lab := inLab(t, world)
	lab.learn("pending.example")
	for domain, status := range map[string]string{
		"nordmail.example": "scored", "oldisp.example": "scored", "island.example": "scored", "broken.example": "unknown",
		"hostile.example": "scored", "null.example": "no-mail", "pending.example": "pending",
	} {
		commands := []string{"assess", "show", "explain"}
		if status == "pending" {
			commands = commands[1:]
		}
		for _, command := range commands {
			out := lab.run(command, "--json", domain)
			for _, problem := range mismatches(parseJSON(t, shape), parseJSON(t, out), "") {
				t.Errorf("%s %s: %s", command, domain, problem)
			}
			var got struct{ Domain, Status string }
			if err := json.Unmarshal([]byte(out), &got); err != nil || got.Domain != domain || got.Status != status {
				t.Errorf("%s %s: %+v, want status %s", command, domain, got, status)
			}
		}
	}
	array := "[" + shape + "]"
	for _, command := range []string{"assess", "show"} {
		out := lab.run(command, "--json", "press.example", "uni.example")
		for _, problem := range mismatches(parseJSON(t, array), parseJSON(t, out), "") {
			t.Errorf("%s of two: %s", command, problem)
		}
	}
}

// commandLab runs commands inside the world of the demo.
type commandLab struct {
	t      *testing.T
	world  *demo.World
	config config.Config
	path   string // of the configuration

	distrusts bool // it does not know the world's certification authority
}

func inLab(t *testing.T, world *demo.World) commandLab {
	t.Helper()
	dir := t.TempDir()
	cfg := demo.Config(world, dir)
	path := dir + "/peerscore.toml"
	var text bytes.Buffer
	must(t, cfg.Encode(&text))
	must(t, os.WriteFile(path, text.Bytes(), 0o644))
	return commandLab{t: t, world: world, config: cfg, path: path}
}

// run returns the output of a command that must succeed.
func (l commandLab) run(args ...string) string {
	l.t.Helper()
	out, status := l.try(view.Console{}, args...)
	if status != exitAnswered {
		l.t.Fatalf("%v: status %d: %s", args, status, out)
	}
	return out
}

// try returns what a command wrote to either output, and its status.
func (l commandLab) try(c view.Console, args ...string) (string, int) {
	var out bytes.Buffer
	c.In, c.Out, c.Err = strings.NewReader(""), &out, &out
	around := demo.AllServersAt(l.world.Port)
	if !l.distrusts {
		around.Roots = l.world.CA.Roots()
	}
	status := run(l.t.Context(), append(args, "--config", l.path), &app{Console: c, around: around})
	return out.String(), status
}

func (l commandLab) learn(d dnsname.Domain) {
	l.t.Helper()
	s, err := store.Open(l.t.Context(), l.config.Store.Path, store.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.Close()
	if err := s.Learn(l.t.Context(), d); err != nil {
		l.t.Fatal(err)
	}
}

func parseJSON(t *testing.T, text string) (value any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// The manual page shows what is printed: one standard and one test stand for all.
func TestManualJSON(t *testing.T) {
	example := parseJSON(t, strings.ReplaceAll(manual.ExampleJSON, ",\n    ...}", "}"))
	shown := parseJSON(t, shape).(map[string]any)
	shown["standards"] = map[string]any{"starttls": shown["standards"].(map[string]any)["starttls"]}
	for _, problem := range mismatches(shown, example, "") {
		t.Errorf("the page differs from what is promised: %s", problem)
	}
	text, err := json.Marshal(view.Report{}.JSON(false))
	if err != nil {
		t.Fatal(err)
	}
	printed := parseJSON(t, string(text)).(map[string]any)
	if got, want := slices.Sorted(maps.Keys(example.(map[string]any))), slices.Sorted(maps.Keys(printed)); !slices.Equal(got, want) {
		t.Errorf("the page has %q, the output %q", got, want)
	}
}

// mismatches lists where a value does not have the shape.
func mismatches(shape, value any, path string) (problems []string) {
	switch s := shape.(type) {
	case map[string]any:
		object, ok := value.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, want an object", path, value)}
		}
		for key, inner := range s {
			if v, ok := object[key]; ok {
				problems = append(problems, mismatches(inner, v, path+"."+key)...)
			} else {
				problems = append(problems, path+"."+key+" is missing")
			}
		}
	case []any:
		list, ok := value.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, want an array", path, value)}
		}
		for i, v := range list {
			problems = append(problems, mismatches(s[0], v, fmt.Sprintf("%s[%d]", path, i))...)
		}
	case string:
		if !slices.ContainsFunc(strings.Split(s, "|"), func(kind string) bool { return isKind(kind, value) }) {
			return []string{fmt.Sprintf("%s is %v, want %s", path, value, s)}
		}
	}
	return problems
}

func isKind(kind string, value any) bool {
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	stars, err := number.Float64()
	switch kind {
	case "null":
		return value == nil
	case "bool":
		_, ok := value.(bool)
		return ok
	case "text":
		return isText && text != ""
	case "count":
		_, err := number.Int64()
		return isNumber && err == nil && stars >= 0
	case "stars":
		return isNumber && err == nil && stars >= 0 && stars <= 5 && stars*2 == float64(int(stars*2))
	case "time":
		at, err := time.Parse(time.RFC3339, text)
		return isText && err == nil && strings.HasSuffix(text, "Z") && at.Year() > 2000
	}
	return isText && text == kind || isNumber && number.String() == kind
}
